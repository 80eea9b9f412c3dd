"""What both test folders share: ``--backend``, ``--device`` and the ``backend`` fixture.

A conftest takes it over by importing its names.
"""

from __future__ import annotations

import contextlib
import itertools
import sys

import pytest

from ntcore.conformance import fixtures

#: After so many tests of one process, what JAX has compiled is forgotten: it would fill memory.
FORGET = 100
_done = itertools.count(1)


def pytest_runtest_teardown() -> None:
    """Keep what is compiled from filling the memory of a small machine."""
    if next(_done) % FORGET == 0 and "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two options; both conftests of one run may."""
    with contextlib.suppress(ValueError):
        parser.addoption("--backend", default=None, help="run on one backend only")
        parser.addoption("--device", default=None, help="run on the first device named so")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes ``backend`` once for each library."""
    if "backend" in metafunc.fixturenames:
        names = fixtures.names_for(metafunc.config.getoption("--backend"))
        metafunc.parametrize("backend", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> fixtures.Library:
    """One library, with its arrays made on the device asked for."""
    reason = fixtures.usable(request.param)
    if reason is not None:
        pytest.skip(reason)
    try:
        return fixtures.library(request.param, request.config.getoption("--device"))
    except LookupError as error:
        pytest.skip(str(error.args[0]))
