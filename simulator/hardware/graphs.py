"""A topology as a networkx graph: whole, or folded to one unit of each level and "x 31 more".

Vertices are pairs or longer tuples ``(kind, numbers…)`` with the attributes

    kind    accelerator, nvlink switch, host, interface, the name of a level, or more
    label   how a picture names it
    row     0 for accelerators, 1 for what joins them, 2 for interfaces, 3 upwards for levels
    times   how many like it the vertex stands for

and every edge has ``klass``, ``capacity`` [B/s], ``width`` and ``bundle`` (its id in the topology).
An edge without a bundle (None) attaches an interface to its accelerator or host, which bounds
nothing of its own; one that stands for several bundles has None, too, and their sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from simulator.hardware.wiring import AXES, HostWiring, MeshWiring, SwitchWiring, TorusWiring

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import networkx as nx

    from simulator.hardware.topology import Topology

Vertex: TypeAlias = tuple[str | int, ...]

ATTACHED: Final = "attached"
"""Class of the edges between an interface and its accelerator or host."""
MORE: Final = "more"
"""Kind of the vertices that stand for others."""
MOST_ACCELERATORS: Final = 16
"""Accelerators of a switch, mesh or host that a folded graph shows one by one."""
FEW: Final = 4
"""How many of a crowd a folded graph shows."""
LARGEST_WHOLE: Final = 512
"""Accelerators up to which a graph is whole unless it is asked to be folded."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One directed edge before it is in a graph."""

    tail: Vertex
    head: Vertex
    klass: str
    bundle: int | None
    share: float = 1.0
    """Part of the bundle that is this edge: one of several planes."""


def graph(topology: Topology, *, full: bool | None = None) -> nx.DiGraph[Vertex]:
    """Return the topology as a directed graph.

    Parameters
    ----------
    topology
        What to draw or analyse.
    full
        Every accelerator and bundle (true); one unit of each level with the others folded into
        one vertex beside it (false); by default whole up to `LARGEST_WHOLE` accelerators.
    """
    import networkx as nx  # noqa: PLC0415 - slow to import, and few need graphs

    if full is None:
        full = topology.accelerators <= LARGEST_WHOLE
    shown = _Shown(topology, full=full)
    net: nx.DiGraph[Vertex] = nx.DiGraph()
    for vertex, label, row in shown.vertices():
        net.add_node(vertex, kind=vertex[0], label=label, row=row, times=1)
    for edge in shown.edges():
        _add(net, edge, topology)
    if not full:
        for crowd in shown.crowds():
            _fold(net, crowd, topology)
    return net


@dataclass(frozen=True, slots=True)
class Crowd:
    """Units that a folded graph shows as one vertex."""

    vertex: Vertex
    label: str
    row: int
    times: int
    edges: tuple[tuple[Vertex, str, str, float], ...]
    """Neighbour, classes towards and from it, and bundles of each class that are folded."""


