"""Folding is exact: a step spelt out, replica by replica or segment by segment, is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import small_jobs

from simulator.api import simulate
from simulator.engine.events import play_events
from simulator.metrics.breakdown import break_down
from simulator.program.fold import unfold, unroll
from simulator.program.tasks import NONE
from simulator.schedule.timeline import peak_in_flight

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.engine.trace import Trace
    from simulator.scenario import Scenario


def actions(trace: Trace) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return start and end of every action, whatever the number of its tasks, by class and lane."""
    program = trace.program
    columns = (
        program.rank_class,
        program.lane,
        program.action,
        program.micro_batch,
        program.chunk,
    )
    keys, action = np.unique(np.stack(columns), axis=1, return_inverse=True)
    start, end = np.full(keys.shape[1], np.inf), np.zeros(keys.shape[1])
    np.minimum.at(start, action.reshape(-1), trace.start)
    np.maximum.at(end, action.reshape(-1), trace.end)
    return start, end


@settings(max_examples=15)
@given(small_jobs())
def test_unrolled_is_rolled(job: Scenario) -> None:
    """Every action of every stage starts and ends when it did, and the step goes to the same."""
    rolled = simulate(job).played
    unrolled = play_events(unroll(rolled.program))
    assert unrolled.step_time == pytest.approx(rolled.step_time, rel=1e-12)
    for key, value in break_down(rolled).mean.items():
        assert break_down(unrolled).mean[key] == pytest.approx(value, abs=1e-9 * rolled.step_time)
    for times, expected in zip(actions(unrolled), actions(rolled), strict=True):
        np.testing.assert_allclose(times, expected, rtol=1e-12, atol=1e-12 * rolled.step_time)


@settings(max_examples=15)
@given(small_jobs(), st.integers(1, 3))
def test_unfolding_keeps_the_breakdown(job: Scenario, replicas: int) -> None:
    folded = simulate(job).played
    unfolded = play_events(unfold(folded.program, replicas))
    for key, value in break_down(folded).mean.items():
        assert break_down(unfolded).mean[key] == pytest.approx(value, abs=1e-9 * folded.step_time)


@settings(max_examples=15)
@given(small_jobs())
def test_unfolding_conserves_ranks_and_bytes(job: Scenario) -> None:
    program = simulate(job).played.program
    unfolded = unfold(program, 3)
    assert unfolded.weight.sum() == pytest.approx(program.weight.sum())
    sent = program.weight[program.rank_class] * program.n_bytes
    classes = unfolded.rank_class
    sent_unfolded = np.where(classes == NONE, 0.0, unfolded.weight[classes]) * unfolded.n_bytes
    assert sent_unfolded.sum() == pytest.approx(sent.sum())


@settings(max_examples=25)
@given(small_jobs())
def test_activations_never_exceed_the_schedule(job: Scenario) -> None:
    """The trace keeps alive what the schedule says, whatever the times."""
    result = simulate(job)
    for stage, memory in enumerate(result.memory):
        virtual = [result.plan.stages[number] for number in result.plan.schedule.placement[stage]]
        kept = [part.kept_bytes for part in virtual]
        most = peak_in_flight(result.plan.schedule, [kept] * job.layout.pipeline)[stage]
        held = memory.peak["activations"] + memory.peak["logits"]
        assert held <= most * (1 + 1e-12)
        if len(virtual) == 1:
            assert held == pytest.approx(most)
