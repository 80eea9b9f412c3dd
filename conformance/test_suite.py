"""The conformance suite under pytest: every layer, every check, each backend of ``--backend``.

``python -m ntcore.conformance`` runs the same checks and prints them as a table.
"""

from __future__ import annotations

import pytest

from ntcore.backend import host
from ntcore.conformance.cases import core_cases, layer_classes
from ntcore.conformance.checks import CHECKS, COLUMNS
from ntcore.conformance.fixtures import Library
from ntcore.conformance.runner import cell, operation
from ntcore.conformance.xfail import known
from ntcore.layers.base import Layer

LAYERS = layer_classes()
PAIRS = [
    pytest.param(cls, column, id=f"{name}-{column}")
    for name, cls in LAYERS.items()
    for column in COLUMNS
    if any(check.name == column and issubclass(cls, check.role) for check in CHECKS)
]
ABOUT_LAYERS = {check.name for check in CHECKS if check.host}


@pytest.mark.parametrize(("cls", "column"), PAIRS)
def test_layer(backend: Library, cls: type[Layer], column: str) -> None:
    """Every disagreement of a layer is within its tolerance."""
    if column in ABOUT_LAYERS and backend.record is not host():
        pytest.skip("about the layer, not the library: runs with --backend numpy")
    found = cell(backend, cls, column)
    if found.worst is None:
        pytest.skip(f"{backend.name} has nothing to measure under '{column}'")
    assert not found.failed, found.describe()


def test_fused_operations(backend: Library) -> None:
    """Every fused operation gives the numbers of its reference, and runs in some kernel."""
    cells = {name: operation(backend, name, LAYERS.values()) for name in backend.record.fused}
    failed = {name: found.describe() for name, found in cells.items() if found.failed}
    assert not failed


def test_every_layer_has_cases() -> None:
    """Nothing exported is left out: a layer plans at some input, by itself."""
    assert [name for name, cls in LAYERS.items() if not core_cases(cls)] == []


def test_expected_failures_name_their_thread() -> None:
    """An entry of xfail.toml is about a check that exists, and links to its thread."""
    for entry in known():
        assert entry.check in COLUMNS
        assert entry.upstream.startswith("https://")
        assert entry.reason
