"""Plain functions as machine code, where numba is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., object]")


class Compiler(Protocol):
    """Turns a function into machine code that takes and returns the same."""

    def __call__(self, function: Function, /) -> Function:
        """Return ``function`` as machine code."""


def compiler() -> Compiler | None:
    """Return a compiler to machine code, None if numba is missing or refuses this Python.

    What it makes is kept on disk, so that the next process compiles nothing, and releases the
    interpreter's lock.
    """
    try:
        import numba  # noqa: PLC0415 - costs a third of a second, and small programs do without
    except ImportError:
        return None

    def machine_code(function: Function, /) -> Function:
        try:
            return cast("Function", numba.njit(cache=True, nogil=True)(function))
        except RuntimeError:  # no directory can be written: every process compiles for itself
            return cast("Function", numba.njit(nogil=True)(function))

    return machine_code
