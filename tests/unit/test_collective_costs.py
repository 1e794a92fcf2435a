"""Collective times by hand-computed numbers, and the mistakes that are refused."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

import pytest

from simulator.errors import SimulatorError
from simulator.hardware.cluster import Cluster
from simulator.hardware.collective_costs import (
    bus_bandwidth,
    bus_factor,
    collective_cost,
    collective_time,
    send_recv_time,
)
from simulator.hardware.collectives import Algorithm, CollectiveLine, CollectiveModel, GroupSpan
from simulator.hardware.fabric import Fabric
from simulator.hardware.node import Node, ScaleUp
from simulator.hardware.protocols import Regime
from simulator.operators import Collective

if TYPE_CHECKING:
    from simulator.hardware.accelerator import Accelerator

US, GB = 1e-6, 1e9
RING_KINDS = (Collective.ALL_REDUCE, Collective.ALL_GATHER, Collective.REDUCE_SCATTER)


def line(
    table: dict[int, float] | None = None,
    algorithm: Algorithm | None = None,
    *,
    a1: float = 1 * US,
) -> CollectiveLine:
    """Start 10 us, hop ``a1``; bandwidth protocol 20 us and 2 us a hop later, twice as fast."""
    return CollectiveLine(
        a0=10 * US, a1=a1, b0=20 * US, b1=2 * US, low=1.0, bus_bandwidth=table, algorithm=algorithm
    )


def node(
    scale_up: ScaleUp = ScaleUp.SWITCH,
    table: dict[int, float] | None = None,
    *,
    accelerators: int = 8,
    bandwidth: float = 450 * GB,
    pair_bandwidth: float = 90 * GB,
) -> Node:
    table = table or {2: 200 * GB, 8: 400 * GB}
    is_torus = scale_up is ScaleUp.TORUS
    tabulated = line(None if is_torus else table)
    shape = (16, 16) if accelerators == 256 else (accelerators,)
    kinds = (*RING_KINDS, Collective.ALL_TO_ALL)
    return Node(
        name="box",
        accelerators=accelerators,
        scale_up=scale_up,
        bandwidth=bandwidth,
        pair_bandwidth=pair_bandwidth,
        pair_latency=5 * US,
        collectives=CollectiveModel(lines=dict.fromkeys(kinds, tabulated)),
        nics=accelerators,
        torus=shape if is_torus else None,
        wrapped=True if is_torus else None,
        host_bridge=bandwidth if scale_up is ScaleUp.PCIE else None,
    )


def fabric(all_reduce: Algorithm = Algorithm.TREE) -> Fabric:
    ring = line(algorithm=Algorithm.RING, a1=4 * US)
    return Fabric(
        name="wires",
        nic=50 * GB,
        efficiency=0.8,
        rail_optimised=True,
        pair_latency=18 * US,
        collectives=CollectiveModel(
            lines={
                Collective.ALL_REDUCE: line(algorithm=all_reduce, a1=4 * US),
                Collective.ALL_GATHER: ring,
                Collective.REDUCE_SCATTER: ring,
                Collective.ALL_TO_ALL: line(algorithm=Algorithm.PAIRWISE, a1=4 * US),
            }
        ),
        tiers=(),
    )


def cluster(inside: Node | None = None, between: Fabric | None = None) -> Cluster:
    return Cluster(
        name="site",
        # No collective reads the accelerator.
        accelerator=cast("Accelerator", None),
        node=inside or node(),
        fabric=between or fabric(),
        largest=1024,
    )


def span(ranks_per_node: int, nodes: int, **more: float) -> GroupSpan:
    return GroupSpan(
        ranks=ranks_per_node * nodes,
        ranks_per_node=ranks_per_node,
        nodes=nodes,
        tier=int(nodes > 1),
        contention=more.get("contention", 1.0),
        latency=more.get("latency", 0.0),
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Collective.ALL_REDUCE, 1.75),
        (Collective.ALL_GATHER, 0.875),
        (Collective.REDUCE_SCATTER, 0.875),
        (Collective.ALL_TO_ALL, 0.875),
        (Collective.BROADCAST, 1.0),
        (Collective.SEND_RECV, 1.0),
    ],
)
def test_bus_factors_of_eight_ranks_are_those_of_nccl_tests(
    kind: Collective, expected: float
) -> None:
    assert bus_factor(kind, 8) == expected
    assert bus_factor(kind, 1) == 0


def test_small_messages_take_the_low_latency_line() -> None:
    # 10 us + 7 hops of 1 us + twice 1.75 * 8 kB / 400 GB/s = 17.07 us
    assert collective_time(Collective.ALL_REDUCE, 8e3, span(8, 1), cluster()) == pytest.approx(
        17.07 * US
    )


def test_large_messages_take_the_bandwidth_line() -> None:
    # 10 + 20 us + 7 hops of 3 us + 1.75 * 8 GB / 400 GB/s = 51 us + 35 ms
    assert collective_time(Collective.ALL_REDUCE, 8e9, span(8, 1), cluster()) == pytest.approx(
        0.035 + 51 * US
    )


def test_bandwidth_is_interpolated_in_the_logarithm_of_the_group_size() -> None:
    # Half way from 2 to 8: 1/B = (1/200 + 1/400) / 2; 0.75 * 4 GB / 266.7 GB/s = 11.25 ms
    assert collective_time(Collective.ALL_GATHER, 4e9, span(4, 1), cluster()) == pytest.approx(
        0.01125 + 39 * US
    )


def test_bandwidth_is_clamped_beyond_the_largest_size_measured() -> None:
    wide = cluster(node(accelerators=72))
    # 63/64 * 8 GB / 400 GB/s, and 63 hops of 3 us.
    assert collective_time(Collective.ALL_GATHER, 8e9, span(64, 1), wide) == pytest.approx(
        0.0196875 + 219 * US
    )


def test_all_reduce_hops_grow_by_doublings_beyond_eight_ranks() -> None:
    wide = cluster(node(accelerators=72))
    # 7 hops, 3 doublings from 8 to 64.
    assert collective_time(Collective.ALL_REDUCE, 0.0, span(64, 1), wide) == pytest.approx(20 * US)


def test_a_group_in_a_mesh_has_one_link_to_each_other_member() -> None:
    mesh = cluster(node(ScaleUp.MESH, {8: 350 * GB}))
    # 2 of 7 links: 100 GB/s; 2/3 * 3 GB take 20 ms.
    assert collective_time(Collective.ALL_GATHER, 3e9, span(3, 1), mesh) == pytest.approx(
        0.02 + 36 * US
    )


def test_a_mesh_is_interpolated_within_its_table() -> None:
    cube = cluster(node(ScaleUp.MESH, {2: 200 * GB, 8: 400 * GB}))
    assert collective_time(Collective.ALL_GATHER, 4e9, span(4, 1), cube) == pytest.approx(
        0.01125 + 39 * US
    )


def test_slices_of_a_torus_are_crossed_before_their_network_is() -> None:
    # One network hop of 6 us and 8 hops of 3 us inside, where 31/32 * 32 GB move at 180 GB/s.
    chips = cluster(node(ScaleUp.TORUS, accelerators=256, bandwidth=400 * GB))
    assert collective_time(Collective.ALL_GATHER, 32e9, span(16, 2), chips) == pytest.approx(
        31 / 180 + 30 * US + 6 * US + 24 * US
    )


def test_broadcast_without_a_fit_has_the_bandwidth_of_an_all_gather() -> None:
    assert collective_time(Collective.BROADCAST, 4e9, span(8, 1), cluster()) == pytest.approx(
        0.01 + 51 * US
    )


def test_send_recv_inside_a_node_uses_one_pairs_links() -> None:
    expected = 5 * US + 0.1
    assert send_recv_time(9e9, span(8, 1), cluster()) == pytest.approx(expected)
    assert collective_time(Collective.SEND_RECV, 9e9, span(8, 1), cluster()) == pytest.approx(
        expected
    )


def test_send_recv_between_nodes_uses_one_share_of_the_interfaces() -> None:
    far = span(1, 2, contention=2.0, latency=3 * US)
    # 50 GB/s * 0.8 / 2 = 20 GB/s
    assert send_recv_time(1e9, far, cluster()) == pytest.approx(0.05 + 21 * US)


def test_a_pair_is_never_faster_between_nodes_than_inside_one() -> None:
    slow = cluster(node(pair_bandwidth=10 * GB))
    assert send_recv_time(1e9, span(1, 2), slow) == send_recv_time(1e9, span(2, 1), slow)


def test_all_reduce_over_many_nodes_is_bound_by_the_wires_of_its_members() -> None:
    # 4 members * 40 GB/s; 2 * 31/32 * 32 GB / 160 GB/s = 387.5 ms; log2(8) = 3 hops of 6 us.
    time = collective_time(Collective.ALL_REDUCE, 32e9, span(4, 8), cluster())
    assert time == pytest.approx(0.3875 + 30 * US + 18 * US)


def test_a_tree_between_two_nodes_exchanges_each_buffer_once() -> None:
    pair = span(4, 2)
    # 8 GB / (4 * 40 GB/s) = 50 ms, where a ring needs 87.5 ms; one hop of 6 us.
    tree = collective_time(Collective.ALL_REDUCE, 8e9, pair, cluster())
    ring = collective_time(
        Collective.ALL_REDUCE, 8e9, pair, cluster(between=fabric(Algorithm.TREE_OR_RING))
    )
    assert tree == pytest.approx(0.05 + 36 * US)
    assert ring == pytest.approx(0.0875 + 36 * US)
    line_rate = 4 * 50 * GB
    assert bus_bandwidth(Collective.ALL_REDUCE, 8e9, pair, cluster()) > line_rate


def test_two_full_nodes_are_bound_by_the_reduction_inside_them() -> None:
    # 8 members * 40 GB/s would take 25 ms; 1.75 * 8 GB / 400 GB/s inside takes 35 ms.
    time = collective_time(Collective.ALL_REDUCE, 8e9, span(8, 2), cluster())
    assert time == pytest.approx(0.035 + 36 * US)


def test_all_gather_between_nodes_walks_a_ring() -> None:
    # 3 network hops of 6 us, 12 hops inside of 3 us; 15/16 * 16 GB / 160 GB/s = 93.75 ms.
    time = collective_time(Collective.ALL_GATHER, 16e9, span(4, 4), cluster())
    assert time == pytest.approx(0.09375 + 30 * US + 18 * US + 36 * US)


def test_a_ring_that_leaves_a_mesh_frees_one_link_inside() -> None:
    mesh = cluster(node(ScaleUp.MESH, {8: 70 * GB}))
    # Inside: 7/8 * 15/16 * 16 GB / 70 GB/s = 187.5 ms; on the wires 46.875 ms.
    time = collective_time(Collective.ALL_GATHER, 16e9, span(8, 2), mesh)
    assert time == pytest.approx(0.1875 + 30 * US + 6 * US + 14 * 3 * US)


def test_all_to_all_sends_what_leaves_the_node_over_each_ranks_interface() -> None:
    # 24/32 * 32 GB / 40 GB/s = 600 ms; inside 7/32 * 32 GB / 400 GB/s; 3 hops of 6 us.
    time = collective_time(Collective.ALL_TO_ALL, 32e9, span(8, 4), cluster())
    assert time == pytest.approx(0.6 + 30 * US + 18 * US)


def test_contention_divides_the_wire_and_latency_is_paid_per_traversal() -> None:
    calm = collective_time(Collective.ALL_REDUCE, 32e9, span(4, 8), cluster())
    crowded = collective_time(
        Collective.ALL_REDUCE, 32e9, span(4, 8, contention=7.0, latency=5 * US), cluster()
    )
    assert crowded - calm == pytest.approx(6 * 0.3875 + 10 * US)


@pytest.mark.parametrize("kind", list(Collective))
def test_a_group_of_one_rank_costs_nothing(kind: Collective) -> None:
    assert collective_time(kind, 1e9, span(1, 1), cluster()) == 0
    assert send_recv_time(1e9, span(1, 1), cluster()) == 0


def torus() -> Cluster:
    """16 x 16 chips, four links of 90 GB/s realised of 100."""
    chips = node(ScaleUp.TORUS, accelerators=256, bandwidth=400 * GB, pair_bandwidth=90 * GB)
    return cluster(chips)


def test_a_ring_on_one_torus_axis_runs_both_ways() -> None:
    # 15/16 * 16 GB / 180 GB/s; 8 hops of 3 us to the far side.
    time = collective_time(Collective.ALL_GATHER, 16e9, span(16, 1), torus())
    assert time == pytest.approx(15 / 180 + 30 * US + 24 * US)


def test_a_group_over_two_torus_axes_uses_all_four_links() -> None:
    # 2 * 255/256 * 256 GB / 360 GB/s; 16 hops of 3 us.
    time = collective_time(Collective.ALL_REDUCE, 256e9, span(256, 1), torus())
    assert time == pytest.approx(510 / 360 + 30 * US + 48 * US)


def test_all_to_all_on_a_torus_is_bound_by_its_bisection() -> None:
    # extent * S / (8 * link) = 16 * 9 GB / 720 GB/s = 200 ms; 8 hops of 3 us.
    time = collective_time(Collective.ALL_TO_ALL, 9e9, span(16, 1), torus())
    assert time == pytest.approx(0.2 + 30 * US + 24 * US)


def test_two_chips_of_a_torus_share_one_link() -> None:
    # 1/2 * 9 GB / 90 GB/s = 50 ms; one hop of 3 us.
    for kind in (Collective.ALL_GATHER, Collective.ALL_TO_ALL):
        time = collective_time(kind, 9e9, span(2, 1), torus())
        assert time == pytest.approx(0.05 + 30 * US + 3 * US)


def test_a_grid_has_half_the_rings_of_a_torus() -> None:
    # 15/16 * 16 GB / 90 GB/s one way only; 15 hops of 3 us to the far end.
    grid = cluster(dataclasses.replace(torus().node, wrapped=False))
    time = collective_time(Collective.ALL_GATHER, 16e9, span(16, 1), grid)
    assert time == pytest.approx(15 / 90 + 30 * US + 45 * US)


def test_a_kind_without_parameters_is_refused_with_those_there_are() -> None:
    poor = node()
    poor.collectives.lines.pop(Collective.ALL_TO_ALL)
    with pytest.raises(SimulatorError, match=r"box has no all_to_all .* all_gather, all_reduce"):
        collective_time(Collective.ALL_TO_ALL, 1e6, span(8, 1), cluster(poor))


def test_a_node_without_bandwidths_is_refused() -> None:
    bare = node()
    bare.collectives.lines[Collective.ALL_REDUCE] = line()
    with pytest.raises(SimulatorError, match="box: all_reduce needs bus_bandwidth"):
        collective_time(Collective.ALL_REDUCE, 1e6, span(8, 1), cluster(bare))


def test_a_fabric_without_an_algorithm_is_refused() -> None:
    vague = fabric()
    vague.collectives.lines[Collective.ALL_REDUCE] = line()
    with pytest.raises(SimulatorError, match="wires: all_reduce: algorithm must be one of: tree"):
        collective_time(Collective.ALL_REDUCE, 1e6, span(8, 2), cluster(between=vague))


def test_an_algorithm_that_the_collective_does_not_have_is_refused() -> None:
    odd = fabric()
    odd.collectives.lines[Collective.ALL_TO_ALL] = line(algorithm=Algorithm.TREE)
    with pytest.raises(SimulatorError, match="all_to_all: algorithm must be one of: pairwise"):
        collective_time(Collective.ALL_TO_ALL, 1e6, span(8, 2), cluster(between=odd))


def test_a_bandwidth_that_would_be_ignored_is_refused() -> None:
    table = line({8: 1 * GB}, Algorithm.TREE)
    tabulated, bound_by_links = fabric(), node(ScaleUp.TORUS)
    tabulated.collectives.lines[Collective.ALL_REDUCE] = table
    bound_by_links.collectives.lines[Collective.ALL_REDUCE] = table
    with pytest.raises(SimulatorError, match="wires: all_reduce: bus_bandwidth would be ignored"):
        collective_time(Collective.ALL_REDUCE, 1e6, span(8, 2), cluster(between=tabulated))
    with pytest.raises(SimulatorError, match="box: all_reduce: bus_bandwidth would be ignored"):
        collective_time(Collective.ALL_REDUCE, 1e6, span(8, 1), cluster(bound_by_links))


def ramp() -> Node:
    """Return a node whose all_reduce adds 20 us and 2 us a hop, half of it by 1 MB."""
    line_ = dataclasses.replace(line({2: 200 * GB, 8: 400 * GB}), low=None, half=1e6, sharpness=0.5)
    box = node()
    lines = {**box.collectives.lines, Collective.ALL_REDUCE: line_}
    return dataclasses.replace(box, collectives=CollectiveModel(lines=lines))


@pytest.mark.parametrize(("size", "share"), [(0.0, 0.0), (1e6, 1 / 2), (9e6, 3 / 4)])
def test_a_ramp_phases_its_latency_in(size: float, share: float) -> None:
    # 10 us + 7 hops of 1 us at once; 20 us + 7 hops of 2 us by (S / 1 MB)^0.5 / (1 + ...).
    cost = collective_cost(Collective.ALL_REDUCE, size, span(8, 1), cluster(ramp()))
    assert cost.time == pytest.approx(17 * US + share * 34 * US + 1.75 * size / (400 * GB))
    assert cost.regime is Regime.RAMP


def three(**more: float | None) -> Node:
    """Start 10 us and 1 us a hop; then three protocols, the later the faster."""
    lines = dict(node().collectives.lines)
    between = {"c0": 5 * US, "c1": 1 * US, "middle": 1.0, **more}
    lines[Collective.ALL_REDUCE] = dataclasses.replace(
        lines[Collective.ALL_REDUCE], low=11.0, **between
    )
    return dataclasses.replace(node(), collectives=CollectiveModel(lines=lines))


@pytest.mark.parametrize(
    ("volume", "beyond", "regime"),
    [
        # Seconds that V bytes take at 400 GB/s, times 12; 12 us + twice; 34 us + once.
        (0.5, 12 * 0.5, Regime.LATENCY),
        (2.0, 12 + 2 * 2.0, Regime.MIDDLE),
        (50.0, 34 + 50.0, Regime.BANDWIDTH),
    ],
)
def test_the_fastest_of_three_protocols_counts(
    volume: float, beyond: float, regime: Regime
) -> None:
    n_bytes = volume * US * 400 * GB / 1.75
    cost = collective_cost(Collective.ALL_REDUCE, n_bytes, span(8, 1), cluster(three()))
    assert cost.time == pytest.approx((17 + beyond) * US)
    assert cost.regime is regime


def test_a_protocol_in_between_needs_all_its_constants() -> None:
    with pytest.raises(SimulatorError, match="box: c0_us, c1_us and middle belong together"):
        collective_time(Collective.ALL_REDUCE, 1e6, span(8, 1), cluster(three(c1=None)))


def test_a_ring_of_transfers_is_no_faster_than_an_all_gather() -> None:
    # A pair alone: 90 GB/s. Here two get 900, and eight the table's 400.
    wide = node(bandwidth=2000 * GB, pair_bandwidth=900 * GB)
    times = [
        collective_time(Collective.SEND_RECV, 9e9, span(ranks, 1), cluster(wide))
        for ranks in (2, 8)
    ]
    assert times == pytest.approx([5 * US + 9 / 900, 5 * US + 9 / 400])


def test_two_lines_and_a_ramp_at_once_are_refused() -> None:
    both = node()
    lines = both.collectives.lines
    lines[Collective.ALL_REDUCE] = dataclasses.replace(
        lines[Collective.ALL_REDUCE], half=1e6, sharpness=1.0
    )
    with pytest.raises(
        SimulatorError, match=r"box: give a collective low .*, or half_mib and sharp"
    ):
        collective_time(Collective.ALL_REDUCE, 1e6, span(8, 1), cluster(both))


@pytest.mark.parametrize(("launch", "expected"), [(30 * US, 47 * US), (-60 * US, 0.0)])
def test_launch_adds_to_the_start_and_never_makes_it_negative(
    launch: float, expected: float
) -> None:
    box = node()
    model = dataclasses.replace(box.collectives, launch=launch)
    late = cluster(dataclasses.replace(box, collectives=model))
    assert collective_time(Collective.ALL_REDUCE, 0.0, span(8, 1), late) == pytest.approx(expected)
    # Bytes still take their time: 1.75 * 8 GB at 400 GB/s.
    assert collective_time(Collective.ALL_REDUCE, 8e9, span(8, 1), late) > 0.035


def test_the_regime_says_which_line_was_taken() -> None:
    small = collective_cost(Collective.ALL_REDUCE, 8e3, span(8, 1), cluster())
    large = collective_cost(Collective.ALL_REDUCE, 8e9, span(8, 4), cluster())
    assert (small.regime, small.algorithm) == (Regime.LATENCY, "switch")
    assert (large.regime, large.algorithm) == (Regime.BANDWIDTH, "tree")


def test_a_data_parallel_group_has_one_interface_for_each_of_its_ranks() -> None:
    # One rank in each of 8 nodes: 7/8 * 8 GB / 40 GB/s = 175 ms; 7 hops of 6 us.
    time = collective_time(Collective.ALL_GATHER, 8e9, span(1, 8), cluster())
    assert time == pytest.approx(0.175 + 30 * US + 42 * US)


def test_one_rank_has_no_bus_bandwidth() -> None:
    with pytest.raises(SimulatorError, match="one rank"):
        bus_bandwidth(Collective.ALL_REDUCE, 1e6, span(1, 1), cluster())
