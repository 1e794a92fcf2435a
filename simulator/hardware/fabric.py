"""The scale-out network between nodes: interfaces, tiers and oversubscription."""

from __future__ import annotations

from typing import Annotated

from simulator.errors import ProfileError
from simulator.fields import (
    GBIT_PER_S,
    MICROSECONDS,
    MILLISECONDS,
    Count,
    Efficiency,
    Flag,
    NonNegative,
    Positive,
    Text,
    record,
)
from simulator.hardware.collectives import CollectiveModel


@record
class Tier:
    """A level of switches: ``accelerators`` below one unit of it reach each other through it."""

    name: Text
    accelerators: Count
    """Accelerators under one unit (one rail group, pod, plane); the last tier spans the cluster."""
    oversubscription: Positive
    """Bandwidth entering a unit from below over that leaving it upwards (1: non-blocking)."""
    latency: Annotated[NonNegative, MICROSECONDS]
    """Added one-way latency of crossing this tier [s]."""


@record
class Islands:
    """Regions or data centres, each with the tiers of the fabric, joined by thin links."""

    accelerators: Count
    """Accelerators of one island, in whole nodes."""
    link: Annotated[Positive, GBIT_PER_S]
    """What one island sends to all others together, one direction [B/s]."""
    latency: Annotated[NonNegative, MILLISECONDS]
    """Added one-way latency between two islands [s]."""
    name: Text = "wide area"
    """What joins them."""


@record
class Fabric:
    """A fabric profile (``hardware_profiles/fabrics/*.yaml``), in SI."""

    name: Text
    nic: Annotated[Positive, GBIT_PER_S]
    """Line rate of one network interface, one direction [B/s]."""
    efficiency: Efficiency
    """Share of the line rate that large messages reach."""
    rail_optimised: Flag
    """Whether interface i of every node hangs on the same leaf (rail i).

    A group whose members sit in different slots of their nodes then crosses the tier above.
    """
    pair_latency: Annotated[NonNegative, MICROSECONDS]
    """Latency of a send/recv between two nodes under the same switch [s]."""
    collectives: CollectiveModel
    """Latencies of collectives between nodes; bandwidth comes from ``nic`` and the tiers."""
    tiers: tuple[Tier, ...]
    """From the innermost outwards, by growing ``accelerators``."""
    in_network_reduction: Flag = False
    """Whether the switches reduce (SHARP)."""
    rails: Count | None = None
    """Rails of a rail-optimised fabric: interface i hangs on rail i modulo this; none: each on its
    own."""
    planes: Count = 1
    """Copies of all switches; every interface has a port of 1/planes of its rate in each, and
    bytes spread evenly over them."""
    islands: Islands | None = None
    """A level above all tiers; none: the last tier spans the cluster."""

    def __post_init__(self) -> None:
        """Refuse rails where interfaces hang on no rail.

        Raises
        ------
        ProfileError
            If ``rails`` is given without ``rail_optimised``.
        """
        if self.rails is not None and not self.rail_optimised:
            raise ProfileError("rails: give it with rail_optimised: true, or remove it")
