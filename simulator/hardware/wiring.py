"""How the accelerators of a node are joined: bundles inside all nodes, and routes over them.

Each wiring numbers its bundles by arithmetic on slots: slot s is place ``s % size`` of node
``s // size``. Capacities are line rates; what software reaches of them is the cost models' affair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from simulator.hardware.links import LinkClass
from simulator.hardware.node import Node, ScaleUp
from simulator.hardware.routes import Segment, segment
from simulator.ranges import spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.hardware.routes import Flags, Integers

AXES: Final = "xyz"
"""Names of a torus's axes, neighbouring slots along the first."""


class Wiring(Protocol):
    """The inside of the nodes."""

    @property
    def size(self) -> int:
        """Accelerators of one node."""

    @property
    def classes(self) -> tuple[LinkClass, ...]:
        """Classes of the bundles inside all nodes."""

    def within(
        self, sender: Integers, receiver: Integers, first: Mapping[str, int]
    ) -> Sequence[Segment]:
        """Return the way between slots of one node; none from a slot to itself.

        ``first`` is the id of the first bundle of each class.
        """

    def to_interface(
        self, slots: Integers, used: Flags, first: Mapping[str, int]
    ) -> Sequence[Segment]:
        """Return the way from slots to their interfaces, for the pairs that are ``used``."""

    def from_interface(
        self, slots: Integers, used: Flags, first: Mapping[str, int]
    ) -> Sequence[Segment]:
        """Return the way from interfaces to their slots."""


class _BesideInterfaces:
    """Interfaces stand beside their accelerators, or on their hosts: off the wiring."""

    __slots__ = ()

    def to_interface(
        self,
        slots: Integers,  # noqa: ARG002 - as declared by the protocol
        used: Flags,  # noqa: ARG002
        first: Mapping[str, int],  # noqa: ARG002
    ) -> Sequence[Segment]:
        """Return nothing."""
        return ()

    from_interface = to_interface


@dataclass(frozen=True, slots=True)
class SwitchWiring(_BesideInterfaces):
    """Every accelerator has a port on a non-blocking switch (NVSwitch): one bundle up, one down."""

    size: int
    nodes: int
    bandwidth: float

    @property
    def classes(self) -> tuple[LinkClass, ...]:
        """The bundles up and down of every accelerator."""
        slots = self.size * self.nodes
        return tuple(LinkClass(f"nvlink {way}", slots, self.bandwidth, 1) for way in ("up", "down"))

    def within(
        self, sender: Integers, receiver: Integers, first: Mapping[str, int]
    ) -> Sequence[Segment]:
        """Return the way up from the sender and down to the receiver."""
        apart = sender != receiver
        return (
            segment(first["nvlink up"] + sender, apart),
            segment(first["nvlink down"] + receiver, apart),
        )


@dataclass(frozen=True, slots=True)
class MeshWiring(_BesideInterfaces):
    """A link of its own from each accelerator to each other one of the node (xGMI)."""

    size: int
    nodes: int
    bandwidth: float
    """All links of one accelerator, one direction [B/s]."""

    @property
    def classes(self) -> tuple[LinkClass, ...]:
        """One bundle for each ordered pair."""
        others = self.size - 1
        if not others:
            return ()
        return (LinkClass("xgmi", self.nodes * self.size * others, self.bandwidth / others, 1),)

    def within(
        self, sender: Integers, receiver: Integers, first: Mapping[str, int]
    ) -> Sequence[Segment]:
        """Return the pair's own link."""
        place, other = sender % self.size, receiver % self.size
        link = sender * (self.size - 1) + other - (other > place)
        return (segment(first.get("xgmi", 0) + link, sender != receiver),)


