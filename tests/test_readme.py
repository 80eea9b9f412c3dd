"""The README's examples run, print what it says, and its pictures exist."""

from __future__ import annotations

import contextlib
import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ntcore import layers
from ntcore.conformance.fixtures import Library
from ntcore.layers.base import Layer
from ntcore.record import Record

README = Path(__file__).parent.parent / "README.md"


def blocks() -> list[tuple[str, str]]:
    """Fenced blocks in order, as pairs of language and text."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)


def test_the_examples_run_and_print_what_stands_below_them():
    names: dict[str, object] = {}
    found = blocks()
    ran = 0
    for (language, text), (after, printed) in zip(found, [*found[1:], ("", "")], strict=True):
        if language != "python":
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(text, str(README), "exec"), names)
        ran += 1
        if after == "text":
            lines = out.getvalue().splitlines()
            for line in printed.splitlines():
                assert line == "..." or line in lines, line
    assert ran >= 3


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_the_examples_of_one_library(backend: Library, library: str):
    if backend.name != library:
        pytest.skip(f"for {library}")
    if library == "jax":
        pytest.importorskip("flax")
    found = blocks()
    ran = 0
    for (language, text), (_, printed) in pairwise(found):
        if language == "py" and text.startswith(f"import {library}\n"):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, str(README), "exec"), {})
            assert out.getvalue() == printed
            ran += 1
    assert ran == 1


def test_what_the_first_example_comments():
    names: dict[str, object] = {}
    exec(next(text for language, text in blocks() if language == "python"), names)
    assert names["ntk"].shape == (10, 50)  # type: ignore[attr-defined]
    assert names["mean"].shape == (10, 3)  # type: ignore[attr-defined]
    assert names["covariance"].shape == (10, 10)  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text("utf-8")))
def test_links_lead_somewhere(target):
    assert (README.parent / target).exists()


def coverage() -> dict[str, str]:
    """What the table of layers says about masks, by layer."""
    text = README.read_text(encoding="utf-8").split("## Layers")[1].split("\n## ")[0]
    rows = [row.split("|")[1:-1] for row in text.splitlines() if row.startswith("| `")]
    found: dict[str, str] = {}
    for cells in rows:
        found |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[3].strip())
    return found


def test_every_layer_stands_in_the_table_once():
    exported: dict[str, Any] = {n: c for n, c in vars(layers).items() if isinstance(c, type)}
    table = coverage()
    assert table.pop("Slice") == "yes"
    assert set(table) == {n for n, c in exported.items() if issubclass(c, Record)}
    for name, masks in table.items():
        carries = not issubclass(exported[name], Layer) or exported[name].mask is not Layer.mask
        assert masks == ("yes" if carries else "no"), name
