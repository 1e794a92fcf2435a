"""Groups on a hand-made fabric: nodes of 4, racks of 16 (2:1 oversubscribed), a spine of 64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from strategies import TOY

from simulator.errors import LayoutError
from simulator.hardware.collectives import GroupSpan
from simulator.hardware.fabric import Islands, Tier
from simulator.operators import Axis
from simulator.parallel.layout import Layout
from simulator.parallel.placement import place, span_of, tier_name
from simulator.parallel.slots import Allocation, NodeChoice, slots_of

RACK = Tier(name="rack", accelerators=16, oversubscription=2.0, latency=1e-6)
SPINE = Tier(name="spine", accelerators=64, oversubscription=1.0, latency=3e-6)
CLUSTER = replace(
    TOY.cluster,
    node=replace(TOY.cluster.node, accelerators=4),
    fabric=replace(TOY.cluster.fabric, rail_optimised=False, tiers=(RACK, SPINE)),
)
RAILS = replace(CLUSTER, fabric=replace(CLUSTER.fabric, rail_optimised=True))
NON_BLOCKING = replace(
    CLUSTER, fabric=replace(CLUSTER.fabric, tiers=(replace(RACK, oversubscription=1.0), SPINE))
)


def span(*groups: list[int]) -> GroupSpan:
    return span_of(np.array(groups), CLUSTER)[0]


def test_inside_a_node() -> None:
    assert span([4, 5, 6, 7]) == GroupSpan(
        ranks=4, ranks_per_node=4, nodes=1, tier=0, contention=1.0, latency=0.0, rails=4
    )


def test_across_nodes_of_a_rack() -> None:
    assert span([0, 1, 4, 5, 8, 9]) == GroupSpan(
        ranks=6, ranks_per_node=2, nodes=3, tier=1, contention=1.0, latency=1e-6, rails=2
    )


def test_latencies_of_all_tiers_crossed_add_up() -> None:
    crossing = span([0, 16])
    assert (crossing.tier, crossing.nodes, crossing.ranks_per_node) == (2, 2, 1)
    assert crossing.latency == pytest.approx(4e-6)


def test_uneven_groups_report_their_smallest_share() -> None:
    assert span([0, 1, 2, 4]).ranks_per_node == 1


def test_contention_counts_ring_edges_over_uplinks() -> None:
    """16 rings leave each rack once: 16 interfaces ask for the 16 / 2 that the uplinks carry."""
    rings = np.stack([np.arange(16), np.arange(16) + 16], axis=1)
    assert span_of(rings, CLUSTER)[0].contention == pytest.approx(2.0)
    assert span_of(rings, NON_BLOCKING)[0].contention == pytest.approx(1.0)
    assert span_of(rings[:4], CLUSTER)[0].contention == pytest.approx(1.0)


def test_every_member_of_a_node_sends_through_its_own_interface() -> None:
    """One ring of 32 over both racks: the four members of a node cross together, 4 of 8 uplinks.

    Between eight nodes that alternate between the racks, all 16 cross: twice what there is.
    """
    ring = np.arange(32).reshape(8, 4)
    assert span_of(ring.reshape(1, -1), CLUSTER)[0].contention == pytest.approx(1.0)
    alternating = ring[[0, 4, 1, 5, 2, 6, 3, 7]]
    assert span_of(alternating.reshape(1, -1), CLUSTER)[0].contention == pytest.approx(2.0)


def test_a_rail_has_its_own_uplinks() -> None:
    """Rail 0 alone: four rings leave a rack by the 4 / 2 uplinks of one switch, not the 16 / 2."""
    rings = np.stack([np.arange(0, 16, 4), np.arange(16, 32, 4)], axis=1)
    assert span_of(rings, CLUSTER)[0].contention == pytest.approx(1.0)
    assert span_of(rings, RAILS)[0].contention == pytest.approx(2.0)


def test_shared_interfaces_share_a_rail() -> None:
    """With two interfaces for four accelerators, slots 0 and 1 of a node hang on one rail."""
    shared = replace(RAILS, node=replace(RAILS.node, nics=2))
    neighbours, others = np.array([[0, 5]]), np.array([[0, 6]])
    assert span_of(neighbours, RAILS)[0].tier == 2
    assert span_of(neighbours, shared)[0].tier == 1
    assert span_of(others, shared)[0].tier == 2


def test_oversubscription_multiplies_up() -> None:
    """2:1 below 2:1: 32 rings between two spines find 32 / 4 uplinks."""
    fabric = replace(
        CLUSTER.fabric,
        tiers=(RACK, Tier(name="row", accelerators=32, oversubscription=2.0, latency=0.0), SPINE),
    )
    rings = np.stack([np.arange(32), np.arange(32) + 32], axis=1)
    assert span_of(rings, replace(CLUSTER, fabric=fabric))[0].contention == pytest.approx(4.0)


def test_islands_are_a_tier_with_its_own_link() -> None:
    """Four rings of 400 Gbit/s between two islands share 100: sixteen times too much."""
    nic = CLUSTER.nic_bandwidth
    islands = Islands(accelerators=32, link=nic / 4, latency=20e-3, name="wan")
    joined = replace(CLUSTER, largest=64, fabric=replace(CLUSTER.fabric, islands=islands))
    rings = np.stack([np.arange(4), np.arange(4) + 32], axis=1)
    crossing, _ = span_of(rings, joined)
    assert (crossing.tier, tier_name(crossing.tier, joined)) == (3, "wan")
    assert crossing.contention == pytest.approx(16.0)
    assert crossing.latency == pytest.approx(4e-6 + 20e-3)
    assert span_of(np.array([[0, 16]]), joined)[0].tier == 2


def test_traffic_under_one_switch_does_not_contend() -> None:
    rings = np.arange(16).reshape(4, 4).T
    assert span_of(rings, CLUSTER)[0].contention == 1.0


def test_the_widest_group_prices_all() -> None:
    widest, alike = span_of(np.array([[0, 4], [12, 16]]), CLUSTER)
    assert widest.tier == 2
    assert not alike
    assert span_of(np.array([[0, 4], [1, 5]]), CLUSTER)[1]


def test_changing_rails_crosses_one_tier_more() -> None:
    kept, changed = np.array([[0, 4]]), np.array([[0, 5]])
    assert span_of(kept, RAILS)[0].tier == 1
    assert span_of(changed, RAILS)[0].tier == 2
    assert span_of(changed, CLUSTER)[0].tier == 1


def test_a_layout_by_hand() -> None:
    """Tensor 4 fills a node, two stages neighbouring nodes, four replicas two racks."""
    placed = place(Layout(tensor=4, pipeline=2, data=4), CLUSTER)
    assert (placed.tensor.span.tier, placed.tensor.crosses) == (0, CLUSTER.node.name)
    assert (placed.gradient.span.tier, placed.gradient.crosses) == (2, "spine")
    assert placed.gradient.span.nodes == 4
    assert placed.model.span.ranks == 8
    assert placed.stage_link_names == ("rack", "rack")
    assert placed.collectives[Axis.DATA] is placed.gradient.span


def test_context_ranks_share_gradients() -> None:
    placed = place(Layout(context=2, data=4), CLUSTER)
    assert placed.gradient.span.ranks == 8
    assert placed.context.span.ranks == 2


def test_links_join_neighbouring_stages_and_the_ends() -> None:
    placed = place(Layout(tensor=4, pipeline=8, data=1), CLUSTER)
    assert [link.tier for link in placed.stage_links] == [1, 1, 1, 2, 1, 1, 1, 2]
    assert placed.link(3, 4) == placed.link(4, 3) == placed.stage_links[3]
    assert placed.link(0, 7) == placed.stage_links[7]
    with pytest.raises(LayoutError, match="stages 0 and 2 exchange data but are not neighbours"):
        placed.link(0, 2)


def test_tiers_have_names() -> None:
    assert [tier_name(tier, CLUSTER) for tier in (1, 2)] == ["rack", "spine"]


WIDE = replace(CLUSTER, largest=64)
JOB = Layout(tensor=4, pipeline=2, data=4)


def test_contiguous_ranks_sit_in_the_first_slots() -> None:
    assert slots_of(Allocation(), 32, WIDE).tolist() == list(range(32))
    assert slots_of(Allocation(), 6, WIDE).tolist() == list(range(6))


def test_a_lost_node_shifts_all_behind_it() -> None:
    """Nodes 0 and 2 of four slots are skipped: ranks begin at slot 4, then go on at 12."""
    slots = slots_of(Allocation(lost_nodes=(0, 2)), 12, WIDE)
    assert slots.tolist() == [4, 5, 6, 7, *range(12, 20)]
    whole, without = place(JOB, WIDE), place(JOB, WIDE, Allocation(lost_nodes=(3,)))
    assert without.slots.tolist() == [*range(12), *range(16, 36)]
    assert [span.tier for span in whole.stage_links] == [1, 1]
    # Node 3 is the last of the first rack: its stage moves to the second.
    assert without.stage_link_names == ("spine", "spine")


def test_scattered_nodes_keep_their_order_and_shuffled_do_not() -> None:
    scattered = slots_of(Allocation(nodes=NodeChoice.SCATTERED, seed=5), 32, WIDE)
    shuffled = slots_of(Allocation(nodes=NodeChoice.SHUFFLED, seed=5), 32, WIDE)
    assert (np.diff(scattered) > 0).all()
    assert sorted(shuffled) == scattered.tolist()
    assert not (np.diff(shuffled) > 0).all()
    assert (scattered.reshape(-1, 4) % 4 == np.arange(4)).all()
    again = slots_of(Allocation(nodes=NodeChoice.SHUFFLED, seed=5), 32, WIDE)
    assert np.array_equal(shuffled, again)
    other = slots_of(Allocation(nodes=NodeChoice.SHUFFLED, seed=6), 32, WIDE)
    assert not np.array_equal(shuffled, other)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("choice", [NodeChoice.SCATTERED, NodeChoice.SHUFFLED])
def test_nodes_elsewhere_are_never_nearer(choice: NodeChoice, seed: int) -> None:
    near = place(JOB, WIDE)
    far = place(JOB, WIDE, Allocation(nodes=choice, seed=seed, lost_nodes=(1,)))
    assert far.tensor == near.tensor
    assert far.gradient.span.tier >= near.gradient.span.tier
    assert far.gradient.span.contention >= near.gradient.span.contention
    for link, before in zip(far.stage_links, near.stage_links, strict=True):
        assert link.latency >= before.latency


def test_too_few_nodes_are_refused() -> None:
    with pytest.raises(LayoutError, match=r"64 ranks need 16 nodes, but .* has 15 left"):
        slots_of(Allocation(lost_nodes=(7,)), 64, WIDE)
