"""The network between nodes as bundles: interfaces, and what leaves each unit of each level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import ProfileError
from simulator.hardware.interfaces import Interfaces, interfaces_of
from simulator.hardware.levels import Level, levels_of
from simulator.hardware.links import LinkClass
from simulator.hardware.routes import Segment, segment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.hardware.cluster import Cluster
    from simulator.hardware.routes import Flags, Floats, Integers


@dataclass(frozen=True, slots=True)
class Network:
    """Interfaces and levels of a cluster of a stated size."""

    accelerators: int
    interfaces: Interfaces
    nics: int
    """Physical interfaces of a node."""
    nic: float
    """Line rate of one physical interface [B/s]."""
    levels: tuple[Level, ...]
    """From the innermost outwards; nothing leaves the last."""
    planes: int
    """Copies of the switches; a port of an interface has ``nic / planes``."""

    @property
    def classes(self) -> tuple[LinkClass, ...]:
        """Bundles of the interfaces, then of each level that something leaves."""
        nodes, each = self.accelerators // self.interfaces.node, self.interfaces.each
        # Where interfaces outnumber accelerators, some may own one more than others.
        owned = np.diff(np.arange(each + 1) * self.nics // each)
        own = np.tile(owned, nodes).astype(np.int64)
        pairs: list[tuple[str, int, Floats | float, Integers | int]] = [
            ("nic", nodes * each, np.float64(self.nic) * own, own * self.planes)
        ]
        for depth, level in enumerate(self.levels[:-1]):
            rails = self.rails(depth)
            share = level.uplink / rails
            pairs.append((level.name, rails * self.units(level), share, level.links(rails)))
        return tuple(
            LinkClass(f"{name} {way}", count, capacity, width)
            for name, count, capacity, width in pairs
            for way in ("up", "down")
        )

    def units(self, level: Level) -> int:
        """Return the units of a level; the last may be partly filled."""
        return -(-self.accelerators // level.accelerators)

    def rails(self, depth: int) -> int:
        """Return the switches of a unit of the level at ``depth`` that meet one level up only."""
        return self.interfaces.rails_at(depth)

    def climbed(self, sender: Integers, receiver: Integers) -> Integers:
        """Return how many levels each pair's bytes leave upwards before they meet the receiver."""
        first = self.levels[0].accelerators
        rail = self.interfaces.rail
        apart = (sender // first != receiver // first) | (rail(sender) != rail(receiver))
        higher = [
            sender // level.accelerators != receiver // level.accelerators
            for level in self.levels[1:]
        ]
        climb: Integers = np.sum([apart, *higher], axis=0, dtype=np.int64)
        return climb

    def between(
        self, sender: Integers, receiver: Integers, used: Flags, first: Mapping[str, int]
    ) -> Sequence[Segment]:
        """Return the way from interface to interface, for the pairs that are ``used``.

        ``first`` is the id of the first bundle of each class.
        """
        climb = np.where(used, self.climbed(sender, receiver), 0)
        up = [segment(first["nic up"] + self.interfaces.number(sender), used)]
        down = [segment(first["nic down"] + self.interfaces.number(receiver), used)]
        for depth, level in enumerate(self.levels[:-1]):
            leaves = climb > depth
            for parts, slots, way in ((up, sender, "up"), (down, receiver, "down")):
                switch = self.interfaces.switch(slots, level, depth)
                parts.append(segment(first[f"{level.name} {way}"] + switch, leaves))
        return (*up, *reversed(down))


def network_of(cluster: Cluster, accelerators: int) -> Network:
    """Return the network of the first ``accelerators`` slots of ``cluster``, in whole nodes.

    Raises
    ------
    ProfileError
        If the units of one level do not make up those of the next.
    """
    levels = levels_of(cluster)
    _require_nested(levels, cluster)
    interfaces = interfaces_of(cluster)
    holds = (n for n, level in enumerate(levels) if level.accelerators >= accelerators)
    enough = next(holds, len(levels) - 1)
    # One leaf still needs the level where its rails meet.
    kept = max(enough + 1, 2 if interfaces.rails > 1 else 1)
    return Network(
        accelerators=accelerators,
        interfaces=interfaces,
        nics=cluster.node.nics,
        nic=cluster.fabric.nic,
        levels=levels[:kept],
        planes=cluster.fabric.planes,
    )


def _require_nested(levels: Sequence[Level], cluster: Cluster) -> None:
    """Raise if a unit would be cut by the border of a larger one."""
    name, size = cluster.node.name, cluster.node.accelerators
    for position, level in enumerate(levels):
        # The last level spans the cluster, whether or not its units fill up.
        if level.accelerators % size and position < len(levels) - 1:
            raise ProfileError(
                f"{cluster.name}: {level.name} has {level.accelerators:,} accelerators a unit, no "
                f"multiple of the {size:,} of {name}"
            )
        name, size = level.name, level.accelerators
