"""Max-min fairness has a certificate; sharing conserves bytes and never makes a step faster."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import small_jobs

from simulator.api import simulate
from simulator.engine.events import play_events
from simulator.engine.flows import ActiveFlows, FlowTable, max_min_rates
from simulator.hardware.software import PipelineTransfer
from simulator.metrics.breakdown import break_down
from simulator.parallel.network import Network, Sharing
from simulator.program.fold import unfold, unroll

if TYPE_CHECKING:
    from random import Random

    from simulator.scenario import Scenario

FAIR = Network(sharing=Sharing.FAIR)
RATES = st.floats(1e6, 1e12)
Case = tuple[list[float], list[list[tuple[int, float]]], list[float]]
"""Limits, uses and capacities."""


@st.composite
def contended(draw: st.DrawFn) -> Case:
    """Return limits, uses and capacities of flows that alone fit their links."""
    capacity = draw(st.lists(RATES, min_size=1, max_size=6))
    uses = [
        [(link, draw(st.sampled_from([1.0, 0.5, 0.1]))) for link in sorted(links)]
        for links in draw(
            st.lists(
                st.sets(st.integers(0, len(capacity) - 1), min_size=1), min_size=1, max_size=12
            )
        )
    ]
    limits = [
        draw(st.floats(0.05, 1.0)) * min(capacity[link] / part for link, part in links)
        for links in uses
    ]
    return limits, uses, capacity


def load(uses: list[list[tuple[int, float]]], rates: list[float], links: int) -> list[float]:
    """Return what flows put on each link [B/s]."""
    loads = [0.0] * links
    for used, rate in zip(uses, rates, strict=True):
        for link, part in used:
            loads[link] += part * rate
    return loads


@given(contended())
def test_every_flow_has_a_bottleneck(
    case: Case,
) -> None:
    """No link is over capacity; what is below its limit is as fast as any on some full link."""
    limits, uses, capacity = case
    rates = max_min_rates(limits, uses, capacity)
    loads = load(uses, rates, len(capacity))
    assert all(loads[link] <= capacity[link] * (1 + 1e-9) for link in range(len(capacity)))
    for flow, rate in enumerate(rates):
        assert 0 < rate <= limits[flow]
        if rate < limits[flow]:
            assert any(
                loads[link] >= capacity[link] * (1 - 1e-9)
                and all(
                    rates[other] <= rate * (1 + 1e-9)
                    for other, used in enumerate(uses)
                    if link in dict(used)
                )
                for link, _ in uses[flow]
            )


@given(contended(), st.randoms(use_true_random=False))
def test_rates_do_not_depend_on_the_order(
    case: Case,
    random: Random,
) -> None:
    limits, uses, capacity = case
    order = list(range(len(limits)))
    random.shuffle(order)
    shuffled = max_min_rates([limits[at] for at in order], [uses[at] for at in order], capacity)
    expected = max_min_rates(limits, uses, capacity)
    assert shuffled == pytest.approx([expected[at] for at in order], rel=1e-9)


@given(contended(), st.data())
def test_incremental_rates_are_those_of_all_at_once_and_conserve_bytes(
    case: Case, data: st.DataObject
) -> None:
    limits, uses, capacity = case
    sizes = [data.draw(st.floats(0.01, 1.0)) * limit for limit in limits]
    table = FlowTable(
        limit=dict(enumerate(limits)),
        n_bytes=dict(enumerate(sizes)),
        uses=dict(enumerate(uses)),
        capacity=capacity,
    )
    active, clock, moved = ActiveFlows(table), 0.0, [0.0] * len(capacity)
    arrivals = sorted((data.draw(st.floats(0.0, 1.0)), flow) for flow in range(len(limits)))
    while arrivals or active.end_time:
        ending = min(((time, flow) for flow, time in active.end_time.items()), default=None)
        starts = bool(arrivals) and (ending is None or arrivals[0][0] <= ending[0])
        time, flow = arrivals.pop(0) if starts or ending is None else ending
        moved = [past + active.load(link) * (time - clock) for link, past in enumerate(moved)]
        clock = time
        settled = active.start(flow, clock) if starts else active.end(flow)
        if not settled:
            active.settle(clock)
        present = sorted(active.end_time)
        scratch = max_min_rates(
            [limits[flow] for flow in present], [uses[flow] for flow in present], capacity
        )
        assert [active.rate(flow) for flow in present] == pytest.approx(scratch, rel=1e-8)
    expected = load(uses, sizes, len(capacity))
    assert moved == pytest.approx(expected, rel=1e-6, abs=1e-6 * max(expected))


@settings(max_examples=20)
@given(small_jobs(), st.sampled_from(list(PipelineTransfer)))
def test_sharing_never_makes_a_step_faster(job: Scenario, transfer: PipelineTransfer) -> None:
    """And its breakdown still adds up: `summarise` refuses one that does not."""
    job = replace(job, software=replace(job.software, pipeline_transfer=transfer))
    alone = simulate(job)
    shared = simulate(replace(job, network=FAIR))
    step = alone.summary["step_time_s"]
    assert shared.summary["step_time_s"] >= step * (1 - 1e-12)
    assert sum(shared.summary["breakdown_s"].values()) == pytest.approx(
        shared.summary["step_time_s"], rel=1e-12
    )
    for told in shared.summary["transfers"].values():
        assert told["slowdown"] >= 1 - 1e-9


@settings(max_examples=10)
@given(small_jobs(), st.integers(1, 3))
def test_folding_is_exact_with_sharing(job: Scenario, replicas: int) -> None:
    folded = simulate(replace(job, network=FAIR)).played
    unfolded = play_events(unfold(folded.program, replicas))
    assert unfolded.step_time == pytest.approx(folded.step_time, rel=1e-12)
    for key, value in break_down(folded).mean.items():
        assert break_down(unfolded).mean[key] == pytest.approx(value, abs=1e-9 * folded.step_time)
    unrolled = play_events(unroll(folded.program))
    assert unrolled.step_time == pytest.approx(folded.step_time, rel=1e-12)
