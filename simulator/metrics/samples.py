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
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from simulator.engine.copies import CopyPlayer
from simulator.metrics.factors import FactorDraw, Rows
from simulator.parallel.ranks import replica_grid
from simulator.program.build import build_program
from simulator.program.classes import move
from simulator.program.stretch import GroupTraits, Stretch, network_durations
from simulator.program.tasks import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from simulator.metrics.factors import Factors, Room
    from simulator.program.build import Plan
    from simulator.program.perturbations import Perturbations
    from simulator.program.tasks import Program
    from simulator.program.variation import Variation

    Floats = NDArray[np.float64]


STRANDS: Final = 32
"""Parts that threads play; a fixed number, so that sums do not depend on the number of cores."""


@dataclass(frozen=True, slots=True, eq=False)
class StepSamples:
    """The step times of all samples, and whom they waited for."""

    step_time: Floats
    """Shape ``(samples,)`` [s]."""
    without_slow: Floats
    """The same draws of jitter with no rank perturbed, shape ``(samples,)`` [s]."""
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
    rooms: list[_Room] = []
    stopped = Event()

    def play(numbers: range) -> _Strand:
        room = rooms.pop() if rooms else sampler.room()
        strand = _Strand.empty(sampler.grid)
        for number in numbers:
            if stopped.is_set():
                break
            seed = np.random.SeedSequence(variation.seed, spawn_key=(number,))
            sampler.play(np.random.default_rng(seed), room, strand)
            if on_progress is not None:
                on_progress()
        rooms.append(room)
        return strand

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = [range(first, variation.samples, STRANDS) for first in range(STRANDS)]
        try:
            strands = list(pool.map(play, parts))
        except BaseException:  # an interrupt, too, must not wait for all samples
            stopped.set()
            raise
    return sampler.gather(strands, variation)


class _Room(NamedTuple):
    """Arrays that sample after sample is drawn and played into; each thread needs its own."""

    factors: Room
    ends: Floats


@dataclass(slots=True)
class _Strand:
    """Samples k, k + `STRANDS`, …: their times one by one, and sums of the rest."""

    step_time: list[float]
    without_slow: list[float]
    critical: Floats
    paced: NDArray[np.int64]
    slow_critical: float
    critical_of_rank: Floats

    @classmethod
    def empty(cls, grid: NDArray[np.int64]) -> _Strand:
        groups = grid.shape[:2]
        return cls(
            [], [], np.zeros(groups), np.zeros(groups, dtype=np.int64), 0.0, np.zeros(grid.size)
        )


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
        self.grid = replica_grid(plan.scenario.layout)
        stretch = Stretch.of(program, plan)
        self._rows = Rows.of(program, stretch.computed)
        self._stage = program.rank_class
        self._computed = stretch.computed
        self._tasks = len(program)
        self._draw = FactorDraw(variation, perturbations, self.grid, self._rows, numba=numba)

        def player(duration: Floats) -> CopyPlayer:
            fixed = duration - stretch.computed[:, np.newaxis]
            row = self._rows.of_task
            return CopyPlayer(program, fixed, stretch.computed, row, numba=numba)

        self._healthy = player(program.duration[:, np.newaxis])
        self._slow = self._healthy
        if perturbations.slow_interfaces or perturbations.lost_nodes:
            moved = move(plan, perturbations)
            repriced = program if moved is plan else build_program(moved)
            traits = GroupTraits.of(perturbations, plan)
            durations = network_durations(repriced, moved, Stretch.of(repriced, moved), traits)
            self._slow = player(durations.T.copy())
        self._perturbed = bool(perturbations) or variation.slow is not None

    def room(self) -> _Room:
        """Return arrays to draw and play into."""
        return _Room(self._draw.room(), np.empty((self._tasks, len(self.grid))))

    def play(self, generator: np.random.Generator, room: _Room, strand: _Strand) -> None:
        """Add one sample to a strand."""
        drawn = self._draw.draw(generator, room.factors)
        player = self._healthy
        end = player.play(drawn.healthy, room.ends)
        strand.without_slow.append(float(end.max()))
        if self._perturbed:
            player = self._slow
            end = player.play(drawn.slow, room.ends)
        strand.step_time.append(float(end.max()))
        self._follow(*player.critical_path(end), drawn, strand)

    def _follow(
        self,
        task: NDArray[np.int64],
        replica: NDArray[np.int64],
        drawn: Factors,
        strand: _Strand,
    ) -> None:
        """Add whose compute is on the critical path."""
        computes = self._rows.of_task[task] != NONE
        task, replica = task[computes], replica[computes]
        row, stage = self._rows.of_task[task], self._stage[task]
        seconds = self._computed[task] * drawn.slow[row, replica]
        critical = np.zeros(self.grid.shape[:2])
        np.add.at(critical, (replica, stage), seconds)
        strand.critical += critical
        strand.paced.flat[critical.argmax()] += 1
        strand.slow_critical += float(critical[drawn.slow_groups].sum())
        if drawn.slowest is not None:
            ranks = self.grid[replica, stage, drawn.slowest[row, replica]]
            np.add.at(strand.critical_of_rank, ranks, seconds)

    def gather(self, strands: Sequence[_Strand], variation: Variation) -> StepSamples:
        """Return all samples together."""
        samples = variation.samples

        def in_order(times: Sequence[Sequence[float]]) -> Floats:
            return np.array([times[k % STRANDS][k // STRANDS] for k in range(samples)])

        of_rank: Floats = np.sum([strand.critical_of_rank for strand in strands], axis=0)
        return StepSamples(
            step_time=in_order([strand.step_time for strand in strands]),
            without_slow=in_order([strand.without_slow for strand in strands]),
            grid=self.grid,
            critical=np.sum([strand.critical for strand in strands], axis=0) / samples,
            paced=np.sum([strand.paced for strand in strands], axis=0),
            slow_critical=sum(strand.slow_critical for strand in strands) / samples,
            critical_of_rank=of_rank / samples if variation.per_rank else None,
        )
