"""Laws that every collective obeys on every shipped cluster."""

from __future__ import annotations

import dataclasses
from functools import cache
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.hardware.cluster import Cluster
from simulator.hardware.collective_costs import bus_factor, collective_cost, collective_time
from simulator.hardware.collectives import Algorithm, GroupSpan
from simulator.hardware.node import ScaleUp
from simulator.operators import Collective

CLUSTERS = Catalog().names("cluster")
ROUNDING = 1 + 1e-9


@cache
def shipped(name: str) -> Cluster:
    return validate(Cluster, Catalog().document("cluster", name))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Collective, GroupSpan, Cluster]:
    """A collective that the cluster knows, over a group of up to 4,096 ranks in equal nodes."""
    cluster = shipped(draw(st.sampled_from(CLUSTERS)))
    kinds = [*cluster.node.collectives.lines, Collective.BROADCAST, Collective.SEND_RECV]
    # Small groups and pairs of nodes are special: as likely as all others together.
    widest = min(cluster.node.accelerators, 256)
    members = draw(st.sampled_from((1, 2, 4, 8)) | st.integers(1, widest))
    nodes = draw(st.sampled_from((1, 2)) | st.integers(1, 4096 // members))
    crossing = nodes > 1
    span = GroupSpan(
        ranks=members * nodes,
        ranks_per_node=members,
        nodes=nodes,
        tier=draw(st.integers(1, len(cluster.fabric.tiers))) if crossing else 0,
        contention=draw(st.just(1.0) | st.floats(1, 16)) if crossing else 1.0,
        latency=draw(st.floats(0, 2e-5)) if crossing else 0.0,
    )
    return draw(st.sampled_from(kinds)), span, cluster


sizes = st.floats(0, 11).map(lambda digits: 10**digits)

many = settings(max_examples=200)


def line_rate_bound(kind: Collective, n_bytes: float, span: GroupSpan, cluster: Cluster) -> float:
    """Return the least time [s] in which full-rate, lossless links could move the bytes."""
    if span.ranks == 1:
        return 0.0
    if span.nodes == 1:
        return inside_bound(kind, n_bytes, span.ranks, cluster)
    if kind is Collective.SEND_RECV:
        return n_bytes / cluster.nic_bandwidth
    if kind is Collective.ALL_TO_ALL:
        leaving = (span.ranks - span.ranks_per_node) / span.ranks
        return n_bytes * leaving / cluster.nic_bandwidth
    # However it is done, a node takes in what it lacks: all that the others hold or have summed.
    passes = 2 if kind is Collective.ALL_REDUCE else 1
    share = 1.0 if kind is Collective.BROADCAST else passes * (span.nodes - 1) / span.nodes
    return share * n_bytes / (span.ranks_per_node * cluster.nic_bandwidth)


def inside_bound(kind: Collective, n_bytes: float, ranks: int, cluster: Cluster) -> float:
    node = cluster.node
    meshed = node.scale_up is ScaleUp.MESH and ranks < node.accelerators
    # A member of a cube mesh has as few links inside the group as the group has others.
    rate = node.bandwidth * (min(1, (ranks - 1) / 4) if meshed else 1)
    # Reduction in the switch sends each buffer once; its bus bandwidth passes the line rate.
    volume = 1.0 if kind is Collective.ALL_REDUCE else bus_factor(kind, ranks)
    return volume * n_bytes / rate


@many
@given(cases(), sizes)
def test_no_collective_beats_the_line_rate(
    case: tuple[Collective, GroupSpan, Cluster], n_bytes: float
) -> None:
    kind, span, cluster = case
    bound = line_rate_bound(kind, n_bytes, span, cluster)
    assert collective_time(kind, n_bytes, span, cluster) * ROUNDING >= bound


@pytest.mark.parametrize("name", CLUSTERS)
def test_no_large_message_beats_the_line_rate(name: str) -> None:
    """Every kind on every small span, where latency hides nothing."""
    cluster = shipped(name)
    for kind, members, nodes in product(Collective, (1, 2, 4, 8), (1, 2, 3, 4)):
        if kind is Collective.ALL_TO_ALL and kind not in cluster.node.collectives.lines:
            continue
        span = GroupSpan(
            ranks=members * nodes, ranks_per_node=members, nodes=nodes, tier=int(nodes > 1)
        )
        bound = line_rate_bound(kind, 1e11, span, cluster)
        assert collective_time(kind, 1e11, span, cluster) * ROUNDING >= bound


@many
@given(cases(), sizes)
def test_only_reduction_in_a_switch_or_a_two_node_tree_passes_the_ring_bound(
    case: tuple[Collective, GroupSpan, Cluster], n_bytes: float
) -> None:
    kind, span, cluster = case
    assume(kind not in (Collective.ALL_TO_ALL, Collective.SEND_RECV) and span.nodes > 1)
    tree = cluster.fabric.collectives.line(kind, "").algorithm is Algorithm.TREE
    assume(not (tree and span.nodes == 2))
    ring = bus_factor(kind, span.ranks) * n_bytes / span.ranks_per_node / cluster.nic_bandwidth
    assert collective_time(kind, n_bytes, span, cluster) * ROUNDING >= ring


@many
@given(cases(), sizes)
def test_no_time_is_below_that_of_the_bytes(
    case: tuple[Collective, GroupSpan, Cluster], n_bytes: float
) -> None:
    cost = collective_cost(case[0], n_bytes, *case[1:])
    assert cost.time * ROUNDING >= cost.moving


@many
@given(cases(), sizes, st.integers(3, 64), st.integers(2, 8))
def test_more_nodes_are_never_faster_for_a_network_bound_group(
    case: tuple[Collective, GroupSpan, Cluster], n_bytes: float, nodes: int, factor: int
) -> None:
    """The same members in more nodes: more hops, and no less on each wire."""
    kind, span, cluster = case
    few, many_ = (
        dataclasses.replace(
            span, ranks=span.ranks_per_node * count, nodes=count, tier=max(1, span.tier)
        )
        for count in (nodes, factor * nodes)
    )
    near = collective_time(kind, n_bytes, few, cluster)
    assert collective_time(kind, n_bytes, many_, cluster) * ROUNDING >= near


@many
@given(cases(), sizes, sizes)
def test_more_bytes_never_take_less_time(
    case: tuple[Collective, GroupSpan, Cluster], first: float, second: float
) -> None:
    fewer, more = sorted((first, second))
    assert collective_time(case[0], fewer, *case[1:]) <= collective_time(case[0], more, *case[1:])


@many
@given(cases(), sizes, st.floats(1, 100))
def test_faster_interfaces_are_never_slower(
    case: tuple[Collective, GroupSpan, Cluster], n_bytes: float, factor: float
) -> None:
    kind, span, cluster = case
    fabric = dataclasses.replace(cluster.fabric, nic=factor * cluster.fabric.nic)
    faster = dataclasses.replace(cluster, fabric=fabric)
    slow = collective_time(kind, n_bytes, span, cluster)
    assert collective_time(kind, n_bytes, span, faster) <= slow * ROUNDING


@many
@given(cases(), sizes, st.floats(1, 8), st.floats(0, 1e-5))
def test_more_contention_and_latency_are_never_faster(
    case: tuple[Collective, GroupSpan, Cluster], n_bytes: float, factor: float, latency: float
) -> None:
    kind, span, cluster = case
    worse = dataclasses.replace(
        span, contention=factor * span.contention, latency=span.latency + latency
    )
    near = collective_time(kind, n_bytes, span, cluster)
    assert collective_time(kind, n_bytes, worse, cluster) * ROUNDING >= near


@many
@given(cases(), sizes, st.integers(2, 8))
def test_the_same_ranks_over_more_nodes_are_never_faster(
    case: tuple[Collective, GroupSpan, Cluster], n_bytes: float, spread: int
) -> None:
    kind, span, cluster = case
    members = span.ranks_per_node * spread
    assume(members <= cluster.node.accelerators)
    ranks = span.ranks * spread
    narrow = dataclasses.replace(span, ranks=ranks, ranks_per_node=members)
    wide = dataclasses.replace(span, ranks=ranks, nodes=span.nodes * spread, tier=max(1, span.tier))
    near = collective_time(kind, n_bytes, narrow, cluster)
    assert collective_time(kind, n_bytes, wide, cluster) * ROUNDING >= near


@pytest.mark.parametrize("name", CLUSTERS)
@pytest.mark.parametrize("kind", list(Collective))
def test_a_group_of_one_rank_is_free_on_every_cluster(name: str, kind: Collective) -> None:
    alone = GroupSpan(ranks=1, ranks_per_node=1, nodes=1, tier=0)
    assert collective_time(kind, 1e9, alone, shipped(name)) == 0
