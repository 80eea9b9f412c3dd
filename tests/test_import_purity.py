"""``import ntcore`` loads no array library, whether or not any is installed.

Everything runs in fresh interpreters, since this one holds NumPy at least. array_api_compat and
array_api_extra load no library themselves, so not even NumPy is excepted.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("ntcore", "ntcore.stax", "ntcore.predict")
# Array libraries, what rests on them, and what only an extra brings.
OTHERS = (
    "array_api_strict",
    "cupy",
    "cupyx",
    "dask",
    "jax",
    "jaxlib",
    "matplotlib",
    "numba",
    "pytest",
    "sklearn",
    "torch",
    "tqdm",
)
LIBRARIES = ("numpy", "scipy", *OTHERS)

PLAN = """
    from ntcore import stax
    network = stax.serial(stax.Conv(8, (3, 3)), stax.Relu(), stax.Flatten(), stax.Dense(1))
    print(network.plan((4, 8, 8, 3)))
"""
KERNEL = """
    import numpy as np
    from ntcore import stax
    _, _, kernel_fn = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
    assert type(kernel_fn(np.eye(3), None, "ntk")) is np.ndarray
"""


def run(code: str, *paths: Path) -> str:
    """Standard output of `code` in a fresh interpreter that finds `paths`, then this tree."""
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def absent(names: tuple[str, ...]) -> str:
    """Code after which `names` cannot be found, exactly as if they were not installed."""
    return textwrap.dedent(f"""
        import sys
        from importlib.machinery import PathFinder

        class Visible(PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                hidden = name.partition(".")[0] in {names!r}
                return None if hidden else super().find_spec(name, path, target)

        sys.meta_path[sys.meta_path.index(PathFinder)] = Visible
    """)


@pytest.fixture
def stand_ins(tmp_path):
    """A folder of empty modules with the libraries' names, each noting who imports it."""
    log = str(tmp_path / "imported")
    note = f"import traceback\nwith open({log!r}, 'a') as log: traceback.print_stack(file=log)\n"
    folder = tmp_path / "path"
    folder.mkdir()
    for name in LIBRARIES:
        (folder / f"{name}.py").write_text(note, "utf-8")
    return folder


def imported(stand_ins: Path) -> str:
    log = stand_ins.parent / "imported"
    return log.read_text("utf-8") if log.exists() else ""


@pytest.mark.parametrize("module", MODULES)
def test_import_loads_no_library(module):
    loaded = run(f"import sys, {module}\nprint(*sys.modules)").split()
    assert set(LIBRARIES) & {name.partition(".")[0] for name in loaded} == set()


@pytest.mark.parametrize("module", MODULES)
def test_import_loads_no_library_that_is_installed(module, stand_ins):
    """In an environment that holds all of them, whatever this one holds."""
    run(f"import {module}", stand_ins)
    assert imported(stand_ins) == ""


def test_stand_ins_notice_an_import(stand_ins):
    run("import torch", stand_ins)
    assert "torch.py" in imported(stand_ins)


@pytest.mark.parametrize("module", MODULES)
def test_import_needs_no_library(module):
    run(absent(LIBRARIES) + f"import {module}")


def test_plan_needs_no_library():
    assert run(absent(LIBRARIES) + textwrap.dedent(PLAN)).strip()


def test_numpy_kernel_loads_no_other_library(stand_ins):
    """But numba, whose extra is there for it."""
    for name in ("numpy", "scipy", "numba"):
        (stand_ins / f"{name}.py").unlink()
    run(KERNEL, stand_ins)
    assert imported(stand_ins) == ""


def test_numpy_kernel_needs_no_other_library():
    run(absent(OTHERS) + textwrap.dedent(KERNEL))
