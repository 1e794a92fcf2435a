"""Sweeps: the text of an option becomes a field and the values that it takes in turn."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from simulator.errors import SimulatorError
from simulator.scenario.loading import full_key

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_VALUES: Final = 1000
"""Values of one sweep beyond which it is a typing slip."""

_RANGE: Final = re.compile(r"([^:,{}[\]]+):([^:,{}[\]]+):(x?)([^:,{}[\]]+)")
_EXAMPLES: Final = "fabric.nic_gbit_per_s=100,200,400, 50:800:x2 or 100:400:100"
_EXPECTED: Final = f"expected KEY=VALUES such as {_EXAMPLES}"
_DIGITS: Final = 12
"""Significant digits of the values of a range: no field is known to more."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """A field of a scenario and the values that it takes, as YAML text."""

    key: str
    """Dotted path from the root of the scenario."""
    values: tuple[str, ...]


def parse_sweep(text: str) -> Sweep:
    """Return the sweep that ``KEY=VALUES`` describes.

    Values are a list with commas between them, each in YAML (commas inside brackets belong to a
    value), or a range: ``FIRST:LAST:STEP`` adds the step, ``FIRST:LAST:xFACTOR`` multiplies by the
    factor; the last value belongs to it if it is met.

    Raises
    ------
    SimulatorError
        If the text is neither, a value is empty or repeated, or there are too many.

    Examples
    --------
    >>> parse_sweep("fabric.nic_gbit_per_s=50:400:x2")
    Sweep(key='cluster.fabric.nic_gbit_per_s', values=('50', '100', '200', '400'))
    """
    key, equals, listed = text.partition("=")
    if not equals or not key.strip() or not listed.strip():
        raise SimulatorError(f"--sweep: {_EXPECTED}, got {text[:80]!r}")
    found = _RANGE.fullmatch(listed.strip())
    values = tuple(_range(key, *found.groups()) if found else _split(listed))
    if not all(values):
        raise SimulatorError(f"--sweep {key}: a value is empty in {listed[:80]!r}")
    if repeated := next((value for value in values if values.count(value) > 1), None):
        raise SimulatorError(f"--sweep {key}: the value {repeated} stands there twice")
    return Sweep(full_key(key.strip()), values)


def _range(key: str, first: str, last: str, by: str, step: str) -> Iterator[str]:
    """Yield the values of a range, all of them before the first is used."""
    start, stop, pace = (_decimal(key, word) for word in (first, last, step))
    least = 1 if by else 0
    if pace <= least or (by and start <= 0):
        wanted = "a factor above 1 and a first value above 0" if by else "a step above 0"
        raise SimulatorError(f"--sweep {key}: the range {first}:{last}:{by}{step} needs {wanted}")
    if stop < start:
        raise SimulatorError(f"--sweep {key}: the range {first}:{last}:{by}{step} has no values")
    value, count = start, 0
    while value <= stop:
        if (count := count + 1) > MOST_VALUES:
            raise SimulatorError(f"--sweep {key}: more than {MOST_VALUES:,} values")
        yield _text(value)
        value = value * pace if by else value + pace


def _decimal(key: str, word: str) -> Decimal:
    try:
        number = Decimal(word.strip())
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise SimulatorError(f"--sweep {key}: {word.strip()!r} is no number; {_EXPECTED}")
    return number


def _text(value: Decimal) -> str:
    """Return a number as YAML reads it back: whole numbers without a point."""
    rounded = Decimal(f"{value:.{_DIGITS}g}")
    plain = f"{rounded:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _split(listed: str) -> list[str]:
    """Return the values between commas, those inside brackets left alone."""
    values, depth = [""], 0
    for letter in listed:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            values.append("")
        else:
            values[-1] += letter
    return [value.strip() for value in values]
