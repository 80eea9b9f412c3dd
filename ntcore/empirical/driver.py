"""From a call of a kernel function to its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ntcore.backend import Array, Backend, Place, host
from ntcore.empirical.axes import FREE, Contraction, Outputs, outputs_of
from ntcore.empirical.batches import Batch, batch_of, split_axes
from ntcore.empirical.checks import check_counts, checked_outputs, independent
from ntcore.empirical.contract import Formed
from ntcore.empirical.function import Bound, bind
from ntcore.empirical.inner import products
from ntcore.empirical.plan import DEFAULT_BUDGET, computed
from ntcore.empirical.states import of_second
from ntcore.empirical.tree import flatten
from ntcore.empirical.view import View
from ntcore.errors import DerivativeError, ShapeError


@dataclass(frozen=True)
class Call:
    """The arguments of a kernel function."""

    f: Any
    x1: Any
    x2: Any
    params: Any
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What a kernel function was made with."""

    contraction: Contraction
    vmap_axes: Any
    implementation: str
    memory_budget: float | None


def ntk_of(call: Call, settings: Settings, compiled: dict[Any, Any]) -> Any:
    """Return the NTK, a tree of the structure of the outputs."""
    fn = bind(call.f, call.params, call.x1)
    with fn.backend.holding((settings.memory_budget or DEFAULT_BUDGET) / 8):
        return _ntk_of(fn, call, settings, compiled)


def _ntk_of(fn: Bound, call: Call, settings: Settings, compiled: dict[Any, Any]) -> Any:
    batches = batches_of(fn.backend, call, settings.vmap_axes)
    outputs = checked_outputs(fn, batches, compiled)
    axes = _examples(fn, batches, outputs, settings.vmap_axes, compiled)
    kinds = [[(tuple(y.shape), y.dtype) for y in found] for found in outputs]
    del outputs
    found = [
        _ntk_of_output(fn, batches, which, axes[which], kinds, settings, compiled)
        for which in range(len(axes))
    ]
    return fn.outputs[0].unflatten(found)


def _ntk_of_output(
    fn: Bound,
    batches: list[Batch],
    which: int,
    out: int | None,
    kinds: list[Any],
    settings: Settings,
    compiled: dict[Any, Any],
) -> Array:
    shapes, (dtype, *_) = zip(*(k[which] for k in kinds), strict=True)
    views = [View(fn, b, which, out, compiled, dtype) for b in batches]
    outs = [outputs_of(_without(s, out), settings.contraction, out) for s in shapes]
    _check_pairs([v.count for v in views], outs)
    pair = (views[0], views[-1]), (outs[0], outs[-1])
    if 0 in (*outs[0].counts, *outs[-1].counts, *(v.count for v in views)):
        found = _nothing(*pair)
    else:
        found = computed(*pair, settings.implementation, settings.memory_budget)
    return outs[0].assemble(fn.backend.namespace, found, outs[-1])


def _nothing(views: tuple[View, View], outs: tuple[Outputs, Outputs]) -> Array:
    """Return the kernel where there are no examples, or no outputs."""
    (one, two), at = outs, views[0].place
    examples = [v.count for v in views][: 1 if one.paired else 2]
    shape = (*examples, one.counts[0], one.counts[1], two.counts[1])
    return at.asarray(host().namespace.zeros(shape))


def nngp_of(call: Call, settings: Settings, compiled: dict[Any, Any]) -> Any:
    """Return products of outputs, a tree of the structure of the outputs."""
    fn = bind(call.f, call.params, call.x1)
    batches = batches_of(fn.backend, call, None)
    outputs = checked_outputs(fn, batches, compiled)
    pairs = zip(outputs[0], outputs[-1], strict=True)
    return fn.outputs[0].unflatten([_outer(fn.backend, a, b, settings) for a, b in pairs])


def _outer(backend: Backend, one: Array, two: Array, settings: Settings) -> Array:
    """Return products of the entries of two outputs, with whole batches for one example."""
    xp = backend.namespace
    outs = [outputs_of(tuple(y.shape), settings.contraction, None) for y in (one, two)]
    _check_pairs([1, 1], outs)
    sides = [
        Formed(xp.reshape(xp.permute_dims(y, out.order), (1, -1, 1)))
        for y, out in zip((one, two), outs, strict=True)
    ]
    at = Place(backend, one.dtype, backend.device(one))
    sizes = outs[0].counts, outs[1].counts
    return outs[0].assemble(xp, products(at, sides[0], sides[1], sizes), outs[1])


def _without(shape: tuple[int, ...], out: int | None) -> tuple[int, ...]:
    if out is None:
        return shape
    out %= max(len(shape), 1)
    return shape[:out] + shape[out + 1 :]


def batches_of(backend: Backend, call: Call, axes: Any) -> list[Batch]:
    """Return one batch, or two; keyword arguments that are pairs are split between them."""
    pairs = {k: v for k, v in call.kwargs.items() if isinstance(v, tuple) and len(v) == 2}
    if call.x2 is not None and call.kwargs.get("rng") is not None and "rng" not in pairs:
        leaves = (flatten(backend, x)[0] for x in (call.x1, call.x2))
        rng = call.kwargs["rng"]
        pairs["rng"] = rng, of_second(backend, rng, *leaves)
    given = [call.x1] if call.x2 is None else [call.x1, call.x2]
    return [
        batch_of(backend, x, {**call.kwargs, **{k: v[i] for k, v in pairs.items()}}, axes)
        for i, x in enumerate(given)
    ]


def _examples(
    fn: Bound, batches: list[Batch], outputs: list[list[Array]], axes: Any, compiled: dict[Any, Any]
) -> list[int | None]:
    """Return where each output has the examples; None where examples depend on each other."""
    count = len(outputs[0])
    if axes is None or fn.module:
        pairs = zip(batches, outputs, strict=True)
        alone = all(independent(fn, b, found, compiled) for b, found in pairs)
        if not alone and fn.module:
            raise DerivativeError(
                "the module puts out something else for an example alone than for the same "
                "example in a batch, so that a kernel of pairs of examples is not defined; call "
                "module.eval(), or take out the layer that mixes examples or draws at random."
            )
        if not alone:
            return [None] * count
    where = split_axes(axes)[1]
    named = [where] * count if isinstance(where, int) else list(flatten(None, where)[0])
    if len(named) != count:
        raise ShapeError(f"vmap_axes names {len(named)} outputs but f has {count}.")
    for batch, found in zip(batches, outputs, strict=True):
        check_counts(batch.count, found, named)
    return named


def _check_pairs(counts: list[int], outs: list[Outputs]) -> None:
    """Refuse a diagonal over axes, or over batches, of two sizes."""
    one, two = outs[0], outs[-1]
    for k, role in enumerate(one.roles):
        if role != FREE and one.shape[k] != two.shape[k]:
            raise ShapeError(
                f"a trace or a diagonal pairs entries of x1 with those of x2, but f puts out "
                f"{one.shape[k]} for x1 and {two.shape[k]} for x2; give inputs of one size, or "
                "leave the axis out of trace_axes and diagonal_axes."
            )
    if one.paired and counts[0] != counts[-1]:
        raise ShapeError(
            f"trace_axes and diagonal_axes pair example with example, but x1 holds {counts[0]} "
            f"and x2 {counts[-1]}; give batches of one size."
        )
