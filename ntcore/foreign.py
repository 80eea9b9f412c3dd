"""Layers written for neural_tangents: three functions, one of them of a ``Kernel``.

A layer of ntcore's own is data (``ntcore.extend``): it is planned, tiled, and run on every library.
These decorators take what is there already; the functions run on the arrays they were written for.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from ntcore.backend import Array, Backend, Place, loaded
from ntcore.errors import ArgumentError, PlanError
from ntcore.layers.base import Layer, Params, Run
from ntcore.model import Model
from ntcore.moments import Context, Moments, Traits
from ntcore.need import Need, everything
from ntcore.record import record
from ntcore.result import Kernel
from ntcore.shape import Axes, Shape, default_axes

Functions = tuple[Callable[..., Any], ...]


class Bool(enum.IntEnum):
    """No, perhaps, yes."""

    NO = 0
    MAYBE = 1
    YES = 2


class Diagonal(NamedTuple):
    """Whether a layer can do with offset 0 alone, for :func:`requires`.

    ntcore hands such layers every offset, which any of them can do with.
    """

    input: Bool = Bool.YES
    output: Bool = Bool.NO


def layer(layer_fn: Callable[..., Functions]) -> Callable[..., Model]:
    """Turn a function that returns ``(init_fn, apply_fn, kernel_fn)`` into a layer.

    Parameters
    ----------
    layer_fn : callable
        Returns ``init_fn(rng, input_shape) -> (output_shape, params)``,
        ``apply_fn(params, inputs, **kwargs) -> outputs`` and
        ``kernel_fn(kernel, **kwargs) -> Kernel``, where the last two may be given ``rng``,
        ``mask`` and ``pattern``. ``kernel_fn`` works on whole batches and on every offset, in the
        library of the arrays; what it says of ``is_gaussian`` and of sizes is learned while
        planning, from a trial on a small kernel.

    Returns
    -------
    callable
        With the arguments of ``layer_fn``; it returns a :class:`~ntcore.model.Model`.
    """

    @functools.wraps(layer_fn)
    def make(*args: Any, **kwargs: Any) -> Model:
        shown = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())])
        found = layer_fn(*args, **kwargs)
        if not isinstance(found, (tuple, list)) or len(found) not in (3, 4):
            raise ArgumentError(
                f"{layer_fn.__name__} returned {found!r}; a layer is a tuple of init_fn, apply_fn "
                "and kernel_fn."
            )
        return Model(Foreign(f"{layer_fn.__name__}({shown})", *found))

    return make


def supports_masking(
    remask_kernel: bool,
) -> Callable[[Callable[..., Functions]], Callable[..., Functions]]:
    """Return a decorator that lets masks pass through a layer; it goes below :func:`layer`.

    Parameters
    ----------
    remask_kernel : bool
        Accepted for neural_tangents' sake: ntcore always hides masked entries.

    Returns
    -------
    callable
        For a function that returns three functions, through which masks pass unchanged, or four,
        the last of them ``mask_fn(mask, input_shape) -> mask``.
    """

    def decorate(layer_fn: Callable[..., Functions]) -> Callable[..., Functions]:
        @functools.wraps(layer_fn)
        def make(*args: Any, **kwargs: Any) -> Functions:
            found = layer_fn(*args, **kwargs)
            return (*found, _same_mask) if len(found) == 3 else found

        return make

    return decorate


def _same_mask(mask: Array, input_shape: tuple[int, ...]) -> Array:
    return mask


def requires(**static_reqs: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator for a ``kernel_fn`` that says what it asks of its input.

    Parameters
    ----------
    **static_reqs
        ``batch_axis`` and ``channel_axis`` are checked while planning. ``diagonal_spatial`` and
        ``diagonal_batch`` need no check: every offset is there, and pairs within a batch are not.
    """

    def decorate(kernel_fn: Callable[..., Any]) -> Callable[..., Any]:
        kernel_fn.requirements = static_reqs  # type: ignore[attr-defined]
        return kernel_fn

    return decorate


