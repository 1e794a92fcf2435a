"""Numbers as people read them: three significant digits and a unit."""

from __future__ import annotations

from typing import Final

from simulator import units

_TIMES: Final = ((1.0, "s"), (units.MILLI, "ms"), (units.MICRO, "µs"))
_MULTIPLES: Final = (
    (units.PETA, "P"),
    (units.TERA, "T"),
    (units.GIGA, "G"),
    (units.MEGA, "M"),
    (units.KILO, "k"),
)


def time_unit(duration_s: float) -> tuple[float, str]:
    """Return the unit in which a duration [s] reads well: its size [s] and its symbol.

    Examples
    --------
    >>> time_unit(0.25)
    (0.001, 'ms')
    """
    return next((unit for unit in _TIMES if duration_s >= unit[0]), _TIMES[-1])


def time_text(duration_s: float) -> str:
    """Return a duration [s] with its unit, such as ``8.05 s`` or ``312 ms``."""
    size, symbol = time_unit(duration_s)
    return f"{significant(duration_s / size)} {symbol}"


def percent_text(share: float) -> str:
    """Return a share of 1 in percent, such as ``41.5%``."""
    return f"{100 * share:.1f}%"


def count_text(count: float) -> str:
    """Return a count or rate with its SI prefix, such as ``2.08 M``."""
    size, prefix = next((step for step in _MULTIPLES if count >= step[0]), (1.0, ""))
    return f"{significant(count / size)} {prefix}".rstrip()


def significant(number: float) -> str:
    """Return a number with at least three significant digits and no exponent.

    Examples
    --------
    >>> [significant(number) for number in (0.01234, 8.0486, 16384.2)]
    ['0.0123', '8.05', '16,384']
    """
    if number == 0:
        return "0"
    exponent = int(f"{number:.2e}".partition("e")[2])
    return f"{number:,.{max(2 - exponent, 0)}f}"
