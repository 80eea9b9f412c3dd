"""Small networks around a layer, built by planning: what fits is what the plan accepts."""

from __future__ import annotations

from collections.abc import Iterator

from ntcore.errors import PlanError, ShapeError
from ntcore.inputs import Inputs
from ntcore.layers import Conv, Dense, FanOut, Flatten, GlobalAvgPool, Relu
from ntcore.layers.base import Layer
from ntcore.moments import Traits
from ntcore.network import Parallel, Serial, declared_axes
from ntcore.plan import Options, Plan
from ntcore.planner import make_plan
from ntcore.record import Record
from ntcore.shape import Axes, Shape, default_axes

#: Filters of the convolutions around a layer, odd and even, by spatial axis.
FILTERS = ((3, 2, 3), (2, 3, 2), (3, 3, 3))
BRANCHES = 2


def serial(*layers: Record) -> Serial:
    """Return the layers one after the other."""
    return Serial(tuple(layers))


def plan_of(
    network: Record,
    shape1: Shape,
    shape2: Shape,
    options: Options | None = None,
    counts: tuple[int, int] = (1, 1),
) -> Plan:
    """Return the plan of a network with one input."""
    inputs = Inputs(shape1, shape2, counts, False, (Traits(is_input=True),))
    return make_plan(network, inputs, options or Options())


def fits(network: Record, shape1: Shape, shape2: Shape) -> bool:
    """Whether a network plans at these inputs, and finds their axes by itself."""
    try:
        plan_of(network, shape1, shape2)
    except (ShapeError, PlanError):
        return False
    ndim = shape1.ndim + 2
    return (declared_axes(network, ndim) or default_axes(ndim)) == shape1.axes


def around(layer: Layer, shape: Shape, deep: bool = False) -> Serial | None:
    """Return the layer with as little below it as it takes, or on a hidden layer if ``deep``.

    None where the layer does not fit an input of this shape.
    """
    hidden = (affine(shape.axes), Relu()) if deep else ()
    networks = (serial(*hidden, *body) for body in _bodies(layer, shape.axes))
    return next((n for n in networks if fits(n, shape, shape)), None)


def _bodies(layer: Layer, axes: Axes) -> Iterator[tuple[Record, ...]]:
    if layer.arity == 1:
        yield (layer,)
        yield (affine(axes, 1), layer)
        return
    branches = tuple(affine(axes, i + 1) for i in range(layer.arity or BRANCHES))
    yield (FanOut(len(branches)), Parallel(branches), layer)


def heads(stem: Serial, shape: Shape) -> dict[str, tuple[Record, ...]]:
    """Return what to put on a network so that it needs offset 0, and every second offset."""
    plan = plan_of(stem, shape, shape)
    out = plan.edges[plan.outputs].shape1
    if not out.ndim:
        return {"deep": (Dense(2, 1.1, 0.2, *_matrix(out.axes)),)}
    pool = GlobalAvgPool(out.axes.batch, out.axes.channel)
    return {
        "flat": (Flatten(out.axes.batch),),
        "pooled": (affine(out.axes, 2, stride=2), pool),
    }


def _matrix(axes: Axes) -> tuple[int, int]:
    return axes.batch, axes.channel


def affine(axes: Axes, which: int = 0, stride: int = 1) -> Layer:
    """Return a layer with weights that keeps the sizes, for arrays with these axes."""
    ndim, w, b = len(axes.spatial), 1.4 - 0.1 * which, 0.3 if which != 1 else None
    if not ndim:
        return Dense(4, w, b, *_matrix(axes))
    letters = "HWDXYZ"[:ndim]
    spec = [""] * (ndim + 2)
    for axis, letter in zip(axes.order, f"N{letters}C", strict=True):
        spec[axis] = letter
    numbers = ("".join(spec), f"{letters}IO", "".join(spec))
    window = (FILTERS[which % len(FILTERS)] * ndim)[:ndim]
    return Conv(4, window, (stride,) * ndim, "SAME", w, b, numbers)
