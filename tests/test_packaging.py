"""What is installed is what is in the tree, and the documents give the commands that CI runs."""

import ast
import importlib.metadata
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import ntcore

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LINKS = ("backends", "conformance")


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement)[0]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def console_lines() -> list[str]:
    """The commands of README.md: in ```console blocks, lines that begin with a dollar sign."""
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def packages_in_tree() -> set[str]:
    """Dotted import names of the folders that hold an ``__init__.py``."""
    mapping = {"ntcore": "ntcore"} | {
        folder: name for name, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()
    }
    found = set()
    for folder, name in mapping.items():
        for path, _, files in os.walk(ROOT / folder):  # does not follow the two links
            if "__init__.py" in files:
                found.add(".".join([name, *Path(path).relative_to(ROOT / folder).parts]))
    return found


def test_packages_are_those_of_the_tree():
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert len(listed) == len(set(listed))
    assert set(listed) == packages_in_tree()


@pytest.mark.parametrize("name", LINKS)
def test_outer_folder_is_linked_into_the_package(name):
    link = ROOT / "ntcore" / name
    assert link.is_symlink(), "on Windows: git config core.symlinks true, then check out again"
    assert Path(os.readlink(link)) == Path("..", name)
    assert PROJECT["tool"]["setuptools"]["package-dir"][f"ntcore.{name}"] == name


def test_no_python_file_stands_where_it_would_be_lost():
    """Every module of a package folder is in a package, but for scripts beside reference data."""
    lost = [
        path.relative_to(ROOT).as_posix()
        for folder in ("ntcore", *LINKS)
        for path in (ROOT / folder).rglob("*.py")
        if not (path.parent / "__init__.py").exists()
    ]
    assert [path for path in lost if not path.startswith("conformance/reference/")] == []


def test_typed_marker_is_shipped():
    assert (ROOT / "ntcore" / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["ntcore"]


def test_version_has_one_source():
    """A literal, so that building needs neither an import nor the requirements."""
    assert "version" in PROJECT["project"]["dynamic"]
    attribute = PROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert attribute == "ntcore.__version__"
    tree = ast.parse((ROOT / "ntcore" / "__init__.py").read_text("utf-8"))
    assigned = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and "__version__" in ast.unparse(node).split("=")[0]
    ]
    assert [ast.literal_eval(value) for value in assigned if value] == [ntcore.__version__]


def test_installed_version_is_the_tree_s():
    try:
        installed = importlib.metadata.version("ntcore-kernels")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("run from the tree, without installing it")
    assert installed == ntcore.__version__, "install again: pip install -e ."


def test_requirements():
    project = PROJECT["project"]
    base = {name_of(each) for each in project["dependencies"]}
    assert base == {"numpy", "scipy", "array-api-compat", "array-api-extra"}
    # The session tests-oldest turns each bound into an exact version.
    assert all(re.fullmatch(r"[a-z-]+>=[\d.]+", each) for each in project["dependencies"])


def test_extras():
    extras = {
        extra: {name_of(each) for each in requirements}
        for extra, requirements in PROJECT["project"]["optional-dependencies"].items()
    }
    assert extras["jax"] == {"jax", "jaxlib"}
    assert extras["torch"] == {"torch"}
    assert extras["cupy"] == {"cupy-cuda12x"}
    assert extras["fast"] == {"numba", "threadpoolctl"}
    assert extras["demo"] >= {"scikit-learn", "matplotlib", "tqdm"}
    assert extras["dev"] >= {"ntcore-kernels", "nox", "ruff", "mypy", "import-linter"}


def test_constraints_pin_every_requirement():
    """Except CuPy, which CI cannot run."""
    project = PROJECT["project"]
    wanted = [*project["dependencies"]]
    for requirements in project["optional-dependencies"].values():
        wanted += requirements
    assert {name_of(each) for each in wanted} - {"ntcore-kernels", "cupy-cuda12x"} <= set(pins())


def test_pre_commit_uses_the_pinned_tools():
    text = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    used = re.findall(r'"([a-z-]+)==([\d.]+)"', text)
    assert {name for name, _ in used} == {"nox", "ruff"}
    assert [(name, version) for name, version in used if pins()[name] != version] == []


@pytest.mark.parametrize("ending", [".venv/bin/nox", ".venv/bin/ntcore demo"])
def test_readme_command_does_its_own_set_up(ending):
    (command,) = [line for line in console_lines() if line.endswith(ending)]
    assert command.startswith("python3.11 -m venv .venv && .venv/bin/pip install ")


def test_ci_runs_the_test_command_of_the_readme():
    script = [ROOT / ".ci" / "run", "--show"]
    shown = subprocess.run(script, capture_output=True, text=True, check=False)
    wanted = [line for line in console_lines() if line.endswith(".venv/bin/nox")]
    assert shown.stdout.splitlines() == wanted, shown.stderr
