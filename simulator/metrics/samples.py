"""Samples of a step: every rank as itself, each time with its own jitter and its own slow ranks.

The step of a pipeline is one program; the data-parallel replicas are copies of it that meet in the
collectives of the data axis. What each group of tensor and context ranks computes takes as long as
its slowest rank takes.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from simulator.engine.copies import CopyPlayer
from simulator.metrics.factors import FactorDraw, Room, Rows
from simulator.parallel.ranks import replica_grid
from simulator.program.stretch import Stretch, group_factors, network_durations
from simulator.program.tasks import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from simulator.program.build import Plan
    from simulator.program.perturbations import Perturbations
    from simulator.program.tasks import Program
    from simulator.program.variation import Variation

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class StepSamples:
    """The step times of all samples, and whom they waited for."""

    step_time: Floats
    """Shape ``(samples,)`` [s]."""
    without_slow: Floats
    """The same draws of jitter with no rank or interface slow, shape ``(samples,)`` [s]."""
    grid: NDArray[np.int64]
    """Ranks by replica, stage and place in their group, shape ``(replicas, stages, members)``."""
    critical: Floats
    """Mean time that the step waited for each group's compute [s], ``(replicas, stages)``."""
    paced: NDArray[np.int64]
    """Samples in which the step waited longest for this group, shape ``(replicas, stages)``."""
    slow_critical: float
    """Mean time that the step waited for compute of groups with a slow rank [s]."""
    critical_of_rank: Floats | None
    """With every rank drawn itself, mean time that the step waited for each rank, ``(ranks,)``."""


def sample_steps(
    program: Program,
    plan: Plan,
    variation: Variation,
    perturbations: Perturbations,
    *,
    numba: bool = True,
    on_progress: Callable[[], None] | None = None,
) -> StepSamples:
    """Return ``variation.samples`` plays of a scenario's program.

    Sample k draws from the k-th child of the seed: the result does not depend on how many cores
    there are, nor sample k on how many follow.

    Parameters
    ----------
    program
        One step, a rank class for each stage.
    plan
        What it was built from.
    variation
        What is drawn, and how often.
    perturbations
        What is the same in every sample.
    numba
        Whether numba's machine code plays where numba can be imported, or numpy.
    on_progress
        Called after every sample, from any thread.

    Raises
    ------
    SimulatorError
        If a perturbation names no rank of the job, or the program depends on the clock.
    """
    sampler = _Sampler(program, plan, variation, perturbations, numba=numba)

    stopped = Event()

    def play(numbers: range) -> list[_Sample]:
        room = sampler.room()
        played = []
        for number in numbers:
            if stopped.is_set():
                break
            seed = np.random.SeedSequence(variation.seed, spawn_key=(number,))
            played.append(sampler.play(np.random.default_rng(seed), room))
            if on_progress is not None:
                on_progress()
        return played

    workers = min(os.cpu_count() or 1, variation.samples)
    with ThreadPoolExecutor(workers) as pool:
        parts = [range(first, variation.samples, workers) for first in range(workers)]
        try:
            results = list(pool.map(play, parts))
        except BaseException:  # an interrupt, too, must not wait for all samples
            stopped.set()
            raise
    samples = [results[number % workers][number // workers] for number in range(variation.samples)]
    return sampler.gather(samples)


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """One play."""

    step_time: float
    without_slow: float
    critical: Floats
    slow_critical: float
    critical_of_rank: Floats | None


class _Sampler:
    """What all samples share."""

    def __init__(
        self,
        program: Program,
        plan: Plan,
        variation: Variation,
        perturbations: Perturbations,
        *,
        numba: bool,
    ) -> None:
        self._grid = replica_grid(plan.scenario.layout)
        stretch = Stretch.of(program, plan)
        _, interface = group_factors(perturbations, plan)
        self._rows = Rows.of(program, stretch.computed)
        self._stage = program.rank_class
        self._computed = stretch.computed
        self._tasks = len(program)
        self._draw = FactorDraw(variation, perturbations, self._grid, self._rows, numba=numba)

        def player(duration: Floats) -> CopyPlayer:
            fixed = duration - stretch.computed[:, np.newaxis]
            row = self._rows.of_task
            return CopyPlayer(program, fixed, stretch.computed, row, numba=numba)

        self._healthy = player(program.duration[:, np.newaxis])
        self._slow = self._healthy
        if np.any(interface != 1.0):
            self._slow = player(network_durations(program, plan, stretch, interface).T.copy())
        self._perturbed = bool(perturbations) or variation.slow is not None

    def room(self) -> tuple[Room, Floats]:
        """Return arrays for factors and for the ends of all tasks; each thread needs its own."""
        return self._draw.room(), np.empty((self._tasks, len(self._grid)))

    def play(self, generator: np.random.Generator, room: tuple[Room, Floats]) -> _Sample:
        """Return one sample."""
        for_factors, for_ends = room
        drawn = self._draw.draw(generator, for_factors)
        end = self._healthy.play(drawn.healthy, for_ends)
        without_slow = step_time = float(end.max())
        player = self._healthy
        if self._perturbed:
            player = self._slow
            end = player.play(drawn.slow, for_ends)
            step_time = float(end.max())
        task, replica = player.critical_path(end)
        row = self._rows.of_task[task]
        computes = row != NONE
        task, replica, row = task[computes], replica[computes], row[computes]
        seconds = self._computed[task] * drawn.slow[row, replica]
        stage = self._stage[task]
        critical = np.zeros(self._grid.shape[:2])
        np.add.at(critical, (replica, stage), seconds)
        of_rank = None
        if drawn.slowest is not None:
            of_rank = np.zeros(self._grid.size)
            members = drawn.slowest[row, replica]
            np.add.at(of_rank, self._grid[replica, stage, members], seconds)
        slow_critical = float(critical[drawn.slow_groups].sum())
        return _Sample(step_time, without_slow, critical, slow_critical, of_rank)

    def gather(self, samples: Sequence[_Sample]) -> StepSamples:
        """Return all samples together."""
        paced = np.zeros(self._grid.shape[:2], dtype=np.int64)
        for sample in samples:
            paced.flat[sample.critical.argmax()] += 1
        ranks = [s.critical_of_rank for s in samples if s.critical_of_rank is not None]
        return StepSamples(
            step_time=np.array([sample.step_time for sample in samples]),
            without_slow=np.array([sample.without_slow for sample in samples]),
            grid=self._grid,
            critical=np.mean([sample.critical for sample in samples], axis=0),
            paced=paced,
            slow_critical=float(np.mean([sample.slow_critical for sample in samples])),
            critical_of_rank=np.mean(ranks, axis=0) if ranks else None,
        )
