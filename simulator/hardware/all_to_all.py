"""Bytes of an all_to_all on every bundle: of equal parts by counting, of unequal ones by pairs."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.errors import SimulatorError
from simulator.hardware.wiring import AXES, TorusWiring

if TYPE_CHECKING:
    from simulator.hardware.members import Members
    from simulator.hardware.routes import Floats, Integers
    from simulator.hardware.topology import Topology

MOST_PAIRS: Final = 4_000_000
"""Pairs of slots whose routes are followed one by one."""


def uneven(sent: Floats, members: Members, topology: Topology, *, pxn: bool) -> Floats:
    """Return the bytes on every bundle of an all_to_all with parts of any size.

    Parameters
    ----------
    sent
        Bytes from each rank (row) to each other one (column), shape ``(ranks, ranks)``; what a
        rank keeps costs nothing.
    members
        The ranks' slots.
    topology
        The cluster's links.
    pxn
        Whether messages are handed over to the receiver's rail inside the sender's node.

    Raises
    ------
    SimulatorError
        If the matrix has another shape, a negative entry, or too many of them.
    """
    if sent.shape != (members.ranks, members.ranks) or np.any(sent < 0):
        raise SimulatorError(
            f"bytes sent must be a matrix of {members.ranks} x {members.ranks}, none negative"
        )
    require_few(int(np.count_nonzero(sent)))
    slots = members.slots.ravel()
    rank, peer = np.nonzero(sent)
    return topology.routes(slots[rank], slots[peer], pxn=pxn).load(sent[rank, peer])


def even(members: Members, topology: Topology, *, pxn: bool) -> Floats:
    """Return the bytes on every bundle of an all_to_all with equal parts, per byte of the message.

    Inside the nodes pairs are followed; on the network, those that leave a unit are counted.

    Raises
    ------
    SimulatorError
        If the members of a node make up too many pairs, or messages are to be handed over inside
        nodes whose members sit in different places.
    """
    load = _inside(members, topology, pxn=pxn) / members.ranks
    if members.nodes > 1:
        load += _between(members, topology, pxn=pxn) / members.ranks
    return load


def _inside(members: Members, topology: Topology, *, pxn: bool) -> Floats:
    """Return the messages on every bundle inside the nodes, those handed over included."""
    slots, each = members.slots, members.each
    wiring = topology.wiring
    if isinstance(wiring, TorusWiring) and each == wiring.size:
        return _along_lines(members.nodes, wiring, topology)
    require_few(slots.size * (each - 1))
    sender = np.repeat(slots, each, axis=1).ravel()
    receiver = np.tile(slots, (1, each)).ravel()
    messages = np.ones(sender.size)
    if pxn and members.nodes > 1:
        if not members.aligned:
            raise SimulatorError(
                "pxn hands messages over inside a node: the members must use the same places in "
                "all nodes"
            )
        rail = topology.network.interfaces.rail
        messages += (members.nodes - 1) * (rail(sender) != rail(receiver))
    return topology.routes(sender, receiver).load(messages)


def _along_lines(tori: int, wiring: TorusWiring, topology: Topology) -> Floats:
    """Return the messages on every bundle of whole tori.

    They go one axis after another, so that on each line along an axis all pairs of its places
    exchange as many messages as one place has peers off the line.
    """
    load = np.zeros(len(topology.klass))
    for axis, extent in enumerate(wiring.shape):
        place = np.arange(extent) * int(np.prod(wiring.shape[:axis]))
        sender, receiver = np.repeat(place, extent), np.tile(place, extent)
        messages = topology.routes(sender, receiver).load(wiring.size / extent)
        for way in "+-":
            first, links = topology.first[f"torus {AXES[axis]}{way}"], wiring.links(axis)
            lines = tori * wiring.size // extent
            load[first : first + lines * links] = np.tile(messages[first : first + links], lines)
    return load


def _between(members: Members, topology: Topology, *, pxn: bool) -> Floats:
    """Return the messages on every bundle of the network, and on the way to and from it."""
    load = np.zeros(len(topology.klass))
    slots, network = members.slots.ravel(), topology.network
    leaving = float(members.ranks - members.each)
    every = np.ones(slots.size, dtype=bool)
    wiring, first = topology.wiring, topology.first
    ways = (wiring.to_interface(slots, every, first), wiring.from_interface(slots, every, first))
    for segment in chain.from_iterable(ways):
        np.add.at(load, segment.bundles, leaving)
    for way in ("up", "down"):
        np.add.at(load, first[f"nic {way}"] + network.interfaces.number(slots), leaving)
    for depth, level in enumerate(network.levels[:-1]):
        switches, up, down = _leaving(members, topology, depth, pxn=pxn)
        load[first[f"{level.name} up"] + switches] += up
        load[first[f"{level.name} down"] + switches] += down
    return load


def _leaving(
    members: Members, topology: Topology, depth: int, *, pxn: bool
) -> tuple[Integers, Integers, Integers]:
    """Return the switches of a level, and the messages that leave and enter each upwards."""
    slots, network = members.slots, topology.network
    level, rails = network.levels[depth], network.rails(depth)
    switch = network.interfaces.switch(slots, level, depth).ravel()
    known, index, inside = np.unique(switch, return_inverse=True, return_counts=True)
    if rails == 1:
        both = inside * (members.ranks - inside)
        return known, both, both
    if pxn:
        # Messages leave on the receiver's rail: up for those of the rail outside the unit.
        in_unit = np.bincount(switch // rails)[known // rails]
        on_rail = np.bincount(switch % rails, minlength=rails)[known % rails]
        return known, in_unit * (on_rail - inside), inside * (members.ranks - in_unit)
    # All others are beyond this switch, but those of the sender's own node use no network.
    by_node = switch.reshape(slots.shape)
    same = (by_node[:, :, None] == by_node[:, None, :]).sum(axis=2).ravel()
    crossing = (members.ranks - inside)[index] - (members.each - same)
    both = np.bincount(index, crossing).astype(np.int64)
    return known, both, both


def require_few(pairs: int) -> None:
    """Refuse more pairs than are followed one by one.

    Raises
    ------
    SimulatorError
        Says how many there are, and how many at most.
    """
    if pairs > MOST_PAIRS:
        raise SimulatorError(
            f"an all_to_all of {pairs:,} pairs to be followed one by one; at most {MOST_PAIRS:,} "
            "are: take a smaller group"
        )
