"""The network between nodes as bundles: interfaces, and what leaves each unit of each level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import ProfileError
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
    node: int
    """Accelerators of a node."""
    interfaces: int
    """Interfaces of a node that carry traffic apart: at most one for each accelerator."""
    nics: int
    """Physical interfaces of a node."""
    nic: float
    """Line rate of one physical interface [B/s]."""
    levels: tuple[Level, ...]
    """From the innermost outwards; nothing leaves the last."""
    rails: int
    """Switches of a unit of the first level that meet only one level up; 1 if not by rail."""
    planes: int
    """Copies of the switches; a port of an interface has ``nic / planes``."""

    @property
    def classes(self) -> tuple[LinkClass, ...]:
        """Bundles of the interfaces, then of each level that something leaves."""
        nodes = self.accelerators // self.node
        # Where interfaces outnumber accelerators, some may own one more than others.
        owned = np.diff(np.arange(self.interfaces + 1) * self.nics // self.interfaces)
        own = np.tile(owned, nodes).astype(np.int64)
        pairs: list[tuple[str, int, Floats | float, Integers | int]] = [
            ("nic", nodes * self.interfaces, np.float64(self.nic) * own, own * self.planes)
        ]
        for depth, level in enumerate(self.levels[:-1]):
            rails = self.rails if depth == 0 else 1
            links = max(1, round(level.uplink / rails / self.nic * self.planes))
            pairs.append((level.name, rails * self.units(level), level.uplink / rails, links))
        return tuple(
            LinkClass(f"{name} {way}", count, capacity, width)
            for name, count, capacity, width in pairs
            for way in ("up", "down")
        )

    def units(self, level: Level) -> int:
        """Return the units of a level; the last may be partly filled."""
        return -(-self.accelerators // level.accelerators)

    def interface(self, slots: Integers) -> Integers:
        """Return the interface of each slot, numbered over all nodes."""
        place = slots % self.node * self.interfaces // self.node
        return slots // self.node * self.interfaces + place

    def rail(self, slots: Integers) -> Integers:
        """Return the rail of each slot; 0 if the fabric is not by rail."""
        return self.interface(slots) % self.interfaces % self.rails

    def climbed(self, sender: Integers, receiver: Integers) -> Integers:
        """Return how many levels each pair's bytes leave upwards before they meet the receiver."""
        first = self.levels[0].accelerators
        apart = (sender // first != receiver // first) | (self.rail(sender) != self.rail(receiver))
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
        up = [segment(first["nic up"] + self.interface(sender), used)]
        down = [segment(first["nic down"] + self.interface(receiver), used)]
        for depth, level in enumerate(self.levels[:-1]):
            leaves = climb > depth
            for parts, slots, way in ((up, sender, "up"), (down, receiver, "down")):
                units = slots // level.accelerators
                if depth == 0:
                    units = units * self.rails + self.rail(slots)
                parts.append(segment(first[f"{level.name} {way}"] + units, leaves))
        return (*up, *reversed(down))


def network_of(cluster: Cluster, accelerators: int) -> Network:
    """Return the network of the first ``accelerators`` slots of ``cluster``, in whole nodes.

    Raises
    ------
    ProfileError
        If the units of one level do not make up those of the next.
    """
    node, fabric = cluster.node, cluster.fabric
    levels = levels_of(cluster)
    _require_nested(levels, cluster)
    interfaces = min(node.accelerators, node.nics)
    holds = (n for n, level in enumerate(levels) if level.accelerators >= accelerators)
    enough = next(holds, len(levels) - 1)
    # One leaf still needs the level where its rails meet.
    kept = max(enough + 1, 2 if fabric.rail_optimised else 1)
    by_rail = fabric.rail_optimised and len(levels) > 1
    return Network(
        accelerators=accelerators,
        node=node.accelerators,
        interfaces=interfaces,
        nics=node.nics,
        nic=fabric.nic,
        levels=levels[:kept],
        rails=min(fabric.rails or interfaces, interfaces) if by_rail else 1,
        planes=fabric.planes,
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
