"""Routing and other jobs: what they leave of the network, against balls in bins."""

from __future__ import annotations

from dataclasses import replace
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from strategies import TOY

from simulator.hardware.collective_costs import collective_cost, collective_time
from simulator.hardware.collectives import GroupSpan
from simulator.hardware.fabric import Tier
from simulator.operators import Axis, Collective
from simulator.parallel.layout import Layout
from simulator.parallel.network import RESIDUAL_LOSS, Network, Routing
from simulator.parallel.placement import place, span_of
from simulator.parallel.routing import Rings, fullest, routed, wire_share
from simulator.parallel.slots import CONTIGUOUS

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAF = Tier(name="leaf", accelerators=8, oversubscription=1.0, latency=1e-6)
SPINE = Tier(name="spine", accelerators=4096, oversubscription=1.0, latency=1e-6)
CLUSTER = replace(
    TOY.cluster,
    node=replace(TOY.cluster.node, accelerators=4, nics=4),
    fabric=replace(TOY.cluster.fabric, rail_optimised=False, tiers=(LEAF, SPINE)),
)
GB = 1e9


def ecmp(seed: int = 0, flows_per_pair: int = 1) -> Network:
    return Network(routing=Routing.ECMP, seed=seed, flows_per_pair=flows_per_pair)


def pairs_across_two_leaves() -> NDArray[np.int64]:
    """Eight flows leave each of two leaves with eight uplinks: accelerator i to 8 + i."""
    return np.stack([np.arange(8), np.arange(8, 16)], axis=1)


def largest_load(balls: int, bins: int) -> list[float]:
    """Return P(the fullest bin holds at most j), for j from 0 to ``balls``.

    By counting: n! [x^n] (sum over i <= j of x^i / i!)^k / k^n.
    """
    at_most = []
    for most in range(balls + 1):
        term = np.array([1 / factorial(i) if i <= most else 0.0 for i in range(balls + 1)])
        whole = np.array([1.0] + [0.0] * balls)
        for _ in range(bins):
            whole = np.convolve(whole, term)[: balls + 1]
        at_most.append(float(whole[balls] * factorial(balls) / bins**balls))
    return at_most


def loads(network_of: list[Network]) -> NDArray[np.float64]:
    members = pairs_across_two_leaves()
    span, _ = span_of(members, CLUSTER)
    return np.array([fullest(span, Rings(members, 0), CLUSTER, n) for n in network_of])


def test_eight_flows_on_eight_uplinks() -> None:
    """The largest of four draws (up and down of two leaves), over 400 seeds, against counting.

    One draw's mean is 2.6, as the classic result has it.
    """
    at_most = largest_load(8, 8)
    assert sum(1 - p for p in at_most) == pytest.approx(2.6, abs=0.05)
    four = [p**4 for p in at_most]
    drawn = loads([ecmp(seed) for seed in range(400)])
    assert drawn.mean() == pytest.approx(sum(1 - p for p in four), abs=0.1)
    assert (drawn <= 3).mean() == pytest.approx(four[3], abs=0.08)


def test_more_connections_spread_the_load() -> None:
    means = [
        loads([ecmp(seed, pairs) for seed in range(40)]).mean() for pairs in (1, 4, 16, 64, 256)
    ]
    assert means == sorted(means, reverse=True)
    assert means[-1] < 1.3
    assert loads([ecmp(seed, 256) for seed in range(40)]).min() >= 1.0


def test_a_seed_is_a_draw() -> None:
    assert loads([ecmp(3)]) == loads([ecmp(3)])
    assert len(set(loads([ecmp(seed) for seed in range(20)]))) > 1
    assert loads([Network(routing=Routing.ECMP)]) == loads([ecmp(0)])


def test_the_slowest_flow_waits_for_its_uplink() -> None:
    members = pairs_across_two_leaves()
    span, _ = span_of(members, CLUSTER)
    (load,) = loads([ecmp()])
    assert wire_share(span, Rings(members, 0), CLUSTER, ecmp()) == pytest.approx(1 / load)


