"""Options and fixtures of the tests, from the conformance suite."""

from ntcore.conformance.plugin import backend as backend
from ntcore.conformance.plugin import pytest_addoption as pytest_addoption
from ntcore.conformance.plugin import pytest_generate_tests as pytest_generate_tests
from ntcore.conformance.plugin import pytest_runtest_teardown as pytest_runtest_teardown
