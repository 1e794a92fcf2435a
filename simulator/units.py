"""SI factors: the only place where a boundary unit becomes seconds, bytes, FLOPs or B/s.

Inside the simulator every quantity is a plain float in s, B, FLOP, B/s, FLOP/s or W.
At a boundary (YAML key, option, column, label) the unit stands in the name.
"""

from __future__ import annotations

from typing import Final

KILO: Final = 1e3
MEGA: Final = 1e6
GIGA: Final = 1e9
TERA: Final = 1e12
PETA: Final = 1e15

MILLI: Final = 1e-3
MICRO: Final = 1e-6

KIB: Final = 2**10
MIB: Final = 2**20
GIB: Final = 2**30

BITS_PER_BYTE: Final = 8
GBIT_PER_S: Final = GIGA / BITS_PER_BYTE
"""One Gbit/s in B/s."""

HOUR: Final = 3600.0
