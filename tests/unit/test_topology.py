"""Link bundles and routes: by hand, and against shortest paths of the whole graph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import pytest
from topology_samples import (
    CLOS,
    GBIT,
    HOST,
    ISLANDS,
    MESH,
    ONE_SWITCH,
    PLANES,
    RAILS,
    SEVERAL,
    SHARED,
    SMALL,
    TWO_RAILS,
    torus,
)

from simulator.errors import ProfileError, SimulatorError
from simulator.hardware.fabric import Tier
from simulator.hardware.graphs import ATTACHED, MORE, graph
from simulator.hardware.node import ScaleUp
from simulator.hardware.topology import Topology, topology_of

if TYPE_CHECKING:
    from simulator.hardware.cluster import Cluster

GRID = torus(4, 4, wrapped=False)
RING = torus(4, 4, wrapped=True)


def way(cluster: Cluster, sender: int, receiver: int, *, pxn: bool = False) -> list[str]:
    """Return the classes that a byte crosses."""
    topology = topology_of(cluster)
    bundles = topology.routes([sender], [receiver], pxn=pxn).bundles
    return [topology.names[topology.klass[bundle]] for bundle in bundles]


def bundle(topology: Topology, name: str, place: int) -> int:
    return topology.first[name] + place


def test_bundles_of_a_clos() -> None:
    """64 accelerators: 4 leaves pass 16 x 50 GB/s on, 2 spines half of 32 x 50."""
    topology = topology_of(CLOS)
    counts = {name: int((topology.klass == i).sum()) for i, name in enumerate(topology.names)}
    assert counts == {
        "nvlink up": 64,
        "nvlink down": 64,
        "nic up": 64,
        "nic down": 64,
        "leaf up": 4,
        "leaf down": 4,
        "spine up": 2,
        "spine down": 2,
    }
    leaf, spine = bundle(topology, "leaf up", 3), bundle(topology, "spine down", 0)
    assert (topology.capacity[leaf], topology.width[leaf]) == (800e9, 16)
    assert (topology.capacity[spine], topology.width[spine]) == (800e9, 16)
    assert topology.klass.dtype == np.int16
    assert topology.width.dtype == np.int32


def test_oversubscription_multiplies_up() -> None:
    """2:1 above 2:1 leaves a quarter."""
    leaf, spine, core = CLOS.fabric.tiers
    twice = replace(
        CLOS, fabric=replace(CLOS.fabric, tiers=(replace(leaf, oversubscription=2.0), spine, core))
    )
    topology = topology_of(twice)
    assert topology.capacity[topology.first["leaf up"]] == 400e9
    assert topology.capacity[topology.first["spine up"]] == 400e9


@pytest.mark.parametrize(
    ("cluster", "sender", "receiver", "classes"),
    [
        (CLOS, 5, 5, []),
        (CLOS, 4, 6, ["nvlink up", "nvlink down"]),
        (CLOS, 4, 9, ["nic up", "nic down"]),
        (CLOS, 4, 17, ["nic up", "leaf up", "leaf down", "nic down"]),
        (
            *(CLOS, 4, 40),
            ["nic up", "leaf up", "spine up", "spine down", "leaf down", "nic down"],
        ),
        (RAILS, 4, 8, ["nic up", "nic down"]),
        (RAILS, 4, 9, ["nic up", "leaf up", "leaf down", "nic down"]),
        (TWO_RAILS, 4, 10, ["nic up", "nic down"]),
        (TWO_RAILS, 4, 9, ["nic up", "leaf up", "leaf down", "nic down"]),
        (SHARED, 4, 9, ["nic up", "nic down"]),
        (ONE_SWITCH, 4, 63, ["nic up", "nic down"]),
        (MESH, 4, 6, ["xgmi"]),
        (MESH, 4, 9, ["nic up", "nic down"]),
        (HOST, 4, 6, ["pcie up", "host bridge", "pcie down"]),
        (
            *(HOST, 4, 9),
            ["pcie up", "host bridge", "nic up", "nic down", "host bridge", "pcie down"],
        ),
        (ISLANDS, 4, 17, ["nic up", "leaf up", "leaf down", "nic down"]),
        (
            *(ISLANDS, 4, 40),
            ["nic up", "leaf up", "spine up", "spine down", "leaf down", "nic down"],
        ),
        (RING, 0, 3, ["torus x-"]),
        (GRID, 0, 3, ["torus x+"] * 3),
        (RING, 0, 6, ["torus x+", "torus x+", "torus y+"]),
        (RING, 1, 3, ["torus x-", "torus x-"]),  # equally long ways: odd places go down
        (GRID, 15, 0, ["torus x-"] * 3 + ["torus y-"] * 3),
        (RING, 0, 16, ["nic up", "nic down"]),
    ],
)
def test_ways_by_hand(cluster: Cluster, sender: int, receiver: int, classes: list[str]) -> None:
    assert way(cluster, sender, receiver) == classes


def test_pxn_hands_over_to_the_rail_of_the_receiver() -> None:
    """4 to 9: NVLink to 5, which shares the rail of 9; 4 to 8 shares it already."""
    handed = ["nvlink up", "nvlink down", "nic up", "nic down"]
    assert way(RAILS, 4, 9, pxn=True) == handed
    assert way(RAILS, 4, 8, pxn=True) == ["nic up", "nic down"]
    assert way(RAILS, 4, 5, pxn=True) == ["nvlink up", "nvlink down"]
    topology = topology_of(RAILS)
    bundles = topology.routes([4], [9], pxn=True).bundles.tolist()
    assert bundles[1:3] == [bundle(topology, "nvlink down", 5), bundle(topology, "nic up", 5)]


def test_interfaces_are_shared_or_owned() -> None:
    """Two interfaces for four accelerators serve two each; eight give each a bundle of two."""
    shared, several = topology_of(SHARED), topology_of(SEVERAL)
    assert shared.routes([4, 5, 6], [8, 8, 8]).bundles[::2].tolist() == [
        bundle(shared, "nic up", place) for place in (2, 2, 3)
    ]
    one = several.first["nic up"]
    assert (several.capacity[one], several.width[one]) == (100e9, 2)
    assert shared.capacity[shared.first["nic up"]] == 50e9


def test_odd_interfaces_are_owned_unevenly() -> None:
    six = topology_of(replace(CLOS, node=replace(CLOS.node, nics=6)))
    first = six.first["nic up"]
    assert six.width[first : first + 4].tolist() == [1, 2, 1, 2]
    assert six.capacity[first : first + 4].sum() == 6 * 50e9


def test_planes_divide_ports_not_bandwidth() -> None:
    """Two planes: the same capacity in twice as many links of half the rate."""
    one, two = topology_of(RAILS), topology_of(PLANES)
    assert one.names == two.names
    assert np.array_equal(one.capacity, two.capacity)
    outside = one.klass >= one.names.index("nic up")
    assert np.array_equal(2 * one.width[outside], two.width[outside])


def test_a_mesh_gives_a_pair_one_link_of_all() -> None:
    """Three links of 64 GB/s: a pair sees a third of the accelerator's 192 GB/s."""
    topology = topology_of(MESH)
    assert topology.routes([0], [1]).narrowest(topology.capacity).tolist() == [64e9]
    every = topology.routes([0, 0, 0], [1, 2, 3])
    assert len(set(every.bundles.tolist())) == 3


