"""Peak memory of empirical NTKs beside the budget they were given, each in a process of its own.

python bench/memory.py
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from empirical import CASES, OURS, machine, ours, versions

HERE = Path(__file__).parent
BUDGETS = {"mlp": (64, 256), "cnn": (128, 512)}  # MiB
RESNET = {"budget": 4096, "examples": 64, "size": 64, "outputs": 10}


def work(name: str, case: str, budget: int) -> None:
    """Compute a kernel once for two examples, then whole, twice, and say what that took."""
    few, whole = resnet(budget) if case == "resnet" else network(name, case, budget)
    few()
    calls = [above_start(whole) for _ in range(1 if case == "resnet" else 2)]
    row = {"case": case, "name": name, "budget_mib": budget, "calls": calls}
    print(json.dumps({**row, "versions": versions()}), flush=True)


def above_start(run: Callable) -> dict:
    """Return the MiB that a call takes at most beyond what the process held, and the seconds."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on
    before, start = held("VmRSS"), time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    return {"above_start_mib": round(held("VmHWM") - before), "seconds": round(seconds, 2)}


def held(what: str) -> float:
    """Return what the process holds (VmRSS), or has held at most (VmHWM), in MiB."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


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


TEXT = """
What the process holds at most beyond what it held before the call, memory that the allocator can
give back left out. The process has computed the kernel of two examples before; on JAX the first
call for all of them also compiles, and what the compiler takes is in its figure.
"""


def markdown(rows: list[dict], line: str) -> str:
    size = RESNET["size"]
    titles = CASES | {
        "resnet": f"ResNet-50 with {RESNET['outputs']} outputs, {RESNET['examples']} images of "
        f"{size}x{size}, the mean over outputs"
    }
    out = ["# Memory of empirical NTKs, float32", "", line, TEXT]
    for case, title in titles.items():
        found = [r for r in rows if r["case"] == case]
        if found:
            out += [f"## {title}", "", "| | budget, MiB | first call, MiB | next call, MiB |"]
            out += ["|---|---|---|---|"]
            for r in found:
                calls = [str(c["above_start_mib"]) for c in r["calls"]] + [""]
                out.append(f"| {r['name']} | {r['budget_mib']} | {calls[0]} | {calls[1]} |")
            out.append("")
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
