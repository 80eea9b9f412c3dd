"""The figures as a Markdown table."""

from __future__ import annotations

from typing import Any

from cases import lookup

HEAD = (
    "case",
    "computed by",
    "n1 x n2",
    "ms per entry",
    "ratio",
    "relative error",
    "first call",
    "fused operations",
)


def markdown(result: dict[str, Any]) -> str:
    """Return the report of one run of the suite."""
    versions: dict[str, str] = {}
    for row in result["rows"]:
        if row["way"] != "neural_tangents":
            versions.update(row["versions"])
    peer = [r["versions"] for r in result["rows"] if r["way"] == "neural_tangents"]
    lines = [
        "# ntcore and neural_tangents, in alternation",
        "",
        f"{result['machine']}. {result['date']}. ntcore with {_listed(versions)}"
        + (f"; the peer with {_listed(peer[0])}." if peer else "; no peer."),
        "",
        "A time is the mean of as many calls as take 0.1 s, or of one. A ratio is that of the two",
        "times in one alternation, and the figure the median over a few alternations (least and",
        "largest in brackets); times of different tables do not compare.",
        "Times are per entry of an n1 x n2 kernel; where only n1 is given, x2 is None and half of",
        "the entries are mirror images. Errors are the largest against float64, relative to the",
        "largest entry.",
        *(["", f"Put together: {result['note']}."] if "note" in result else []),
        "",
        _table(HEAD, [_cells(row) for row in result["rows"]]),
    ]
    products = [row for row in result["rows"] if "to_product" in row]
    if products:
        lines += ["", "The kernel's time over that of X Yᵀ alone, in the same library:", ""]
        cells = [(r["case"], r["way"], f"{r['to_product']:.2f}") for r in products]
        lines.append(_table(("case", "computed by", "times the product"), cells))
    return "\n".join(lines) + "\n"


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    n1, n2 = row["counts"]
    ratio = ""
    if "ratio" in row:
        least, most = min(row["ratios"]), max(row["ratios"])
        ratio = f"**{_figure(row['ratio'])}** ({_figure(least)} to {_figure(most)})"
    fused = ", ".join(f"{name} {count:,}" for name, count in sorted(row["fused"].items()))
    return (
        lookup(row["case"]).title,
        f"{row['way']}, {row['dtype']}",
        f"{n1} x {n2}" if n2 else f"{n1}, symmetric",
        f"{row['median_ms_per_entry']:.3g}",
        ratio,
        f"{row['error']:.1e}",
        f"{row['first']:.1f} s",
        fused or "none",
    )


def _figure(x: float) -> str:
    return f"{x:,.0f}" if x >= 10 else f"{x:.2g}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
