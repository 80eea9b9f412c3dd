"""Inputs of which parts are not there, through every layer that carries masks."""

from __future__ import annotations

import numpy as np

from ntcore.conformance.bench import BLOCKS, EVERYTHING, Bench
from ntcore.conformance.cases import Case
from ntcore.conformance.fixtures import using
from ntcore.conformance.inputs import examples, pair, patterns
from ntcore.conformance.measure import Measures, close, holds
from ntcore.entry import Extras
from ntcore.model import Model
from ntcore.shape import Shape

#: What marks masked entries, and what marks none.
MARK, NOWHERE = Extras(mask_constant=0.5), Extras(mask_constant=-0.5)


def check(bench: Bench, case: Case) -> Measures:
    """Compare masked kernels with the reference, with unmasked ones and with finite networks."""
    if not case.layer.carries_masks:
        return
    bench = bench.alone()
    both = pair(case, *bench.counts)
    x1, x2 = (marked(x, s) for x, s in zip(both, (case.shape1, case.shape2), strict=True))
    got = bench.kernel(case.network, x1, x2, EVERYTHING, MARK)
    reference = bench.reference()
    if reference is not None:
        want = reference.kernel(case.network, x1, x2, EVERYTHING, MARK)
        for name, x in want.items():
            yield close(f"{name}, masked", got[name], x, "agreement", bench.dtype)
    plain, open_ = (bench.kernel(case.network, *both, EVERYTHING, e) for e in (None, NOWHERE))
    for name in BLOCKS:
        yield close(f"{name}, nothing masked", open_[name], plain[name], "tiles", bench.dtype)
    yield from _masks(bench, case, x1, x2)


def marked(x: np.ndarray, shape: Shape) -> np.ndarray:
    """Return a batch whose first example ends early, and whose last one is not there at all."""
    found = x.copy()
    rows = examples(found, shape)
    if shape.ndim:
        first = rows[0]
        axis = shape.axes.spatial[0] - (shape.axes.batch < shape.axes.spatial[0])
        np.moveaxis(first, axis, 0)[shape.spatial[0] // 2 :] = MARK.mask_constant
    rows[-1] = MARK.mask_constant
    return found


def _masks(bench: Bench, case: Case, x1: np.ndarray, x2: np.ndarray) -> Measures:
    k = bench.native(case.network, x1, x2, EVERYTHING, MARK)
    again = k.mask(_of_positions(bench, k, 1), _of_positions(bench, k, 2))
    for name in BLOCKS:
        hidden = bench.numpy(getattr(again, name)), bench.numpy(getattr(k, name))
        yield holds(f"{name} is 0 at masked positions", np.array_equal(*hidden))
    model, x, graphs = Model(case.network), bench.array(x1), patterns(case.network, x1.shape)
    with using(bench.record):
        _, params = model.init_fn(0, x1.shape, like=x)
        out = model.apply_fn(
            params, x, rng=0, pattern=graphs and graphs[0], mask_constant=MARK.mask_constant
        )
    masks = bench.numpy(out.mask), bench.numpy(k.mask1)
    same = np.array_equal(*np.broadcast_arrays(*masks))
    yield holds("the mask of apply_fn is that of kernel_fn", same)


def _of_positions(bench: Bench, k: object, which: int) -> object:
    mask = getattr(k, f"mask{which}")
    return bench.record.namespace.all(mask, axis=k.channel_axis, keepdims=True)  # type: ignore[attr-defined]
