"""Numbers that fill a vector, as one value of compiled code.

A loop as short as a vector is written out before it could become one, and arrays that may overlap
keep its parts from being joined again. So neighbours in memory are read as one value, on which
arithmetic is that of numbers, in a form that every processor's code comes from.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, overload, register_model

from ntcore.backends.numba_loops import LANES


class Lanes(types.Type):
    """``LANES`` numbers of one data type."""

    def __init__(self, element: Any) -> None:
        self.element = element
        super().__init__(name=f"Lanes({element})")


class Mask(types.Type):
    """What a comparison of lanes says of each."""

    def __init__(self) -> None:
        super().__init__(name="Mask")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """How lanes are held."""

    def __init__(self, manager: Any, kind: Lanes) -> None:
        element = manager.lookup(kind.element).get_value_type()
        super().__init__(manager, kind, ir.VectorType(element, LANES))


@register_model(Mask)
class MaskModel(models.PrimitiveModel):
    """How a mask is held."""

    def __init__(self, manager: Any, kind: Mask) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(1), LANES))


# --- arithmetic ----------------------------------------------------------------------------------


def _spread(builder: Any, number: Any) -> Any:
    """Return lanes that hold one number."""
    none = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    one = builder.insert_element(none, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, none, first)


def _as_lanes(context: Any, builder: Any, kinds: Any, values: Any) -> list[Any]:
    """Return values as lanes, where at least one of them is."""
    (element, *_) = (k.element for k in kinds if isinstance(k, Lanes))
    return [
        x if isinstance(k, Lanes) else _spread(builder, context.cast(builder, x, k, element))
        for k, x in zip(kinds, values, strict=True)
    ]


def _define(fn: Any, make: Callable[..., Any], result: Any = None) -> None:
    """Let a function of two numbers take lanes for one of them, or for both."""

    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            lanes = [a for a in args if isinstance(a, Lanes)]
            if len(args) == 2 and lanes and all(isinstance(a, (Lanes, types.Float)) for a in args):
                return signature(result or lanes[0], *args)
            return None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return make(builder, *_as_lanes(context, builder, sig.args, args))

    infer_global(fn)(Template)
    for kinds in ((Lanes, Lanes), (Lanes, types.Float), (types.Float, Lanes)):
        lower_builtin(fn, *kinds)(lower)


def _define_root(fn: Any, name: str) -> None:
    """Let a function of one number take lanes, by an operation of the compiler's."""

    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            alone = len(args) == 1 and isinstance(args[0], Lanes)
            return signature(args[0], args[0]) if alone else None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind, bits = args[0].type, sig.args[0].element.bitwidth
        full = f"llvm.{name}.v{LANES}f{bits}"
        given = ir.FunctionType(kind, [kind])
        return builder.call(cgutils.get_or_insert_function(builder.module, given, full), args)

    infer_global(fn)(Template)
    lower_builtin(fn, Lanes)(lower)


def _compared(how: str) -> Callable[..., Any]:
    return lambda builder, x, y: builder.fcmp_ordered(how, x, y)


def _picked(how: str) -> Callable[..., Any]:
    """As numbers are picked: the first stays where neither is, as where it is NaN."""
    return lambda builder, x, y: builder.select(builder.fcmp_ordered(how, y, x), y, x)


_define(operator.add, lambda builder, x, y: builder.fadd(x, y))
_define(operator.sub, lambda builder, x, y: builder.fsub(x, y))
_define(operator.mul, lambda builder, x, y: builder.fmul(x, y))
_define(operator.truediv, lambda builder, x, y: builder.fdiv(x, y))
_define(min, _picked("<"))
_define(max, _picked(">"))
_define(operator.gt, _compared(">"), Mask())
_define(operator.ge, _compared(">="), Mask())
_define_root(math.sqrt, "sqrt")
_define_root(abs, "fabs")


@intrinsic
def _picked_lanes(typing: Any, mask: Any, one: Any, two: Any) -> Any:
    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        both = _as_lanes(context, builder, sig.args[1:], args[1:])
        return builder.select(args[0], *both)

    return (one if isinstance(one, Lanes) else two)(mask, one, two), code


def chosen(condition: Any, one: Any, two: Any) -> Any:
    """Return one number where a condition holds, and the other one elsewhere."""
    raise TypeError("for compiled code alone")


@overload(chosen, strict=False, jit_options={"forceinline": True})
def _chosen(condition: Any, one: Any, two: Any) -> Any:
    if isinstance(condition, Mask):
        return lambda condition, one, two: _picked_lanes(condition, one, two)
    return lambda condition, one, two: one if condition else two


# --- memory --------------------------------------------------------------------------------------


def _place(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> tuple[Any, int]:
    """Return where lanes begin in an array, and what their address is a multiple of."""
    lanes = context.get_value_type(Lanes(kind.dtype))
    data = context.make_array(kind)(context, builder, array).data
    place = builder.bitcast(builder.gep(data, [offset]), lanes.as_pointer())
    return place, context.get_abi_sizeof(lanes.element)


@intrinsic
def read(typing: Any, x: Any, at: Any) -> Any:
    """Return ``LANES`` neighbours in an array, from one on."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place, align = _place(context, builder, sig.args[0], *args)
        found = builder.load(place)
        found.align = align
        return found

    return Lanes(x.dtype)(x, types.uintp), code


@intrinsic
def write(typing: Any, x: Any, at: Any, lanes: Any) -> Any:
    """Write lanes to an array, from one place on."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place, align = _place(context, builder, sig.args[0], *args[:2])
        builder.store(args[2], place, align=align)
        return context.get_dummy_value()

    return types.void(x, types.uintp, Lanes(x.dtype)), code
