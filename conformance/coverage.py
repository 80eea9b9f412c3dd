"""Whether the examples of a layer leave an argument at its default everywhere."""

from __future__ import annotations

import dataclasses
from typing import Any

from ntcore.conformance.bench import Bench
from ntcore.conformance.cases import examples
from ntcore.conformance.measure import Measures, holds
from ntcore.layers.base import Layer


def check(bench: Bench, cls: type[Layer]) -> Measures:
    """Require an example with another value than the default, for every argument that has one."""
    made = [layer for layer, _ in examples(cls)]
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        if f.default is not dataclasses.MISSING and f.init:
            used = any(_differs(getattr(layer, f.name), f.default) for layer in made)
            yield holds(f"examples of {f.name}", used, f"all are at the default, {f.default!r}")


def _differs(value: Any, default: Any) -> bool:
    plain = isinstance(value, (bool, int, float, str, tuple, type(None)))
    return not plain or value != default
