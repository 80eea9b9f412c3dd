"""Peak memory of empirical NTKs beside the budget they were given, each in a process of its own.

python bench/memory.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from empirical import CASES, OURS, machine, ours, peak, versions

HERE = Path(__file__).parent
BUDGETS = {"mlp": (64, 256), "cnn": (128, 512)}  # MiB
RESNET = {"budget": 4096, "examples": 64, "size": 64, "outputs": 10}


def work(name: str, case: str, budget: int) -> None:
    """Compute a kernel once for two examples, then whole, and say what that took."""
    few, whole = resnet(budget) if case == "resnet" else network(name, case, budget)
    few()
    before, start = peak(), time.perf_counter()
    whole()
    seconds = time.perf_counter() - start
    row = {"case": case, "name": name, "budget_mib": budget, "peak_mib": round(peak())}
    row |= {"above_start_mib": round(peak() - before), "seconds": round(seconds, 2)}
    print(json.dumps({**row, "versions": versions()}), flush=True)


def network(library: str, case: str, budget: int) -> tuple[Callable, Callable]:
    """A case of the timings, for two examples and for all."""
    return ours(case, library, budget * 2**20, 2), ours(case, library, budget * 2**20)


def resnet(budget: int) -> tuple[Callable, Callable]:
    """ResNet-50 with random weights: the mean of its NTK over ten outputs."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    import ntcore as nt

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = ResNetForImageClassification(ResNetConfig(num_labels=RESNET["outputs"]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x).logits

    module = Logits().eval()
    x = torch.randn(RESNET["examples"], 3, RESNET["size"], RESNET["size"])
    kernel_fn = nt.empirical_ntk_fn(module, contract="trace", memory_budget=budget * 2**20)
    return lambda: kernel_fn(x[:2], None, None), lambda: kernel_fn(x, None, None)


def measured(name: str, case: str, budget: int) -> dict:
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", name, "--case", case]
    env = os.environ | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(
        [*command, "--budget", str(budget)], stdout=subprocess.PIPE, text=True, env=env, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def markdown(rows: list[dict], line: str) -> str:
    size = RESNET["size"]
    titles = CASES | {
        "resnet": f"ResNet-50 with {RESNET['outputs']} outputs, {RESNET['examples']} images of "
        f"{size}x{size}, the mean over outputs"
    }
    out = ["# Memory of empirical NTKs, float32", "", line, ""]
    out += [
        "Above start: what the process holds at most beyond what it held after the kernel of two"
    ]
    out += ["examples. JAX compiles for each number of examples, which counts.", ""]
    for case, title in titles.items():
        found = [r for r in rows if r["case"] == case]
        if found:
            out += [f"## {title}", "", "| | budget, MiB | above start, MiB | process, MiB |"]
            out += ["|---|---|---|---|"]
            out += [
                f"| {r['name']} | {r['budget_mib']} | {r['above_start_mib']} | {r['peak_mib']} |"
                for r in found
            ] + [""]
    every = {k: v for r in rows for k, v in r["versions"].items()}
    return "\n".join([*out, ", ".join(f"{k} {v}" for k, v in sorted(every.items()))]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", default=None)
    parser.add_argument("--worker", default=None)
    parser.add_argument("--budget", type=int, default=0)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.case, given.budget)
        return
    line, rows = machine(), []
    for case, budgets in BUDGETS.items():
        rows += [measured(n, case, b) for n in OURS for b in budgets]
    rows.append(measured("torch", "resnet", RESNET["budget"]))
    folder = HERE / "results" / "empirical"
    data = json.dumps({"machine": line, "rows": rows}, indent=1) + "\n"
    (folder / "memory.json").write_text(data, "utf-8")
    (folder / "memory.md").write_text(markdown(rows, line), "utf-8")
    print(markdown(rows, line))


if __name__ == "__main__":
    main()