@dataclass(frozen=True, slots=True)
class HostWiring:
    """PCIe slots of a host: a bundle up and down for each, and one bridge that all bytes cross."""

    size: int
    nodes: int
    bandwidth: float
    bridge: float
    """What the host moves between all slots and interfaces [B/s]."""

    @property
    def classes(self) -> tuple[LinkClass, ...]:
        """The bundles of every slot, and the bridge of every node."""
        slots = self.size * self.nodes
        return (
            LinkClass("pcie up", slots, self.bandwidth, 1),
            LinkClass("host bridge", self.nodes, self.bridge, 1),
            LinkClass("pcie down", slots, self.bandwidth, 1),
        )

    def within(
        self, sender: Integers, receiver: Integers, first: Mapping[str, int]
    ) -> Sequence[Segment]:
        """Return the way up, over the bridge and down."""
        apart = sender != receiver
        return (
            *self.to_interface(sender, apart, first),
            segment(first["pcie down"] + receiver, apart),
        )

    def to_interface(
        self, slots: Integers, used: Flags, first: Mapping[str, int]
    ) -> Sequence[Segment]:
        """Return the way up and over the bridge, where the interfaces hang, too."""
        return (
            segment(first["pcie up"] + slots, used),
            segment(first["host bridge"] + slots // self.size, used),
        )

    def from_interface(
        self, slots: Integers, used: Flags, first: Mapping[str, int]
    ) -> Sequence[Segment]:
        """Return the way over the bridge and down."""
        return (
            segment(first["host bridge"] + slots // self.size, used),
            segment(first["pcie down"] + slots, used),
        )


@dataclass(frozen=True, slots=True)
class TorusWiring(_BesideInterfaces):
    """Links to the two neighbours along each axis; messages go one axis after another."""

    shape: tuple[int, ...]
    """Accelerators along each axis; neighbouring slots along the first."""
    nodes: int
    bandwidth: float
    """One link, one direction [B/s]."""
    wrapped: bool
    """Whether axes of more than two are closed to rings."""

    @property
    def size(self) -> int:
        """Accelerators of one torus."""
        return int(np.prod(self.shape))

    def closed(self, axis: int) -> bool:
        """Return whether an axis is a ring; one of two has its two neighbours already."""
        return self.wrapped and self.shape[axis] > 2  # noqa: PLR2004 - as said

    def links(self, axis: int) -> int:
        """Return the links of one direction in one line along an axis."""
        return self.shape[axis] if self.closed(axis) else self.shape[axis] - 1

    @property
    def classes(self) -> tuple[LinkClass, ...]:
        """Two classes for each axis: up and down the slots' numbers."""
        return tuple(
            LinkClass(
                f"torus {AXES[axis]}{way}",
                self.nodes * self.size // extent * self.links(axis),
                self.bandwidth,
                1,
            )
            for axis, extent in enumerate(self.shape)
            for way in "+-"
        )

    def within(
        self, sender: Integers, receiver: Integers, first: Mapping[str, int]
    ) -> Sequence[Segment]:
        """Return the way along the first axis, then the next: the shorter way round each ring.

        Where both ways are equally long, even places go up and odd ones down.
        """
        here, there = self.places(sender), self.places(receiver)
        parts = []
        for axis in range(len(self.shape)):
            parts.append(self._along(axis, here, there[axis], sender // self.size, first))
            here[axis] = there[axis]
        return parts

    def places(self, slots: Integers) -> list[Integers]:
        """Return the place of slots along each axis."""
        return list(np.unravel_index(slots % self.size, self.shape, order="F"))

    def _along(
        self,
        axis: int,
        here: Sequence[Integers],
        target: Integers,
        node: Integers,
        first: Mapping[str, int],
    ) -> Segment:
        """Return the links along one axis from the places ``here`` to ``target`` on it."""
        place, extent, links = here[axis], self.shape[axis], self.links(axis)
        if self.closed(axis):
            ahead, behind = (target - place) % extent, (place - target) % extent
            onward = np.where(ahead == behind, place % 2 == 0, ahead < behind)
            hops = np.minimum(ahead, behind)
        else:
            onward, hops = target >= place, np.abs(target - place)
        line = node
        for other in reversed(range(len(self.shape))):
            if other != axis:
                line = line * self.shape[other] + here[other]
        # A link bears the number of its lower end: going down, the next one is one place below.
        step = spread(np.zeros_like(hops), hops)
        each = np.repeat(np.where(onward, place, place - 1), hops)
        link = (each + np.where(np.repeat(onward, hops), step, -step)) % extent
        names = (f"torus {AXES[axis]}-", f"torus {AXES[axis]}+")
        begin = np.where(onward, first[names[1]], first[names[0]])
        return Segment(hops, np.repeat(begin + line * links, hops) + link)


def wiring_of(node: Node, nodes: int) -> Wiring:
    """Return the wiring of ``nodes`` nodes like ``node``, which has what its wiring needs."""
    size, bandwidth = node.accelerators, node.bandwidth
    if node.torus is not None:
        links = 2 * len(node.torus)
        return TorusWiring(node.torus, nodes, bandwidth / links, bool(node.wrapped))
    if node.host_bridge is not None:
        return HostWiring(size, nodes, bandwidth, node.host_bridge)
    if node.scale_up is ScaleUp.MESH:
        return MeshWiring(size, nodes, bandwidth)
    return SwitchWiring(size, nodes, bandwidth)
