"""Empirical NTKs side by side with neural_tangents and with the tutorial of torch.func.

Every contender runs in a process of its own and takes its turn in every round, so that whatever
else the machine does meets all of them alike; what is reported is the least and the median time of
a turn, and the median over rounds of the ratio to the best of neural_tangents.

    python bench/empirical.py --peer PEER/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).parent
CASES = {
    "mlp": "MLP 784-1024-1024-10, 64 examples, the full 640 x 640 kernel",
    "cnn": "3 convolutions of 64 channels, global pooling, 16 images of 32x32, 10 outputs",
}
PEERS = {"jacobian": 1, "products": 2, "structured": 3}
OURS = ("jax", "torch", "numpy")


def layers(stax, case: str):
    """The network of a case, in either library."""
    dense, conv = (lambda n: stax.Dense(n, b_std=0.1)), (lambda: None)
    conv = lambda: stax.Conv(64, (3, 3), padding="SAME", b_std=0.1)  # noqa: E731
    if case == "mlp":
        return stax.serial(dense(1024), stax.Relu(), dense(1024), stax.Relu(), dense(10))
    blocks = [layer for _ in range(3) for layer in (conv(), stax.Relu())]
    return stax.serial(*blocks, stax.GlobalAvgPool(), dense(10))


def examples(case: str):
    import numpy as np

    shape = (64, 784) if case == "mlp" else (16, 32, 32, 3)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def peer(case: str, implementation: str) -> Callable:
    import jax
    import neural_tangents as nt
    from neural_tangents import stax

    init_fn, apply_fn, _ = layers(stax, case)
    x = jax.numpy.asarray(examples(case))
    params = init_fn(jax.random.PRNGKey(0), x.shape)[1]
    kernel_fn = jax.jit(
        nt.empirical_ntk_fn(apply_fn, (), (), 0, nt.NtkImplementation(PEERS[implementation]))
    )
    return lambda: kernel_fn(x, None, params).block_until_ready()


def jax_function(case: str):
    """The network of a case as a plain JAX function of ntcore's parameters."""
    import jax
    import jax.numpy as jnp

    def affine(params, x):
        w, b = params
        if x.ndim == 2:
            return x @ (w / w.shape[0] ** 0.5) + 0.1 * b
        numbers = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)
        return y / (9 * w.shape[2]) ** 0.5 + 0.1 * b

    def f(params, x):
        held = [p for p in params if p]
        for p in held[:-1]:
            x = jax.nn.relu(affine(p, x))
        return affine(held[-1], jnp.mean(x, axis=(1, 2)) if x.ndim == 4 else x)

    return f


def torch_module(case: str):
    from torch import nn

    if case == "mlp":
        sizes = (784, 1024, 1024, 10)
        found = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        return nn.Sequential(found[0], nn.ReLU(), found[1], nn.ReLU(), found[2])
    found = []
    for channels in (3, 64, 64):
        found += [nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*found, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def ours(case: str, library: str, budget: float = 4e9, few: int | None = None) -> Callable:
    import ntcore as nt
    from ntcore import stax

    ntk = lambda f: nt.empirical_ntk_fn(f, (), implementation=0, memory_budget=budget)  # noqa: E731
    x = examples(case)[:few]
    if library == "torch":
        import torch

        images = torch.as_tensor(x if x.ndim == 2 else x.transpose(0, 3, 1, 2).copy())
        kernel_fn = ntk(torch_module(case))
        return lambda: kernel_fn(images, None, None)
    net = layers(stax, case)
    if library == "numpy":
        params = net.init_fn(0, x.shape, like=x)[1]
        kernel_fn = ntk(net.apply_fn)
        return lambda: kernel_fn(x, None, params)
    import jax.numpy as jnp

    x = jnp.asarray(x)
    params = net.init_fn(0, x.shape, like=x)[1]
    kernel_fn = ntk(jax_function(case))
    return lambda: kernel_fn(x, None, params).block_until_ready()


def tutorial(case: str) -> Callable:
    """The Jacobian contraction of torch.func's tutorial on neural tangent kernels."""
    import torch
    from torch.func import functional_call, jacrev, vmap

    module = torch_module(case)
    params = {k: v.detach() for k, v in module.named_parameters()}
    x = examples(case)
    x = torch.as_tensor(x if x.ndim == 2 else x.transpose(0, 3, 1, 2).copy())

    def single(params, one):
        return functional_call(module, params, (one[None],))[0]

    def kernel():
        jacobian = vmap(jacrev(single), (None, 0))(params, x)
        flat = [j.flatten(2) for j in jacobian.values()]
        return torch.stack([torch.einsum("Naf,Mbf->NMab", j, j) for j in flat]).sum(0)

    return kernel


def work(name: str, case: str) -> None:
    """Take turns: a line in, the seconds of one turn out."""
    family, _, which = name.partition(":")
    make = {"peer": peer, "ntcore": ours}.get(family)
    run = make(case, which) if make else tutorial(case)
    run()
    print(json.dumps({"versions": versions()}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "peak": peak()}), flush=True)


