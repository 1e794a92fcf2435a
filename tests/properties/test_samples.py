"""Samples of a step: copies play like unfolded programs, and draws follow their distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from every_rank import every_rank
from hypothesis import given, settings
from hypothesis import strategies as st
from job_samples import job
from scipy.stats import norm
from strategies import small_jobs

from simulator.api import simulate
from simulator.engine import kernels
from simulator.engine.copies import CopyPlayer, interpolate
from simulator.engine.events import play_events
from simulator.errors import DeadlockError
from simulator.metrics.factors import Rows
from simulator.metrics.samples import sample_steps
from simulator.parallel.layout import Layout
from simulator.program.build import build_program, make_plan
from simulator.program.builder import ProgramBuilder
from simulator.program.fold import split
from simulator.program.jitter import Jitter, JitterKind
from simulator.program.perturbations import Perturbations
from simulator.program.stretch import Stretch
from simulator.program.tasks import NONE, Lane
from simulator.program.variation import SlowShare, Variation

if TYPE_CHECKING:
    from simulator.metrics.samples import StepSamples
    from simulator.scenario import Scenario

WAYS = (False, True) if kernels.available() else (False,)
JITTER = Jitter(JitterKind.LOGNORMAL, 0.05)
LAYOUT = Layout(tensor=4, pipeline=2, data=3)


def sampled(scenario: Scenario, variation: Variation, **slow: dict[int, float]) -> StepSamples:
    plan = make_plan(scenario)
    return sample_steps(build_program(plan), plan, variation, Perturbations(**slow))


@pytest.mark.parametrize("numba", WAYS)
@settings(max_examples=25)
@given(scenario=small_jobs(), replicas=st.integers(1, 4), seed=st.integers(0, 99))
def test_copies_play_like_an_unfolded_program(
    *, numba: bool, scenario: Scenario, replicas: int, seed: int
) -> None:
    plan = make_plan(scenario)
    program = build_program(plan)
    computed = Stretch.of(program, plan).computed
    rows = Rows.of(program, computed)
    factors = np.random.default_rng(seed).uniform(0.5, 2.0, (int(rows.first[-1]), replicas))
    fixed = (program.duration - computed)[:, np.newaxis]
    player = CopyPlayer(program, fixed, computed, rows.of_task, numba=numba)
    end = player.play(factors)
    draw = np.concatenate([factors, np.zeros((1, replicas))])[rows.of_task]
    unfolded = split(program, (fixed + computed[:, np.newaxis] * draw).T, np.ones(replicas))
    expected = play_events(unfolded)
    tasks = replicas * len(program)  # after them come the gates at which replicas meet
    np.testing.assert_allclose(end.T.reshape(-1), expected.end[:tasks], rtol=1e-9, atol=1e-15)
    assert end.max() == pytest.approx(expected.step_time, rel=1e-9)


@pytest.mark.parametrize("numba", WAYS)
@settings(max_examples=25)
@given(scenario=small_jobs(), seed=st.integers(0, 99))
def test_the_critical_path_is_as_long_as_the_step(
    *, numba: bool, scenario: Scenario, seed: int
) -> None:
    plan = make_plan(scenario)
    program = build_program(plan)
    draw = np.arange(len(program))
    factors = np.random.default_rng(seed).uniform(0.5, 2.0, (len(program), 3))
    fixed = np.zeros((len(program), 1))
    player = CopyPlayer(program, fixed, program.duration, draw, numba=numba)
    end = player.play(factors)
    task, copy = player.critical_path(end)
    assert (program.duration[task] * factors[task, copy]).sum() == pytest.approx(end.max())
    assert end[task[0], copy[0]] == end.max()


@pytest.mark.parametrize("numba", WAYS)
def test_copies_of_a_deadlock_are_refused(*, numba: bool) -> None:
    builder = ProgramBuilder([0], [1.0])
    tasks = builder.add(2, name=builder.name("task"), rank_class=0, lane=Lane.COMPUTE)
    builder.after(tasks[0], tasks[1])
    zeros = np.zeros((2, 1))
    with pytest.raises(DeadlockError, match="2 of 2 tasks"):
        CopyPlayer(builder.build(), zeros, zeros[:, 0], np.full(2, NONE), numba=numba)


@settings(max_examples=15)
@given(small_jobs())
def test_every_rank_without_draws_is_the_step_as_priced(scenario: Scenario) -> None:
    variation = Variation(per_rank=True)
    result = simulate(scenario, variation=variation)
    times = result.summary["variation"]["step_time_s"]
    for name in ("mean", "without_slow_ranks", "p99"):
        assert times[name] == pytest.approx(result.summary["step_time_s"], rel=1e-9)


@settings(max_examples=15)
@given(
    scenario=small_jobs(),
    rank=st.integers(0, 127),
    other=st.integers(0, 127),
    per_rank=st.booleans(),
)
def test_a_named_slow_rank_is_the_same_sampled_folded_and_rank_by_rank(
    *, scenario: Scenario, rank: int, other: int, per_rank: bool
) -> None:
    ranks = scenario.accelerators
    slow = Perturbations(slow_ranks={rank % ranks: 1.5}, slow_interfaces={other % ranks: 2.0})
    variation = Variation(per_rank=per_rank)
    result = simulate(scenario, perturbations=slow, variation=variation)
    played = float(result.step_times["step_time_s"].iloc[0])
    assert played == pytest.approx(result.summary["step_time_s"], rel=1e-9)
    by_rank = play_events(every_rank(result.plan, slow))
    assert played == pytest.approx(by_rank.step_time, rel=1e-9)


def test_samples_depend_on_the_seed_and_on_nothing_else() -> None:
    scenario = job(LAYOUT)
    slow = SlowShare(0.1, 0.2)
    few = sampled(scenario, Variation(jitter=JITTER, slow=slow, samples=3, seed=7))
    many = sampled(scenario, Variation(jitter=JITTER, slow=slow, samples=8, seed=7))
    np.testing.assert_array_equal(few.step_time, many.step_time[:3])
    assert len({*many.step_time.tolist()}) == 8
    other = sampled(scenario, Variation(jitter=JITTER, slow=slow, samples=3, seed=8))
    assert not np.any(other.step_time == few.step_time)


@pytest.mark.parametrize(
    "slow", [None, SlowShare(0.1, 0.3), SlowShare(0.5, 0.3, 4, forward_only=True)]
)
def test_a_groups_slowest_is_drawn_as_its_ranks_would_be(slow: SlowShare | None) -> None:
    """Folded and rank by rank: the same mean and spread, within four standard errors."""
    count = 400
    scenario = job(LAYOUT)
    folded, by_rank = (
        sampled(scenario, Variation(jitter=JITTER, slow=slow, samples=count, per_rank=per_rank))
        for per_rank in (False, True)
    )
    for one, other in (
        (folded.step_time, by_rank.step_time),
        (folded.without_slow, by_rank.without_slow),
    ):
        error = np.hypot(one.std(), other.std()) / count**0.5
        assert abs(one.mean() - other.mean()) < 4 * error
        assert one.std() == pytest.approx(other.std(), rel=4 / (2 * count) ** 0.5 * 2**0.5)


@pytest.mark.skipif(not kernels.available(), reason="numba is not installed")
@pytest.mark.parametrize("per_rank", [False, True])
def test_numpy_samples_what_numba_samples(*, per_rank: bool) -> None:
    plan = make_plan(job(LAYOUT))
    program = build_program(plan)
    variation = Variation(
        jitter=JITTER, slow=SlowShare(0.1, 0.2), samples=5, seed=2, per_rank=per_rank
    )
    slow = Perturbations(slow_ranks={1: 1.1}, slow_interfaces={9: 2.0}, lost_nodes=(1,))
    one, other = (
        sample_steps(program, plan, variation, slow, numba=numba) for numba in (False, True)
    )
    np.testing.assert_allclose(one.step_time, other.step_time, rtol=1e-12)
    np.testing.assert_allclose(one.without_slow, other.without_slow, rtol=1e-12)
    np.testing.assert_allclose(one.critical, other.critical, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(one.paced, other.paced)


def test_slow_ranks_never_speed_a_sample_up() -> None:
    variation = Variation(jitter=JITTER, slow=SlowShare(0.2, 0.1), samples=50)
    samples = sampled(job(LAYOUT), variation)
    assert np.all(samples.step_time >= samples.without_slow)
    assert samples.step_time.mean() > samples.without_slow.mean()


def test_the_slow_rank_is_the_one_that_sets_the_pace() -> None:
    """Rank 5 of 24 is a half slower: replica 0, stage 1."""
    variation = Variation(jitter=JITTER, samples=20, per_rank=True)
    samples = sampled(job(LAYOUT, micro_batches=8), variation, slow_ranks={5: 1.5})
    assert samples.grid[0, 1].tolist() == [4, 5, 6, 7]
    assert np.unravel_index(samples.critical.argmax(), samples.critical.shape) == (0, 1)
    assert samples.paced[0, 1] == 20
    assert samples.critical_of_rank is not None
    assert samples.critical_of_rank.argmax() == 5
    assert samples.slow_critical == pytest.approx(samples.critical[0, 1])


@pytest.mark.parametrize("ranks", [1, 2, 8, 64])
def test_the_table_has_the_distribution_of_the_slowest_of_so_many(ranks: int) -> None:
    """At the value z its factor x satisfies P(one <= x) ** ranks = P(normal <= z)."""
    z = np.linspace(-5.0, 5.0, 401) + 1e-3
    for kind in JitterKind:
        table = Jitter(kind, 0.1).slowest(ranks)
        factor = np.empty_like(z)
        interpolate(table, z, factor, numba=False)
        if kind is JitterKind.LOGNORMAL:
            below = norm.logcdf((np.log(factor) + 0.005) / 0.1)
        else:
            below = np.log(-np.expm1(-np.maximum(factor - 1.0, 1e-300) / 0.1))
        np.testing.assert_allclose(ranks * below, norm.logcdf(z), rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("numba", WAYS)
def test_tables_are_read_between_their_points_and_kept_beyond(*, numba: bool) -> None:
    table = Jitter(JitterKind.EXPONENTIAL, 0.5).slowest(1)
    places = np.array([-100.0, table.first, table.first + 0.25 * table.step, 0.0, 100.0])
    out = np.empty(5)
    interpolate(table, places, out, numba=numba)
    between = 0.75 * table.values[0] + 0.25 * table.values[1]
    middle = 1 + 0.5 * np.log(2)
    expected = [table.values[0], table.values[0], between, middle, table.values[-1]]
    np.testing.assert_allclose(out, expected, rtol=1e-9)


@pytest.mark.parametrize(("kind", "mean"), [("lognormal", 1.0), ("exponential", 1.05)])
def test_jitter_of_one_rank_has_its_mean(kind: str, mean: float) -> None:
    table = Jitter(JitterKind(kind), 0.05).slowest(1)
    normal = np.random.default_rng(0).standard_normal(200_000)
    factors = np.empty_like(normal)
    interpolate(table, normal, factors)
    assert factors.mean() == pytest.approx(mean, abs=4 * 0.05 / 200_000**0.5)


def test_an_interrupt_does_not_wait_for_all_samples() -> None:
    plan = make_plan(job(LAYOUT))
    variation = Variation(jitter=JITTER, samples=1_000_000)
    played = []

    def interrupt() -> None:
        played.append(1)
        if len(played) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_steps(build_program(plan), plan, variation, Perturbations(), on_progress=interrupt)
    assert len(played) < 100_000
