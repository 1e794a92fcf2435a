"""The knee: found on functions whose answer is known, then on the event engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_samples import job
from strategies import ROOT, TOY

from simulator.api import step_time
from simulator.comparison.ideals import (
    UNLIMITED,
    with_free_communication,
    with_free_network,
    with_line_rate,
)
from simulator.comparison.knee import MOST_RATE, TARGETS, TOLERANCE, find_knee, least_rate
from simulator.hardware.collective_costs import collective_time, send_recv_time
from simulator.hardware.collectives import GroupSpan
from simulator.operators import Collective
from simulator.parallel.layout import Layout
from simulator.scenario import load_scenario
from simulator.units import GBIT_PER_S

ACROSS = GroupSpan(ranks=64, ranks_per_node=8, nodes=8, tier=1, rails=8)
INSIDE = GroupSpan(ranks=8, ranks_per_node=8, nodes=1, tier=0, rails=8)


@given(
    traffic=st.floats(1e8, 1e13),
    compute=st.floats(0.01, 100),
    share=st.sampled_from(TARGETS),
    start=st.floats(1e7, 1e13),
)
def test_the_least_rate_of_compute_plus_traffic(
    traffic: float, compute: float, share: float, start: float
) -> None:
    """T = C + V/r reaches C/x at r = V / (C (1/x - 1))."""
    exact = traffic / (compute * (1 / share - 1))

    def time_at(rate: float) -> float:
        return compute + traffic / rate

    found = least_rate(time_at, compute / share, start)
    if exact > MOST_RATE:
        assert found is None or found >= exact
    else:
        assert found is not None
        assert exact <= found * (1 + 1e-9)
        assert found <= exact * (1 + TOLERANCE) * (1 + 1e-9)


def test_a_rate_that_latency_puts_out_of_reach() -> None:
    assert least_rate(lambda rate: 1.2 + 1 / rate, 1.1, 1.0) is None


def test_a_plateau_has_its_left_end_as_least_rate() -> None:
    found = least_rate(lambda rate: 1.0 if rate >= 37e9 else 2.0, 1.0, 400e9)
    assert found is not None
    assert 37e9 <= found <= 37e9 * (1 + TOLERANCE)


@pytest.mark.parametrize("kind", list(Collective))
def test_a_free_network_leaves_only_the_inside_of_nodes(kind: Collective) -> None:
    paid, free = TOY.cluster, with_free_network(TOY.cluster)
    assert collective_time(kind, 2**26, INSIDE, free) == collective_time(kind, 2**26, INSIDE, paid)
    assert collective_time(kind, 2**26, ACROSS, free) < collective_time(kind, 2**26, ACROSS, paid)
    alone = replace(ACROSS, ranks_per_node=1, ranks=8, rails=1)
    if kind not in (Collective.SEND_RECV, Collective.ALL_REDUCE, Collective.BROADCAST):
        assert collective_time(kind, 2**26, alone, free) > 0, "never below the same group inside"


@pytest.mark.parametrize("cluster", ["h100-ndr400", "mi300x-pollara400", "tpu-v5p", "gb200-nvl72"])
@pytest.mark.parametrize("kind", list(Collective))
def test_free_communication_takes_no_time(cluster: str, kind: Collective) -> None:
    scenario = load_scenario(
        ROOT / "scenarios" / "four-stages.yaml", overrides=[f"cluster={cluster}"]
    )
    free = with_free_communication(scenario.cluster)
    for span in (INSIDE, ACROSS):
        assert collective_time(kind, 2**30, span, free) < 1e-15
        assert send_recv_time(2**30, span, free) < 1e-15


def test_the_line_rate_is_of_one_accelerator() -> None:
    cluster = replace(TOY.cluster, node=replace(TOY.cluster.node, nics=2))
    assert with_line_rate(cluster, 5e9).nic_bandwidth == pytest.approx(5e9)


def test_the_knee_is_where_the_engine_says() -> None:
    """At the rate found a step is fast enough, one tolerance below it is not."""
    overrides = ["accelerators=16", "layout.data=8", "batch.global_batch=16"]
    path = ROOT / "scenarios" / "llama-8b-8-h100.yaml"
    scenario = load_scenario(path, overrides=overrides)
    knee = find_knee(scenario)
    assert knee.reason == ""
    assert knee.communication_free < knee.compute_bound < step_time(scenario)
    for share, rate in knee.rates.items():
        assert rate is not None
        slower = rate / (1 + TOLERANCE)
        times = [
            step_time(replace(scenario, cluster=with_line_rate(scenario.cluster, r)))
            for r in (rate, slower)
        ]
        assert times[0] <= knee.compute_bound / share < times[1]
    assert sorted(knee.rates.values()) == list(knee.rates.values())


def test_a_job_inside_a_node_has_no_knee() -> None:
    knee = find_knee(job(Layout(tensor=4, data=2)))
    assert set(knee.rates.values()) == {None}
    assert knee.reason == "nothing leaves the node"
    assert knee.compute_bound == step_time(job(Layout(tensor=4, data=2)))


def test_latency_is_named_where_no_bandwidth_is_enough() -> None:
    scenario = job(Layout(tensor=8, data=16), micro_batches=2)
    knee = find_knee(scenario)
    assert knee.rates[0.99] is None
    assert "latency" in knee.reason
    at_best = step_time(replace(scenario, cluster=with_line_rate(scenario.cluster, UNLIMITED)))
    assert f"{100 * knee.compute_bound / at_best:.1f} %" in knee.reason


def test_measured_curves_fix_the_times() -> None:
    scenario = job(Layout(tensor=8, data=16), micro_batches=2)
    fabric = scenario.cluster.fabric
    line = replace(fabric.collectives.lines[Collective.ALL_REDUCE], measured={16: {2**20: 1e-3}})
    lines = {**fabric.collectives.lines, Collective.ALL_REDUCE: line}
    measured = replace(fabric, collectives=replace(fabric.collectives, lines=lines))
    knee = find_knee(replace(scenario, cluster=replace(scenario.cluster, fabric=measured)))
    assert knee.reason == f"measured curves of {fabric.name} fix its times"
    assert GBIT_PER_S not in knee.rates.values()
