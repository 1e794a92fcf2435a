"""Bytes of collectives on links: they add up, whatever the pattern and the wiring."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from topology_samples import BOXES, CLOS, ISLANDS, ONE_SWITCH, RAILS, SMALL, torus

from simulator.errors import SimulatorError
from simulator.hardware.collective_traffic import (
    Traffic,
    all_to_allv,
    one_busy_rank,
    traffic,
)
from simulator.hardware.members import Members, members_of
from simulator.hardware.pattern_choice import possible, usual_pattern
from simulator.hardware.patterns import Pattern, double_tree, halving, halving_steps
from simulator.operators import Collective

if TYPE_CHECKING:
    from simulator.hardware.cluster import Cluster

SWITCHED = replace(
    RAILS,
    name="reducing switches",
    node=replace(RAILS.node, in_switch_reduction=True),
    fabric=replace(RAILS.fabric, in_network_reduction=True),
)
PLAIN = replace(
    CLOS,
    node=replace(CLOS.node, in_switch_reduction=False),
    fabric=replace(CLOS.fabric, in_network_reduction=False),
)
PLACES = {
    "one node": np.arange(4),
    "two nodes": np.arange(8),
    "three nodes": np.arange(12),
    "all": np.arange(64),
    "one of each node": np.arange(0, 64, 4),
    "two of each of five scattered nodes": np.array([0, 2, 12, 14, 20, 22, 40, 42, 60, 62]),
    "a pair": np.array([1, 63]),
}
REDUCED = (Pattern.NVLS, Pattern.SHARP)
"""Patterns that are no transfers between pairs of accelerators."""


def by_pairs(kind: Collective, members: Members, cluster: Cluster) -> list[Pattern]:
    """Return the possible patterns that are transfers between pairs."""
    return [pattern for pattern in possible(kind, members, cluster) if pattern not in REDUCED]


def group(cluster: Cluster, place: str) -> Members:
    return members_of(PLACES[place], cluster.node.accelerators)


def sent_by_accelerators(found: Traffic) -> float:
    """Return the bytes on the first links of all ways, inside the nodes or from them."""
    sums = found.topology.by_class(found.load)
    if "pcie up" in sums:
        return sums["pcie up"]
    return sums["nic up"] + sums.get("nvlink up", 0.0) + sums.get("xgmi", 0.0)


def volume(kind: Collective, ranks: int) -> float:
    """Return the bytes that all ranks send together, per byte of the message."""
    if kind is Collective.SEND_RECV:
        return ranks
    return (2 if kind is Collective.ALL_REDUCE else 1) * (ranks - 1)


@pytest.mark.parametrize("cluster", BOXES, ids=lambda cluster: cluster.name)
@pytest.mark.parametrize("place", PLACES)
def test_ranks_send_what_the_closed_form_says(cluster: Cluster, place: str) -> None:
    members = group(cluster, place)
    for kind in Collective:
        for pattern in by_pairs(kind, members, cluster):
            if pattern is Pattern.PXN:  # sends some bytes twice; has a test of its own
                continue
            found = traffic(kind, pattern, 3e6, members, cluster)
            wanted = 3e6 * volume(kind, members.ranks)
            assert sent_by_accelerators(found) == pytest.approx(wanted), (kind, pattern)


@pytest.mark.parametrize("cluster", SMALL, ids=lambda cluster: cluster.name)
def test_what_enters_a_switch_leaves_it(cluster: Cluster) -> None:
    size = cluster.node.accelerators
    nodes = cluster.largest // size
    for each, count in product(sorted({1, 2, size}), sorted({2, nodes - nodes // 4, nodes})):
        slots = (np.arange(count)[:, None] * size + np.arange(each)).ravel()
        members = members_of(slots, size)
        for kind in Collective:
            for pattern in by_pairs(kind, members, cluster):
                require_balance(traffic(kind, pattern, 1e6, members, cluster), kind, pattern)


def require_balance(found: Traffic, kind: Collective, pattern: Pattern) -> None:
    """Require that the units of every level pass on what they get from below and above."""
    network, load, first = found.topology.network, found.load, found.topology.first
    slots = np.arange(found.topology.accelerators)
    interfaces = np.unique(network.interfaces.number(slots))
    owner = slots[:: network.interfaces.node // network.interfaces.each]
    below = {way: load[first[f"nic {way}"] + interfaces] for way in ("up", "down")}
    for depth, level in enumerate(network.levels[:-1]):
        rails = network.rails(depth)
        unit = owner // level.accelerators * rails
        if depth == 0:
            unit = unit + network.interfaces.rail(owner)
        count = network.units(level) * rails
        gathered = {way: np.bincount(unit, below[way], minlength=count) for way in below}
        above = {way: load[first[f"{level.name} {way}"] + np.arange(count)] for way in below}
        entering, leaving = gathered["up"] + above["down"], gathered["down"] + above["up"]
        assert entering == pytest.approx(leaving), (kind, pattern, level.name)
        owner = np.repeat(np.arange(network.units(level)) * level.accelerators, rails)
        below = above


@pytest.mark.parametrize("cluster", [*BOXES, SWITCHED], ids=lambda cluster: cluster.name)
@pytest.mark.parametrize("place", PLACES)
def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather(cluster: Cluster, place: str) -> None:
    members = group(cluster, place)
    for pattern in possible(Collective.ALL_GATHER, members, cluster):
        whole, scatter, gather = (
            traffic(kind, pattern, 1e6, members, cluster).load
            for kind in (
                Collective.ALL_REDUCE,
                Collective.REDUCE_SCATTER,
                Collective.ALL_GATHER,
            )
        )
        assert scatter + gather == pytest.approx(whole), pattern


@pytest.mark.parametrize("cluster", SMALL, ids=lambda cluster: cluster.name)
def test_an_even_all_to_all_is_that_of_its_pairs(cluster: Cluster) -> None:
    size, nodes = cluster.node.accelerators, cluster.largest // cluster.node.accelerators
    per_node = sorted({1, 2, size})
    for each, count in product(per_node, (1, 2, nodes)):
        slots = (np.arange(count)[:, None] * size + np.arange(each)).ravel()
        members = members_of(slots, size)
        ones = np.ones((members.ranks, members.ranks)) / members.ranks
        for pattern in possible(Collective.ALL_TO_ALL, members, cluster):
            counted = traffic(Collective.ALL_TO_ALL, pattern, 1.0, members, cluster)
            paired = all_to_allv(ones, members, cluster, pxn=pattern is Pattern.PXN)
            assert counted.load == pytest.approx(paired.load), (each, count, pattern)


def test_messages_by_pxn_keep_to_their_rail() -> None:
    """Two nodes under one leaf: without PXN three of four messages change rails above it."""
    members = group(RAILS, "two nodes")
    direct, handed = (
        traffic(Collective.ALL_TO_ALL, pattern, 8.0, members, RAILS).by_class
        for pattern in (Pattern.PAIRWISE, Pattern.PXN)
    )
    # Eight ranks send one byte to each of the four beyond; 3/4 of them to another rail.
    assert direct["nic up"] == handed["nic up"] == 32
    assert direct["leaf up"] == 24
    assert "leaf up" not in handed
    # Inside: 3 bytes to the others of the node; by PXN the 3 for other rails as well.
    assert (direct["nvlink up"], handed["nvlink up"]) == (24, 48)


def test_reduction_in_the_node_halves_what_a_ring_sends() -> None:
    members = group(SWITCHED, "one node")
    ring, nvls = (
        traffic(Collective.ALL_REDUCE, pattern, 8.0, members, SWITCHED).by_class
        for pattern in (Pattern.RING, Pattern.NVLS)
    )
    # Each of four: 2 * 3/4 * 8 bytes round a ring; a buffer and a quarter through the switch.
    assert ring == {"nvlink up": 48, "nvlink down": 48}
    assert nvls == {"nvlink up": 40, "nvlink down": 40}
    large = replace(SWITCHED.node, accelerators=64, nics=64)
    wide = replace(SWITCHED, node=large, fabric=ONE_SWITCH.fabric)
    slots = members_of(np.arange(64), 64)
    sums = [
        traffic(Collective.ALL_REDUCE, pattern, 1.0, slots, wide).by_class["nvlink up"]
        for pattern in (Pattern.NVLS, Pattern.RING)
    ]
    assert sums[0] / sums[1] == pytest.approx(65 / 126)


def test_reduction_in_the_network_sends_each_share_once() -> None:
    members = group(SWITCHED, "all")
    found = traffic(Collective.ALL_REDUCE, Pattern.SHARP, 8.0, members, SWITCHED).by_class
    # 64 interfaces send a quarter of 8 bytes; 4 leaves of 4 rails and 2 spines of 4 trees, sums.
    assert found["nic up"] == found["nic down"] == 64 * 2
    assert found["leaf up"] == found["leaf down"] == 4 * 4 * 2
    assert found["spine up"] == found["spine down"] == 2 * 4 * 2


@pytest.mark.parametrize("nodes", [2, 3, 4, 5, 8, 13, 32, 2048])
def test_double_trees_are_trees_of_which_one_has_the_others_leaves(nodes: int) -> None:
    trees = double_tree(nodes)
    inner = []
    for parent in trees:
        children = np.bincount(parent[parent >= 0], minlength=nodes)
        assert np.count_nonzero(parent < 0) == 1
        assert children.max() <= 2
        inner.append(set(np.flatnonzero(children).tolist()))
        for _ in range(2 + nodes.bit_length()):
            parent = np.where(parent >= 0, parent[parent], -1)  # noqa: PLW2901 - climbs
        assert np.all(parent < 0), "deeper than a binary tree"
    if nodes % 2 == 0:
        assert not inner[0] & inner[1]


@pytest.mark.parametrize("ranks", [2, 3, 4, 6, 7, 8, 12, 13, 64])
def test_halving_reduces_every_part_of_every_rank(ranks: int) -> None:
    """Each rank starts with one unit of every part; at the end each part has been summed once."""
    steps = halving(ranks)
    largest = 1 << (ranks.bit_length() - 1)
    kept = np.ones(ranks)
    held = np.ones(ranks)
    for step in steps[: largest.bit_length() - 1]:
        assert set(zip(step.sender.tolist(), step.receiver.tolist(), strict=True)) == set(
            zip(step.receiver.tolist(), step.sender.tolist(), strict=True)
        )
        np.subtract.at(kept, step.sender, step.n_bytes)
    blocks = sorted(1 << bit for bit in range(ranks.bit_length()) if ranks >> bit & 1)
    starts = np.cumsum([0, *reversed(blocks)])
    for start, size in zip(starts, reversed(blocks), strict=False):
        assert kept[start : start + size] == pytest.approx(1 / size)
    for step in steps[largest.bit_length() - 1 :]:
        np.subtract.at(held, step.sender, step.n_bytes)
    # All but the largest block hand on all that they hold.
    assert held[largest:] == pytest.approx(1 - kept[largest:])
    assert held[:largest] == pytest.approx(1.0)


def test_halving_takes_the_steps_that_it_is_priced_with() -> None:
    assert [len(halving(ranks)) for ranks in range(1, 80)] == [*map(halving_steps, range(1, 80))]


def test_rings_round_a_torus_load_all_links_of_all_axes_alike() -> None:
    cube = torus(4, 4, wrapped=True)
    members = members_of(np.arange(16), 16)
    found = traffic(Collective.ALL_GATHER, Pattern.TORUS, 16.0, members, cube)
    # 16 chips send 15 bytes each over four links: 3.75 on each of 64.
    assert found.load[: 4 * 16] == pytest.approx(3.75)
    ring = traffic(Collective.ALL_GATHER, Pattern.RING, 16.0, members, cube)
    assert ring.busiest.time == pytest.approx(4 * found.busiest.time)


def test_an_open_axis_carries_twice_as_much() -> None:
    times = []
    for wrapped in (True, False):
        line = torus(5, wrapped=wrapped)
        members = members_of(np.arange(5), 5)
        times.append(traffic(Collective.ALL_GATHER, Pattern.TORUS, 1.0, members, line).busiest.time)
    assert times[1] == pytest.approx(2 * times[0])


def test_unequal_parts_load_the_links_of_the_busiest_rank() -> None:
    members = group(CLOS, "one node")
    sent = np.array([[9, 1, 0, 2], [5, 9, 5, 5], [0, 1, 0, 0], [7, 1, 0, 9]], dtype=float)
    found = all_to_allv(sent, members, CLOS)
    # Rank 0 receives 12, rank 1 sends 15: the most; what ranks keep is not sent.
    assert found.busiest.n_bytes == pytest.approx(15)
    assert found.busiest.time == pytest.approx(15 / 450e9)
    assert found.by_class == {"nvlink up": pytest.approx(27), "nvlink down": pytest.approx(27)}


def test_one_busy_rank_receives_more_than_the_mean() -> None:
    sent = one_busy_rank(4, 8.0, 2.0)
    assert sent.sum(axis=1) == pytest.approx(8.0)
    assert sent.sum(axis=0) == pytest.approx([16, 16 / 3, 16 / 3, 16 / 3])
    with pytest.raises(SimulatorError, match="among 4 ranks is 1 to 4, not 5"):
        one_busy_rank(4, 8.0, 5.0)


@pytest.mark.parametrize(
    ("kind", "pattern", "place", "cluster", "message"),
    [
        (Collective.ALL_GATHER, Pattern.TREE, "all", CLOS, "no all_gather is done by tree; it is"),
        (Collective.ALL_REDUCE, Pattern.NVLS, "one node", PLAIN, "do not reduce .in_switch"),
        (Collective.ALL_REDUCE, Pattern.NVLS, "all", SWITCHED, "leaves its NVLink domain"),
        (Collective.ALL_REDUCE, Pattern.SHARP, "all", PLAIN, "do not reduce .in_network"),
        (Collective.ALL_REDUCE, Pattern.SHARP, "one node", SWITCHED, "stays inside its node"),
        (Collective.ALL_REDUCE, Pattern.SHARP, "all", ISLANDS, "crosses islands"),
        (Collective.ALL_REDUCE, Pattern.HIERARCHICAL, "one node", CLOS, "possible is: ring, tree"),
        (Collective.ALL_REDUCE, Pattern.TORUS, "all", CLOS, "is no torus"),
        (Collective.ALL_TO_ALL, Pattern.PXN, "all", CLOS, "hang on no rails"),
        (Collective.ALL_TO_ALL, Pattern.PXN, "a pair", RAILS, "other places in some nodes"),
    ],
)
def test_what_is_not_possible_in_a_place_is_refused(
    kind: Collective, pattern: Pattern, place: str, cluster: Cluster, message: str
) -> None:
    with pytest.raises(SimulatorError, match=message):
        traffic(kind, pattern, 1.0, group(cluster, place), cluster)


def test_rings_along_axes_need_a_box() -> None:
    grid = torus(4, 4, wrapped=True)
    members = members_of(np.array([0, 1, 5]), 16)
    assert Pattern.TORUS not in possible(Collective.ALL_REDUCE, members, grid)
    corner = members_of(np.array([0, 1, 4, 5]), 16)
    assert usual_pattern(Collective.ALL_REDUCE, corner, grid) is Pattern.TORUS


def test_a_group_is_even_and_has_each_slot_once() -> None:
    with pytest.raises(SimulatorError, match="nodes hold 1 to 2 members"):
        members_of(np.array([0, 1, 4]), 4)
    with pytest.raises(SimulatorError, match="each in a slot of its own"):
        members_of(np.array([0, 0]), 4)


def test_more_pairs_than_are_followed_are_refused() -> None:
    wide = replace(CLOS, largest=4096)
    members = members_of(np.arange(4096), 4)
    with pytest.raises(SimulatorError, match="16,777,216 pairs to be followed one by one"):
        all_to_allv(np.ones((4096, 4096)), members, wide)


def test_a_matrix_of_another_size_is_refused() -> None:
    with pytest.raises(SimulatorError, match="a matrix of 4 x 4, none negative"):
        all_to_allv(np.ones((3, 4)), group(CLOS, "one node"), CLOS)
