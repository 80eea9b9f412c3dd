"""The first kernel of a program, wherever it is."""

import subprocess
import sys

import pytest

INSIDE_JIT = """
import jax, numpy as np
from ntcore import stax
kernel_fn = stax.serial(stax.Dense(4), stax.Relu(), stax.Dense(1))[2]
x = np.eye(3, dtype="float32")
inside = jax.jit(lambda x: kernel_fn(x, None, "ntk"))(x)
np.testing.assert_allclose(inside, kernel_fn(jax.numpy.asarray(x), None, "ntk"), rtol=1e-6)
"""


def test_inside_jit():
    pytest.importorskip("jax")
    process = subprocess.run(
        [sys.executable, "-c", INSIDE_JIT], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
