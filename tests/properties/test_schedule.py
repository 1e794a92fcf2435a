"""Laws that hold for every schedule, whatever its numbers of stages, micro-batches and chunks."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.schedule import (
    Action,
    Actions,
    Kind,
    Schedule,
    build_schedule,
    evaluate_equal_costs,
    find_problems,
    format_schedule,
    ideal_bubble_fraction,
    interleaved_1f1b,
    looping,
    parse_schedule,
    peak_in_flight,
)

Shape = tuple[str, int, int, int]

COSTS = st.floats(0.1, 10)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Name, stages, micro-batches and chunks that a generator accepts."""
    name = draw(st.sampled_from(["gpipe", "1f1b", "interleaved_1f1b"]))
    stages = draw(st.integers(1, 7))
    if name != "interleaved_1f1b":
        return name, stages, draw(st.integers(1, 15)), 1
    return name, stages, stages * draw(st.integers(1, 4)), draw(st.integers(1, 4))


def with_stage(schedule: Schedule, stage: int, actions: list[Action]) -> Schedule:
    """The schedule with other actions on one stage."""
    changed = list(schedule.actions)
    changed[stage] = Actions.of(actions)
    return Schedule(schedule.micro_batches, schedule.placement, tuple(changed))


@given(shapes())
def test_every_generated_schedule_can_run(shape: Shape) -> None:
    assert find_problems(build_schedule(*shape)) == []


@given(shapes())
def test_text_reads_back_as_the_same_schedule(shape: Shape) -> None:
    schedule = build_schedule(*shape)
    assert parse_schedule(format_schedule(schedule)) == schedule


@given(shapes(), COSTS, COSTS)
def test_makespan_matches_closed_form(shape: Shape, forward: float, backward: float) -> None:
    """Narayanan et al. 2021, section 2.2: (v·m + p - 1) slots of one F and one B of a chunk."""
    _, stages, micro_batches, chunks = shape
    timeline = evaluate_equal_costs(build_schedule(*shape), forward, backward)
    slots = chunks * micro_batches + stages - 1
    assert timeline.makespan == pytest.approx(slots * (forward + backward))


@given(shapes(), COSTS, COSTS)
def test_idle_share_of_every_stage_is_the_ideal_bubble(
    shape: Shape, forward: float, backward: float
) -> None:
    timeline = evaluate_equal_costs(build_schedule(*shape), forward, backward)
    for starts, ends in zip(timeline.starts, timeline.ends, strict=True):
        idle = 1 - (ends - starts).sum() / timeline.makespan
        assert idle == pytest.approx(ideal_bubble_fraction(*shape), abs=1e-12)


@given(shapes(), COSTS, COSTS)
def test_a_stage_does_one_thing_at_a_time(shape: Shape, forward: float, backward: float) -> None:
    timeline = evaluate_equal_costs(build_schedule(*shape), forward, backward)
    for starts, ends in zip(timeline.starts, timeline.ends, strict=True):
        assert (starts[1:] >= ends[:-1] - 1e-9).all()


@given(shapes())
def test_peak_in_flight_matches_closed_form(shape: Shape) -> None:
    name, stages, micro_batches, chunks = shape
    later = np.arange(stages)[::-1]
    bound = {
        "gpipe": np.full(stages, micro_batches),
        "1f1b": later + 1,
        "interleaved_1f1b": (2 if chunks > 1 else 1) * later + (chunks - 1) * stages + 1,
    }[name]
    expected = np.minimum(bound, chunks * micro_batches)
    assert peak_in_flight(build_schedule(*shape)).tolist() == expected.tolist()


@given(st.integers(1, 6), st.integers(1, 4), st.integers(2, 4))
def test_interleaving_visits_chunks_as_megatron_does(stages: int, groups: int, chunks: int) -> None:
    """The rules of the paper's section 2.2.2, followed one virtual micro-batch at a time."""
    total = stages * groups * chunks

    def visit(k: int, kind: Kind) -> Action:
        group, within = k // (stages * chunks), k % (stages * chunks)
        chunk = within // stages
        chunk = chunk if kind is Kind.FORWARD else chunks - 1 - chunk
        return Action(kind, group * stages + within % stages, chunk)

    for stage, actions in enumerate(interleaved_1f1b(stages, stages * groups, chunks).actions):
        warmup = min(total, (stages - stage - 1) * 2 + (chunks - 1) * stages)
        expected = [visit(k, Kind.FORWARD) for k in range(warmup)]
        for k in range(total - warmup):
            expected += [visit(k + warmup, Kind.FORWARD), visit(k, Kind.BACKWARD)]
        expected += [visit(k, Kind.BACKWARD) for k in range(total - warmup, total)]
        assert list(actions) == expected