def peak() -> float:
    """Return the most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def versions() -> dict[str, str]:
    found = {}
    for name in ("jax", "neural-tangents", "numpy", "torch"):
        if name.replace("-", "_") in sys.modules:
            found[name] = version(name)
    return found


class Contender:
    """One process that takes turns."""

    def __init__(self, python: str, name: str, case: str) -> None:
        self.name, self.seconds, self.peak = name, [], 0.0
        command = [python, str(Path(__file__).resolve()), "--worker", name, "--case", case]
        env = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "2"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.versions = self._reply()["versions"]

    def _reply(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with code {self.process.wait()}; see above.")
        return json.loads(line)

    def turn(self) -> None:
        self.process.stdin.write("turn\n")
        self.process.stdin.flush()
        reply = self._reply()
        self.seconds.append(reply["seconds"])
        self.peak = reply["peak"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(case: str, peer_python: str, rounds: int, slow: int) -> list[dict]:
    names = [*(f"ntcore:{n}" for n in OURS), *(f"peer:{n}" for n in PEERS), "tutorial"]
    contenders = [
        Contender(peer_python if n.startswith("peer") else sys.executable, n, case) for n in names
    ]
    for i in range(rounds):
        for c in contenders:
            if i < slow or c.name.startswith("ntcore") or statistics.median(c.seconds) < 2:
                c.turn()
    for c in contenders:
        c.close()
    peers = [c for c in contenders if c.name.startswith("peer")]
    best = min(peers, key=lambda c: statistics.median(c.seconds))
    rows = []
    for c in contenders:
        ratios = [b / s for b, s in zip(best.seconds, c.seconds, strict=False)]
        rows.append(
            {
                "case": case,
                "name": c.name,
                "least": min(c.seconds),
                "median": statistics.median(c.seconds),
                "faster_than_best_peer": statistics.median(ratios),
                "turns": len(c.seconds),
                "peak_mib": round(c.peak),
                "versions": c.versions,
            }
        )
    return rows


def machine() -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [s for s in info.read_text("utf-8").splitlines() if s.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}"


def markdown(rows: list[dict], line: str) -> str:
    out = ["# Empirical NTK, float32", "", line, ""]
    for case, title in CASES.items():
        out += [
            f"## {title}",
            "",
            "| | least, s | median, s | times the best peer's speed | process, MiB |",
        ]
        out += ["|---|---|---|---|---|"]
        for r in rows:
            if r["case"] == case:
                speed = f"{r['faster_than_best_peer']:.2f}"
                seconds = f"{r['least']:.3f} | {r['median']:.3f}"
                out.append(f"| {r['name']} | {seconds} | {speed} | {r['peak_mib']} |")
        out.append("")
    found = {(k, v) for r in rows for k, v in r["versions"].items()}
    out.append(", ".join(f"{k} {v}" for k, v in sorted(found)))
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="Python of an environment with neural_tangents 0.6.5")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--slow", type=int, default=2, help="rounds for contenders over 2 s")
    parser.add_argument("--case", default=None)
    parser.add_argument("--worker", default=None)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.case)
        return
    line = machine()
    rows = []
    for case in CASES if given.case is None else [given.case]:
        rows += measure(case, given.peer, given.rounds, given.slow)
    folder = HERE / "results" / "empirical"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(
        json.dumps({"machine": line, "rows": rows}, indent=1) + "\n", "utf-8"
    )
    (folder / "results.md").write_text(markdown(rows, line), "utf-8")
    print(markdown(rows, line))


if __name__ == "__main__":
    main()
