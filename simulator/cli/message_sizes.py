"""Message sizes as users write and read them: powers of ten, and of two with an i."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from simulator.errors import SimulatorError
from simulator.units import GIB, GIGA, KIB, KILO, MEGA, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

BYTE_UNITS: Final[Mapping[str, float]] = {
    "": 1.0,
    "B": 1.0,
    "KB": KILO,
    "MB": MEGA,
    "GB": GIGA,
    "KiB": KIB,
    "MiB": MIB,
    "GiB": GIB,
}


def parsed_sizes(text: str) -> list[float]:
    """Return the message sizes [B] in ``text``, such as ``1MiB,1GB``.

    Raises
    ------
    SimulatorError
        If one is not a number with a known unit.
    """
    return [_parsed_size(part.strip()) for part in text.split(",")]


def _parsed_size(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)", text)
    units = {name.lower(): factor for name, factor in BYTE_UNITS.items()}
    if not match or match[2].lower() not in units:
        allowed = ", ".join(name for name in BYTE_UNITS if name)
        raise SimulatorError(f"--bytes: {text!r} is not a size; write a number with {allowed}")
    return float(match[1]) * units[match[2].lower()]


def size_text(n_bytes: float) -> str:
    """Return a size as it reads best: in powers of two if they are whole, else of ten."""
    for units in (("GiB", "MiB", "KiB"), ("GB", "MB", "KB")):
        for unit in units:
            count = n_bytes / BYTE_UNITS[unit]
            if count >= 1 and count == int(count):
                return f"{int(count):,} {unit}"
    return f"{n_bytes:,.0f} B"
