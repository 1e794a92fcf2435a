"""The levels of a cluster above its nodes: tiers of switches, and what joins its islands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.hardware.memo import remembered

if TYPE_CHECKING:
    from simulator.hardware.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Level:
    """One level: what its units hold, and what leaves them."""

    name: str
    accelerators: int
    """Accelerators under one unit; slot s lies in unit ``s // accelerators``."""
    uplink: float
    """What leaves one unit upwards, all its links, one direction [B/s]; 0 of the outermost."""
    link: float
    """One link of the uplink [B/s]: the rate of an interface's port, or the islands' own."""
    latency: float
    """Added one-way latency of crossing this level [s]."""

    def links(self, rails: int) -> int:
        """Return the links of the uplink of one of the ``rails`` switches of a unit."""
        return max(1, round(self.uplink / rails / self.link))


def levels_of(cluster: Cluster) -> tuple[Level, ...]:
    """Return the levels of ``cluster`` from the innermost outwards; the last holds everything.

    Oversubscription multiplies up: a tier of 2:1 above one of 2:1 passes on a quarter of the
    interfaces' rate. With islands, the first tier that holds an island is its top, and what
    leaves it is the thin link.
    """
    return remembered(cluster, "levels", lambda: _levels(cluster))


def _levels(cluster: Cluster) -> tuple[Level, ...]:
    islands = cluster.fabric.islands
    whole = islands.accelerators if islands else cluster.largest
    levels = []
    carried, port = cluster.nic_bandwidth, cluster.fabric.nic / cluster.fabric.planes
    for tier in cluster.fabric.tiers:
        size = min(tier.accelerators, whole)
        carried /= tier.oversubscription
        levels.append(Level(tier.name, size, size * carried, port, tier.latency))
        if islands and size == whole:
            break
    if islands:
        top = levels.pop()
        levels.append(Level(top.name, whole, islands.link, islands.link, top.latency))
        levels.append(Level(islands.name, cluster.largest, 0.0, 0.0, islands.latency))
        return tuple(levels)
    top = levels.pop()
    outermost = max(top.accelerators, cluster.largest)
    return (*levels, Level(top.name, outermost, 0.0, 0.0, top.latency))
