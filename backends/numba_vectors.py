"""Arithmetic on the pairs that fill a vector, which a compiler would take one by one.

A loop as short as a vector is written out before it could become one, and arrays that may overlap
keep its parts from being joined again. So what these functions do is said to be one operation on a
vector, in a form that every processor's code comes from.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ntcore.backends.numba_loops import LANES


class _Vectors:
    """Builds operations on ``LANES`` neighbours in arrays of one data type."""

    def __init__(self, context: Any, builder: Any, element: Any) -> None:
        self._context, self._builder = context, builder
        self._type = ir.VectorType(context.get_value_type(element), LANES)
        self._align = context.get_abi_sizeof(self._type.element)

    def place(self, kind: Any, array: Any, offset: Any) -> Any:
        """Return where the neighbours begin."""
        data = self._context.make_array(kind)(self._context, self._builder, array).data
        return self._builder.bitcast(self._builder.gep(data, [offset]), self._type.as_pointer())

    def read(self, place: Any) -> Any:
        loaded = self._builder.load(place)
        loaded.align = self._align
        return loaded

    def write(self, place: Any, found: Any) -> None:
        self._builder.store(found, place, align=self._align)

    def alike(self, number: Any) -> Any:
        """Return a vector of one number."""
        none = ir.Constant(self._type, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        one = self._builder.insert_element(none, number, ir.Constant(ir.IntType(32), 0))
        return self._builder.shuffle_vector(one, none, first)


@intrinsic
def put_lanes(typing: Any, y: Any, yo: Any, x: Any, xo: Any, factor: Any) -> Any:
    """Write ``y[yo + i] = factor * x[xo + i]`` for the pairs that fill a vector."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vectors, (y, yo, x, xo, factor) = _Vectors(context, builder, signature.args[4]), args
        found = vectors.read(vectors.place(signature.args[2], x, xo))
        to = vectors.place(signature.args[0], y, yo)
        vectors.write(to, builder.fmul(found, vectors.alike(factor)))
        return context.get_dummy_value()

    return types.void(y, types.uintp, x, types.uintp, y.dtype), code


@intrinsic
def add_lanes(typing: Any, y: Any, yo: Any, x: Any, xo: Any, factor: Any) -> Any:
    """Write ``y[yo + i] += factor * x[xo + i]`` for the pairs that fill a vector."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vectors, (y, yo, x, xo, factor) = _Vectors(context, builder, signature.args[4]), args
        found = vectors.read(vectors.place(signature.args[2], x, xo))
        to = vectors.place(signature.args[0], y, yo)
        more = builder.fmul(found, vectors.alike(factor))
        vectors.write(to, builder.fadd(vectors.read(to), more))
        return context.get_dummy_value()

    return types.void(y, types.uintp, x, types.uintp, y.dtype), code
