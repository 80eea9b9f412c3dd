"""The ``ntcore`` command: what it prints, what it refuses, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ntcore import cli
from ntcore.cli import choose, extras

ROOT = Path(__file__).resolve().parents[1]


def refused(capsys, *argv):
    """The one line on stderr with which a command is refused."""
    try:
        status = cli.main(argv)
    except SystemExit as stop:  # argparse
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2
    assert captured.err.endswith("\n")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def test_info(capsys):
    assert cli.main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ntcore ")
    (row,) = [line for line in lines if line.startswith("numpy") and line.endswith("cpu")]
    assert np.__version__ in row
    assert all(any(line.startswith(name) for line in lines) for name in ("jax", "torch", "cupy"))


def test_info_reports_a_broken_library(capsys, monkeypatch):
    from ntcore.cli import info

    def load(name):
        raise RuntimeError(f"{name} is broken\nin two lines")

    monkeypatch.setattr(info, "load", load)
    assert cli.main(["info"]) == 0
    assert "does not work here (RuntimeError: numpy is broken)" in capsys.readouterr().out


def test_version_and_help(capsys):
    for argv in (["--version"], ["--help"], ["demo", "--help"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(argv)
        assert stop.value.code == 0
    assert "true class" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "command"),
        (["train"], "train"),
        (["demo", "--n-train", "0"], "positive"),
        (["demo", "--n-train", "many"], "positive"),
        (["demo", "--n-test", "-3"], "positive"),
        (["demo", "--seed", "-1"], "--seed"),
        (["demo", "--dtype", "float16"], "float16"),
        (["demo", "--colour"], "--colour"),
    ],
)
def test_arguments_are_refused_in_one_line(capsys, argv, said):
    assert said in refused(capsys, *argv)


def test_missing_extras_name_the_command(capsys, monkeypatch):
    monkeypatch.setattr(extras, "present", lambda module: module == "matplotlib")
    line = refused(capsys, "demo")
    assert "scikit-learn, tqdm" in line
    assert "pip install 'ntcore-kernels[demo]'" in line


def test_missing_backend(capsys, monkeypatch, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    pytest.importorskip("tqdm")
    monkeypatch.setattr(choose, "present", lambda module: module in ("numpy", "torch"))
    line = refused(capsys, "demo", "--backend", "jax", "--out", str(tmp_path / "out"))
    assert "jax is not installed; installed: numpy, torch" in line
    assert not (tmp_path / "out").exists()


def test_broken_backend(capsys, monkeypatch):
    pytest.importorskip("sklearn")

    def load(name):
        raise ImportError("no driver")

    monkeypatch.setattr(choose, "load", load)
    line = refused(capsys, "demo", "--backend", "numpy")
    assert "numpy does not work here (ImportError: no driver)" in line


def test_interrupt(capsys, monkeypatch):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_info", interrupted)
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err.strip() == "ntcore info: interrupted"


def test_a_fresh_process_refuses_without_traceback_and_loads_nothing():
    code = """
import sys
from ntcore.cli import main
heavy = {"numpy", "scipy", "jax", "torch", "sklearn", "matplotlib", "tqdm"} & set(sys.modules)
assert not heavy, heavy
sys.exit(main(sys.argv[1:]))
"""
    found = subprocess.run(
        [sys.executable, "-c", code, "demo", "--n-train", "none"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.count("\n") == 1, found.stderr


def test_results_are_reproducible(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    pytest.importorskip("tqdm")
    from ntcore.cli import data, inference, kernels, networks

    place = choose.machine("numpy", None, "float64")
    task = data.load("digits", 60, 20, False, 3)
    net = networks.chosen("fc-1", True)["fc-1"]
    found = [
        inference.score(place, blocks, task.one_hot(), task.y_test)
        for _ in range(2)
        for blocks in [kernels.blocks(place, net, "", task.x_train, task.x_test, True)["ntk"]]
    ]
    assert found[0] == found[1]
    assert json.dumps(found[0].nll)
