"""The public entry of a kernel function: checks, the place, the plan, and the result.

Everything that looks at values (finite inputs, equal batches) happens here, eagerly, and only
where values are known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array, Place, place_of
from ntcore.errors import ArgumentError, NotFiniteError, PlanError, ShapeError
from ntcore.inputs import Inputs, leaves_of, map_tree, of_sizes
from ntcore.kernel import Output, Progress, evaluate
from ntcore.moments import Traits
from ntcore.network import Tree, layers_of
from ntcore.plan import Edge, Options
from ntcore.planner import make_plan
from ntcore.program import Job
from ntcore.record import Record, iter_leaves
from ntcore.result import Kernel
from ntcore.shape import Axes, Shape, default_axes
from ntcore.source import Examples, Given, Source


@dataclass(frozen=True)
class Entered:
    """The inputs of one call: their shapes, their place, and the source of each input edge."""

    inputs: Inputs
    at: Place
    sources: tuple[Source, ...]
    traced: bool
    has_cov2: bool


def kernels_of(
    network: Record,
    x1: Tree,
    x2: Tree,
    options: Options,
    diagonal_batch: bool = True,
    progress: Progress | None = None,
) -> Tree:
    """Return the :class:`~ntcore.result.Kernel` of every output edge, as a nested tuple."""
    chained = all(isinstance(k, Kernel) for k in leaves_of(x1))
    if chained and x2 is not None:
        raise ArgumentError(
            "kernel_fn got a Kernel and x2; a Kernel already describes both batches, so pass it "
            "alone."
        )
    entered = _enter_kernels(network, x1) if chained else _enter_arrays(network, x1, x2)
    kernels = _evaluate(network, entered, options, progress)
    if diagonal_batch:
        return kernels
    if chained:
        raise ArgumentError(
            "diagonal_batch=False needs the inputs themselves, but a Kernel came; pass x1 and x2."
        )
    return _with_whole_batches(network, kernels, x1, x2, options)


# --- arrays -------------------------------------------------------------------------------------


def _enter_arrays(network: Record, x1: Tree, x2: Tree) -> Entered:
    first = leaves_of(x1)
    second = first if x2 is None else leaves_of(x2)
    at = place_of([*first, *second], iter_leaves(network))
    traced = any(at.backend.is_traced(x) for x in (*first, *second))
    for name, arrays in (("x1", first), ("x2", second)):
        for x in arrays:
            _check_finite(at, name, x, traced)
    same = x2 is None or _equal(at, first, second, traced)
    inputs = of_sizes(network, map_tree(_sizes, x1), None if same else map_tree(_sizes, x2))
    orders = [s.axes.order for s in leaves_of(inputs.shapes1)]
    if len(orders) != len(second):
        raise ShapeError("x1 and x2 hold different numbers of inputs; pass as many.")
    ordered1 = [_ordered(at, x, o) for x, o in zip(first, orders, strict=True)]
    ordered2 = ordered1
    if not same:
        ordered2 = [_ordered(at, x, o) for x, o in zip(second, orders, strict=True)]
    sources = tuple(Examples(a, b) for a, b in zip(ordered1, ordered2, strict=True))
    return Entered(inputs, at, sources, traced, x2 is not None)


def _sizes(x: Array) -> tuple[int, ...]:
    return tuple(int(n) for n in x.shape)


def _known(at: Place, verdict: Array) -> bool | None:
    """Return a verdict about values, or None where a transformation hides them.

    Under ``jit`` even a question about a constant has no answer yet.
    """
    return None if at.backend.is_traced(verdict) else bool(verdict)


def _check_finite(at: Place, name: str, x: Array, traced: bool) -> None:
    if not traced and _known(at, at.xp.all(at.xp.isfinite(at.asarray(x)))) is False:
        raise NotFiniteError(
            f"{name} holds NaN or infinity, and so would the kernel; remove or replace those "
            "examples first."
        )


def _equal(at: Place, first: Any, second: Any, traced: bool) -> bool:
    if len(first) != len(second):
        return False
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not b]
    if pairs and (traced or any(a.shape != b.shape for a, b in pairs)):
        return False
    return all(_known(at, at.xp.all(at.asarray(a) == at.asarray(b))) for a, b in pairs)


def _ordered(at: Place, x: Array, order: tuple[int, ...]) -> Array:
    x = at.asarray(x)
    return x if order == tuple(range(x.ndim)) else at.xp.permute_dims(x, order)


# --- kernels of other networks ------------------------------------------------------------------


def _enter_kernels(network: Record, tree: Tree) -> Entered:
    kernels = leaves_of(tree)
    if len({k.diagonal_spatial for k in kernels}) > 1:
        raise ArgumentError("the Kernels passed in differ in diagonal_spatial; pass equal ones.")
    arrays = [k.nngp for k in kernels]
    at = place_of(arrays, iter_leaves(network))
    shapes = [map_tree(lambda k, i=i: _shape_of(k, i), tree) for i in (1, 2)]
    n1, n2 = arrays[0].shape[:2]
    same = all(k.x1_is_x2 for k in kernels)
    traits = tuple(Traits(k.is_gaussian, k.is_input, k.ntk is not None) for k in kernels)
    inputs = Inputs(shapes[0], shapes[1], (int(n1), int(n2)), same, traits)
    traced = any(at.backend.is_traced(x) for x in arrays)
    sources = tuple(Given(_forwards(k)) for k in kernels)
    return Entered(inputs, at, sources, traced, any(k.cov2 is not None for k in kernels))


def _forwards(k: Kernel) -> Kernel:
    """Return a kernel with its spatial axes in ntcore's order."""
    if k.mask1 is not None or k.mask2 is not None:
        raise PlanError("the Kernel passed in has masks, which no layer of this network carries.")
    return k.reverse() if k.is_reversed else k