@record
class Foreign(Layer):
    """A layer made of functions; see :func:`layer`."""

    label: str
    init_fn: Callable[..., Any]
    apply_fn: Callable[..., Any]
    kernel_fn: Callable[..., Any]
    mask_fn: Callable[..., Any] | None = None
    acts_on_kernels: ClassVar[bool] = True

    def __repr__(self) -> str:
        return self.label

    # planning

    def axes_in(self, ndim: int) -> Axes | None:
        asked = getattr(self.kernel_fn, "requirements", {})
        if not {"batch_axis", "channel_axis"} & set(asked):
            return None
        return default_axes(ndim, asked.get("batch_axis", 0), asked.get("channel_axis", -1))

    def shape(self, *inputs: Shape) -> Shape:
        return _trial(self, inputs[0], False)[0]

    def traits_at(self, shapes: tuple[Shape, ...], traits: tuple[Traits, ...]) -> Traits:
        gaussian = _trial(self, shapes[0], traits[0].gaussian)[1]
        return Traits(gaussian=gaussian, trained=True)

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        return everything(shape1.spatial, shape2.spatial)

    def sides(self, shape: Shape) -> Need | None:
        return everything(shape.spatial, shape.spatial)

    @property
    def carries_masks(self) -> bool:
        return self.mask_fn is not None

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        if self.mask_fn is None:
            return super().mask(at, shapes, masks)
        (shape,), (mask,) = shapes, masks
        users = at.xp.permute_dims(mask, shape.axes.inverse)
        found = self.mask_fn(users, shape.full(int(mask.shape[0])))
        return at.xp.permute_dims(found, self.shape(shape).axes.order)

    # infinite width

    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        raise AssertionError(f"{self!r} acts on whole kernels")

    def of_kernel(self, kernel: Kernel) -> Kernel:
        found = self.kernel_fn(kernel)
        if not isinstance(found, Kernel):
            raise ArgumentError(
                f"the kernel_fn of {self!r} returned a {type(found).__name__}; it must return a "
                "Kernel, such as kernel.replace(nngp=...)."
            )
        return found

    # finite width

    def init(self, at: Place, rng: Any, *inputs: Shape) -> Params:
        return self.init_fn(rng, inputs[0].full(-1))[1]

    def draw(self, at: Place, rng: Any, *inputs: Array) -> Any:
        return rng

    def apply(self, run: Run, params: Params, *inputs: Array) -> Array:
        given = {"rng": run.drawn, "mask": next(iter(run.masks), None)}
        kwargs = {name: value for name, value in given.items() if value is not None}
        return self.apply_fn(params, inputs[0], **kwargs)

    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        return self.apply(run, params, *inputs)

    def vjp(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        vjp = run.at.backend.require("vjp", f"the gradient of {self!r}")
        own, below = vjp(lambda p, x: self.apply(run, p, x), params, inputs[0])[1](grad)
        return own, (below,)

    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        return self.vjp(run, params, inputs, grad)


@functools.lru_cache(maxsize=256)
def _trial(foreign: Foreign, shape: Shape, gaussian: bool) -> tuple[Shape, bool]:
    """Return the shape of the output and whether it is Gaussian, from a small kernel."""
    errors: list[Exception] = []
    for backend in loaded():
        try:
            found = foreign.of_kernel(_small(backend, shape, gaussian))
        except Exception as error:  # the functions may be written for another library
            errors.append(error)
            continue
        spatial = tuple(int(n) for n in found.nngp.shape[2::2])
        axes = default_axes(len(spatial) + 2, found.batch_axis, found.channel_axis)
        return Shape(spatial, found.shape1[found.channel_axis], axes), bool(found.is_gaussian)
    kinds = "; ".join(dict.fromkeys(f"{type(e).__name__}: {e}" for e in errors))
    raise PlanError(
        f"the kernel_fn of {foreign!r} fails on a small Kernel ({kinds}); mend it, or import the "
        "library that it is written for before planning."
    )


def _small(backend: Backend, shape: Shape, gaussian: bool) -> Kernel:
    """Return a kernel of two examples with the sizes of a shape, in the user's order of axes."""
    sizes = [shape.spatial[i] for i in _order(shape.axes)]
    space = [n for size in sizes for n in (size, size)]
    xp = backend.namespace
    full = shape.full(2)
    return Kernel(
        nngp=xp.ones((2, 2, *space)),
        ntk=xp.ones((2, 2, *space)),
        cov1=xp.ones((2, *space)),
        cov2=xp.ones((2, *space)),
        is_gaussian=gaussian,
        shape1=full,
        shape2=full,
        batch_axis=shape.axes.batch,
        channel_axis=shape.axes.channel,
    )


def _order(axes: Axes) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes.spatial)), key=axes.spatial.__getitem__))