def test_islands_are_joined_by_their_own_link() -> None:
    """The 2:1 spine is an island's top: what leaves it is the link of 100 Gbit/s."""
    topology = topology_of(ISLANDS)
    assert topology.capacity[topology.first["spine up"]] == 100 * GBIT
    assert topology.width[topology.first["spine up"]] == 1
    assert topology.routes([0], [63]).narrowest(topology.capacity).tolist() == [100 * GBIT]


@pytest.mark.parametrize("cluster", SMALL, ids=lambda cluster: cluster.name)
def test_routes_are_shortest_paths_of_the_graph(cluster: Cluster) -> None:
    """Pairs inside a node over its wiring alone (bytes never leave it), others over everything."""
    topology = topology_of(cluster)
    whole = graph(topology, full=True)
    inner = nx.DiGraph(whole)
    inner.remove_nodes_from([v for v in whole if whole.nodes[v]["row"] >= 2])
    sender, receiver = np.divmod(np.arange(topology.accelerators**2), topology.accelerators)
    chosen = np.random.default_rng(1).permutation(len(sender))[:250]
    sender, receiver = sender[chosen], receiver[chosen]
    routes = topology.routes(sender, receiver)
    for pair, (tail, head) in enumerate(zip(sender.tolist(), receiver.tolist(), strict=True)):
        size = topology.wiring.size
        net = inner if tail // size == head // size else whole
        paths = nx.all_shortest_paths(net, ("accelerator", tail), ("accelerator", head))
        assert routes.of(pair).tolist() in [crossed(net, path) for path in paths]


def crossed(net: nx.DiGraph, path: list[object]) -> list[int]:
    """Return the bundles along a path of vertices."""
    edges = [net.edges[pair]["bundle"] for pair in nx.utils.pairwise(path)]
    return [edge for edge in edges if edge is not None]


@pytest.mark.parametrize("cluster", SMALL, ids=lambda cluster: cluster.name)
def test_the_graph_has_every_bundle_with_its_capacity(cluster: Cluster) -> None:
    """A bundle of two planes is two edges; together they are the bundle."""
    topology = topology_of(cluster)
    capacity, width = np.zeros(len(topology.klass)), np.zeros(len(topology.klass))
    for _, _, edge in graph(topology, full=True).edges(data=True):
        if edge["klass"] != ATTACHED:
            assert edge["klass"] == topology.names[topology.klass[edge["bundle"]]]
            capacity[edge["bundle"]] += edge["capacity"]
            width[edge["bundle"]] += edge["width"]
    assert capacity == pytest.approx(topology.capacity)
    assert width == pytest.approx(topology.width)