@given(shapes(), st.data())
def test_a_removed_action_is_missed(shape: Shape, data: st.DataObject) -> None:
    schedule = build_schedule(*shape)
    stage = data.draw(st.integers(0, schedule.stages - 1))
    actions = list(schedule.actions[stage])
    removed = actions.pop(data.draw(st.integers(0, len(actions) - 1)))
    text = f"{removed.text(schedule.chunks)} of stage {stage}"
    assert find_problems(with_stage(schedule, stage, actions)) == [f"{text} is missing"]


@given(shapes(), st.data())
def test_a_repeated_action_is_noticed(shape: Shape, data: st.DataObject) -> None:
    schedule = build_schedule(*shape)
    stage = data.draw(st.integers(0, schedule.stages - 1))
    actions = list(schedule.actions[stage])
    again = data.draw(st.sampled_from(actions))
    actions.insert(data.draw(st.integers(0, len(actions))), again)
    text = f"{again.text(schedule.chunks)} of stage {stage}"
    assert find_problems(with_stage(schedule, stage, actions)) == [f"{text} is repeated"]


@given(shapes(), st.data())
def test_a_backward_moved_before_its_forward_is_noticed(shape: Shape, data: st.DataObject) -> None:
    schedule = build_schedule(*shape)
    stage = data.draw(st.integers(0, schedule.stages - 1))
    actions = list(schedule.actions[stage])
    forward = data.draw(st.sampled_from([a for a in actions if a.kind is Kind.FORWARD]))
    backward = forward._replace(kind=Kind.BACKWARD)
    actions.remove(backward)
    actions.insert(actions.index(forward), backward)
    chunks = schedule.chunks
    problem = (
        f"{backward.text(chunks)} of stage {stage} must come after"
        f" {forward.text(chunks)} of stage {stage}, on the same stage"
    )
    assert problem in find_problems(with_stage(schedule, stage, actions))


@st.composite
def shuffled(draw: st.DrawFn) -> Schedule:
    """All actions of a small pipeline in any order, some backwards split."""
    stages, micro_batches, chunks = (draw(st.integers(1, largest)) for largest in (3, 2, 2))
    columns = []
    for _ in range(stages):
        actions = []
        for visit in ((i, c) for i in range(micro_batches) for c in range(chunks)):
            split = draw(st.booleans())
            kinds = "FIW" if split else "FB"
            actions += [Action(Kind("FBIW".index(letter)), *visit) for letter in kinds]
        order = draw(st.permutations(range(len(actions))))
        # Mostly sorted by kind, so that a good share of the examples can run.
        if draw(st.booleans()):
            order = sorted(order, key=lambda i: actions[i].kind)
        columns.append(Actions.of(actions[i] for i in order))
    return Schedule(micro_batches, looping(stages, chunks), tuple(columns))


def waits_form_a_cycle(schedule: Schedule) -> bool:
    """Whether order on stages and data dependencies, as a graph, contradict each other."""
    graph: nx.DiGraph[tuple[str, int, int]] = nx.DiGraph()
    last = schedule.virtual_stages - 1
    for stage, actions in enumerate(schedule.actions):
        nodes = [
            (duty, action.micro_batch, schedule.placement[stage][action.chunk])
            for action in actions
            for duty in {"B": "IW"}.get(action.kind.letter, action.kind.letter)
        ]
        nx.add_path(graph, nodes)
        for duty, i, k in nodes:
            if duty == "F" and k > 0:
                graph.add_edge(("F", i, k - 1), (duty, i, k))
            elif duty == "I":
                graph.add_edge(("F", i, k), (duty, i, k))
                if k < last:
                    graph.add_edge(("I", i, k + 1), (duty, i, k))
            elif duty == "W":
                graph.add_edge(("I", i, k), (duty, i, k))
    return not nx.is_directed_acyclic_graph(graph)


@given(shuffled())
def test_validator_agrees_with_the_graph_of_waits(schedule: Schedule) -> None:
    assert bool(find_problems(schedule)) == waits_form_a_cycle(schedule)
