"""Laws that every simulated step obeys."""

from __future__ import annotations

from dataclasses import replace
from math import fsum
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import TOY, small_jobs

from simulator.api import simulate
from simulator.engine.events import play_events
from simulator.metrics.breakdown import break_down
from simulator.parallel.layout import Batch, Layout
from simulator.program.build import build_program, make_plan
from simulator.program.builder import ProgramBuilder
from simulator.program.fold import unfold
from simulator.program.tasks import NONE, Lane, Program, SpanKind
from simulator.schedule.actions import Kind
from simulator.schedule.dependencies import flatten, producers
from simulator.schedule.pipelines import ScheduleName, build_schedule, ideal_bubble_fraction
from simulator.schedule.validation import validate_schedule

if TYPE_CHECKING:
    from simulator.scenario import Scenario


def longest_path(program: Program) -> float:
    """Return the makespan by networkx's longest path: an independent evaluation."""
    graph = nx.DiGraph()
    before = program.lane_predecessor()
    for task in range(len(program)):
        graph.add_edge("start", task, weight=0.0)
        graph.add_edge(task, "end", weight=program.duration[task])
        for other in (*program.predecessors_of(task).tolist(), before[task]):
            if other != NONE:
                graph.add_edge(int(other), task, weight=program.duration[other])
    return float(nx.dag_longest_path_length(graph))


@settings(max_examples=25)
@given(small_jobs())
def test_the_step_is_the_longest_path(job: Scenario) -> None:
    program = build_program(make_plan(job))
    assert play_events(program).step_time == pytest.approx(longest_path(program), rel=1e-12)


@settings(max_examples=40)
@given(small_jobs())
def test_every_class_breaks_down_to_the_step_time(job: Scenario) -> None:
    trace = play_events(build_program(make_plan(job)))
    breakdown = break_down(trace)
    for categories in (*breakdown.by_class, breakdown.mean):
        assert fsum(categories.values()) == pytest.approx(trace.step_time, rel=1e-12)
        assert min(categories.values()) >= 0


@settings(max_examples=25)
@given(small_jobs(), st.sampled_from([2, 3]))
def test_folded_is_unfolded(job: Scenario, replicas: int) -> None:
    program = build_program(make_plan(job))
    folded, unfolded = play_events(program), play_events(unfold(program, replicas))
    count = len(program)
    for replica in range(replicas):
        own = slice(replica * count, (replica + 1) * count)
        np.testing.assert_allclose(unfolded.start[own], folded.start, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(unfolded.end[own], folded.end, rtol=1e-9, atol=1e-15)


@settings(max_examples=15)
@given(small_jobs(), st.floats(1.0, 2.0))
def test_a_straggler_never_speeds_a_step_up(job: Scenario, slowness: float) -> None:
    program = build_program(make_plan(job))
    healthy = play_events(unfold(program, 2))
    slow = play_events(unfold(program, 2, [1.0, slowness]))
    assert slow.step_time >= healthy.step_time * (1 - 1e-12)
    if job.layout.data * job.layout.context > 1:  # replicas wait for one another
        both = play_events(unfold(program, 2, [slowness, slowness]))
        assert slow.step_time <= both.step_time * (1 + 1e-12)


@settings(max_examples=25)
@given(small_jobs(), st.floats(1.0, 16.0))
def test_more_bandwidth_is_never_slower(job: Scenario, factor: float) -> None:
    fabric = replace(job.cluster.fabric, nic=job.cluster.fabric.nic * factor)
    faster = replace(job, cluster=replace(job.cluster, fabric=fabric))
    assert simulate(faster).summary["step_time_s"] <= simulate(job).summary["step_time_s"] * (
        1 + 1e-12
    )


@settings(max_examples=25)
@given(small_jobs())
def test_parameters_are_conserved_over_stages(job: Scenario) -> None:
    """Each pipeline holds the same parameters however it is cut (the vocabulary padded)."""
    plan = make_plan(job)
    whole = make_plan(
        replace(
            job,
            layout=replace(job.layout, pipeline=1, virtual_stages=1, data=1, context=1),
            schedule=ScheduleName.ONE_F_ONE_B,
            batch=Batch(sequence_length=1024, global_batch=1, micro_batch=1),
        )
    )
    held = sum(plan.parameters(stage) for stage in range(job.layout.pipeline))
    assert held == whole.parameters(0)


@settings(max_examples=25)
@given(small_jobs())
def test_everything_allocated_is_freed(job: Scenario) -> None:
    result = simulate(job)
    for stage in result.memory:
        assert stage.total[-1] == pytest.approx(stage.static.total, rel=1e-9)
        assert stage.total.max() == pytest.approx(stage.peak_total, rel=1e-9)
        assert stage.total.min() >= stage.static.total * (1 - 1e-9)


@settings(max_examples=25)
@given(small_jobs())
def test_spans_stay_inside_the_step_and_their_lanes(job: Scenario) -> None:
    spans = play_events(build_program(make_plan(job))).spans()
    assert spans["start"].min() >= 0
    compute = spans["lane"] == Lane.COMPUTE
    same = (np.diff(spans["rank_class"]) == 0) & compute[1:] & compute[:-1]
    overlap = spans["end"][:-1] - spans["start"][1:]
    assert overlap[same].max(initial=0.0) < 1e-9


@pytest.mark.parametrize("name", list(ScheduleName))
@pytest.mark.parametrize(("stages", "micro_batches"), [(2, 4), (4, 8), (8, 8)])
def test_equal_costs_reproduce_the_closed_form(
    name: ScheduleName, stages: int, micro_batches: int
) -> None:
    """Forward 1, backward 2, free transfers: the bubble is (p - 1) / (v m + p - 1)."""
    chunks = 2 if name is ScheduleName.INTERLEAVED_1F1B else 1
    schedule = build_schedule(name, stages, micro_batches, chunks)
    validate_schedule(schedule)
    builder = ProgramBuilder(range(stages), [1.0] * stages)
    flat, needed = flatten(schedule), np.concatenate(producers(schedule))
    tasks = builder.add(
        len(needed),
        name=builder.name("action"),
        rank_class=flat.stage,
        lane=Lane.COMPUTE,
        kind=np.where(flat.kind == Kind.FORWARD, SpanKind.FORWARD, SpanKind.BACKWARD),
        duration=np.where(flat.kind == Kind.FORWARD, 1.0, 2.0),
    )
    waiting = needed >= 0
    builder.after(tasks[waiting], tasks[needed[waiting]])
    trace = play_events(builder.build())
    ideal = ideal_bubble_fraction(name, stages, micro_batches, chunks)
    assert break_down(trace).bubble / trace.step_time == pytest.approx(ideal, rel=1e-12)
    assert trace.step_time == pytest.approx(3 * (micro_batches * chunks + stages - 1), rel=1e-12)


def test_a_layout_of_one_has_no_communication() -> None:
    job = replace(
        TOY, accelerators=1, layout=Layout(data=1), batch=replace(TOY.batch, global_batch=2)
    )
    breakdown = simulate(job).summary["breakdown_s"]
    assert {name for name, seconds in breakdown.items() if seconds > 0} <= {
        "compute",
        "optimizer",
        "other",
        "exposed_data",
    }
