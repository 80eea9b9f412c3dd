"""The public entry of a kernel function: checks, the place, the plan, and the result.

Everything that looks at values (finite inputs, equal batches) happens here, eagerly, and only
where values are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ntcore.backend import Array, Place, place_of
from ntcore.errors import ArgumentError, NotFiniteError, PlanError, ShapeError
from ntcore.graphs import alike, arrays_in
from ntcore.inputs import Inputs, leaves_of, map_tree, of_sizes
from ntcore.kernel import Progress
from ntcore.masked import values_of, with_mask
from ntcore.moments import Traits
from ntcore.network import Tree, layers_of
from ntcore.pieces import evaluate
from ntcore.plan import Edge, Options, Plan
from ntcore.planner import make_plan
from ntcore.program import Job
from ntcore.public import forwards, mask_of, public, shape_of
from ntcore.record import Record, iter_leaves
from ntcore.result import Kernel
from ntcore.source import Examples, Given, Source

Masks = tuple[Array | None, ...]


@dataclass(frozen=True)
class Entered:
    """The inputs of one call: their shapes, their place, and the source of each input edge.

    ``masks`` holds, for each batch, the mask of every input, ``(n, *spatial, C)``, or None.
    """

    inputs: Inputs
    at: Place
    sources: tuple[Source, ...]
    traced: bool
    has_cov2: bool
    masks: tuple[Masks, Masks]
    patterns: tuple[Any, Any] = (None, None)


@dataclass(frozen=True)
class Extras:
    """What a caller may say beside the inputs.

    Attributes
    ----------
    mask_constant : number or None
        The value that marks masked entries.
    pattern : tuple or None
        One pattern for each batch, or None.
    diagonal_batch : bool
        False asks for the covariances of all pairs within each batch.
    progress : callable or None
        Called with the number of tiles done and their total.
    """

    mask_constant: Any = None
    pattern: Any = None
    diagonal_batch: bool = True
    progress: Progress | None = None


def kernels_of(
    network: Record, x1: Tree, x2: Tree, options: Options, extras: Extras | None = None
) -> Tree:
    """Return the :class:`~ntcore.result.Kernel` of every output edge, as a nested tuple."""
    extras = extras or Extras()
    chained = all(isinstance(k, Kernel) for k in leaves_of(x1))
    if chained and x2 is not None:
        raise ArgumentError(
            "kernel_fn got a Kernel and x2; a Kernel already describes both batches, so pass it "
            "alone."
        )
    patterns = _patterns(extras.pattern, x2 is None)
    extras = replace(extras, pattern=patterns)
    if x2 is None and not chained and not alike(*patterns):
        x2 = x1
    entered = (
        _enter_kernels(network, x1, extras) if chained else _enter_arrays(network, x1, x2, extras)
    )
    kernels = _evaluate(network, entered, options, extras.progress)
    if extras.diagonal_batch:
        return kernels
    if chained:
        raise ArgumentError(
            "diagonal_batch=False needs the inputs themselves, but a Kernel came; pass x1 and x2."
        )
    return _with_whole_batches(network, kernels, x1, x2, options, extras)


def _patterns(pattern: Any, alone: bool) -> tuple[Any, Any]:
    """Return the pattern of each batch; the second may be left out where there is one batch."""
    if pattern is None:
        return None, None
    if not isinstance(pattern, (tuple, list)) or len(pattern) != 2:
        raise ArgumentError(
            f"pattern is a {type(pattern).__name__}; give two, one for x1 and one for x2."
        )
    first, second = pattern
    return first, first if second is None and alone else second


# --- arrays -------------------------------------------------------------------------------------


def _enter_arrays(network: Record, x1: Tree, x2: Tree, extras: Extras) -> Entered:
    first = leaves_of(x1)
    second = first if x2 is None else leaves_of(x2)
    graphs = arrays_in(extras.pattern)
    at = place_of(map(values_of, (*first, *second)), (*iter_leaves(network), *graphs))
    traced = any(map(_is_traced(at), (*iter_leaves((*first, *second)), *graphs)))
    held1 = [_held(at, "x1", x, extras.mask_constant, traced) for x in first]
    held2 = held1
    if x2 is not None:
        held2 = [_held(at, "x2", x, extras.mask_constant, traced) for x in second]
    same = x2 is None or (alike(*extras.pattern) and _equal(at, held1, held2, traced))
    inputs = of_sizes(network, map_tree(_sizes, x1), None if same else map_tree(_sizes, x2))
    orders = [s.axes.order for s in leaves_of(inputs.shapes1)]
    if len(orders) != len(second):
        raise ShapeError("x1 and x2 hold different numbers of inputs; pass as many.")
    ordered1 = [_ordered(at, h, o) for h, o in zip(held1, orders, strict=True)]
    ordered2 = ordered1
    if not same:
        ordered2 = [_ordered(at, h, o) for h, o in zip(held2, orders, strict=True)]
    sources = tuple(Examples(a[0], b[0]) for a, b in zip(ordered1, ordered2, strict=True))
    masks = tuple(m for _, m in ordered1), tuple(m for _, m in ordered2)
    inputs = _say_masked(inputs, masks)
    return Entered(inputs, at, sources, traced, x2 is not None, masks, extras.pattern)


def _held(
    at: Place, name: str, x: Any, mask_constant: Any, traced: bool
) -> tuple[Array, Array | None]:
    value, mask = with_mask(at, x, mask_constant)
    _check_finite(at, name, value, traced)
    return value, mask


def _say_masked(inputs: Inputs, masks: tuple[Masks, Masks]) -> Inputs:
    """Mark the inputs that have masks in either batch."""
    every = zip(inputs.traits, *masks, strict=True)
    traits = tuple(replace(t, masked=not (a is None and b is None)) for t, a, b in every)
    return replace(inputs, traits=traits)


def _sizes(x: Array) -> tuple[int, ...]:
    return tuple(int(n) for n in x.shape)


def _known(at: Place, verdict: Array) -> bool | None:
    """Return a verdict about values, or None where a transformation hides them.

    Under ``jit`` even a question about a constant has no answer yet.
    """
    return None if at.backend.is_traced(verdict) else bool(verdict)


def _check_finite(at: Place, name: str, x: Array, traced: bool) -> None:
    if not traced and _known(at, at.xp.all(at.xp.isfinite(x))) is False:
        raise NotFiniteError(
            f"{name} holds NaN or infinity, and so would the kernel; remove or replace those "
            "examples first."
        )


def _equal(at: Place, first: Any, second: Any, traced: bool) -> bool:
    if len(first) != len(second):
        return False
    both = [(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)]
    pairs = [(a, b) for a, b in both if a is not b]
    if any(a is None or b is None for a, b in pairs):
        return False
    if pairs and (traced or any(a.shape != b.shape for a, b in pairs)):
        return False
    if any(at.backend.is_followed(x) for pair in pairs for x in pair):
        return False  # each of the two has a gradient of its own
    return all(_known(at, at.xp.all(a == b)) for a, b in pairs)


def _ordered(
    at: Place, held: tuple[Array, Array | None], order: tuple[int, ...]
) -> tuple[Array, Array | None]:
    x, mask = held
    if order == tuple(range(x.ndim)):
        return held
    permute = at.xp.permute_dims
    return permute(x, order), None if mask is None else permute(mask, order)


# --- kernels of other networks ------------------------------------------------------------------


def _enter_kernels(network: Record, tree: Tree, extras: Extras) -> Entered:
    kernels = leaves_of(tree)
    if len({k.diagonal_spatial for k in kernels}) > 1:
        raise ArgumentError("the Kernels passed in differ in diagonal_spatial; pass equal ones.")
    arrays = [k.nngp for k in kernels]
    graphs = arrays_in(extras.pattern)
    at = place_of(arrays, (*iter_leaves(network), *graphs))
    one, two = (map_tree(lambda k, i=i: shape_of(k, i), tree) for i in (1, 2))
    (n1, n2), *others = (tuple(x.shape[:2]) for x in arrays)
    if any(each != (n1, n2) for each in others):
        raise ShapeError("the Kernels passed in have different numbers of examples; pass as many.")
    same = all(k.x1_is_x2 for k in kernels) and alike(*extras.pattern)
    traits = tuple(Traits(k.is_gaussian, k.is_input, k.ntk is not None) for k in kernels)
    masks = tuple(mask_of(at, k, 1) for k in kernels), tuple(mask_of(at, k, 2) for k in kernels)
    known = Inputs(one, two, (int(n1), int(n2)), same, traits, drawn=False)
    inputs = _say_masked(known, masks)
    traced = any(map(_is_traced(at), (*iter_leaves(tuple(kernels)), *graphs)))
    sources = tuple(Given(forwards(k)) for k in kernels)
    has_cov2 = not same or any(k.cov2 is not None for k in kernels)
    return Entered(inputs, at, sources, traced, has_cov2, masks, extras.pattern)


# --- results ------------------------------------------------------------------------------------


def _evaluate(
    network: Record, entered: Entered, options: Options, progress: Progress | None
) -> Tree:
    inputs, at = entered.inputs, entered.at
    plan = make_plan(network, inputs, replace(options, itemsize=_itemsize(at)))
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
        frozenset(plan.output_edges if options.diagonal_spatial else ()),
        _by_edge(plan, entered.masks),
        entered.patterns,
    )
    outputs = evaluate(job, progress)

    def result(edge: int) -> Kernel:
        found = public(at, plan.edges[edge], outputs[edge], inputs.same, options.diagonal_spatial)
        return found if entered.has_cov2 else found.replace(cov2=None)

    return map_tree(result, plan.outputs)


def _by_edge(plan: Plan, masks: tuple[Masks, Masks]) -> Any:
    """Return the masks of each batch by input edge, without those that are None."""
    edges = leaves_of(plan.inputs)
    named = (zip(edges, batch, strict=True) for batch in masks)
    return tuple({edge: mask for edge, mask in batch if mask is not None} for batch in named)


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


def _with_whole_batches(
    network: Record, kernels: Tree, x1: Tree, x2: Tree, options: Options, extras: Extras
) -> Tree:
    """Replace the variances of each example by the covariances of all pairs."""
    alone = replace(options, nngp=True, ntk=False, cov=False)

    def within(x: Tree, which: int) -> Iterator[Kernel]:
        given = Extras(extras.mask_constant, (extras.pattern[which],) * 2)
        return iter(leaves_of(kernels_of(network, x, None, alone, given)))

    cov1, cov2 = within(x1, 0), None if x2 is None else within(x2, 1)

    def replaced(k: Kernel) -> Kernel:
        second = None if cov2 is None else next(cov2).nngp
        return k.replace(cov1=next(cov1).nngp, cov2=second, diagonal_batch=False)

    return map_tree(replaced, kernels)
