"""The array that a traced function sees."""

from __future__ import annotations

from typing import Any, NoReturn

from ntcore.errors import DerivativeError
from ntcore.tape.trace import Op, Tape, Value


class Traced:
    """An array whose operations are recorded; it behaves as the standard says arrays do.

    Attributes
    ----------
    value : array
        The array of the library below.
    tape : Tape
        Where its operations are recorded.
    node : int or None
        Its position on the tape; None for a constant.
    """

    __slots__ = ("node", "tape", "value")
    __array_priority__ = 1e6  # CuPy hands an operation over to the greater

    def __init__(self, value: Any, tape: Tape, node: int | None = None) -> None:
        self.value, self.tape, self.node = value, tape, node

    # what it is

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(self.value.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(self.value.size)

    @property
    def dtype(self) -> Any:
        """Data type."""
        return self.value.dtype

    @property
    def device(self) -> Any:
        """Device of the array below."""
        return self.tape.backend.device(self.value)

    @property
    def T(self) -> Any:
        """The transpose of a matrix."""
        return self._call("permute_dims", (1, 0))

    @property
    def mT(self) -> Any:
        """The transpose of each of a stack of matrices."""
        return self._call("matrix_transpose")

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        from ntcore.tape.namespace import Namespace

        return Namespace(self.tape)

    @property
    def __ntcore_backend__(self) -> Any:
        from ntcore.tape.transforms import backend_on

        return backend_on(self.tape)

    def _call(self, name: str, *args: Any) -> Any:
        return getattr(self.__array_namespace__(), name)(self, *args)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Traced:
        """Return the array itself: a tape stays on one device."""
        return self

    def __repr__(self) -> str:
        return f"Traced({self.value!r})"

    def __len__(self) -> int:
        return self.shape[0]

    # leaving the tape

    def _number(self, kind: type) -> Any:
        if self.node is not None:
            raise DerivativeError(
                f"f turns an array that depends on its parameters into a Python {kind.__name__}, "
                "which loses the derivative; keep it an array."
            )
        return kind(self.value)

    def __float__(self) -> float:
        return float(self._number(float))

    def __int__(self) -> int:
        return int(self._number(int))

    def __index__(self) -> int:
        return int(self._number(int))

    def __bool__(self) -> bool:
        return bool(self._number(bool))

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise DerivativeError(
            "f hands a traced array to a function of NumPy, which would lose the derivative; take "
            "functions from x.__array_namespace__()."
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = _UFUNCS.get(ufunc.__name__, ufunc.__name__)
        space = self.__array_namespace__()
        if method != "__call__" or kwargs or not hasattr(space, name):
            self.__array__()
        return getattr(space, name)(*inputs)

    # changing

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        _refuse_mutation("x[...] = value")

    # indexing and operators

    def __getitem__(self, key: Any) -> Any:
        return self._call("_getitem", key)

    def __abs__(self) -> Any:
        return self._call("abs")

    def __neg__(self) -> Any:
        return self._call("negative")

    def __pos__(self) -> Any:
        return self

    def __invert__(self) -> Any:
        return self._call("bitwise_invert")


_UFUNCS = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin",
    "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh",
    "power": "pow", "true_divide": "divide", "conjugate": "conj",
}  # fmt: skip

_BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "pow",
    "matmul": "matmul", "floordiv": "floor_divide", "mod": "remainder",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}  # fmt: skip
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    "eq": "equal", "ne": "not_equal",
}  # fmt: skip


def _refuse_mutation(what: str) -> NoReturn:
    raise DerivativeError(
        f"f changes an array in place ({what}), which its derivative cannot follow; write it as "
        "an expression that makes a new array."
    )


def _install() -> None:
    """Define the operators, each by the function of the standard that it stands for."""

    def forward(name: str) -> Any:
        return lambda self, other: self._call(name, other)

    def reflected(name: str) -> Any:
        return lambda self, other: getattr(self.__array_namespace__(), name)(other, self)

    def in_place(symbol: str) -> Any:
        return lambda self, other: _refuse_mutation(f"__i{symbol}__")

    for symbol, name in {**_BINARY, **_COMPARISONS}.items():
        setattr(Traced, f"__{symbol}__", forward(name))
    for symbol, name in _BINARY.items():
        setattr(Traced, f"__r{symbol}__", reflected(name))
        setattr(Traced, f"__i{symbol}__", in_place(symbol))
    Traced.__hash__ = object.__hash__  # type: ignore[method-assign]


_install()


def apply(tape: Tape, op: Op, *args: Any, **static: Any) -> Traced:
    """Apply a primitive, recording it where an argument depends on a source."""
    from ntcore.tape.trace import Node

    values = tuple(level(tape, value_of(tape, a)) for a in args)
    out = op.value(tape, *values, **static)
    parents = tuple(node_of(tape, a) for a in args)
    if all(p is None for p in parents):
        return Traced(out, tape)
    tape.nodes.append(Node(tape, op, values, parents, static, out))
    return Traced(out, tape, len(tape.nodes) - 1)


def value_of(tape: Tape, x: Any) -> Value:
    """Return what the library below sees in place of ``x``."""
    return x.value if isinstance(x, Traced) and x.tape is tape else x


def level(tape: Tape, x: Any) -> Value:
    """Return a value as one of the library below.

    That may be a tape, whose arrays not every other array goes along with.
    """
    lower = tape.lower
    if lower is None or not hasattr(x, "dtype") or (isinstance(x, Traced) and x.tape is lower):
        return x
    return Traced(level(lower, x), lower)


def node_of(tape: Tape, x: Any) -> int | None:
    """Return where on the tape ``x`` is; None for a constant."""
    return x.node if isinstance(x, Traced) and x.tape is tape else None
