"""The batches that the suite compares: generic ones, and the ones that bite."""

from __future__ import annotations

import numpy as np

from ntcore.conformance.cases import Case
from ntcore.inputs import of_sizes
from ntcore.plan import Options
from ntcore.planner import make_plan
from ntcore.record import Record
from ntcore.shape import Shape

Sizes = tuple[int, ...]

#: Relative distance of a near-duplicate, far above and far below what the two types resolve.
NEAR = 1e-6


def generic(shape: Shape, n: int, seed: int = 0) -> np.ndarray:
    """Return ``n`` independent normal examples, with the user's order of axes."""
    drawn = np.random.default_rng([seed, n, *shape.spatial]).standard_normal(
        (n, *shape.spatial, shape.channels)
    )
    return np.ascontiguousarray(np.transpose(drawn, shape.axes.inverse))


def hard(shape: Shape) -> np.ndarray:
    """Return an example, its negative, zero, its near-duplicate, another one, and a duplicate."""
    a, b = (examples(generic(shape, 1, seed), shape) for seed in (3, 4))
    rows = np.concatenate([a, -a, 0 * a, a * (1 + NEAR), b, a])
    return np.ascontiguousarray(np.moveaxis(rows, 0, shape.axes.batch))


def pair(case: Case, n1: int, n2: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two generic batches for a case."""
    return generic(case.shape1, n1, 1), generic(case.shape2, n2, 2)


def hard_pair(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return two batches of three with coincident, antipodal, zero and near-duplicate examples."""
    one, two = hard(case.shape1), hard(case.shape2)
    return take(one, case.shape1, [0, 1, 2]), take(two, case.shape2, [0, 2, 3])


def patterns(network: Record, sizes1: Sizes, sizes2: Sizes | None = None) -> tuple | None:
    """Return a pattern for each of two batches, where a layer of the network reads one."""
    inputs = of_sizes(network, sizes1, sizes2)
    plan = make_plan(network, inputs, Options())
    for step in plan.steps:
        edge = plan.edges[step.inputs[0]]
        shapes = zip((edge.shape1, edge.shape2), inputs.counts, strict=True)
        first, second = (step.layer.example_pattern(shape, n) for shape, n in shapes)
        if first is not None:
            return first, first if sizes2 is None else second
    return None


def take(x: np.ndarray, shape: Shape, rows: list[int]) -> np.ndarray:
    """Return some examples of a batch."""
    return np.take(x, rows, axis=shape.axes.batch)


def examples(x: np.ndarray, shape: Shape) -> np.ndarray:
    """Return a batch with the examples on the first axis."""
    return np.moveaxis(x, shape.axes.batch, 0)
