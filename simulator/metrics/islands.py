"""Training across islands in numbers: step time with exchanges, utilisation, bandwidth needed."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simulator.engine.choice import play
from simulator.engine.compiled import CompiledPlayer
from simulator.parallel.islands import Method
from simulator.parallel.layout import Sharding
from simulator.program.inner_step import OUTER_STATE, InnerStep, inner_step
from simulator.program.islands import Calendar, TrainingProgram, calendar, training_program
from simulator.units import BITS_PER_BYTE, GBIT_PER_S, GIB, GIGA, MILLI

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.metrics.memory import StageMemory
    from simulator.parallel.islands import Islands
    from simulator.program.build import Plan

GRID: Final = np.logspace(-1.0, 7.0, 99) * GBIT_PER_S
"""Bandwidths tried [B/s]: the published grid, 50 values from 0.1 to 1,000 Gbit/s (a factor of 1.207
apart), continued by the same factor to 10 Pbit/s."""
PUBLISHED_GRID: Final = 50
"""Values of the grid that published tables use (arXiv 2501.18512, table 4)."""
UTILISATIONS: Final = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Compute utilisations for which the bandwidth needed is reported, as in those tables."""
PERIODS: Final = (3, 6, 12, 24)
"""Periods played until the last two are alike."""
SETTLED: Final = 1e-9
"""Relative difference in length of two periods that are alike."""


