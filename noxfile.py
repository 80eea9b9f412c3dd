"""What a change must pass. ``nox`` runs the default sessions, ``nox -l`` lists all of them.

Each ``tests-X`` environment holds the base requirements and what backend X needs, no other array
library, so that a stray import fails here and not at a user's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

import nox

# Session name: tests-<key>. The demo's own requirements ride along once, for the demo's tests.
# The JAX suites compile thousands of small kernels: cheaper code is as correct, and a process reads
# what another has compiled. Tests run on all cores side by side, so that threads of a BLAS would
# only wait for each other.
ENVIRONMENT = {
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
EXTRAS = {
    "numpy": "test,demo,strict",
    "strict": "test,strict",
    "jax": "test,jax,test-jax",
    "torch": "test,torch,test-torch",
    "cupy": "test,cupy",
    "numba": "test,strict,fast",
    "lent": "test,jax,torch,fast",
}

# NumPy once more, where numba compiles its operations: what runs through them.
NUMBA = (
    "ntcore/conformance",
    "tests/test_attention.py",
    "tests/test_chains.py",
    "tests/test_memory.py",
    "tests/test_parts.py",
    "tests/test_reference.py",
    "tests/test_tasks.py",
    "tests/test_vectors.py",
)
# The arrays of torch and JAX, where NumPy's backend computes with them by numba.
LENT = ("tests/test_lent.py", "tests/test_reference.py")
#: What a session runs on which library, where that is not everything on the one it is named after.
PARTS = {"numba": [("numpy", NUMBA)], "lent": [("torch", LENT), ("jax", LENT)]}

nox.needs_version = ">=2025.2.9"
# Not uv: it does not read pip's configuration, and so on a machine where that offers a CPU build of
# torch, uv installs the CUDA one, several GB larger.
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = [
    "lint",
    "package",
    "tests-numpy",
    "tests-strict",
    "tests-jax",
    "tests-torch",
    "tests-numba",
    "tests-lent",
]

CONSTRAINTS = ("--constraint", str(Path("constraints.txt").resolve()))

# What the benchmarks are compared with: its last release, and the last JAX that it knows.
PEER = ("neural-tangents==0.6.5", "jax==0.4.23", "jaxlib==0.4.23", "numpy<2", "scipy<1.13")

# Folder in the repository -> folder in the wheel.
PACKAGE_FOLDERS = {
    "ntcore": "ntcore",
    "backends": "ntcore/backends",
    "conformance": "ntcore/conformance",
}

# Suffixes of what is shipped beside modules.
DATA = {".json", ".npz", ".toml"}

SMOKE = """
import importlib.metadata, importlib.util, pathlib, sysconfig
import ntcore
home = pathlib.Path(ntcore.__file__).parent
assert home.parent == pathlib.Path(sysconfig.get_path("purelib")), f"imported from {home}"
assert (home / "py.typed").is_file()
assert importlib.metadata.version("ntcore-kernels") == ntcore.__version__
for name in ("backends", "conformance"):
    assert importlib.util.find_spec(f"ntcore.{name}") is not None, f"ntcore.{name} is missing"
    assert importlib.util.find_spec(name) is None, f"{name} leaked to the top level"

import numpy as np
from ntcore import stax
_, _, kernel_fn = stax.serial(stax.Dense(64), stax.Relu(), stax.Dense(1))
ntk = kernel_fn(np.eye(3), None, "ntk")
assert ntk.shape == (3, 3) and ntk.dtype == np.float64 and np.all(ntk > 0), ntk
print(f"ntcore {ntcore.__version__} works from {home}")
"""


def install(session: nox.Session, extras: str) -> None:
    """Install this tree, editable, with some of its extras at the pinned versions."""
    session.install(*CONSTRAINTS, "--editable", f".[{extras}]")


def add_tests(backend: str) -> None:
    """Register the session ``tests-<backend>``."""

    def tests(session: nox.Session) -> None:
        if backend == "cupy" and (reason := no_gpu()):
            session.skip(reason)
        install(session, EXTRAS[backend])
        processes = "1" if backend == "cupy" else "auto"
        environment = {"JAX_COMPILATION_CACHE_DIR": str(session.cache_dir / "jax"), **ENVIRONMENT}
        for library, chosen in PARTS.get(backend, [(backend, ())]):
            options = ("--backend", library, "--numprocesses", processes)
            session.run("pytest", *options, *chosen, *session.posargs, env=environment)

    tests.__doc__ = f"The test and conformance suites, on {backend} alone."
    nox.session(tests, name=f"tests-{backend}")


def no_gpu() -> str:
    """Why CuPy cannot be tested on this machine; empty where it can."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "no NVIDIA GPU here (nvidia-smi is not on the path): CuPy needs one"
    listing = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False)
    if listing.returncode != 0 or "GPU" not in listing.stdout:
        return f"nvidia-smi lists no GPU: {(listing.stdout + listing.stderr).strip()}"
    return ""


