"""Where the step goes, on programs whose waits are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from simulator.engine.events import play_events
from simulator.metrics.breakdown import CATEGORIES, NAMES, Breakdown, break_down
from simulator.program.builder import ProgramBuilder
from simulator.program.patterns import Pattern, Segment
from simulator.program.tasks import Lane, SpanKind

if TYPE_CHECKING:
    from collections.abc import Mapping


class Step:
    """Adds tasks by kind, lane and time."""

    def __init__(self, *weight: float) -> None:
        self._builder = ProgramBuilder(range(len(weight)), weight)
        self._name = self._builder.name("task")

    def add(self, kind: SpanKind, rank_class: int, lane: Lane, duration: float, **more: Any) -> int:  # noqa: ANN401 - any column
        after = more.pop("after", None)
        task = self._builder.add(
            name=self._name,
            kind=kind,
            rank_class=rank_class,
            lane=lane,
            duration=duration,
            **more,
        )
        if after is not None:
            self._builder.after(task, np.asarray(after))
        return int(task[0])

    def forward(self, rank_class: int, duration: float, **more: Any) -> int:  # noqa: ANN401 - any column
        return self.add(SpanKind.FORWARD, rank_class, Lane.COMPUTE, duration, **more)

    def pattern(self, *segments: Segment, duration: float) -> int:
        return self._builder.pattern(Pattern(segments, duration))

    def gate(self, *tasks: int) -> int:
        return self._builder.gate(np.array(tasks), "gate")

    def broken_down(self) -> Breakdown:
        return break_down(play_events(self._builder.build()))


def spent(categories: Mapping[str, float]) -> dict[str, float]:
    return {name: seconds for name, seconds in categories.items() if seconds}


def test_every_kind_has_a_category() -> None:
    assert set(CATEGORIES) == set(SpanKind)
    assert len(NAMES) == len(set(NAMES)) == 11


def test_waiting_for_a_stage_is_bubble_and_for_its_transfer_is_exposed() -> None:
    """Stage 0 computes 2 s and sends 1 s; stage 1 computes 3 s; the step is 6 s.

    Stage 1 first waits 2 s for compute, then 1 s for the transfer. Stage 0 is done at 2 s, its
    transfer still runs 1 s, then it has nothing to do for 3 s.
    """
    step = Step(1.0, 3.0)
    first = step.forward(0, 2.0)
    send = step.add(SpanKind.PIPELINE, 0, Lane.PIPELINE_SEND, 1.0, peer=1, after=first)
    step.forward(1, 3.0, after=send)
    breakdown = step.broken_down()
    stages = [spent(categories) for categories in breakdown.by_class]
    assert stages[1] == {"compute": 3, "bubble": 2, "exposed_pipeline": 1}
    assert stages[0] == {"compute": 2, "exposed_pipeline": 1, "bubble": 3}
    assert breakdown.mean["compute"] == pytest.approx((2 + 3 * 3) / 4)
    assert breakdown.bubble == pytest.approx((3 + 3 * 2) / 4)


def test_hidden_communication_costs_nothing() -> None:
    """A reduction of 2 s beside 3 s of compute."""
    step = Step(1.0)
    first = step.forward(0, 1.0)
    reduction = step.add(SpanKind.DATA, 0, Lane.DATA, 2.0, after=first)
    step.forward(0, 3.0)
    step.add(SpanKind.OPTIMIZER, 0, Lane.COMPUTE, 1.0, after=reduction)
    assert spent(step.broken_down().by_class[0]) == {"compute": 4, "optimizer": 1}


def test_the_tail_of_a_communication_is_exposed() -> None:
    """A reduction of 5 s beside 3 s of compute: 2 s show."""
    step = Step(1.0)
    first = step.forward(0, 1.0)
    reduction = step.add(SpanKind.DATA, 0, Lane.DATA, 5.0, after=first)
    step.forward(0, 3.0)
    step.add(SpanKind.OPTIMIZER, 0, Lane.COMPUTE, 1.0, after=reduction)
    categories = spent(step.broken_down().by_class[0])
    assert categories == {"compute": 4, "exposed_data": 2, "optimizer": 1}


def test_waits_are_followed_through_gates() -> None:
    """Both stages meet in a gate, then reduce 1 s: the faster waits 4 s for the slower."""
    step = Step(1.0, 1.0)
    ends = [step.forward(0, 1.0), step.forward(1, 5.0)]
    gate = step.gate(*ends)
    for stage in (0, 1):
        norm = step.add(SpanKind.DATA, stage, Lane.DATA, 1.0, after=gate)
        step.add(SpanKind.OPTIMIZER, stage, Lane.COMPUTE, 1.0, after=norm)
    fast, slow = (spent(categories) for categories in step.broken_down().by_class)
    assert fast == {"compute": 1, "bubble": 4, "exposed_data": 1, "optimizer": 1}
    assert slow == {"compute": 5, "exposed_data": 1, "optimizer": 1}


def test_patterns_say_what_their_task_spends_its_time_on() -> None:
    """A task twice as long as its pattern spends all of it in the pattern's shares."""
    step = Step(1.0)
    number = step.pattern(
        Segment("gemm", SpanKind.RECOMPUTE, Lane.COMPUTE, 0.0, 1.0),
        Segment("gather", SpanKind.TENSOR, Lane.TENSOR, 1.0, 1.0),
        Segment("gemm", SpanKind.BACKWARD, Lane.COMPUTE, 2.0, 2.0),
        duration=4.0,
    )
    step.add(SpanKind.BACKWARD, 0, Lane.COMPUTE, 8.0, pattern=number)
    categories = spent(step.broken_down().by_class[0])
    assert categories == {"recompute": 2, "exposed_tensor": 2, "compute": 4}


def test_a_blocking_transfer_is_exposed() -> None:
    step = Step(1.0)
    step.forward(0, 1.0)
    step.add(SpanKind.PIPELINE, 0, Lane.COMPUTE, 2.0)
    assert spent(step.broken_down().by_class[0]) == {"compute": 1, "exposed_pipeline": 2}


def test_a_class_that_computes_nothing_only_waits() -> None:
    step = Step(1.0, 1.0)
    step.forward(0, 4.0)
    step.add(SpanKind.DATA, 1, Lane.DATA, 1.0)
    assert spent(step.broken_down().by_class[1]) == {"exposed_data": 1, "bubble": 3}
