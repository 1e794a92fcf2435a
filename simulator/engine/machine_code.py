"""Plain functions as machine code, where numba is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def machine_code(*functions: Callable[..., object]) -> list[Any] | None:
    """Return functions as machine code that takes and returns the same.

    What is made is kept on disk, so that the next process compiles nothing, and releases the
    interpreter's lock. None if numba is missing or refuses this Python.
    """
    try:
        import numba  # noqa: PLC0415 - costs a third of a second, and small programs do without
    except ImportError:
        return None

    def compiled(function: Callable[..., object]) -> object:
        try:
            return numba.njit(cache=True, nogil=True)(function)
        except RuntimeError:  # no directory can be written: every process compiles for itself
            return numba.njit(nogil=True)(function)

    return [compiled(function) for function in functions]