def test_a_folded_graph_is_small_and_loses_no_capacity() -> None:
    """What is folded is counted: ports of the leaf, uplinks into the spine."""
    folded = graph(topology_of(CLOS), full=False)
    assert len(folded) < 20
    assert folded.nodes[MORE, "nodes"]["times"] == 3
    assert folded.nodes[MORE, "leaf"]["label"] == "x 1 more"
    into_leaf = [edge for *_, edge in folded.in_edges(("leaf", 0), data=True)]
    ports = sum(edge["capacity"] for edge in into_leaf if edge["klass"] == "nic up")
    assert ports == 16 * 50e9


def test_loads_add_up_by_class() -> None:
    """Every slot sends 2 bytes to the next node: out and in by interface, a quarter over leaves."""
    topology = topology_of(CLOS)
    slots = np.arange(64)
    load = topology.routes(slots, (slots + 4) % 64).load(2.0)
    sums = topology.by_class(load)
    assert sums["nic up"] == sums["nic down"] == 128.0
    assert sums["leaf up"] == sums["leaf down"] == 32.0
    assert sums["spine up"] == 16.0
    assert sums["nvlink up"] == 0.0


@pytest.mark.parametrize("pxn", [False, True])
@pytest.mark.parametrize("cluster", SMALL, ids=lambda cluster: cluster.name)
def test_what_goes_up_comes_down(cluster: Cluster, *, pxn: bool) -> None:
    """As much down as up on each class; by interfaces what leaves a node, and no more."""
    topology = topology_of(cluster)
    draw = np.random.default_rng(3)
    sender, receiver = draw.integers(0, topology.accelerators, (2, 500))
    n_bytes = draw.integers(1, 1000, 500).astype(float)
    routes = topology.routes(sender, receiver, pxn=pxn)
    sums = topology.by_class(routes.load(n_bytes))
    between = n_bytes[sender // topology.wiring.size != receiver // topology.wiring.size].sum()
    assert sums["nic up"] == sums["nic down"] == between
    for name, total in sums.items():
        if name.endswith(" up"):
            assert total == sums[name.replace(" up", " down")]
    assert sum(sums.values()) == pytest.approx(n_bytes @ routes.hops)


def test_no_pairs_are_no_routes() -> None:
    routes = topology_of(CLOS).routes([], [])
    assert len(routes) == 0
    assert routes.load(1.0).sum() == 0.0
    assert routes.narrowest(topology_of(CLOS).capacity).size == 0


def test_a_ring_along_a_torus_axis_uses_each_link_once() -> None:
    topology = topology_of(torus(4, 4, wrapped=True, pods=1))
    slots = np.arange(16)
    load = topology.routes(slots, slots // 4 * 4 + (slots + 1) % 4).load(1.0)
    assert topology.by_class(load)["torus x+"] == 16.0
    assert load.max() == 1.0


def test_slots_and_sizes_are_checked() -> None:
    topology = topology_of(CLOS)
    with pytest.raises(SimulatorError, match="slots must be 0 to 63, got 64 to 64"):
        topology.routes([0], [64])
    with pytest.raises(SimulatorError, match="whole numbers"):
        topology.routes([0.5], [1])
    with pytest.raises(SimulatorError, match="clos joins 1 to 64 accelerators, not 65"):
        topology_of(CLOS, 65)


def test_only_what_is_needed_of_a_cluster_is_built() -> None:
    """Five accelerators are two nodes under one leaf; rails still need the level above."""
    assert topology_of(CLOS, 5).accelerators == 8
    assert topology_of(CLOS, 5).names[-1] == "nic down"
    assert topology_of(RAILS, 5).names[-1] == "leaf down"
    assert topology_of(CLOS) is topology_of(CLOS)


def test_units_have_to_nest() -> None:
    cut = Tier(name="row", accelerators=24, oversubscription=1.0, latency=0.0)
    cluster = replace(CLOS, fabric=replace(CLOS.fabric, tiers=(CLOS.fabric.tiers[0], cut, cut)))
    with pytest.raises(ProfileError, match="row has 24 accelerators a unit, no multiple of the 16"):
        topology_of(cluster)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"torus": (4, 4)}, "describe no switch"),
        ({"host_bridge": 1e9}, "goes with scale_up: pcie"),
        (
            {"scale_up": ScaleUp.TORUS, "torus": (3, 4), "wrapped": True},
            "3 x 4 must be one to 3 axes",
        ),
        ({"scale_up": ScaleUp.TORUS}, "needs torus"),
        ({"scale_up": ScaleUp.PCIE}, "goes with scale_up: pcie"),
    ],
)
def test_wiring_and_its_numbers_go_together(change: dict[str, object], message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        replace(CLOS.node, **change)
