"""The three-phase all-reduce: its closed forms, and its phases as tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import load_scenario, simulate
from simulator.engine.events import play_events
from simulator.errors import ScenarioError
from simulator.hardware.collectives import GroupSpan
from simulator.hardware.patterns import Pattern
from simulator.hardware.three_phase import (
    SMALLEST_NCCL_BUFFER,
    exchange,
    steps,
    three_phases,
)
from simulator.program.build import build_program, make_plan
from simulator.program.prices import expected_maximum
from simulator.program.tasks import Lane

RESNET = load_scenario(Path(__file__).parents[2] / "scenarios" / "resnet50-256-p100.yaml")
CLUSTER = RESNET.cluster
SPAN = GroupSpan(ranks=256, ranks_per_node=8, nodes=32, tier=1)
RING, HALVING = Pattern.RING, Pattern.HALVING_DOUBLING


@pytest.mark.parametrize(
    ("nodes", "ring", "halving"), [(2, 2, 2), (4, 6, 4), (32, 62, 10), (44, 86, 14), (3, 4, 4)]
)
def test_steps(nodes: int, ring: int, halving: int) -> None:
    """Goyal et al. 2017, section 4.1: 2 (p - 1) and 2 log2(p); two more for each further block."""
    assert steps(RING, nodes) == ring
    assert steps(HALVING, nodes) == halving


def test_exchange_by_hand() -> None:
    """4 nodes, 9 MB: 13.5 MB over 0.9 of 50 Gbit/s is 2.4 ms, and 6 or 4 messages of 26 us."""
    span = replace(SPAN, nodes=4, ranks=32)
    assert exchange(9e6, RING, span, CLUSTER).time == pytest.approx(2.4e-3 + 6 * 26e-6)
    assert exchange(9e6, HALVING, span, CLUSTER).time == pytest.approx(2.4e-3 + 4 * 26e-6)
    assert exchange(9e6, RING, replace(span, nodes=1), CLUSTER).time == 0.0


def test_an_exchange_is_each_rank_s_share_of_its_node_s_bytes() -> None:
    """Of 2 x 3/4 x 9 MB that a node of eight sends, a rank's share of the interfaces has 1.69."""
    cost = exchange(9e6, RING, replace(SPAN, nodes=4, ranks=32), CLUSTER)
    assert cost.wire_bytes == pytest.approx(13.5e6 / 8)
    assert cost.port_bytes == 0.0
    assert cost.moving == pytest.approx(2.4e-3)


def test_groups_that_share_a_node_share_its_interfaces() -> None:
    """One rank of eight in each node has an eighth of the 50 Gbit/s: 2.4 ms become 19.2 ms."""
    alone = GroupSpan(ranks=4, ranks_per_node=1, nodes=4, tier=1)
    assert exchange(9e6, HALVING, alone, CLUSTER).time == pytest.approx(8 * 2.4e-3 + 4 * 26e-6)
    phases = three_phases(9e6, HALVING, alone, CLUSTER)
    assert phases.reduce.time == phases.broadcast.time == 0.0


def test_small_buffers_go_through_the_host() -> None:
    """8 copies of 128 KiB over one host link of 12 GB/s, and the latency of a pair."""
    small = three_phases(128 * 1024, HALVING, SPAN, CLUSTER)
    host = CLUSTER.node.pair_latency + 8 * 128 * 1024 / 12e9
    assert small.reduce.time == small.broadcast.time == pytest.approx(host)
    large = three_phases(SMALLEST_NCCL_BUFFER, HALVING, SPAN, CLUSTER)
    assert large.reduce.time != pytest.approx(CLUSTER.node.pair_latency + 8 * 256 * 1024 / 12e9)


@given(st.integers(2, 512), st.floats(1.0, 1e9))
def test_halving_is_never_slower_than_a_ring(nodes: int, n_bytes: float) -> None:
    span = replace(SPAN, nodes=nodes, ranks=8 * nodes)
    ring = exchange(n_bytes, RING, span, CLUSTER).time
    assert exchange(n_bytes, HALVING, span, CLUSTER).time <= ring * (1 + 1e-12) or nodes < 8


def test_phases_follow_one_another_and_overlap_between_messages() -> None:
    program = build_program(make_plan(RESNET))
    trace = play_events(program)
    by_lane = {
        lane: np.flatnonzero((program.lane == lane) & (program.n_bytes > 0))
        for lane in (Lane.DATA_REDUCE, Lane.DATA, Lane.DATA_BROADCAST)
    }
    sent, exchanged, spread = by_lane.values()
    assert len(sent) == len(exchanged) == len(spread) > 107  # large gradients in several parts
    assert np.all(trace.start[exchanged] >= trace.end[sent])
    assert np.all(trace.start[spread] >= trace.end[exchanged])
    overlapping = trace.start[sent][1:] < trace.end[exchanged][:-1]
    assert overlapping.sum() > 20
    # Every gradient travels once through each phase.
    for tasks in by_lane.values():
        assert program.n_bytes[tasks].sum() == pytest.approx(4 * 25_557_032)


def test_one_node_uses_the_library() -> None:
    alone = load_scenario(
        Path(__file__).parents[2] / "scenarios" / "resnet50-256-p100.yaml",
        overrides=["accelerators=8", "layout.data=8", "batch.global_batch=256"],
    )
    names = set(simulate(alone).trace["name"].astype(str))
    assert "gradient_all_reduce" in names
    assert "gradient_exchange" not in names


def test_a_sharded_optimizer_takes_the_library() -> None:
    path = Path(__file__).parents[2] / "scenarios" / "resnet50-256-p100.yaml"
    with pytest.raises(ScenarioError, match=r"three_phase_halving_doubling needs layout\.sharding"):
        load_scenario(path, overrides=["layout.sharding=optimizer"])


def test_without_overlap_the_reduction_waits_for_the_last_rank() -> None:
    """Two replicas of the four stages: j E(2) of a stage's compute time later."""
    path = Path(__file__).parents[2] / "scenarios" / "four-stages.yaml"
    replicas = ["accelerators=8", "layout.data=2", "batch.global_batch=16"]
    apart = [*replicas, "software.gradient_reduce_overlap=false"]
    still = simulate(load_scenario(path, overrides=apart))
    late = simulate(load_scenario(path, overrides=[*apart, "software.step_jitter=0.05"]))
    waits = late.trace[late.trace["name"] == "late_ranks"].set_index("stage")
    assert sorted(waits.index) == [0, 1, 2, 3]
    computed = still.trace[(still.trace["lane"] == "compute") & (still.trace["action"] != "")]
    seconds = (computed["end_s"] - computed["start_s"]).groupby(computed["stage"]).sum()
    expected = 0.05 * expected_maximum(2) * seconds
    measured = waits["end_s"] - waits["start_s"]
    assert measured.sort_index().tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert late.summary["step_time_s"] > still.summary["step_time_s"]


def test_the_last_reduction_waits_for_the_last_rank() -> None:
    """On one rank's time c: s E(n) c later, where n ranks' times spread by s."""
    times = {
        jitter: simulate(
            replace(RESNET, software=replace(RESNET.software, step_jitter=jitter))
        ).summary
        for jitter in (0.0, 0.1)
    }
    compute = times[0.0]["breakdown_s"]["compute"]
    late = times[0.1]["step_time_s"] - times[0.0]["step_time_s"]
    # What was exposed of the exchange before hides in the wait.
    assert late == pytest.approx(0.1 * expected_maximum(256) * compute, rel=0.02)
    assert times[0.1]["breakdown_s"]["exposed_data"] > late
