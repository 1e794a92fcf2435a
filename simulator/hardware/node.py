"""A node: the accelerators that share one scale-up domain (NVLink, xGMI, PCIe, ICI)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from simulator.fields import (
    GB_PER_S,
    MICROSECONDS,
    Count,
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
