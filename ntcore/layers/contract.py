"""The contract of a layer.

A layer is a frozen record. What it means is said by a few small methods:

``shape``, ``traits``, ``need``
    static, run while planning: sizes of the output, whether its limit is Gaussian, and which
    offsets of the input an output asks for;
``push``
    moments of the input to moments of the output;
``regroup``
    in place of ``push``, where a layer picks or joins examples;
``mask``
    where the output holds nothing, given where the input does;
``init``, ``forward``, ``backward``
    the layer at finite width, for arrays with the batch first and the channels last.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ntcore.backend import Array, Place
from ntcore.cov import Features
from ntcore.errors import PlanError
from ntcore.moments import Context, Moments, Traits
from ntcore.need import Need
from ntcore.record import Record
from ntcore.shape import Axes, Shape

Params = Any


@dataclass(frozen=True)
class Run:
    """The circumstances of one layer of a finite network at work.

    Attributes
    ----------
    at : Place
        Backend, data type and device.
    masks : tuple
        The mask of each input, ``(n, *spatial, C)`` or ``(n, *spatial, 1)``, or None.
    aside : array or None
        What :meth:`Layer.aside` made of the caller's ``pattern``.
    drawn : array or None
        What :meth:`Layer.draw` drew.
    """

    at: Place
    masks: tuple[Array | None, ...] = ()
    aside: Any = None
    drawn: Any = None


class Layer(Record):
    """Base of every layer with one input; a layer with several overrides the starred forms."""

    arity: ClassVar[int | None] = 1
    acts_on_kernels: ClassVar[bool] = False  # the infinite width is a function of public kernels
    additive: ClassVar[bool] = False  # the output of a sum of needs is the sum of their outputs
    pointwise: ClassVar[bool] = False  # acts entry by entry, whatever the layout of a block
    totals: ClassVar[bool] = False  # nothing is read of the input but the sum of all its entries

    @classmethod
    def examples(cls) -> list[Any]:
        """Return example layers, or pairs of a layer and an input kind, for conformance."""
        return []

    # planning

    def axes_in(self, ndim: int) -> Axes | None:
        """Return where the layer expects the batch and the channels; None: wherever they are."""
        return None

    def axes_out(self, axes: Axes) -> Axes:
        """Return where the output keeps its axes, for an input that keeps them at ``axes``."""
        return axes

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the output."""
        return inputs[0]

    def traits(self, *inputs: Traits) -> Traits:
        """Return the traits of the output, or raise :class:`~ntcore.errors.PlanError`."""
        return replace(inputs[0], is_input=False)

    def traits_at(self, shapes: tuple[Shape, ...], traits: tuple[Traits, ...]) -> Traits:
        """Return the traits of the output, where they depend on the shapes of the inputs."""
        return self.traits(*traits)

    def need(self, out: Need, shape1: Shape, shape2: Shape) -> Need:
        """Return the offsets of an input that the offsets ``out`` of the output ask for."""
        return out

    def needs(
        self, out: Need, shapes1: tuple[Shape, ...], shapes2: tuple[Shape, ...]
    ) -> tuple[Need, ...]:
        """Return the need of each input, where they differ from one input to the next."""
        return tuple(self.need(out, *both) for both in zip(shapes1, shapes2, strict=True))

    def sums(self, *inputs: Shape) -> bool:
        """Whether the layer can give the sum of all entries of its output, and nothing else.

        It is then asked for that sum, by a layout that is ``summed``, where a layer above reads
        no more. What mixes positions does so for far less than the entries take.
        """
        return False

    def multiplies(self, *inputs: Shape) -> bool:
        """Whether the layer multiplies by matrices of all positions; blocks are matrices then."""
        return False

    def maps(self, *inputs: Shape) -> bool:
        """Whether the layer multiplies the positions of each example by a matrix.

        Where its input is a product of features of either batch, so is its output then: what
        :meth:`map_features` makes of them.
        """
        return False

    def sides(self, shape: Shape) -> Need | None:
        """Return the offsets that the layer reads of its input's side blocks."""
        return None

    def flops(self, inputs: tuple[Shape, ...]) -> float:
        """Return floating-point operations per entry of the output block, for the plan."""
        return 1.0

    # layers that take kernels of whole batches

    def regroups(self, *inputs: Shape) -> bool:
        """Whether the examples of the output are others than those of the inputs.

        Such a layer has no ``push``: it takes kernels of whole batches, by :meth:`regroup`.
        """
        return self.acts_on_kernels

    def count(self, shapes: tuple[Shape, ...], counts: tuple[int, ...]) -> int:
        """Return the number of examples of the output."""
        return counts[0]

    def regroup(
        self, at: Place, shapes: tuple[Shape, ...], arrays: tuple[Array, ...], axes: int, each: int
    ) -> Array:
        """Return one array of the kernel of the output from those of the inputs.

        An array has ``axes`` axes of examples, 2 where it compares all pairs, and then ``each``
        axes for every spatial one, 2 where it compares all positions.
        """
        raise TypeError(f"{type(self).__name__} must define 'regroup'")

    def of_kernel(self, kernel: Any) -> Any:
        """Return a :class:`~ntcore.Kernel` made of one, where the layer ``acts_on_kernels``."""
        raise TypeError(f"{type(self).__name__} must define 'of_kernel'")

    # what comes beside a batch

    def mask(self, at: Place, shapes: tuple[Shape, ...], masks: tuple[Array, ...]) -> Array:
        """Return where the output holds nothing, given where each input does.

        Masks have the shape ``(n, *spatial, C)``, or one channel where all are alike. A layer
        that does not define this is refused where there are masks.
        """
        raise PlanError(no_mask(self))

    @property
    def carries_masks(self) -> bool:
        """Whether masks can pass through the layer."""
        return type(self).mask is not Layer.mask

    def aside(self, at: Place, pattern: Any, shapes: tuple[Shape, ...], count: int) -> Any:
        """Return what the layer reads of the caller's ``pattern`` for ``count`` examples.

        An array with an entry for each example on its first axis, or with one entry for all.
        """
        return None

    def example_pattern(self, shape: Shape, n: int) -> Any:
        """Return a host array that is a ``pattern`` of ``n`` examples, for conformance.

        The pattern of an example may depend on its number and on nothing else of the batch.
        """
        return None

    # infinite width

    def examine(self, at: Place, q: Array) -> Layer:
        """Return a layer that serves the variances of a batch at the input, or warn of them.

        Called once for each batch, where values are known.
        """
        return self

    @abstractmethod
    def push(self, ctx: Context, *inputs: Moments) -> Moments:
        """Return the moments of the output."""

    def map_features(
        self, at: Place, shape: Shape, features: Features, away: Array | None
    ) -> Features:
        """Return the features of the output, given those of the input.

        ``away`` marks positions that hold nothing, ``(n, *spatial)``; features are 0 there.
        """
        raise TypeError(f"{type(self).__name__} must define 'map_features'")

    # finite width

    def draw(self, at: Place, rng: Any, *inputs: Array) -> Any:
        """Return the random numbers that one forward pass takes."""
        return None

    def init(self, at: Place, rng: Any, *inputs: Shape) -> Params:
        """Return freshly drawn parameters."""
        return ()

    @abstractmethod
    def forward(self, run: Run, params: Params, *inputs: Array) -> Array:
        """Return the output for arrays with the batch first and the channels last."""

    @abstractmethod
    def backward(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        """Return ``(gradient of the parameters, gradients of the inputs)``."""

    def apply(self, run: Run, params: Params, *inputs: Array) -> Array:
        """Return the output for arrays in the user's order of axes."""
        axes = self.axes_in(inputs[0].ndim)
        if axes is None:
            return self.forward(run, params, *inputs)
        out = self.forward(run, params, *(_permuted(run.at, x, axes.order) for x in inputs))
        return _permuted(run.at, out, self.axes_out(axes).inverse)

    def vjp(self, run: Run, params: Params, inputs: tuple[Array, ...], grad: Array) -> Any:
        """Return ``(gradient of the parameters, gradients of the inputs)`` in the user's order."""
        axes = self.axes_in(inputs[0].ndim)
        if axes is None:
            return self.backward(run, params, inputs, grad)
        ordered = tuple(_permuted(run.at, x, axes.order) for x in inputs)
        grad = _permuted(run.at, grad, self.axes_out(axes).order)
        own, below = self.backward(run, params, ordered, grad)
        return own, tuple(_permuted(run.at, g, axes.inverse) for g in below)


def no_mask(layer: Layer) -> str:
    """Return what is wrong with a mask in front of a layer that carries none."""
    return (
        f"{layer!r} is given masked inputs, which it cannot carry; leave mask_constant out, or "
        "fill the masked entries before this layer."
    )


def whole_positions(at: Place, mask: Array) -> Array:
    """Return a mask of positions, true where all channels are masked, with one channel."""
    return at.xp.all(mask, axis=-1, keepdims=True)


def _permuted(at: Place, x: Array, order: tuple[int, ...]) -> Array:
    return x if order == tuple(range(x.ndim)) else at.xp.permute_dims(x, order)