class IslandTraining:
    """Inner steps and exchanges of one island, played by an engine."""

    def __init__(self, step: InnerStep, islands: Islands) -> None:
        """Play ``step`` alone; exchanges follow as they are asked for."""
        self._step = step
        self._islands = islands
        self._alone = play(step.program)[0]
        self._trainings: dict[int, tuple[TrainingProgram, CompiledPlayer]] = {}
        """By number of periods."""
        self._utilisations: dict[int, float] = {}

    @property
    def inner_step_time(self) -> float:
        """Step time of an island that exchanges nothing [s]."""
        return self._alone.step_time

    @cached_property
    def calendar(self) -> Calendar:
        """Which blocks are exchanged when."""
        return calendar(self._step, self._islands.synchronisation)

    @property
    def period(self) -> int:
        """Steps after which exchanges repeat."""
        return self.calendar.period

    def step_time(self, link: float | None = None) -> float:
        """Return the mean step time over a period in steady state [s].

        Parameters
        ----------
        link
            Bandwidth of the link [B/s], that of the islands unless given.

        Notes
        -----
        Periods are played until the last two are alike: equally long, with the link equally far
        behind at their ends. If two dozen are not (they may alternate, or the link may fall behind
        slowly), it is the mean of the last dozen, but never less than the link needs for a period.
        """
        islands = self._islands if link is None else replace(self._islands, link=link)
        for periods in PERIODS:
            training, player = self._training(periods)
            program = training.over(islands)
            trace = player.play(program)
            ends = trace.end[training.period_ends]
            behind = trace.end[training.exchanges].reshape(periods, -1).max(axis=1) - ends
            lengths = np.diff(ends)
            changes = np.abs([lengths[-1] - lengths[-2], behind[-1] - behind[-2]])
            if changes.max() <= SETTLED * lengths[-1]:
                return float(lengths[-1]) / self.period
        sending = float(program.duration[training.exchanges].sum()) / periods
        return max(float(lengths[-periods // 2 :].mean()), sending) / self.period

    def utilisation(self, link: float | None = None) -> float:
        """Return the step time without exchange over that with it."""
        return self.inner_step_time / self.step_time(link)

    def bandwidth_index(self, utilisation: float, *, grid: int = len(GRID)) -> int | None:
        """Return the first of the ``grid`` first values of `GRID` that reaches a utilisation.

        None where none does. Utilisation does not fall with bandwidth, so halving finds it.
        """
        low, high = 0, grid
        while low < high:
            middle = (low + high) // 2
            if middle not in self._utilisations:
                self._utilisations[middle] = self.utilisation(float(GRID[middle]))
            if self._utilisations[middle] >= utilisation:
                high = middle
            else:
                low = middle + 1
        return low if low < grid else None

    @property
    def exchanged_bytes(self) -> float:
        """Bytes that one island sends per step, averaged over a period."""
        blocks = np.concatenate(list(self.calendar.released.values()))
        parameters = float(self._step.parameters[blocks].sum())
        return parameters * self._islands.sent_bytes_per_parameter / self.period

    def _training(self, periods: int) -> tuple[TrainingProgram, CompiledPlayer]:
        """Return so many periods, and what plays them over a link of any bandwidth."""
        if periods not in self._trainings:
            alone = self._alone
            training = training_program(self._step, alone.start, alone.end, self._islands, periods)
            self._trainings[periods] = (training, CompiledPlayer(training.program))
        return self._trainings[periods]


def across_islands(plan: Plan, memory: Sequence[StageMemory]) -> dict[str, Any]:
    """Return what islands make of the step (keys: docs/islands.md); nothing without islands.

    Parameters
    ----------
    plan
        The priced parts of the scenario.
    memory
        Memory of each stage, without the outer optimizer's.
    """
    scenario = plan.scenario
    islands = scenario.islands
    if islands is None:
        return {}
    step = inner_step(plan)
    training = IslandTraining(step, islands)
    step_time = training.step_time()
    tokens = islands.count * scenario.batch.tokens
    sync = islands.synchronisation
    merges = sync.method is not Method.DATA_PARALLEL
    outer = _outer_state(plan) if merges else [0.0] * len(memory)
    totals = [stage.peak_total + kept for stage, kept in zip(memory, outer, strict=True)]
    merge_times = np.bincount(step.program.rank_class[step.reads], weights=step.merge_time)
    return {
        "islands": {
            "count": islands.count,
            "accelerators": islands.count * scenario.accelerators,
            "link_gbit_per_s": islands.link * BITS_PER_BYTE / GIGA,
            "latency_ms": islands.latency / MILLI,
            "method": sync.method.value,
            "inner_steps": training.period,
            "fragments": len(training.calendar.released),
            "overlap_steps": sync.overlap_steps,
            "bits_per_parameter": sync.bits_per_parameter,
            "inner_step_time_s": training.inner_step_time,
            "mean_step_time_s": step_time,
            "compute_utilisation": training.inner_step_time / step_time,
            "tokens_per_s": tokens / step_time,
            "exchanged_gb_per_step": training.exchanged_bytes / GIGA,
            "outer_step_s": float(merge_times.max()) if merges else 0.0,
            "outer_state_gib": max(outer) / GIB,
            "memory_peak_gib": max(totals) / GIB,
            "fits": max(totals) <= scenario.cluster.accelerator.memory,
            "required_gbit_per_s": required_gbit_per_s(training),
        }
    }


def required_gbit_per_s(
    training: IslandTraining, *, utilisations: Sequence[float] = UTILISATIONS, grid: int = len(GRID)
) -> dict[str, float | None]:
    """Return the least bandwidth of the grid for each utilisation [Gbit/s], by percent.

    None where no bandwidth of the grid suffices.
    """
    found = {
        f"{100 * share:g}": training.bandwidth_index(share, grid=grid) for share in utilisations
    }
    return {
        percent: None if index is None else float(GRID[index]) * BITS_PER_BYTE / GIGA
        for percent, index in found.items()
    }


def _outer_state(plan: Plan) -> list[float]:
    """Return what the outer optimizer keeps on one rank of each stage [B]."""
    layout = plan.scenario.layout
    share = layout.gradient_ranks if layout.sharding is Sharding.OPTIMIZER else 1
    return [OUTER_STATE * plan.parameters(stage) / share for stage in range(layout.pipeline)]
