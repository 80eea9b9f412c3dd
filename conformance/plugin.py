"""What both test folders share: ``--backend``, ``--device`` and the ``backend`` fixture.

A conftest takes it over by importing the three names.
"""

from __future__ import annotations

import contextlib

import pytest

from ntcore.conformance import fixtures


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
