"""Clusters as they cannot be bought: another line rate, a free network, free communication.

What is free takes no time: bandwidth has no limit and every latency is nil. Ranks still wait for
one another, and hosts still launch the kernels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

from simulator.fields import MICROSECONDS, MILLISECONDS, unit_of

if TYPE_CHECKING:
    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collectives import CollectiveLine, CollectiveModel
    from simulator.hardware.fabric import Fabric
    from simulator.hardware.node import Node

Record = TypeVar("Record")

UNLIMITED: Final = 1e30
"""Bandwidth [B/s] that leaves no time, and factor on one.

Not infinite: oversubscribed tiers keep their share of the interfaces, group sizes are interpolated
in 1/B, and a torus counts its links by a ratio.
"""
TIMES: Final = (MICROSECONDS, MILLISECONDS)
"""Units of latencies."""


def with_line_rate(cluster: Cluster, rate: float) -> Cluster:
    """Return the cluster with ``rate`` [B/s] of network for each accelerator, one direction.

    Interfaces and, at their oversubscription, the tiers above them are scaled together; latencies,
    the share of the line rate that messages reach, and the links between islands stay.
    """
    nic = rate * cluster.node.accelerators / cluster.node.nics
    return replace(cluster, fabric=replace(cluster.fabric, nic=nic))


def with_free_network(cluster: Cluster) -> Cluster:
    """Return the cluster with a network between nodes that costs nothing.

    What a collective over several nodes moves inside them still takes its time there.
    """
    return replace(cluster, fabric=_free_fabric(cluster.fabric))


def with_free_communication(cluster: Cluster) -> Cluster:
    """Return the cluster in which no communication takes time, inside a node or between nodes."""
    return replace(cluster, fabric=_free_fabric(cluster.fabric), node=_free_node(cluster.node))


def rate_is_free(fabric: Fabric) -> bool:
    """Return whether the line rate decides the fabric's times: no measured curve fixes them."""
    return all(line.measured is None for line in fabric.collectives.lines.values())


def _free_fabric(fabric: Fabric) -> Fabric:
    islands = fabric.islands and replace(_without_latency(fabric.islands), link=UNLIMITED)
    return replace(
        _without_latency(fabric),
        nic=UNLIMITED,
        islands=islands,
        tiers=tuple(map(_without_latency, fabric.tiers)),
        collectives=_free(fabric.collectives),
    )


def _free_node(node: Node) -> Node:
    return replace(
        _without_latency(node),
        bandwidth=node.bandwidth * UNLIMITED,
        pair_bandwidth=node.pair_bandwidth * UNLIMITED,
        collectives=_free(node.collectives),
    )


def _free(model: CollectiveModel) -> CollectiveModel:
    lines = {kind: _free_line(line) for kind, line in model.lines.items()}
    return replace(_without_latency(model), lines=lines)


def _free_line(line: CollectiveLine) -> CollectiveLine:
    rates = line.bus_bandwidth and dict.fromkeys(line.bus_bandwidth, UNLIMITED)
    return replace(_without_latency(line), bus_bandwidth=rates, measured=None)


def _without_latency(record: Record) -> Record:
    """Return a record of a profile with every time in it nil."""
    hints = get_type_hints(type(record), include_extras=True)
    times = {
        name: 0.0
        for name, hint in hints.items()
        if unit_of(hint) in TIMES and isinstance(getattr(record, name), float)
    }
    changed: Any = replace(record, **times)  # type: ignore[type-var]  # records are dataclasses
    return changed  # type: ignore[no-any-return]
