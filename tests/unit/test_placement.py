"""Groups on a hand-made fabric: nodes of 4, racks of 16 (2:1 oversubscribed), a spine of 64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from strategies import TOY

from simulator.errors import LayoutError
from simulator.hardware.collectives import GroupSpan
from simulator.hardware.fabric import Tier
from simulator.operators import Axis
from simulator.parallel.layout import Layout
from simulator.parallel.placement import place, span_of, tier_name

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
