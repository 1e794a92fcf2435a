"""Every engine gives the same trace: on the scenarios of the repository and on any program."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from flow_samples import program_of
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import small_jobs

from simulator.api import simulate
from simulator.engine import kernels
from simulator.engine.choice import play
from simulator.engine.compiled import COMPILE_FROM, play_compiled, worth_numba
from simulator.engine.events import play_events
from simulator.engine.levels import Levels, Waits
from simulator.errors import DeadlockError, SimulatorError
from simulator.metrics.breakdown import break_down
from simulator.metrics.memory import memory_of
from simulator.program.build import build_program, make_plan
from simulator.program.builder import ProgramBuilder
from simulator.program.fold import unfold
from simulator.program.jitter import parse_jitter
from simulator.program.tasks import Lane, Program
from simulator.program.variation import Variation
from simulator.scenario import load_scenario

if TYPE_CHECKING:
    from simulator.engine.trace import Trace
    from simulator.scenario import Scenario

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))
WAYS = (False, True) if kernels.available() else (False,)
"""Values of ``numba``: numpy's levels and, where it is installed, machine code."""


@st.composite
def programs(draw: st.DrawFn, *, cyclic: bool = False) -> Program:
    """Return tasks and gates on a few lanes; each waits for any earlier ones (or any at all)."""
    classes = draw(st.integers(1, 3))
    count = draw(st.integers(0, 24))
    builder = ProgramBuilder(range(classes), [1.0] * classes)
    for task in range(count):
        builder.add(
            name=builder.name(f"t{task}"),
            rank_class=draw(st.integers(0, classes - 1)),
            lane=draw(st.sampled_from([Lane.GATE, Lane.COMPUTE, Lane.DATA])),
            duration=draw(st.sampled_from([0.0, 1.0, 0.1, 2.5, 1e-6, 1e3])),
        )
        others = count - 1 if cyclic else task - 1
        for other in draw(st.sets(st.integers(0, max(0, others)), max_size=3)):
            if other != task and others >= 0:
                builder.after(task, other)
    if count == 0:
        builder.add(0)
    return builder.build()


def assert_same(trace: Trace, expected: Trace) -> None:
    """Bit for bit: all engines take the same maxima and add the same durations."""
    np.testing.assert_array_equal(trace.start, expected.start)
    np.testing.assert_array_equal(trace.end, expected.end)
    np.testing.assert_array_equal(trace.binding, expected.binding)


@pytest.mark.parametrize("numba", WAYS)
@given(program=programs())
def test_any_program(*, numba: bool, program: Program) -> None:
    assert_same(play_compiled(program, numba=numba), play_events(program))


@pytest.mark.parametrize("numba", WAYS)
@settings(max_examples=25)
@given(job=small_jobs(), replicas=st.integers(1, 3))
def test_any_job(*, numba: bool, job: Scenario, replicas: int) -> None:
    program = unfold(build_program(make_plan(job)), replicas)
    assert_same(play_compiled(program, numba=numba), play_events(program))


@pytest.mark.parametrize("numba", WAYS)
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario(path: Path, *, numba: bool) -> None:
    plan = make_plan(load_scenario(path))
    program = build_program(plan)
    trace, expected = play_compiled(program, numba=numba), play_events(program)
    assert_same(trace, expected)
    assert break_down(trace) == break_down(expected)
    for memory, other in zip(memory_of(trace, plan), memory_of(expected, plan), strict=True):
        assert memory.peak == other.peak


@pytest.mark.parametrize("numba", WAYS)
@given(program=programs(cyclic=True))
def test_deadlocks_are_found_and_named_alike(*, numba: bool, program: Program) -> None:
    try:
        expected = play_events(program)
    except DeadlockError as error:
        with pytest.raises(DeadlockError, match=f"^{re.escape(str(error))}$"):
            play_compiled(program, numba=numba)
    else:
        assert_same(play_compiled(program, numba=numba), expected)


@given(programs(), st.integers(0, 99))
def test_the_kernels_are_right_without_their_compiler(program: Program, seed: int) -> None:
    """Python runs what numba compiles: the same lines, so that coverage and debuggers see them."""
    count = len(program)
    edges = (program.predecessor_offsets, program.predecessors, program.lane_predecessor())
    start, end, order = np.empty(count), np.empty(count), np.empty(count, dtype=np.int64)
    assert kernels.play_lanes(*edges, program.duration, start, end, order) == count
    expected = play_events(program)
    np.testing.assert_array_equal(start, expected.start)
    np.testing.assert_array_equal(end, expected.end)
    generator = np.random.default_rng(seed)
    joint = generator.random(count) < 0.5
    factors = generator.uniform(0.5, 2.0, (count, 3))
    levels = Levels.of(Waits.of(program))
    half = 0.5 * program.duration
    for fixed in (half[:, np.newaxis], np.tile(half[:, np.newaxis], 3)):
        ends = np.empty((count, 3))
        draw = np.arange(count)
        kernels.play_copies(order, *edges, joint, fixed, half, draw, factors, ends)
        by_levels = levels.play(fixed + half[:, np.newaxis] * factors, joint)[1]
        np.testing.assert_allclose(ends, by_levels, rtol=1e-12)


def test_a_program_that_depends_on_the_clock_is_refused_by_name() -> None:
    apart = program_of([10.0, 10.0], [{0: 5.0}, {1: 5.0}])
    meeting = program_of([10.0], [{0: 5.0}, {0: 5.0}])
    with pytest.raises(SimulatorError, match=r"share links.*compiled engine.*--engine simpy"):
        play(meeting, "compiled")
    assert play(meeting, "auto")[1] == "simpy"
    assert play(apart, "auto")[1] == "compiled"


def test_small_programs_do_not_load_numba() -> None:
    code = (
        "import sys; from simulator import simulate; "
        f"simulate({str(SCENARIOS[0])!r}); print('numba' in sys.modules, 'simpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_numba_is_used_where_it_pays() -> None:
    assert worth_numba(COMPILE_FROM) == kernels.available()


@pytest.mark.skipif(not kernels.available(), reason="numba is not installed")
def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    code = (
        "import json; from simulator.engine import kernels; from simulator.engine.compiled import "
        "play_compiled; from simulator.program.build import build_program, make_plan; "
        "from simulator.scenario import load_scenario; "
        f"play_compiled(build_program(make_plan(load_scenario({str(SCENARIOS[0])!r}))), numba=True)"
        "; stats = kernels.compiled().play.stats; "
        "print(json.dumps([sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        for _ in range(2)
    ]
    assert [json.loads(run.stdout) for run in runs] == [[0, 1], [1, 0]]


def test_a_python_without_numba_plays_and_samples_all_the_same() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from simulator import simulate\n"
        "from simulator.program.jitter import parse_jitter\n"
        "from simulator.program.variation import Variation\n"
        "variation = Variation(jitter=parse_jitter('lognormal:0.02'), samples=3)\n"
        f"result = simulate({str(SCENARIOS[0])!r}, engine='compiled', variation=variation)\n"
        "print(result.samples.step_time.tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    variation = Variation(jitter=parse_jitter("lognormal:0.02"), samples=3)
    expected = simulate(SCENARIOS[0], variation=variation).step_times["step_time_s"]
    np.testing.assert_allclose(json.loads(done.stdout), expected, rtol=1e-12)
