"""The scale-out network between nodes: interfaces, tiers and oversubscription."""

from __future__ import annotations

from typing import Annotated

from simulator.fields import (
    GBIT_PER_S,
    MICROSECONDS,
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
