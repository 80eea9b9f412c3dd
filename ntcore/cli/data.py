"""Data sets: scikit-learn's bundled ones, or the user's own ``.npz``; validated and scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntcore.cli.refusal import Refusal

BUNDLED = ("digits", "breast_cancer", "iris", "wine")
REGRESSION = ("diabetes", "linnerud")
N_TRAIN, N_TEST = 1000, 200
Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Data:
    """A classification task.

    Attributes
    ----------
    x_train, x_test : numpy.ndarray
        ``(n, d)`` vectors or ``(n, H, W, channels)`` images, scaled, float64.
    y_train, y_test : numpy.ndarray
        ``(n,)`` numbers of classes, positions in ``classes``.
    classes : tuple of str
        The names of the classes.
    source : str
        Where the data come from.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...]
    source: str

    @property
    def images(self) -> bool:
        """Whether examples are images."""
        return self.x_train.ndim == 4

    @property
    def kind(self) -> str:
        """What an example is called."""
        return "images" if self.images else "examples"

    def one_hot(self) -> np.ndarray:
        """Return the one-hot vectors of the training labels, ``(n, classes)``."""
        return np.asarray(np.eye(len(self.classes))[self.y_train])


def load(name: str, n_train: int | None, n_test: int | None, full: bool, seed: int) -> Data:
    """Return a data set cut to size.

    Raises
    ------
    Refusal
        If there is no such set, it cannot be read, is not one of classification, holds NaN, or
        is smaller than asked for.
    """
    if full and n_train is not None:
        raise Refusal("--full uses every example, so --n-train cannot be given with it")
    found = _bundled(name) if name in BUNDLED else _own(name)
    rng = np.random.default_rng(seed)
    if len(found) == 2:
        train, test = _split(found, n_train, n_test, full, rng)
    else:
        train, test = _cut(found[:2], found[2:], n_train, n_test, full, rng)
    source = f"{name} (scikit-learn)" if name in BUNDLED else name
    return _prepared(train, test, source)


def _bundled(name: str) -> Arrays:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    return np.asarray(getattr(bunch, "images", bunch.data)), np.asarray(bunch.target_names)[
        bunch.target
    ]


# --- the user's own file ------------------------------------------------------------------------


def _own(name: str) -> tuple[np.ndarray, ...]:
    if name in REGRESSION:
        raise Refusal(
            f"{name} is a regression task and the demo classifies; use {', '.join(BUNDLED)}"
        )
    if not name.endswith(".npz"):
        raise Refusal(f"no data set is called {name!r}; use {', '.join(BUNDLED)} or a FILE.npz")
    arrays = _read(name)
    for keys in (("x_train", "y_train", "x_test", "y_test"), ("x", "y")):
        if set(keys) <= set(arrays):
            return tuple(array for key in keys for array in [_checked(name, key, arrays[key])])
    raise Refusal(
        f"{name} holds {', '.join(sorted(arrays)) or 'nothing'}, but x and y, or x_train, "
        "y_train, x_test and y_test, are needed"
    )


