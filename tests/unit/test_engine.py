"""The engine on programs small enough to play by hand, and the trace that it leaves."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.engine.events import play_events
from simulator.errors import DeadlockError
from simulator.program.builder import ProgramBuilder
from simulator.program.patterns import Pattern, Segment
from simulator.program.tasks import NONE, Lane, SpanKind


def two_lanes() -> ProgramBuilder:
    """Compute 2, 1, 4 s; data 3 s after the first compute and 1 s after the second."""
    builder = ProgramBuilder([0], [1.0])
    compute, data = builder.name("compute"), builder.name("data")
    tasks = builder.add(
        3, name=compute, rank_class=0, lane=Lane.COMPUTE, duration=np.array([2.0, 1.0, 4.0])
    )
    sent = builder.add(
        2,
        name=data,
        rank_class=0,
        lane=Lane.DATA,
        kind=SpanKind.DATA,
        duration=np.array([3.0, 1.0]),
    )
    builder.after(sent, tasks[:2])
    return builder


def test_lanes_run_side_by_side_and_each_in_order() -> None:
    trace = play_events(two_lanes().build())
    assert trace.start.tolist() == [0, 2, 3, 2, 5]
    assert trace.end.tolist() == [2, 3, 7, 5, 6]
    assert trace.step_time == 7


def test_a_gate_joins_at_the_last_of_its_predecessors() -> None:
    builder = two_lanes()
    gate = builder.gate(np.array([1, 4]), "gate")
    after = builder.add(name=0, rank_class=0, lane=Lane.DATA, duration=1.0)
    builder.after(after, gate)
    trace = play_events(builder.build())
    assert trace.end[gate] == 6
    assert trace.end[after[0]] == 7


def test_binding_is_what_a_task_waited_for_last() -> None:
    trace = play_events(two_lanes().build())
    assert trace.binding.tolist() == [NONE, 0, 1, 0, 3]


def test_an_empty_program_takes_no_time() -> None:
    builder = ProgramBuilder([0], [1.0])
    builder.add(0)
    assert play_events(builder.build()).step_time == 0


def test_two_plays_are_identical() -> None:
    program = two_lanes().build()
    assert play_events(program).end.tobytes() == play_events(program).end.tobytes()


def test_a_deadlock_names_the_circle() -> None:
    """Stage 0 sends B only after it received A, stage 1 the other way round."""
    builder = ProgramBuilder([0, 1], [1.0, 1.0])
    ahead = builder.add(
        2, name=builder.name("fine"), rank_class=np.array([0, 1]), lane=Lane.COMPUTE, duration=1.0
    )
    first = builder.add(name=builder.name("waits_b"), rank_class=0, lane=Lane.COMPUTE, duration=1.0)
    second = builder.add(
        name=builder.name("waits_a"), rank_class=1, lane=Lane.COMPUTE, duration=1.0, micro_batch=3
    )
    builder.after(first, second)
    builder.after(second, first)
    builder.after(first, ahead)
    with pytest.raises(DeadlockError) as error:
        play_events(builder.build())
    message = str(error.value)
    assert message.startswith("deadlock: 2 of 4 tasks never start")
    assert "stage 0 compute waits_b" in message
    assert "stage 1 compute waits_a (micro-batch 3" in message
    assert "fine" not in message


def test_a_deadlock_of_lane_order_is_found() -> None:
    """The first task of a lane waits for the second."""
    builder = ProgramBuilder([0], [1.0])
    tasks = builder.add(
        2,
        name=np.array([builder.name("first"), builder.name("second")]),
        rank_class=0,
        lane=Lane.COMPUTE,
    )
    builder.after(tasks[0], tasks[1])
    with pytest.raises(DeadlockError, match=r"first.*<-.*second"):
        play_events(builder.build())


def test_spans_unfold_patterns() -> None:
    """A task of 8 s with a pattern of 4 s: everything inside takes twice as long."""
    builder = ProgramBuilder([0], [1.0])
    gemm = Segment("gemm", SpanKind.FORWARD, Lane.COMPUTE, 0.0, 3.0, layer=1)
    gather = Segment("gather", SpanKind.TENSOR, Lane.TENSOR, 2.0, 2.0, 64.0)
    builder.add(
        name=builder.name("forward"),
        rank_class=0,
        lane=Lane.COMPUTE,
        kind=SpanKind.FORWARD,
        duration=8.0,
        pattern=builder.pattern(Pattern((gemm, gather), 4.0)),
        layer=6,
        micro_batch=2,
    )
    builder.gate(np.array([0]), "gate")
    frame = play_events(builder.build()).frame()
    assert frame["name"].tolist() == ["gemm", "gather"]
    assert frame["start_s"].tolist() == [0, 4]
    assert frame["end_s"].tolist() == [6, 8]
    assert frame["layer"].tolist() == [7, NONE]
    assert frame["lane"].tolist() == ["compute", "tensor"]
    assert frame["micro_batch"].tolist() == [2, 2]
    assert frame["n_bytes"].tolist() == [0, 64]


def test_flows_join_a_send_to_what_it_releases() -> None:
    builder = ProgramBuilder([0, 1], [1.0, 1.0])
    name = builder.name("task")
    send = builder.add(name=name, rank_class=0, lane=Lane.PIPELINE_SEND, duration=1.0, peer=1)
    work = builder.add(2, name=name, rank_class=1, lane=Lane.COMPUTE, duration=1.0)
    builder.after(work[0], send)
    frame = play_events(builder.build()).frame()
    assert frame["flow"].tolist() == [0, 0, NONE]
    assert frame["peer"].tolist() == [1, NONE, NONE]
