"""``python -m ntcore.conformance --backend torch``: the suite as a table.

``--backend cupy --backend jax --backend torch --device cuda`` runs all three on a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence

from ntcore.conformance.cases import layer_classes
from ntcore.conformance.checks import CHECKS, COLUMNS
from ntcore.conformance.fixtures import (
    ALIASES,
    DTYPES,
    Library,
    installed,
    library,
    usable,
)
from ntcore.conformance.report import Report
from ntcore.conformance.runner import run
from ntcore.layers.base import Layer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite on the backends asked for; return 1 if anything failed."""
    options = _parser().parse_args(argv)
    try:
        classes = _classes(options.layers)
        libraries = [library(name, options.device) for name in _names(options.backend)]
    except LookupError as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
        return 2
    failed = [_run(lib, classes, options) for lib in libraries]
    return int(any(failed))


def _parser() -> argparse.ArgumentParser:
    checks = "; ".join(dict.fromkeys(f"{c.name}, {c.about}" for c in CHECKS))
    parser = argparse.ArgumentParser("python -m ntcore.conformance", epilog=f"Checks: {checks}.")
    parser.add_argument(
        "--backend",
        action="append",
        metavar="NAME",
        help="import name of a library, or 'all' for every one that works here; may be repeated",
    )
    parser.add_argument("--layers", help="such as Relu,Conv or mypackage.layers:MyLayer")
    parser.add_argument("--checks", help="such as agree,plan; all by default")
    parser.add_argument("--dtype", choices=DTYPES, help="both by default")
    parser.add_argument("--device", help="first device whose name begins so, such as cuda")
    return parser


def _names(asked: list[str] | None) -> list[str]:
    names = [ALIASES.get(name, name) for name in asked or ["numpy"]]
    if "all" in names:
        return [name for name in installed() if usable(name) is None]
    for name in names:
        reason = usable(name)
        if reason is not None:
            raise LookupError(reason)
    return names


def _classes(asked: str | None) -> list[type[Layer]] | None:
    if asked is None:
        return None
    known = layer_classes()
    found = []
    for name in asked.split(","):
        module, _, attribute = name.partition(":")
        if not attribute and name not in known:
            raise LookupError(f"no layer is called {name!r}; there are {', '.join(known)}")
        found.append(
            getattr(importlib.import_module(module), attribute) if attribute else known[name]
        )
    return found


def _run(lib: Library, classes: list[type[Layer]] | None, options: argparse.Namespace) -> bool:
    checks = COLUMNS if options.checks is None else options.checks.split(",")
    dtypes = DTYPES if options.dtype is None else (options.dtype,)
    start, began = time.perf_counter(), []

    def show(report: Report, name: str) -> None:
        if not began:
            print(f"\n{report.title}\n{report.header()}")
        began.append(name)
        print(report.line(name), flush=True)

    report = run(lib, classes, checks=checks, dtypes=dtypes, done=show)
    failures = report.failures()
    print(*(f"FAILED {line}" for line in failures), sep="\n", end="\n" if failures else "")
    seconds = time.perf_counter() - start
    print(f"{lib!r}: {len(failures)} of {report.cells} cells failed, {seconds:.0f} s")
    return report.failed


if __name__ == "__main__":
    sys.exit(main())
