"""The interfaces of a node: which one a slot sends through, and on which rail that hangs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.hardware.levels import levels_of

if TYPE_CHECKING:
    from simulator.hardware.cluster import Cluster
    from simulator.hardware.levels import Level
    from simulator.hardware.routes import Integers


@dataclass(frozen=True, slots=True)
class Interfaces:
    """Interfaces that carry traffic apart, alike in every node."""

    node: int
    """Accelerators of a node."""
    each: int
    """Interfaces of a node that carry traffic apart: at most one for each accelerator.

    Several accelerators may share one, and one may stand for several physical ones.
    """
    rails: int
    """Switches of a unit of the first tier that meet only one tier up; 1 if not by rail."""

    def number(self, slots: Integers) -> Integers:
        """Return the interface of each slot, numbered over all nodes."""
        return slots // self.node * self.each + slots % self.node * self.each // self.node

    def rail(self, slots: Integers) -> Integers:
        """Return the rail of each slot; 0 if the fabric is not by rail."""
        return self.number(slots) % self.each % self.rails

    def rails_at(self, depth: int) -> int:
        """Return the switches of a unit of the level at ``depth`` that meet one level up only."""
        return self.rails if depth == 0 else 1

    def switch(self, slots: Integers, level: Level, depth: int) -> Integers:
        """Return the switch of ``level``, the one at ``depth``, above each slot, over all units."""
        units, rails = slots // level.accelerators, self.rails_at(depth)
        return units if rails == 1 else units * rails + self.rail(slots)


def interfaces_of(cluster: Cluster) -> Interfaces:
    """Return the interfaces of the nodes of ``cluster``."""
    node, fabric = cluster.node, cluster.fabric
    each = min(node.accelerators, node.nics)
    tiers = len(levels_of(cluster)) - (fabric.islands is not None)
    by_rail = fabric.rail_optimised and tiers > 1
    return Interfaces(node.accelerators, each, min(fabric.rails or each, each) if by_rail else 1)
