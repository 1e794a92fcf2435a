"""The stages of a collective by each pattern: bytes on every bundle of links, and hops.

A collective is one or several stages, each with its own start; a stage is one or several phases
that wait for one another. Whatever is pipelined is one phase.
"""

from __future__ import annotations

from functools import partial
from math import log2
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.hardware import all_to_all, in_switch, patterns
from simulator.hardware.collective_costs import bus_factor, passes
from simulator.hardware.patterns import Pattern, Sends
from simulator.hardware.wiring import MeshWiring, TorusWiring
from simulator.operators import Collective

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.hardware.members import Members
    from simulator.hardware.routes import Floats
    from simulator.hardware.topology import Topology


class Stage(NamedTuple):
    """A part of a collective with a start of its own, per byte of the message."""

    kind: Collective
    """Collective whose latencies it has."""
    phases: tuple[Floats, ...]
    """Bytes on every bundle, phase after phase; each of shape ``(bundles,)``."""
    network_hops: float
    inner_hops: float
    volume: float = 1.0
    """Size of its message."""


class Stages:
    """Builds the stages of one collective in one place."""

    def __init__(self, kind: Collective, members: Members, topology: Topology) -> None:
        self.kind = kind
        self.members = members
        self.topology = topology
        self.meshed = isinstance(topology.wiring, MeshWiring)
        self.passes = passes(kind)

    def by(self, pattern: Pattern) -> tuple[Stage, ...]:
        """Return the stages of the collective by one pattern."""
        build: dict[Pattern, Callable[[], tuple[Stage, ...]]] = {
            Pattern.RING: self._ring,
            Pattern.TREE: self._tree,
            Pattern.HALVING_DOUBLING: self._halving_doubling,
            Pattern.NVLS: self._nvls,
            Pattern.SHARP: self._sharp,
            Pattern.HIERARCHICAL: self._hierarchical,
            Pattern.TORUS: self._torus,
            Pattern.PAIRWISE: partial(self._all_to_all, pxn=False),
            Pattern.PXN: partial(self._all_to_all, pxn=True),
        }
        return build[pattern]()

    def _load(self, sends: Sends) -> Floats:
        routes = self.topology.routes(sends.sender, sends.receiver)
        return routes.load(sends.n_bytes)

    def _ring(self) -> tuple[Stage, ...]:
        members = self.members
        nodes, inner = members.nodes, members.ranks - members.nodes
        if self.kind is Collective.BROADCAST:
            sends = patterns.chain(members, meshed=self.meshed)
            return (Stage(Collective.ALL_GATHER, (self._load(sends),), nodes - 1, inner),)
        volume = bus_factor(self.kind, members.ranks)
        load = self._load(patterns.ring(members, volume, meshed=self.meshed))
        hops = (self.passes * (nodes - 1), self.passes * inner)
        return (Stage(Collective.ALL_GATHER, (load,), *hops),)

    def _tree(self) -> tuple[Stage, ...]:
        members = self.members
        load = self._load(patterns.tree(members, meshed=self.meshed))
        if members.nodes == 1:
            return (Stage(Collective.ALL_GATHER, (load,), 0, 2 * (members.each - 1)),)
        return (Stage(Collective.ALL_REDUCE, (load,), log2(members.nodes), 0),)

    def _halving_doubling(self) -> tuple[Stage, ...]:
        slots = self.members.slots.ravel()
        halved, doubled, crossing = [], [], 0
        for step in patterns.halving(self.members.ranks):
            here, there = slots[step.sender], slots[step.receiver]
            crossing += bool(np.any(here // self.members.node != there // self.members.node))
            if self.kind is not Collective.ALL_GATHER:
                halved.append(self._load(Sends(here, there, step.n_bytes)))
            if self.kind is not Collective.REDUCE_SCATTER:
                doubled.append(self._load(Sends(there, here, step.n_bytes)))
        phases = (*halved, *reversed(doubled))
        hops = self.passes * crossing
        return (Stage(Collective.ALL_GATHER, phases, hops, len(phases) - hops),)

    def _nvls(self) -> tuple[Stage, ...]:
        load = in_switch.nvls(self.kind, self.members, self.topology)
        return (Stage(self.kind, (load,), 0, self.members.each - 1),)

    def _sharp(self) -> tuple[Stage, ...]:
        """Return reduction inside the nodes, in the network's switches, and back, pipelined."""
        members = self.members
        volume = bus_factor(Collective.ALL_REDUCE, members.each)
        inside = patterns.inside(members.slots, volume, meshed=self.meshed)
        load = self._load(inside) + in_switch.aggregated(members, self.topology)
        slots = members.slots
        climbed = self.topology.network.climbed(np.broadcast_to(slots[0], slots.shape), slots)
        return (Stage(Collective.ALL_REDUCE, (load,), 1 + int(climbed.max()), 0),)

    def _hierarchical(self) -> tuple[Stage, ...]:
        """Return the parts inside the nodes and between them, each waiting for the one before."""
        members, kind = self.members, self.kind
        share = (members.each - 1) / members.each
        near = self._load(patterns.inside(members.slots, share, meshed=self.meshed))
        inner = members.each - 1
        scatter = Stage(Collective.REDUCE_SCATTER, (near,), 0, inner)
        gather = Stage(Collective.ALL_GATHER, (near,), 0, inner)
        hops = self.passes * (members.nodes - 1)
        load = self._load(self._rails())
        across = Stage(Collective.ALL_GATHER, (load,), hops, 0, 1 / members.each)
        order: Mapping[Collective, Sequence[Stage]] = {
            Collective.ALL_REDUCE: (scatter, across, gather),
            Collective.REDUCE_SCATTER: (scatter, across),
            Collective.ALL_GATHER: (across, gather),
        }
        parts = order[kind]
        return tuple(parts) if members.each > 1 else (across,)

    def _torus(self) -> tuple[Stage, ...]:
        """Return rings along the axes of each torus, and on the rails between tori."""
        members, wiring = self.members, self.topology.wiring
        assert isinstance(wiring, TorusWiring)  # noqa: S101 - refused before
        turns = [self._load(sends) for sends in patterns.along_axes(members, wiring)]
        gathered = [] if self.kind is Collective.REDUCE_SCATTER else reversed(turns)
        scatters = self.kind in (Collective.REDUCE_SCATTER, Collective.ALL_REDUCE)
        scattered = turns if scatters else []
        between = [self._load(self._rails())] if members.nodes > 1 else []
        phases = (*scattered, *between, *gathered)
        inner = _torus_hops(members, wiring)
        if members.nodes == 1:
            # A torus's own lines count a hop of both passes as one.
            kind = Collective.ALL_GATHER if self.kind is Collective.BROADCAST else self.kind
            return (Stage(kind, phases, 0, inner),)
        hops = self.passes * (members.nodes - 1)
        return (Stage(Collective.ALL_GATHER, phases, hops, self.passes * inner),)

    def _rails(self) -> Sends:
        """Return the rings between nodes of the members in each place, for their part."""
        slots, members = self.members.slots, self.members
        volume = self.passes * (members.nodes - 1) / members.nodes / members.each
        return patterns.transfers(slots, np.roll(slots, -1, axis=0), volume)

    def _all_to_all(self, *, pxn: bool) -> tuple[Stage, ...]:
        members = self.members
        if self.kind is Collective.SEND_RECV:
            following = np.roll(members.slots.ravel(), -1)
            load = self._load(patterns.transfers(members.slots.ravel(), following, 1.0))
            return (Stage(Collective.SEND_RECV, (load,), 1, 1),)
        return (self.exchange(all_to_all.even(members, self.topology, pxn=pxn), pxn=pxn),)

    def exchange(self, load: Floats, *, pxn: bool) -> Stage:
        """Return the stage of an all_to_all that puts ``load`` on the bundles."""
        members = self.members
        peers = members.nodes - 1 if pxn else members.ranks - members.each
        inner = members.each - 1 if members.nodes == 1 else 0
        return Stage(Collective.ALL_TO_ALL, (load,), peers, inner)


def _torus_hops(members: Members, wiring: TorusWiring) -> float:
    """Return the hops to the far side of the box that the members fill."""
    box = patterns.box_of(members, wiring.shape)
    return float(
        sum(
            extent / 2 if wiring.closed(axis) and extent == wiring.shape[axis] else extent - 1
            for axis, extent in enumerate(box)
        )
    )
