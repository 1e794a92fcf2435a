"""Measured collectives: what tables and logs call them, and the size bands that errors go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.operators import Collective
from simulator.units import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: Final[Mapping[str, Collective]] = {
    **{str(kind): kind for kind in Collective},
    "alltoall": Collective.ALL_TO_ALL,
    "sendrecv": Collective.SEND_RECV,
}
"""Collectives by name, those of nccl-tests included."""
MEDIUM: Final = 16 * MIB
"""Largest message [B] that latency still shapes."""
BANDS: Final = (("<= 64 KiB", 64 * KIB), ("<= 16 MiB", MEDIUM), ("> 16 MiB", float("inf")))
"""Size bands, each up to and including its limit [B]."""


def band(n_bytes: float) -> str:
    """Return the name of the size band that ``n_bytes`` falls in."""
    return next(name for name, limit in BANDS if n_bytes <= limit)
