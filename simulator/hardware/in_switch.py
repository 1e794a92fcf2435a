"""Bytes that reductions in switches put on links, per byte of the message.

A switch that reduces takes in a buffer from each link and sends on one; one that multicasts does
the reverse. What happens is thus no transfer between two accelerators, and bytes are put on the
links themselves.

References
----------
NVIDIA, Parallel Thread Execution ISA, ``multimem.ld_reduce`` and ``multimem.st``; Graham et al.,
Scalable Hierarchical Aggregation Protocol (SHARP), COM-HPC 2016.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.operators import Collective

if TYPE_CHECKING:
    from simulator.hardware.members import Members
    from simulator.hardware.routes import Floats, Integers
    from simulator.hardware.topology import Topology


def nvls(kind: Collective, members: Members, topology: Topology) -> Floats:
    """Return the bytes on every bundle of a collective in the NVLink switches of each node.

    To reduce, every member reads its part through the switch, which takes that part from all of
    them: a whole buffer goes up from each, and each gets its part. To gather, every member writes
    its part once, and the switch hands it to all.
    """
    part, whole = 1 / members.each, 1.0
    up, down = {
        Collective.REDUCE_SCATTER: (whole, part),
        Collective.ALL_GATHER: (part, whole),
        Collective.ALL_REDUCE: (whole + part, part + whole),
    }[kind]
    load = np.zeros(len(topology.klass))
    slots = members.slots.ravel()
    load[topology.first["nvlink up"] + slots] = up
    load[topology.first["nvlink down"] + slots] = down
    return load


def aggregated(members: Members, topology: Topology) -> Floats:
    """Return the bytes on every bundle of an all_reduce in the network's switches.

    The members in one place of their nodes have a tree of their own over their rail's switches,
    and reduce what is theirs of the buffer. Each sends it up once; a switch sends one sum for all
    that lies below it up, as long as others lie outside; and the result comes down the same way.
    """
    share = 1 / members.each
    slots, network = members.slots, topology.network
    load = np.zeros(len(topology.klass))
    interfaces = network.interfaces.number(slots).ravel()
    flat, every = slots.ravel(), np.ones(slots.size, dtype=bool)
    for towards in (topology.wiring.to_interface, topology.wiring.from_interface):
        for segment in towards(flat, every, topology.first):
            np.add.at(load, segment.bundles, share)
    tree = np.broadcast_to(np.arange(members.each), slots.shape)
    for way in ("up", "down"):
        np.add.at(load, topology.first[f"nic {way}"] + interfaces, share)
        for depth, level in enumerate(network.levels[:-1]):
            units = slots // level.accelerators
            leaves = np.any(units != units[0], axis=0)
            switch = network.interfaces.switch(slots, level, depth)
            above = _distinct(switch[:, leaves], tree[:, leaves], members.each)
            np.add.at(load, topology.first[f"{level.name} {way}"] + above, share)
    return load


def _distinct(switch: Integers, tree: Integers, trees: int) -> Integers:
    """Return the switch of every different pair of a switch and a tree over it."""
    return np.unique(switch * trees + tree) // trees
