"""A node: the accelerators that share one scale-up domain (NVLink, xGMI, PCIe, ICI)."""

from __future__ import annotations

from enum import StrEnum
from math import prod
from typing import Annotated, Final

from simulator.errors import ProfileError
from simulator.fields import (
    GB_PER_S,
    MICROSECONDS,
    Count,
    Flag,
    NonNegative,
    Positive,
    Text,
    record,
)
from simulator.hardware.collectives import CollectiveModel


class ScaleUp(StrEnum):
    """How the accelerators of a node are wired."""

    SWITCH = "switch"
    """Every accelerator reaches every other at full rate (NVSwitch)."""
    MESH = "mesh"
    """One link to each other accelerator: a group of n has n - 1 of them (xGMI)."""
    TORUS = "torus"
    """Neighbour links only (TPU ICI)."""
    PCIE = "pcie"
    """A shared host bus."""


MOST_AXES: Final = 3
"""Axes of the largest torus that is wired anywhere (x, y, z)."""


@record
class Node:
    """A node profile (``hardware_profiles/nodes/*.yaml``), in SI."""

    name: Text
    accelerators: Count
    """Accelerators in the scale-up domain."""
    scale_up: ScaleUp
    bandwidth: Annotated[Positive, GB_PER_S]
    """Line rate of one accelerator into the domain, one direction, all its links [B/s]."""
    pair_bandwidth: Annotated[Positive, GB_PER_S]
    """What one pair of accelerators gets, one direction [B/s]: a send/recv uses this."""
    pair_latency: Annotated[NonNegative, MICROSECONDS]
    """Latency of a send/recv inside the domain [s]."""
    collectives: CollectiveModel
    """Measured or transferred behaviour of collectives inside the domain."""
    nics: Count
    """Network interfaces of the node."""
    in_switch_reduction: Flag = False
    """Whether the scale-up switches reduce and multicast (NVLS)."""
    torus: tuple[Count, ...] | None = None
    """Accelerators along each axis of a torus, neighbouring slots along the first."""
    wrapped: Flag | None = None
    """Whether the ends of a torus axis are joined (true) or not (false: a grid)."""
    host_bridge: Annotated[Positive, GB_PER_S] | None = None
    """What a PCIe box's host moves between its accelerators and interfaces, all together [B/s]."""

    def __post_init__(self) -> None:
        """Refuse wiring that its numbers do not describe.

        Raises
        ------
        ProfileError
            If a number that the wiring needs is missing, or one is given that nothing would read.
        """
        if self.scale_up is ScaleUp.TORUS:
            self._check_torus()
        elif self.torus is not None or self.wrapped is not None:
            raise ProfileError(f"torus and wrapped describe no {self.scale_up}; remove them")
        if (self.scale_up is ScaleUp.PCIE) != (self.host_bridge is not None):
            raise ProfileError("host_bridge_gb_per_s goes with scale_up: pcie, and only with it")

    def _check_torus(self) -> None:
        if self.torus is None or self.wrapped is None:
            raise ProfileError("scale_up: torus needs torus, such as [16, 16], and wrapped")
        if not 1 <= len(self.torus) <= MOST_AXES or prod(self.torus) != self.accelerators:
            raise ProfileError(
                f"torus: {' x '.join(map(str, self.torus))} must be one to {MOST_AXES} axes and "
                f"make {self.accelerators} accelerators"
            )
