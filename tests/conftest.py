"""The ``--backend`` option, and the ``backend`` fixture that runs a test on each library."""

from __future__ import annotations

import contextlib

import pytest

from ntcore.conformance import fixtures


def pytest_addoption(parser: pytest.Parser) -> None:
    with contextlib.suppress(ValueError):
        parser.addoption("--backend", default=None, help="run on one backend only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        names = fixtures.names_for(metafunc.config.getoption("--backend"))
        metafunc.parametrize("backend", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> fixtures.Library:
    reason = fixtures.usable(request.param)
    if reason is not None:
        pytest.skip(reason)
    return fixtures.library(request.param)
