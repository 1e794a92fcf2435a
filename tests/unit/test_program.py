"""Programs by hand: columns, lanes, gates, and what unfolding and unrolling make of them."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.engine.events import play_events
from simulator.errors import SimulatorError
from simulator.program.builder import ProgramBuilder
from simulator.program.fold import unfold, unroll
from simulator.program.patterns import Pattern, Segment
from simulator.program.tasks import NONE, Lane, Program, SpanKind


def two_stages() -> Program:
    """Stage 0 computes 2 s and sends 1 s; stage 1 computes 3 s; both then reduce 1 s together."""
    builder = ProgramBuilder([0, 1], [8.0, 8.0])
    forward, send, reduce = map(builder.name, ("forward", "send", "reduce"))
    first = builder.add(name=forward, rank_class=0, lane=Lane.COMPUTE, duration=2.0, micro_batch=0)
    sent = builder.add(name=send, rank_class=0, lane=Lane.PIPELINE_SEND, duration=1.0, peer=1)
    second = builder.add(name=forward, rank_class=1, lane=Lane.COMPUTE, duration=3.0)
    builder.after(sent, first)
    builder.after(second, sent)
    for rank_class, before in ((0, first), (1, second)):
        reduction = builder.add(
            name=reduce, rank_class=rank_class, lane=Lane.DATA, duration=1.0, collective=True
        )
        builder.after(reduction, before)
    return builder.build()


def with_pattern(*segments: Segment, duration: float, stretched: float | None = None) -> Program:
    """One task with a pattern, then a plain one of 1 s."""
    builder = ProgramBuilder([0], [1.0])
    number = builder.pattern(Pattern(segments, duration))
    task = builder.add(
        name=builder.name("forward"),
        rank_class=0,
        lane=Lane.COMPUTE,
        kind=SpanKind.FORWARD,
        duration=duration if stretched is None else stretched,
        pattern=number,
        layer=4,
    )
    after = builder.add(name=builder.name("after"), rank_class=0, lane=Lane.DATA, duration=1.0)
    builder.after(after, task)
    return builder.build()


def test_columns_take_their_defaults() -> None:
    program = two_stages()
    assert len(program) == 5
    assert program.names == ("forward", "send", "reduce")
    assert program.peer.tolist() == [NONE, 1, NONE, NONE, NONE]
    assert program.collective.tolist() == [False, False, False, True, True]
    assert program.pattern.tolist() == [NONE] * 5
    assert [program.predecessors_of(task).tolist() for task in range(5)] == [[], [0], [1], [0], [2]]


def test_an_unknown_column_is_a_bug() -> None:
    with pytest.raises(TypeError, match=r"unknown task columns: \['durations'\]"):
        ProgramBuilder([0], [1.0]).add(durations=1.0)


def test_lanes_play_in_order_of_index() -> None:
    builder = ProgramBuilder([0, 1], [1.0, 1.0])
    builder.name("task")
    builder.add(2, name=0, rank_class=0, lane=Lane.COMPUTE)
    builder.add(name=0, rank_class=1, lane=Lane.COMPUTE)
    builder.add(name=0, rank_class=0, lane=Lane.DATA)
    builder.add(name=0, rank_class=0, lane=Lane.COMPUTE)
    gate = builder.gate(np.array([0, 2]), "gate")
    program = builder.build()
    assert program.lane_predecessor().tolist() == [NONE, 0, NONE, NONE, 1, NONE]
    assert program.lane[gate] == Lane.GATE
    assert program.predecessors_of(gate).tolist() == [0, 2]


def test_labels_name_stage_lane_and_micro_batch() -> None:
    program = two_stages()
    assert program.label(0) == "stage 0 compute forward (micro-batch 0, chunk -1)"
    assert program.label(1) == "stage 0 pipeline_send send"


def test_unfolded_replicas_stand_for_their_share_of_the_ranks() -> None:
    program = unfold(two_stages(), 4)
    assert program.rank_classes == 8
    assert program.weight.tolist() == [2.0] * 8
    assert program.stage.tolist() == [0, 1] * 4
    assert np.unique(program.peer).tolist() == [NONE, 1, 3, 5, 7]
    assert len(program) == 4 * 5 + 2


def test_unfolded_replicas_run_as_the_folded_one() -> None:
    folded = play_events(two_stages())
    unfolded = play_events(unfold(two_stages(), 3))
    assert folded.step_time == 7.0
    assert unfolded.end[:15].tolist() == folded.end.tolist() * 3


def test_a_straggler_delays_the_others_where_they_meet() -> None:
    """Twice as slow, replica 1 computes until 4 + 1 + 6 s; then all reduce 1 s.

    Its transfer keeps its second; replica 0 computes on until it needs replica 1.
    """
    trace = play_events(unfold(two_stages(), 2, [1.0, 2.0]))
    first, second = trace.end[:5].tolist(), trace.end[5:10].tolist()
    assert first == [2.0, 3.0, 6.0, 5.0, 12.0]
    assert second == [4.0, 5.0, 11.0, 5.0, 12.0]


def test_a_collective_waits_for_the_lane_of_every_replica() -> None:
    """Two collectives in a row on one lane: the second begins where the slowest first ends."""
    builder = ProgramBuilder([0], [2.0])
    work = builder.add(name=builder.name("work"), rank_class=0, lane=Lane.COMPUTE, duration=1.0)
    own = builder.add(name=0, rank_class=0, lane=Lane.DATA, duration=2.0)
    both = builder.add(name=0, rank_class=0, lane=Lane.DATA, duration=1.0, collective=True)
    builder.after(own, work)
    trace = play_events(unfold(builder.build(), 2, [1.0, 4.0]))
    assert trace.start[[int(both[0]), int(both[0]) + 3]].tolist() == [6.0, 6.0]


@pytest.mark.parametrize(
    ("replicas", "slowdown", "message"),
    [
        (0, None, "replicas = 0, but must be at least 1"),
        (2, [1.0], r"slowdown has shape \(1,\), but there are 2 replicas"),
        (2, [1.0, 0.0], "slowdown must be finite and above 0"),
        (1, [float("nan")], "slowdown must be finite and above 0"),
    ],
)
def test_impossible_replicas_are_refused(
    replicas: int, slowdown: list[float] | None, message: str
) -> None:
    with pytest.raises(SimulatorError, match=message):
        unfold(two_stages(), replicas, slowdown)


def test_unrolled_segments_and_waits_are_tasks() -> None:
    """A GEMM of 2 s, a gather from 1 to 4 s, a GEMM of 1 s, and 1 s of nothing."""
    gemm = Segment("gemm", SpanKind.FORWARD, Lane.COMPUTE, 0.0, 2.0, layer=1)
    gather = Segment("gather", SpanKind.TENSOR, Lane.TENSOR, 1.0, 3.0, 64.0, layer=1)
    tail = Segment("norm", SpanKind.FORWARD, Lane.COMPUTE, 4.0, 1.0)
    program = unroll(with_pattern(gemm, gather, tail, duration=6.0))
    assert [program.names[name] for name in program.name] == [
        "gemm",
        "gather",
        "norm",
        "wait",
        "after",
    ]
    assert program.duration.tolist() == [2.0, 2.0, 1.0, 1.0, 1.0]
    assert program.kind.tolist()[:4] == [
        SpanKind.FORWARD,
        SpanKind.TENSOR,
        SpanKind.FORWARD,
        SpanKind.OTHER,
    ]
    assert program.layer.tolist() == [5, 5, NONE, NONE, NONE]
    assert program.n_bytes.tolist() == [0, 64.0, 0, 0, 0]
    assert program.predecessors_of(4).tolist() == [3]
    assert set(program.lane.tolist()[:4]) == {Lane.COMPUTE}
    assert not program.patterns


def test_unrolled_segments_stretch_with_their_task() -> None:
    gemm = Segment("gemm", SpanKind.FORWARD, Lane.COMPUTE, 0.0, 3.0)
    norm = Segment("norm", SpanKind.FORWARD, Lane.COMPUTE, 3.0, 1.0)
    program = unroll(with_pattern(gemm, norm, duration=4.0, stretched=8.0))
    assert program.duration.tolist() == [6.0, 2.0, 1.0]
    assert play_events(program).step_time == 9.0


def test_an_empty_pattern_stays_one_task() -> None:
    program = unroll(with_pattern(duration=0.0))
    assert program.duration.tolist() == [0.0, 1.0]
