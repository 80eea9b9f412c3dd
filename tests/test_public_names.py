"""Names, arguments and defaults are those of neural_tangents, or listed here as still to come.

The table is written by conformance/reference/make_reference.py.
"""

from __future__ import annotations

import enum
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ntcore
from ntcore import predict, stax

DATA = Path(__file__).parent / "data" / "neural_tangents_names.json"
THEIRS: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
OURS = {"stax": stax, "predict": predict, "neural_tangents": ntcore}
PUBLIC = [(m, name) for m in OURS for name in THEIRS[m]]

STILL_TO_COME = {
    "stax": "",
    "predict": "ODEState gradient_descent",
    "neural_tangents": "",
}
WAITING = {module: frozenset(names.split()) for module, names in STILL_TO_COME.items()}

#: Defaults that differ on purpose; the README's table of differences has them.
CHOSEN = {"NtkImplementation.JACOBIAN_CONTRACTION": "NtkImplementation.AUTO"}

STARS: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}
KERNEL_METHODS_TO_COME = ("dot_general",)


def present(module: str) -> list[str]:
    return [name for name in THEIRS[module] if name not in WAITING[module]]


def written(default: object) -> str:
    """A default as the table has it."""
    if default is inspect.Parameter.empty:
        return "<required>"
    if isinstance(default, enum.Enum):
        return f"{type(default).__name__}.{default.name}"
    return f"<{default.__name__}>" if inspect.isfunction(default) else repr(default)


def arguments(function: Callable[..., Any]) -> list[list[str]]:
    """The rows of the table: ``[name, default]``, names with their stars."""
    parameters = list(inspect.signature(function).parameters.values())
    rows = [[STARS.get(p.kind, "") + p.name, written(p.default)] for p in parameters]
    keywords = [i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY]
    if keywords and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        rows.insert(keywords[0], ["*", "<required>"])
    return rows


def by_position(rows: list[list[str]]) -> list[str]:
    """The names in front of the first star."""
    names = [name for name, _ in rows]
    return names[: next((i for i, name in enumerate(names) if name.startswith("*")), None)]


def assert_accepts(function: Callable[..., Any], theirs: list[list[str]]) -> None:
    """Every argument of theirs, in the same place, with the same default if theirs has one."""
    theirs = [[name, re.sub(r"<(\w+\.\w+): .*>", r"\1", default)] for name, default in theirs]
    rows = arguments(function)
    defaults = dict(rows)
    assert by_position(rows)[: len(by_position(theirs))] == by_position(theirs)
    for name, default in theirs:
        assert name == "*" or name in defaults
        assert default == "<required>" or defaults[name] == CHOSEN.get(default, default)
    mine = {name for name, _ in rows} - {name for name, _ in theirs}
    assert all(name.startswith("*") or defaults[name] != "<required>" for name in mine), mine


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_name_is_here_or_still_to_come(module: str, name: str) -> None:
    here = hasattr(OURS[module], name)
    waits = name in WAITING[module]
    assert here or waits, f"{module}.{name} is neither defined nor listed in STILL_TO_COME"
    assert not (here and waits), f"{module}.{name} is defined: take it off STILL_TO_COME"


@pytest.mark.parametrize("module", OURS)
def test_still_to_come_names_exist_there(module: str) -> None:
    assert WAITING[module] <= set(THEIRS[module])


@pytest.mark.parametrize(("module", "name"), [(m, n) for m in OURS for n in present(m)])
def test_arguments_and_defaults(module: str, name: str) -> None:
    theirs = THEIRS[module][name]
    ours = getattr(OURS[module], name)
    if isinstance(theirs, list):
        assert_accepts(ours, theirs)
    elif isinstance(theirs, dict):
        assert {m.name: m.value for m in ours} == theirs["members"]


@pytest.mark.parametrize("name", THEIRS["kernel_methods"])
def test_kernel_methods(name: str) -> None:
    here = hasattr(ntcore.Kernel, name)
    assert here != (name in KERNEL_METHODS_TO_COME)
    if here and not name.startswith("__") and name not in ("asdict", "astuple", "replace"):
        assert_accepts(getattr(ntcore.Kernel, name), THEIRS["kernel_methods"][name])


@pytest.mark.parametrize("name", ["init_fn", "apply_fn", "kernel_fn"])
def test_functions_of_a_network(name: str) -> None:
    assert_accepts(getattr(stax.Identity(), name), THEIRS["returned"][name])


@pytest.mark.parametrize("name", [n for n in present("predict") if n in THEIRS["returned"]])
def test_functions_that_predict(name: str) -> None:
    k = np.eye(2)
    kernel_fn = stax.Dense(1).kernel_fn
    first = (kernel_fn, k, k) if name.endswith("ensemble") else (k, k)
    assert_accepts(getattr(predict, name)(*first), THEIRS["returned"][name])
