"""Classes of links: bundles that are alike and numbered in one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.hardware.routes import Floats, Integers


@dataclass(frozen=True, slots=True, eq=False)
class LinkClass:
    """Bundles of one class: all parallel links of one direction between the same two ends."""

    name: str
    count: int
    capacity: Floats | float
    """Line rate of each bundle, one direction [B/s]; one number if they are alike."""
    width: Integers | int
    """Parallel physical links in each bundle."""