class _Shown:
    """Which slots, interfaces and units a graph shows, and the edges between them."""

    def __init__(self, topology: Topology, *, full: bool) -> None:
        self.topology = topology
        self.network = topology.network
        self.interfaces = topology.network.interfaces
        self.full = full
        self.slots = self._slots()
        self.by_rail = self.interfaces.rails > 1

    def _slots(self) -> np.ndarray:
        if self.full:
            return np.arange(self.topology.accelerators)
        wiring = self.topology.wiring
        if isinstance(wiring, TorusWiring):  # one plane
            return np.arange(int(np.prod(wiring.shape[:2])))
        if wiring.size <= MOST_ACCELERATORS:
            return np.arange(wiring.size)
        return np.arange(FEW)

    def vertices(self) -> Iterator[tuple[Vertex, str, int]]:
        """Yield vertex, label and row."""
        for slot in self.slots.tolist():
            yield ("accelerator", slot), f"{slot}", 0
        for node in sorted(set((self.slots // self.interfaces.node).tolist())):
            yield from self._joints(node)
        for interface in self.numbers():
            yield ("interface", interface), f"interface {interface}", 2
        for depth, level in enumerate(self.network.levels):
            for unit in self._units(depth):
                for vertex in self._switches(depth, unit, range(self.interfaces.rails)):
                    yield vertex, _switch_label(level.name, vertex), 3 + depth

    def _joints(self, node: int) -> Iterator[tuple[Vertex, str, int]]:
        wiring = self.topology.wiring
        if isinstance(wiring, SwitchWiring):
            yield ("nvlink switch", node), "NVLink switch", 1
        if isinstance(wiring, HostWiring):
            yield ("host", node, "in"), "host", 1
            yield ("host", node, "out"), "host", 1

    def numbers(self) -> list[int]:
        """Return the interfaces of the slots shown."""
        return sorted(set(self.interfaces.number(self.slots).tolist()))

    def edges(self) -> Iterator[Edge]:
        """Yield every edge between vertices shown."""
        yield from self._inside()
        yield from self._attachments()
        yield from self._ports()
        for depth in range(len(self.network.levels) - 1):
            yield from self._uplinks(depth)

    def _inside(self) -> Iterator[Edge]:
        wiring, first = self.topology.wiring, self.topology.first
        slots = self.slots.tolist()
        if isinstance(wiring, SwitchWiring):
            for slot in slots:
                switch = ("nvlink switch", slot // wiring.size)
                here = ("accelerator", slot)
                yield Edge(here, switch, "nvlink up", first["nvlink up"] + slot)
                yield Edge(switch, here, "nvlink down", first["nvlink down"] + slot)
        elif isinstance(wiring, HostWiring):
            for node in sorted({slot // wiring.size for slot in slots}):
                ends: tuple[Vertex, Vertex] = ("host", node, "in"), ("host", node, "out")
                yield Edge(*ends, "host bridge", first["host bridge"] + node)
            for slot in slots:
                here, node = ("accelerator", slot), slot // wiring.size
                yield Edge(here, ("host", node, "in"), "pcie up", first["pcie up"] + slot)
                yield Edge(("host", node, "out"), here, "pcie down", first["pcie down"] + slot)
        else:
            yield from self._neighbours()

    def _neighbours(self) -> Iterator[Edge]:
        """Yield the direct links between accelerators of a mesh or torus."""
        wiring = self.topology.wiring
        if isinstance(wiring, MeshWiring):
            shown = self.slots.tolist()
            pairs = [
                (slot, other)
                for slot in shown
                for other in shown
                if slot != other and slot // wiring.size == other // wiring.size
            ]
        elif isinstance(wiring, TorusWiring):
            pairs = list(_torus_pairs(wiring, self.slots))
        else:
            return
        if not pairs:
            return
        sender, receiver = np.array(pairs).T
        routes = self.topology.routes(sender, receiver)
        for pair, (tail, head) in enumerate(pairs):
            bundle = int(routes.of(pair)[0])
            name = self.topology.names[self.topology.klass[bundle]]
            yield Edge(("accelerator", tail), ("accelerator", head), name, bundle)

    def _attachments(self) -> Iterator[Edge]:
        on_host = isinstance(self.topology.wiring, HostWiring)
        of_slot = self.interfaces.number(self.slots).tolist()
        for slot, interface in zip(self.slots.tolist(), of_slot, strict=True):
            node = slot // self.interfaces.node
            leaving: Vertex = ("host", node, "out") if on_host else ("accelerator", slot)
            entering: Vertex = ("host", node, "in") if on_host else ("accelerator", slot)
            yield Edge(leaving, ("interface", interface), ATTACHED, None)
            yield Edge(("interface", interface), entering, ATTACHED, None)

    def _ports(self) -> Iterator[Edge]:
        share = 1 / self.network.planes
        for interface in self.numbers():
            node, place = divmod(interface, self.interfaces.each)
            unit = node * self.interfaces.node // self.network.levels[0].accelerators
            rail = place % self.interfaces.rails
            for switch in self._switches(0, unit, (rail,)):
                yield from self._both(("interface", interface), switch, "nic", interface, share)

    def _uplinks(self, depth: int) -> Iterator[Edge]:
        level, above = self.network.levels[depth : depth + 2]
        share, rails = 1 / self.network.planes, self.network.rails(depth)
        for unit in self._units(depth):
            parent = unit * level.accelerators // above.accelerators
            for rail in range(rails):
                lower = self._switches(depth, unit, (rail,))
                upper = self._switches(depth + 1, parent, (0,))
                for below, top in zip(lower, upper, strict=True):
                    yield from self._both(below, top, level.name, unit * rails + rail, share)

    def _both(
        self, lower: Vertex, upper: Vertex, name: str, place: int, share: float
    ) -> Iterator[Edge]:
        first = self.topology.first
        yield Edge(lower, upper, f"{name} up", first[f"{name} up"] + place, share)
        yield Edge(upper, lower, f"{name} down", first[f"{name} down"] + place, share)

    def _units(self, depth: int) -> range:
        return range(self.network.units(self.network.levels[depth]) if self.full else 1)

    def _switches(self, depth: int, unit: int, rails: Iterable[int]) -> list[Vertex]:
        """Return the switches of a unit, a vertex for each rail and plane that it has apart."""
        name, planes = self.network.levels[depth].name, range(self.network.planes)
        rail_of = [(rail,) for rail in rails] if depth == 0 and self.by_rail else [()]
        plane_of = [(f"plane {plane}",) for plane in planes] if len(planes) > 1 else [()]
        return [(name, unit, *rail, *plane) for rail in rail_of for plane in plane_of]

    def crowds(self) -> Iterator[Crowd]:
        """Yield what a folded graph shows as one vertex each: accelerators, nodes, units."""
        yield from self._more_accelerators()
        yield from self._more_nodes()
        for depth in range(len(self.network.levels) - 1):
            yield from self._more_units(depth)

    def _more_accelerators(self) -> Iterator[Crowd]:
        wiring = self.topology.wiring
        left = wiring.size - len(self.slots)
        if left <= 0:
            return
        edges: Sequence[tuple[Vertex, str, str, float]] = ()
        if isinstance(wiring, SwitchWiring):
            edges = ((("nvlink switch", 0), "nvlink up", "nvlink down", left),)
        elif isinstance(wiring, HostWiring):
            edges = (
                (("host", 0, "in"), "pcie up", "", left),
                (("host", 0, "out"), "", "pcie down", left),
            )
        elif isinstance(wiring, TorusWiring):
            ways = 2 if wiring.closed(2) else 1  # both ways round, or up only
            edges = tuple(
                (("accelerator", slot), "torus z-", "torus z+", ways)
                for slot in self.slots.tolist()
            )
        yield Crowd((MORE, "accelerators"), f"x {left:,} more", 0, left, tuple(edges))

    def _more_nodes(self) -> Iterator[Crowd]:
        leaf = self.network.levels[0]
        held = min(leaf.accelerators, self.topology.accelerators) // self.interfaces.node
        if held <= 1:
            return
        ports = (held - 1) * self.interfaces.each / self.interfaces.rails / self.network.planes
        switches = self._switches(0, 0, range(self.interfaces.rails))
        edges = tuple((switch, "nic up", "nic down", ports) for switch in switches)
        yield Crowd((MORE, "nodes"), f"x {held - 1:,} more", 2, held - 1, edges)

    def _more_units(self, depth: int) -> Iterator[Crowd]:
        level, above = self.network.levels[depth : depth + 2]
        held = -(-min(above.accelerators, self.topology.accelerators) // level.accelerators)
        if held <= 1:
            return
        rails = self.network.rails(depth)
        count = (held - 1) * rails / self.network.planes
        edges = tuple(
            (switch, f"{level.name} up", f"{level.name} down", count)
            for switch in self._switches(depth + 1, 0, (0,))
        )
        yield Crowd((MORE, level.name), f"x {held - 1:,} more", 3 + depth, held - 1, edges)


def _torus_pairs(wiring: TorusWiring, slots: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the slots shown and each neighbour that is shown, too."""
    shown = set(slots.tolist())
    stride = 1
    for axis, extent in enumerate(wiring.shape[: len(AXES)]):
        for slot in shown:
            place = slot // stride % extent
            for step in (1, -1):
                inside = 0 <= place + step < extent
                other = slot + ((place + step) % extent - place) * stride
                if (inside or wiring.closed(axis)) and other in shown and other != slot:
                    yield slot, other
        stride *= extent


def _switch_label(name: str, vertex: Vertex) -> str:
    _, unit, *rest = vertex
    rail = [f"rail {part}" for part in rest if isinstance(part, int)]
    plane = [str(part) for part in rest if isinstance(part, str)]
    return ", ".join([f"{name} {unit}", *rail, *plane])


def _add(net: nx.DiGraph[Vertex], edge: Edge, topology: Topology) -> None:
    if edge.bundle is None:
        capacity, width = float("inf"), 1
    else:
        capacity = float(topology.capacity[edge.bundle]) * edge.share
        width = round(int(topology.width[edge.bundle]) * edge.share)
    net.add_edge(
        edge.tail, edge.head, klass=edge.klass, bundle=edge.bundle, capacity=capacity, width=width
    )


def _fold(net: nx.DiGraph[Vertex], crowd: Crowd, topology: Topology) -> None:
    net.add_node(crowd.vertex, kind=MORE, label=crowd.label, row=crowd.row, times=crowd.times)
    for neighbour, towards, back, count in crowd.edges:
        for name, tail, head in (
            (towards, crowd.vertex, neighbour),
            (back, neighbour, crowd.vertex),
        ):
            if name:
                one = topology.first[name]
                net.add_edge(
                    tail,
                    head,
                    klass=name,
                    bundle=None,
                    capacity=float(topology.capacity[one]) * count,
                    width=round(int(topology.width[one]) * count),
                )
