"""``python bench/run.py --quick``: time ntcore and neural_tangents on the same machine, in turn.

The peer needs an environment of its own::

    python3.11 -m venv PEER
    PEER/bin/pip install neural-tangents==0.6.5 jax==0.4.23 jaxlib==0.4.23 'numpy<2' 'scipy<1.13'
    python bench/run.py --peer PEER/bin/python

``nox -s bench`` does both. Without a peer there are times and errors, and no ratios.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path

import plots
from cases import CASES, lookup
from libraries import OURS, machine
from measure import measure
from peers import peer_python
from report import markdown

RESULTS = Path(__file__).with_name("results")
ON_CPU = ("numpy", "numpy+numba", "torch", "torch+numba", "jax", "jax+numba")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few cases, a few minutes")
    parser.add_argument("--cases", help="names, separated by commas; all by default")
    parser.add_argument("--ways", default=",".join(ON_CPU), help=f"out of {', '.join(OURS)}")
    parser.add_argument("--dtypes", default="float32", help="float32, float64 or both")
    parser.add_argument("--peer", help="Python of an environment that has neural_tangents")
    parser.add_argument("--out", type=Path, default=RESULTS / "bench", help="folder of the results")
    parser.add_argument("--plots", action="store_true", help="also plot cost and memory")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    names = options.cases.split(",") if options.cases else [c.name for c in CASES]
    chosen = [lookup(name) for name in names]
    if options.quick and not options.cases:
        chosen = [case for case in chosen if case.quick]
    ways, peer = options.ways.split(","), peer_python(options.peer)
    result = {
        "machine": machine(),
        "date": f"{datetime.date.today():%Y-%m-%d}",
        "rows": [],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for case in chosen:
        for dtype in options.dtypes.split(","):
            result["rows"] += measure(case, ways, dtype, peer)
            (options.out / "results.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
            (options.out / "results.md").write_text(markdown(result), "utf-8")
    print(markdown(result))
    if options.plots:
        plots.draw(options.out)


if __name__ == "__main__":
    main()
