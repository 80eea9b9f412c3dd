"""``ntcore demo`` from end to end, on little data, and the data it refuses."""

import importlib
import json
import re

import numpy as np
import pytest

from ntcore import cli, stax
from ntcore.cli import choose, data, inference, networks

for module in ("sklearn", "matplotlib", "tqdm"):
    pytest.importorskip(module)
ensemble = importlib.import_module("ntcore.cli.ensemble")


@pytest.fixture
def short(monkeypatch):
    """Train a few finite networks for a short time."""
    monkeypatch.setattr(ensemble, "NETWORKS", 3)
    monkeypatch.setattr(ensemble, "WIDTH", 64)
    monkeypatch.setattr(ensemble, "STEPS", 30)
    monkeypatch.setattr(ensemble, "TIMES", 12)


def demo(*argv):
    return cli.main(["demo", *map(str, argv)])


def refused(capsys, *argv):
    assert demo(*argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("ntcore demo: error: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def npz(folder, **arrays):
    np.savez(folder / "d.npz", **arrays)
    return folder / "d.npz"


# --- the whole demo -----------------------------------------------------------------------------


def test_digits(capsys, short, tmp_path):
    out = tmp_path / "a" / "b"
    assert demo("--n-train", 60, "--n-test", 30, "--backend", "numpy", "--out", out) == 0
    printed = capsys.readouterr().out
    for name in ("fc-3", "conv-flatten", "conv-pool", "resnet"):
        row = rf"^{name} +(\d+\.\d%) +\d\.\d{{4}} +(\d+\.\d%) +\d\.\d{{4}} +\d+\.\d$"
        assert re.search(row, printed, re.MULTILINE), printed
    assert all(len(line) <= 100 for line in printed.replace(str(out), "").splitlines())
    for name in ("ensemble.png", "kernel.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    results = json.loads((out / "results.json").read_text())
    assert results["n_train"] == 60
    assert all(0.5 < n["ntk"]["accuracy"] <= 1 for n in results["networks"].values())
    assert all(0 < n["nngp"]["nll"] < np.log(10) for n in results["networks"].values())


def test_vectors_use_fully_connected_networks_and_say_so(capsys, short, tmp_path):
    assert demo("--dataset", "iris", "--dtype", "float64", "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "120 training and 30 test examples (4), 3 classes" in printed
    assert "fully-connected networks only" in printed
    assert "fc-5" in printed
    assert "conv" not in printed.split("NLL: mean")[0].split("seconds")[1]


def test_quiet_prints_the_table_alone(capsys, short, tmp_path):
    argv = ("--n-train", 40, "--n-test", 20, "--networks", "fc-1", "--quiet", "--out", tmp_path)
    assert demo(*argv) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert len(captured.out.splitlines()) == 3


def test_own_file(capsys, short, tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=50)
    x = rng.integers(100, size=(50, 4, 5)) + 80 * y[:, None, None]
    np.savez(tmp_path / "own.npz", x=x.astype(np.uint8), y=np.array(["no", "yes"])[y])
    argv = ("--dataset", tmp_path / "own.npz", "--networks", "conv-flatten,fc-1")
    assert demo(*argv, "--full", "--out", tmp_path) == 0
    assert "40 training and 10 test images (4 x 5 x 1), 2 classes" in capsys.readouterr().out


def test_own_split_of_colour_images(capsys, short, tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 30
    x = rng.standard_normal((60, 4, 4, 3)) + y[:, None, None, None]
    parts = {"x_train": x, "y_train": y, "x_test": x[:9] + 0.1, "y_test": y[:9]}
    path = npz(tmp_path, **parts)
    assert demo("--dataset", path, "--networks", "conv-pool", "--out", tmp_path) == 0
    assert "60 training and 9 test images (4 x 4 x 3), 30 classes" in capsys.readouterr().out


# --- refusals -----------------------------------------------------------------------------------


X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--dataset", "mnist"], "no data set is called 'mnist'"),
        (["--dataset", "diabetes"], "regression"),
        (["--dataset", "nowhere.npz"], "there is no file nowhere.npz"),
        (["--backend", "tensorflow"], "no backend is called 'tensorflow'"),
        (["--device", "tpu"], "no device called 'tpu'"),
        (["--networks", "fc-3,lstm"], "no network is called 'lstm'"),
        (["--dataset", "wine", "--networks", "resnet"], "resnet needs images"),
        (["--n-train", "1700", "--n-test", "200"], "more than the 1797 here"),
        (["--dataset", "iris", "--n-train", "150"], "more than the 150 here"),
        (["--full", "--n-train", "10"], "--full"),
        (["--n-train", "1"], "one class"),
    ],
)
def test_options(capsys, argv, said, tmp_path):
    assert said in refused(capsys, *argv, "--out", tmp_path)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": X, "b": Y}, "holds a, b, but x and y"),
        ({"x": X, "y": Y[:3]}, "20 examples but 3 labels"),
        ({"x": np.where(X == 3, np.nan, X), "y": Y}, "NaN"),
        ({"x": X + 0j, "y": Y}, "complex"),
        ({"x": X[:, 0], "y": Y}, "shape (20,)"),
        ({"x": X[:0], "y": Y[:0]}, "shape (0, 2)"),
        ({"x": X, "y": Y + 0.5}, "no labels"),
        ({"x": X, "y": np.eye(2)[Y]}, "one label per example"),
        ({"x": X, "y": 0 * Y}, "one class"),
        ({"x": X, "y": np.array([None] * 20)}, "cannot be read"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y}, "must be alike"),
    ],
)
def test_own_files(capsys, arrays, said, tmp_path):
    assert said in refused(capsys, "--dataset", npz(tmp_path, **arrays), "--out", tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut short"])
def test_damaged_file(capsys, content, tmp_path):
    path = tmp_path / "d.npz"
    path.write_bytes(content)
    assert "cannot be read as .npz" in refused(capsys, "--dataset", path)


def test_folder_that_cannot_be_written_to(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written to" in refused(capsys, "--out", tmp_path / "file" / "out")
    assert "cannot be written to" in refused(capsys, "--out", tmp_path / "file")


# --- the numbers --------------------------------------------------------------------------------


def test_probabilities_of_two_classes_are_a_normal_distribution_function():
    from scipy.special import log_ndtr

    gap, deviation = np.array([0.0, 0.3, -5.0, 12.0]), np.array([1.0, 0.2, 1.0, 1.5])
    mean = np.stack([gap, np.zeros(4)], axis=1)
    logs = inference.log_probabilities(mean, deviation)
    np.testing.assert_allclose(logs[:, 0], log_ndtr(gap / deviation / 2**0.5), rtol=1e-6, atol=1e-9)


def test_probabilities_are_those_of_draws():
    rng = np.random.default_rng(0)
    mean = np.array([[0.3, 0.1, -0.2]])
    draws = mean + 0.4 * rng.standard_normal((200_000, 3))
    share = np.bincount(draws.argmax(1)) / len(draws)
    found = np.exp(inference.log_probabilities(mean, np.array([0.4])))[0]
    assert found.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found, share, atol=5e-3)


def test_evidence_is_the_density_of_the_targets():
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(1)
    a = rng.standard_normal((8, 8))
    k, y = a @ a.T, rng.standard_normal((8, 2))
    noise, scale = inference.evidence_maximum(k, y)
    level = np.trace(k) / 8 * np.eye(8)

    def log_density(r, s):
        return multivariate_normal(cov=s * (k + r * level)).logpdf(y.T).sum()

    best = log_density(noise, scale)
    assert all(best >= log_density(noise, scale * c) for c in (0.9, 1.1))
    assert all(best >= log_density(r, scale * c) for r in inference.NOISES for c in (0.5, 1, 2))


def test_split_is_disjoint_and_scaled_by_the_training_set_alone():
    one = data.load("digits", 300, 100, False, 0)
    two = data.load("digits", 300, 50, False, 0)
    assert one.x_train.mean() == pytest.approx(0, abs=1e-12)
    assert one.x_train.std() == pytest.approx(1)
    rows = {x.tobytes() for x in one.x_train}
    assert not any(x.tobytes() in rows for x in one.x_test)
    assert two.images and two.classes == tuple("0123456789")


def test_finite_ensemble_agrees_with_the_infinite_one(monkeypatch):
    monkeypatch.setattr(ensemble, "NETWORKS", 12)
    monkeypatch.setattr(ensemble, "WIDTH", 512)
    monkeypatch.setattr(ensemble, "STEPS", 60)
    task = data.load("digits", 200, 50, False, 0)
    course = ensemble.compare(choose.machine("numpy", None, "float32"), task, 0, True)
    assert course.inside() > 0.85
    last = course.losses["train"]
    assert last.low[-1] < course.finite_losses["train"][:, -1].mean() < last.high[-1]


def test_networks_are_planned_sparsely():
    """Two stages of stride 2 leave every fourth offset; a flatten leaves offset 0."""
    pool = networks.chosen("conv-pool", True)["conv-pool"].plan((4, 8, 8, 1))
    flat = networks.chosen("conv-flatten", True)["conv-flatten"].plan((4, 8, 8, 1))
    assert pool.edges[1].cross.axes == ({-4, 0, 4},) * 2
    assert flat.edges[1].cross.axes == ({0},) * 2
    assert isinstance(networks.chosen(None, True)["resnet"], stax.Model)