def _read(name: str) -> dict[str, np.ndarray]:
    try:
        with np.load(name, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise Refusal(f"there is no file {name}") from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive raises almost anything
        raise Refusal(f"{name} cannot be read as .npz: {error}") from error


def _checked(name: str, key: str, array: np.ndarray) -> np.ndarray:
    return _inputs(name, key, array) if key.startswith("x") else _labels(name, key, array)


def _inputs(name: str, key: str, x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "fiub":
        raise Refusal(f"{key} of {name} holds {x.dtype}; real numbers are needed")
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise Refusal(
            f"{key} of {name} has the shape {x.shape}; vectors (n, d) or images (n, H, W) or "
            "(n, H, W, channels) are needed"
        )
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        raise Refusal(f"{key} of {name} holds NaN or infinity; remove those examples first")
    return x


def _labels(name: str, key: str, y: np.ndarray) -> np.ndarray:
    if y.ndim != 1:
        raise Refusal(f"{key} of {name} has the shape {y.shape}; one label per example is needed")
    if y.dtype.kind == "f" and not (np.isfinite(y).all() and (y == np.round(y)).all()):
        raise Refusal(f"{key} of {name} holds numbers that are no labels; the demo classifies")
    if y.dtype.kind not in "fiubU":
        raise Refusal(f"{key} of {name} holds {y.dtype}; integers or text are needed")
    return y.astype(np.int64) if y.dtype.kind == "f" else y


# --- sizes --------------------------------------------------------------------------------------


def _split(
    found: tuple[np.ndarray, ...],
    n_train: int | None,
    n_test: int | None,
    full: bool,
    rng: np.random.Generator,
) -> tuple[Arrays, Arrays]:
    """Draw training and test examples from one set."""
    x, y = found
    _check_pairs(x, y)
    n, fifth = len(x), max(1, len(x) // 5)
    held = n_test or (fifth if full else min(N_TEST, fifth))
    used = n_train or (n - held if full else min(N_TRAIN, n - held))
    if used < 1 or used + held > n:
        raise Refusal(
            f"{max(used, 1)} training and {held} test examples are more than the {n} here"
        )
    order = rng.permutation(n)
    one, two = order[:used], order[used : used + held]
    return (x[one], y[one]), (x[two], y[two])


def _cut(
    train: tuple[np.ndarray, ...],
    test: tuple[np.ndarray, ...],
    n_train: int | None,
    n_test: int | None,
    full: bool,
    rng: np.random.Generator,
) -> tuple[Arrays, Arrays]:
    """Draw from a training and from a test set that the user has split."""
    _check_pairs(*train)
    _check_pairs(*test)
    if train[0].shape[1:] != test[0].shape[1:]:
        raise Refusal(
            f"x_train holds examples of the shape {train[0].shape[1:]} and x_test of "
            f"{test[0].shape[1:]}; they must be alike"
        )
    return (
        _drawn(train, n_train, N_TRAIN, full, rng, "training"),
        _drawn(test, n_test, N_TEST, full, rng, "test"),
    )


def _drawn(
    pair: tuple[np.ndarray, ...],
    wanted: int | None,
    default: int,
    full: bool,
    rng: np.random.Generator,
    what: str,
) -> Arrays:
    n = len(pair[0])
    size = wanted or (n if full else min(default, n))
    if size > n:
        raise Refusal(f"{size} {what} examples are more than the {n} here")
    kept = rng.permutation(n)[:size]
    return pair[0][kept], pair[1][kept]


def _check_pairs(x: np.ndarray, y: np.ndarray) -> None:
    if len(x) != len(y):
        raise Refusal(f"there are {len(x)} examples but {len(y)} labels")


# --- scales -------------------------------------------------------------------------------------


def _prepared(train: Arrays, test: Arrays, source: str) -> Data:
    classes, numbers = np.unique(np.concatenate([train[1], test[1]]), return_inverse=True)
    y_train, y_test = numbers[: len(train[1])], numbers[len(train[1]) :]
    if len(np.unique(y_train)) < 2:
        raise Refusal(
            f"the {len(y_train)} training examples are of one class; classification needs two"
        )
    scale = _scale(_channels_last(train[0]))
    return Data(
        scale(_channels_last(train[0])),
        y_train,
        scale(_channels_last(test[0])),
        y_test,
        tuple(str(name) for name in classes),
        source,
    )


def _channels_last(x: np.ndarray) -> np.ndarray:
    return x[..., None] if x.ndim == 3 else x


def _scale(x: np.ndarray) -> Callable[[np.ndarray], Any]:
    """Return what gives every feature, or every channel, the mean 0 and the deviation 1."""
    axes = tuple(range(x.ndim - 1))
    mean, deviation = x.mean(axes), x.std(axes)
    return lambda z: (z - mean) / np.where(deviation > 0, deviation, 1.0)
