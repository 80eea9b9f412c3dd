"""The layers that README.md writes outside the library pass the suite that ntcore's own pass."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from ntcore import conformance, extend
from ntcore.conformance.checks import COLUMNS
from ntcore.conformance.fixtures import Library
from ntcore.layers.base import Layer

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def classes() -> dict[str, type[Layer]]:
    """The layers that the README defines, by name."""
    names: dict[str, Any] = {}
    for text in re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(text, "README.md", "exec"), names)
    found = {n: c for n, c in names.items() if isinstance(c, type) and issubclass(c, Layer)}
    return {n: c for n, c in found.items() if not hasattr(extend, n)}


def test_every_layer_of_the_readme(backend: Library) -> None:
    found = classes()
    assert set(found) == {"Wave", "Spectrum"}
    checks = ("agree", "place") if backend.record.stage is not None else COLUMNS
    report = conformance.run(backend, list(found.values()), checks=checks)
    assert not report.failed, str(report)


@pytest.mark.parametrize("name", [n for n in vars(extend) if not n.startswith("_")])
def test_what_a_layer_is_made_of_is_documented(name: str) -> None:
    found = getattr(extend, name)
    assert name in ("Array", "annotations") or found.__doc__
