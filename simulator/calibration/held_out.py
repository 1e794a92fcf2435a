"""Which measurements are kept from fits, to tell how well these predict: a stable share."""

from __future__ import annotations

import hashlib
from typing import Final

HELD_OUT: Final = 4
"""One in so many is kept from the fit."""


def is_held_out(name: str) -> bool:
    """Return whether what is called ``name`` is kept from fits, by the SHA-256 of the name."""
    return hashlib.sha256(name.encode()).digest()[0] % HELD_OUT == 0