def _shape_of(k: Kernel, which: int) -> Shape:
    sizes = k.shape1 if which == 1 else k.shape2
    axes = default_axes(len(sizes), k.batch_axis, k.channel_axis)
    return Shape(tuple(sizes[i] for i in axes.spatial), sizes[axes.channel], axes)


# --- results ------------------------------------------------------------------------------------


def _evaluate(
    network: Record, entered: Entered, options: Options, progress: Progress | None
) -> Tree:
    inputs, at = entered.inputs, entered.at
    plan = make_plan(network, inputs, dataclasses.replace(options, itemsize=_itemsize(at)))
    for edge, source in zip(leaves_of(plan.inputs), entered.sources, strict=True):
        _check_offsets(plan.edges[edge], source)
    job = Job(
        plan,
        tuple(layers_of(network)),
        dict(zip(leaves_of(plan.inputs), entered.sources, strict=True)),
        at,
        inputs.counts,
        inputs.same,
        entered.traced or any(map(_is_traced(at), iter_leaves(network))),
        options.diagonal_spatial,
    )
    outputs = evaluate(job, progress)

    def result(edge: int) -> Kernel:
        return _kernel(plan.edges[edge], outputs[edge], entered, options)

    return map_tree(result, plan.outputs)


def _is_traced(at: Place) -> Callable[[Any], bool]:
    return lambda x: at.backend.owns(x) and at.backend.is_traced(x)


def _itemsize(at: Place) -> int:
    return int(at.xp.finfo(at.dtype).bits) // 8


def _check_offsets(edge: Edge, source: Source) -> None:
    """Refuse a kernel without the offsets that the network needs."""
    if not isinstance(source, Given) or not source.kernel.diagonal_spatial:
        return
    if edge.cross is not None and any(axis != {0} for axis in edge.cross.axes):
        raise PlanError(
            f"the network needs the offsets {edge} of its input but the Kernel passed in has "
            "diagonal_spatial=True; compute it with diagonal_spatial=False."
        )


def _kernel(edge: Edge, out: Output, entered: Entered, options: Options) -> Kernel:
    inputs, axes = entered.inputs, edge.shape1.axes
    return Kernel(
        nngp=out.nngp,
        ntk=out.ntk,
        cov1=out.cov1,
        cov2=out.cov2 if entered.has_cov2 else None,
        x1_is_x2=inputs.same,
        is_gaussian=edge.traits.gaussian,
        is_input=edge.traits.is_input,
        diagonal_spatial=options.diagonal_spatial,
        shape1=edge.shape1.full(inputs.counts[0]),
        shape2=edge.shape2.full(inputs.counts[1]),
        batch_axis=axes.batch,
        channel_axis=axes.channel,
    ).transpose(_user_order(axes))


def _user_order(axes: Axes) -> tuple[int, ...]:
    """Return ntcore's spatial axes in the order in which the user's array has them."""
    return tuple(sorted(range(len(axes.spatial)), key=axes.spatial.__getitem__))


def _with_whole_batches(
    network: Record, kernels: Tree, x1: Tree, x2: Tree, options: Options
) -> Tree:
    """Replace the variances of each example by the covariances of all pairs."""
    alone = dataclasses.replace(options, ntk=False, cov=False)
    cov1 = iter(leaves_of(kernels_of(network, x1, None, alone)))
    cov2 = None if x2 is None else iter(leaves_of(kernels_of(network, x2, None, alone)))

    def replaced(k: Kernel) -> Kernel:
        second = None if cov2 is None else next(cov2).nngp
        return k.replace(cov1=next(cov1).nngp, cov2=second, diagonal_batch=False)

    return map_tree(replaced, kernels)
