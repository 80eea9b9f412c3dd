"""The exceptions of ntcore: one family, each member also the built-in type a caller would catch."""

from __future__ import annotations


class NtcoreError(Exception):
    """Base of every exception that ntcore raises on purpose."""


class PlanError(NtcoreError, ValueError):
    """The network has no Gaussian limit as composed, or asks for entries that are not there."""


class ShapeError(NtcoreError, ValueError):
    """An array or a layer has a size or an axis that does not fit."""


class ArgumentError(NtcoreError, ValueError):
    """An argument has a value outside what the function accepts."""


class DTypeError(NtcoreError, TypeError):
    """An array has a data type in which a kernel cannot be computed."""


class BackendError(NtcoreError, TypeError):
    """Arrays belong to no known backend, to two of them, or to two devices."""


class NotFiniteError(NtcoreError, ValueError):
    """An input holds NaN or infinity."""


class NotPSDError(NtcoreError, ValueError):
    """A matrix that has to be positive definite is not.

    Attributes
    ----------
    least_eigenvalue : float
        The smallest eigenvalue found.
    jitter : float
        A multiple of the identity that would make the matrix positive definite.
    """

    def __init__(self, message: str, least_eigenvalue: float, jitter: float) -> None:
        super().__init__(message)
        self.least_eigenvalue = least_eigenvalue
        self.jitter = jitter


class BudgetError(NtcoreError, MemoryError):
    """A kernel does not fit the memory that it may take.

    Attributes
    ----------
    least_bytes : int
        The budget that would do.
    """

    def __init__(self, message: str, least_bytes: int) -> None:
        super().__init__(message)
        self.least_bytes = least_bytes


class DerivativeError(NtcoreError, TypeError):
    """A function does something that cannot be differentiated."""


class AccuracyWarning(NtcoreError, UserWarning):
    """A moment is integrated to fewer digits than were asked for; the message tells how many."""


class Unsupported(NtcoreError, NotImplementedError):
    """The backend in use lacks a capability that the call needs."""
