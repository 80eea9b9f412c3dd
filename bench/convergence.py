"""How fast the kernels of finite networks approach the infinite one: a picture.

python bench/convergence.py
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np

import ntcore as nt
from ntcore import stax

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FOLDER = Path(__file__).parent / "results" / "empirical"
WIDTHS = (8, 16, 32, 64, 128, 256, 512)
SAMPLES = 200


def network(width: int) -> stax.Model:
    hidden = [layer for _ in range(2) for layer in (stax.Dense(width, 1.4, 0.1), stax.Relu())]
    return stax.serial(*hidden, stax.Dense(1, 1.4, 0.1))


def errors() -> dict[str, list[float]]:
    """Mean squared distance of single networks from the infinite one, relative, by width."""
    x = np.random.default_rng(0).standard_normal((10, 5))
    want = network(1).kernel_fn(x)
    found: dict[str, list[float]] = {"nngp": [], "ntk": []}
    for width in WIDTHS:
        init_fn, apply_fn, _ = network(width)
        kernel_fn = nt.empirical_kernel_fn(apply_fn, implementation=3)
        total = dict.fromkeys(found, 0.0)
        for seed in range(SAMPLES):
            kernels = kernel_fn(x, None, None, init_fn(seed, x.shape)[1])
            total["ntk"] += float(np.mean((kernels.ntk - want.ntk) ** 2))
            # One output is one sample of the NNGP: averaged over the units of the last layer.
            hidden = features(apply_fn, init_fn, seed, x, width)
            total["nngp"] += float(np.mean((hidden - want.nngp) ** 2))
        for name in found:
            scale = float(np.mean(getattr(want, name) ** 2))
            found[name].append(total[name] / SAMPLES / scale)
    return found


def features(apply_fn, init_fn, seed: int, x: np.ndarray, width: int) -> np.ndarray:
    """The NNGP kernel of the output, its expectation over the last layer alone taken."""
    params = init_fn(seed, x.shape)[1]
    below = stax.serial(*(stax.Model(c) for c in apply_fn.__self__.network.layers[:-1]))
    h = below.apply_fn(params[:-1], x)
    return 1.4**2 * h @ h.T / width + 0.1**2


def main() -> None:
    found = errors()
    slopes = {n: float(np.polyfit(np.log(WIDTHS), np.log(e), 1)[0]) for n, e in found.items()}
    figure, axes = plt.subplots(figsize=(5, 3.6), layout="constrained")
    for name, marker in (("nngp", "o"), ("ntk", "s")):
        label = f"{name.upper()}, slope {slopes[name]:.2f}"
        axes.loglog(WIDTHS, found[name], marker=marker, label=label)
    line = found["ntk"][0] * WIDTHS[0] / np.array(WIDTHS)
    axes.loglog(WIDTHS, line, "k--", lw=1, label="1 / width")
    axes.set(xlabel="width", ylabel="mean squared distance, relative")
    axes.legend()
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / "convergence.png", dpi=120)
    data = {"widths": WIDTHS, "samples": SAMPLES, "errors": found, "slopes": slopes}
    (FOLDER / "convergence.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
