"""The thin triple around a network: what a user holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ntcore import entry, sample
from ntcore.arguments import (
    deep_tuple,
    names_of,
    options_of,
    place_of_rng,
    refuse_unknown,
    selected,
    tuples,
)
from ntcore.backend import place_of
from ntcore.graphs import arrays_in
from ntcore.inputs import leaves_of, map_tree, of_sizes
from ntcore.masked import values_of
from ntcore.network import Tree
from ntcore.plan import Plan
from ntcore.planner import make_plan
from ntcore.record import Record, iter_leaves, leaf, record


@record
class Model(Record):
    """A network that unpacks into ``(init_fn, apply_fn, kernel_fn)``.

    Attributes
    ----------
    network : Record
        The network as data. Its leaves (``W_std``, ``b_std``, ...) are those of the pytree that
        a model is in JAX and torch.
    """

    network: Record = leaf()

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return iter((self.init_fn, self.apply_fn, self.kernel_fn))

    def __getitem__(self, index: int) -> Any:
        return tuple(self)[index]

    def __len__(self) -> int:
        return 3

    def __repr__(self) -> str:
        return repr(self.network)

    def plan(
        self,
        shape1: Any,
        shape2: Any = None,
        get: Any = ("nngp", "ntk"),
        *,
        itemsize: int = 4,
        memory_budget: int | None = None,
    ) -> Plan:
        """Return what ``kernel_fn`` would compute for arrays of these shapes; print it to see.

        Parameters
        ----------
        shape1, shape2 : tuple of int
            Shapes of ``x1`` and ``x2``, batch included; tuples of shapes for several inputs.
            ``shape2=None`` stands for ``x2=None``.
        get : str or tuple of str
            As in :meth:`kernel_fn`.
        itemsize : int, default 4
            Bytes of a number, for the totals.
        memory_budget : int, optional
            As in :meth:`kernel_fn`; the plan says whether variances are kept.

        Returns
        -------
        Plan
            Every edge with its offsets, entries, FLOPs and bytes; holds no array.

        Raises
        ------
        PlanError
            If the network has no Gaussian limit as composed.
        ShapeError
            If a layer does not fit its input.
        """
        options = options_of(names_of(get), None, itemsize, memory_budget)
        return make_plan(self.network, of_sizes(self.network, shape1, shape2), options)

    def kernel_fn(
        self,
        x1_or_kernel: Any,
        x2: Any = None,
        get: Any = None,
        *,
        pattern: Any = None,
        mask_constant: float | None = None,
        diagonal_batch: bool | None = None,
        diagonal_spatial: bool | None = None,
        progress: Callable[[int, int], None] | None = None,
        memory_budget: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the kernels of the infinitely wide network.

        Parameters
        ----------
        x1_or_kernel : array, Kernel, or tuple of them
            The first batch, ``(n1, ..., channels)``, real floating point; or the result of
            another ``kernel_fn``.
        x2 : array or tuple of them, optional
            The second batch; None compares ``x1`` with itself, and so does a batch of equal
            values, unless these are unknown (under ``jit``) or one of the two has a gradient.
        get : str or tuple of str, optional
            ``'nngp'``, ``'ntk'`` or any other field of :class:`~ntcore.Kernel` returns that
            field; a tuple returns a named tuple; None returns a ``Kernel``.
        pattern : tuple, optional
            What layers such as Aggregate read, one for each batch; the second may be None where
            ``x2`` is.
        mask_constant : float, optional
            Inputs equal to it are masked: they are not there, and the kernel is 0 where either
            position is masked. NaN equals itself here.
        diagonal_batch : bool, optional
            False returns ``cov1`` and ``cov2`` of all pairs, ``(n1, n1, ...)``.
        diagonal_spatial : bool, optional
            True returns offset 0 alone, ``(n1, n2, H, W)``.
        progress : callable, optional
            Called with the number of tiles done and their total.
        memory_budget : int, optional
            Bytes that may be taken beside the inputs, the result included. Tiles are made to fit,
            and variances are computed again for every tile where keeping them would not. Inside
            ``jit`` and transformations of functions it is not looked at.

        Returns
        -------
        array, named tuple or Kernel
            On the device and in the data type of the inputs. Kernels have the shape
            ``(n1, n2)`` after a flatten or a global pool and ``(n1, n2, H, H, W, W)`` otherwise.

        Raises
        ------
        PlanError
            If the network has no Gaussian limit as composed.
        ShapeError, DTypeError, BackendError, NotFiniteError
            If the inputs do not fit the network or each other, are not real floating point,
            belong to several libraries or devices, or hold NaN.
        BudgetError
            If not even one pair at a time fits ``memory_budget``.
        """
        refuse_unknown("kernel_fn", kwargs)
        names = names_of(get)
        options = options_of(names, diagonal_spatial, memory_budget=memory_budget)
        kernels = entry.kernels_of(
            self.network,
            tuples(x1_or_kernel),
            tuples(x2),
            options,
            entry.Extras(
                mask_constant,
                pattern,
                diagonal_batch is not False or not {"cov1", "cov2"} & set(names),
                progress,
            ),
        )
        return map_tree(lambda k: selected(k, get, names), kernels)

    def init_fn(self, rng: Any, input_shape: Any, *, like: Any = None) -> tuple[Any, Any]:
        """Draw parameters of the finite network.

        Parameters
        ----------
        rng : int, numpy.random.Generator, JAX key or torch.Generator
            An integer draws the same parameters on every backend.
        input_shape : tuple of int
            Shape of an input, batch included (-1 where unknown).
        like : array, optional
            Parameters take the library, the data type and the device of this array; by default
            those of ``rng``, and NumPy's for an integer.

        Returns
        -------
        output_shape : tuple of int
        params : tuple
            One entry per layer, ``(W, b)`` for Dense and Conv, ``()`` where nothing is trained.
        """
        at, rng = place_of_rng(rng, like)
        inputs = of_sizes(self.network, input_shape)
        _, params = sample.init(self.network, at, rng, inputs.shapes1)
        sizes = sample.output_sizes(self.network, inputs.shapes1, inputs.counts[0])
        return sizes, params

    def apply_fn(
        self,
        params: Any,
        inputs: Any,
        *,
        rng: Any = None,
        pattern: Any = None,
        mask_constant: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the output of the finite network.

        Parameters
        ----------
        params : tuple
            What ``init_fn`` returned.
        inputs : array, MaskedArray, or tuple of them
            A batch.
        rng : int, numpy.random.Generator, JAX key or torch.Generator, optional
            For layers that draw random numbers, such as Dropout.
        pattern : array or what the layer takes, optional
            For layers that read one, such as Aggregate.
        mask_constant : float, optional
            Inputs equal to it are masked, and a :class:`~ntcore.stax.MaskedArray` is returned.

        Raises
        ------
        ArgumentError
            If an argument is not listed here, or a layer draws random numbers and there is no
            ``rng``.
        PlanError
            If inputs are masked and a layer cannot carry masks.
        """
        refuse_unknown("apply_fn", kwargs)
        now, held = self._begin(params, inputs, rng, pattern, mask_constant)
        out = sample.apply(self.network, now, params, held)
        return map_tree(lambda h: sample.unheld(now.at, h), out)

    def vjp_fn(
        self,
        params: Any,
        inputs: Any,
        *,
        rng: Any = None,
        pattern: Any = None,
        mask_constant: float | None = None,
    ) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
        """Return the output and its pullback, by ntcore's own reverse rule.

        Works on every backend, those without derivatives of their own included.

        Parameters
        ----------
        params, inputs, rng, pattern, mask_constant
            As in :meth:`apply_fn`.

        Returns
        -------
        outputs : array, MaskedArray, or tuple of them
        pullback : callable
            From a gradient of the (unmasked) outputs to
            ``(gradient of params, gradient of inputs)``.
        """
        now, held = self._begin(params, inputs, rng, pattern, mask_constant)
        out, pull = sample.vjp(self.network, now, params, held)
        return map_tree(lambda h: sample.unheld(now.at, h), out), pull

    def _begin(
        self, params: Any, inputs: Any, rng: Any, pattern: Any, mask_constant: Any
    ) -> tuple[sample.Pass, Tree]:
        x = tuples(inputs)
        weights = [w for w in iter_leaves(deep_tuple(params)) if hasattr(w, "shape")]
        arrays = [values_of(v) for v in leaves_of(x)]
        leaves = (*iter_leaves(self.network), *arrays_in(pattern))
        at = place_of([*arrays, *weights], leaves)
        held = sample.held(self.network, at, x, mask_constant)
        return sample.Pass(at, rng, pattern), held