def test_oversubscription_is_not_counted_twice() -> None:
    """Two flows for each uplink already halve the rate; a fullest of c then costs 2 / c more."""
    narrow = replace(CLUSTER.fabric, tiers=(replace(LEAF, oversubscription=2.0), SPINE))
    cluster = replace(CLUSTER, fabric=narrow)
    members = pairs_across_two_leaves()
    span, _ = span_of(members, cluster)
    assert span.contention == 2.0
    load = fullest(span, Rings(members, 0), cluster, ecmp())
    assert load >= 2.0
    share = wire_share(span, Rings(members, 0), cluster, ecmp())
    assert share / span.contention == pytest.approx(1 / load)


def test_under_one_leaf_there_is_one_way() -> None:
    members = np.array([[0, 4], [1, 5]])
    span, _ = span_of(members, CLUSTER)
    assert span.tier == 1
    for network in (ecmp(), Network(routing=Routing.ADAPTIVE)):
        assert wire_share(span, Rings(members, 0), CLUSTER, network) == 1.0


def test_inside_a_node_there_is_no_network() -> None:
    span = GroupSpan(ranks=4, ranks_per_node=4, nodes=1, tier=0)
    rings = Rings(np.arange(4)[None], 0)
    assert wire_share(span, rings, CLUSTER, Network(background=0.5)) == 1.0


def test_adaptive_routing_loses_what_is_stated() -> None:
    members = pairs_across_two_leaves()
    span, _ = span_of(members, CLUSTER)
    adaptive = Network(routing=Routing.ADAPTIVE, background=0.2)
    share = wire_share(span, Rings(members, 0), CLUSTER, adaptive)
    assert share == pytest.approx(0.8 * (1 - RESIDUAL_LOSS))


def test_rails_have_leaves_of_their_own() -> None:
    """Two flows of one rail, both ways between two leaves, meet in one of 2 uplinks or of 8.

    They pass four times unharmed, up and down at either leaf, in 1/16 or (7/8)^4 of the draws.
    """
    rails = replace(CLUSTER, fabric=replace(CLUSTER.fabric, rail_optimised=True))
    members = pairs_across_two_leaves()[[0, 4]]  # both in slot 0 of their nodes
    for cluster, expected in ((rails, 1 / 16), (CLUSTER, (7 / 8) ** 4)):
        span, _ = span_of(members, cluster)
        rings = Rings(members, 0)
        drawn = [fullest(span, rings, cluster, ecmp(seed)) for seed in range(400)]
        assert np.mean(np.array(drawn) == 1.0) == pytest.approx(expected, abs=0.05)


def test_background_traffic_takes_its_share_of_the_wire() -> None:
    """Twice the time for the bytes, the same latency."""
    span = GroupSpan(ranks=2, ranks_per_node=1, nodes=2, tier=1)
    cluster = replace(CLUSTER, fabric=replace(CLUSTER.fabric, efficiency=1.0))
    half = replace(span, wire_share=0.5)
    whole_cost = collective_cost(Collective.SEND_RECV, GB, span, cluster)
    half_cost = collective_cost(Collective.SEND_RECV, GB, half, cluster)
    assert half_cost.moving == pytest.approx(2 * whole_cost.moving)
    assert half_cost.latency == pytest.approx(whole_cost.latency)


def test_a_placement_gets_a_share_for_every_span() -> None:
    layout = Layout(tensor=4, pipeline=2, data=4, context=2)
    placed = place(layout, CLUSTER)
    assert routed(placed, layout, CLUSTER, CONTIGUOUS, Network()) is placed
    left = routed(placed, layout, CLUSTER, CONTIGUOUS, Network(background=0.25))
    assert left.tensor.span.wire_share == 1.0  # inside a node
    assert left.gradient.span.wire_share == 0.75
    assert {span.wire_share for span in left.stage_links} == {0.75}
    assert left.collectives[Axis.CONTEXT].wire_share == 0.75
    before, after = (
        collective_time(Collective.ALL_REDUCE, GB, p.gradient.span, CLUSTER) for p in (placed, left)
    )
    assert after > before


def test_counting_balls_in_bins() -> None:
    """Two balls in two bins are together in half of the cases."""
    assert largest_load(2, 2) == pytest.approx([0.0, 0.5, 1.0])