for _backend in EXTRAS:
    add_tests(_backend)


@nox.session(name="tests-oldest")
def tests_oldest(session: nox.Session) -> None:
    """The NumPy tests on the oldest versions that pyproject.toml admits."""
    base = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
    session.install("--editable", ".[test]", *(each.replace(">=", "==") for each in base))
    session.run("pytest", "--backend", "numpy", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, mypy and import-linter."""
    install(session, "dev")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def package(session: nox.Session) -> None:
    """Build the archives, install the wheel outside the repository and use it there."""
    session.install(*CONSTRAINTS, "build")
    with tempfile.TemporaryDirectory() as name:
        away = Path(name)
        # Without further flags the wheel is built from the sdist, so this tries both.
        session.run("python", "-m", "build", "--outdir", name, silent=True)
        (wheel,) = away.glob("*.whl")
        check_members(session, wheel)
        session.run("python", "-m", "venv", str(away / "env"))
        binaries = away / "env" / ("Scripts" if os.name == "nt" else "bin")
        python = str(binaries / "python")
        session.run(python, "-m", "pip", "install", "-q", *CONSTRAINTS, str(wheel), external=True)
        with session.chdir(name):
            session.run(python, "-I", "-c", SMOKE, external=True, log=False)
            session.run(str(binaries / "ntcore"), "info", external=True)


def check_members(session: nox.Session, wheel: Path) -> None:
    """Fail unless the wheel holds the files of the three package folders and nothing else."""
    found = {each for each in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in each}
    expected = {
        f"{inside}/{path.relative_to(folder).as_posix()}"
        for folder, inside in PACKAGE_FOLDERS.items()
        for path in shipped(Path(folder))
    }
    if found != expected:
        lost, stray = sorted(expected - found), sorted(found - expected)
        session.error(f"{wheel.name}: missing {lost}, unexpected {stray}")
    session.log(f"{wheel.name}: {len(found)} files, as in the tree")


def shipped(folder: Path) -> list[Path]:
    """The files below a package folder that belong in the wheel; links are not followed."""
    paths = []
    for name, _, files in os.walk(folder):
        wanted = DATA | {".py"} if "__init__.py" in files else DATA
        paths += [Path(name, file) for file in files if Path(name, file).suffix in wanted]
    return [*paths, folder / "py.typed"] if folder.name == "ntcore" else paths


@nox.session
def demo(session: nox.Session) -> None:
    """``ntcore demo``; arguments after ``--`` go to it (``nox -s demo -- --backend jax``)."""
    backend = dict(zip(session.posargs, session.posargs[1:], strict=False)).get("--backend")
    install(session, f"demo,{backend}" if backend in {"jax", "torch", "cupy", "strict"} else "demo")
    session.run("ntcore", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The quick benchmarks against neural_tangents, in an environment of its own.

    ``NTCORE_BENCH_PEER`` names the Python of one that is there already; arguments after ``--`` go
    to ``bench/run.py`` in place of ``--quick``.
    """
    install(session, "jax,torch,fast")
    session.install(*CONSTRAINTS, "matplotlib")
    peer = os.environ.get("NTCORE_BENCH_PEER") or make_peer(session)
    chosen = session.posargs or ["--quick", "--out", session.create_tmp()]
    session.run("python", "bench/run.py", "--peer", peer, *chosen)


def make_peer(session: nox.Session) -> str:
    """Return the Python of an environment with neural_tangents, made where it is missing."""
    home = Path(session.virtualenv.location).resolve().with_name("bench-peer")
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        session.run("python", "-m", "venv", str(home))
        session.run(str(python), "-m", "pip", "install", "-q", *PEER, external=True)
    return str(python)
