"""One sample's factors on the compute time of every action of every group of ranks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.engine.copies import interpolate
from simulator.program.tasks import NONE, SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from simulator.program.jitter import FactorTable
    from simulator.program.perturbations import Perturbations
    from simulator.program.tasks import Program
    from simulator.program.variation import Variation

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Which tasks draw a factor: those that compute, a row each, stage by stage."""

    of_task: Indices
    """Row of each task, `NONE` for those that draw none; shape ``(tasks,)``."""
    first: Indices
    """First row of each stage, and at the end their number; shape ``(stages + 1,)``."""
    forward: NDArray[np.bool_]
    """Which rows are of forward passes, shape ``(rows,)``."""

    @classmethod
    def of(cls, program: Program, computed: Floats) -> Rows:
        """Return the rows of the tasks that have any ``computed`` time."""
        tasks = np.flatnonzero(computed > 0)
        order = tasks[np.argsort(program.rank_class[tasks], kind="stable")]
        of_task = np.full(len(program), NONE, dtype=np.int64)
        of_task[order] = np.arange(len(order))
        stages = np.arange(program.rank_classes + 1)
        first = np.searchsorted(program.rank_class[order], stages)
        return cls(of_task, first, program.kind[order] == SpanKind.FORWARD)

    def of_stage(self, stage: int) -> Indices:
        """Return the rows of one stage."""
        return np.arange(self.first[stage], self.first[stage + 1])


class Factors(NamedTuple):
    """Factors of shape ``(rows, replicas)``."""

    healthy: Floats
    """As if no rank were slow."""
    slow: Floats
    """With slow ranks; the same array where there are none."""
    slow_groups: NDArray[np.bool_]
    """Groups with a slow rank, shape ``(replicas, stages)``."""
    slowest: NDArray[np.intp] | None
    """The slowest member of each group, shape ``(rows, replicas)``; where ranks draw themselves."""


class Room(NamedTuple):
    """Arrays of shape ``(rows, replicas)`` that sample after sample is drawn into."""

    normal: Floats
    healthy: Floats
    slow: Floats


class FactorDraw:
    """Draws the factors of one sample after another."""

    def __init__(
        self,
        variation: Variation,
        perturbations: Perturbations,
        grid: Indices,
        rows: Rows,
        *,
        numba: bool,
    ) -> None:
        """Remember what to draw for ranks in a grid ``(replicas, stages, members)``."""
        self._variation, self._numba = variation, numba
        self._grid, self._rows = grid, rows
        self._known = perturbations.compute(grid.size)
        self._tables: dict[int, FactorTable] = {}
        if variation.jitter is not None:
            members = grid.shape[2]
            mixed = bool(perturbations) or variation.slow is not None
            for ranks in range(1, members + 1) if mixed else (1, members):
                self._tables[ranks] = variation.jitter.slowest(ranks)

    def room(self) -> Room:
        """Return arrays for `draw` to fill; each thread needs its own."""
        shape = (int(self._rows.first[-1]), len(self._grid))
        return Room(np.empty(shape), np.empty(shape), np.empty(shape))

    def draw(self, generator: np.random.Generator, room: Room) -> Factors:
        """Return the factors of one sample; they lie in ``room`` until it is filled again."""
        speeds = self._speeds(generator)
        if self._variation.per_rank:
            return self._of_ranks(generator, room, speeds)
        return self._of_groups(generator, room, speeds)

    def _speeds(self, generator: np.random.Generator) -> list[tuple[NDArray[np.bool_], Floats]]:
        """Return rows ``(rows,)`` and the factor that each rank keeps in them, like the grid."""
        slow = self._variation.slow
        every = np.ones(len(self._rows.forward), dtype=np.bool_)
        if slow is None:
            return [(every, self._known[self._grid])]
        drawn = np.where(slow.draw(self._grid.size, generator), 1.0 + slow.excess, 1.0)
        slowed = (self._known * drawn)[self._grid]
        if not slow.forward_only:
            return [(every, slowed)]
        forward = self._rows.forward
        return [(forward, slowed), (~forward, self._known[self._grid])]

    def _of_groups(
        self,
        generator: np.random.Generator,
        room: Room,
        speeds: Sequence[tuple[NDArray[np.bool_], Floats]],
    ) -> Factors:
        """Draw the slowest rank of each group; where speeds differ, of those of each speed."""
        self._fill(generator, self._grid.shape[2], room.normal, room.healthy)
        slow = _slow_groups(speeds)
        if not slow.any():
            return Factors(room.healthy, room.healthy, slow, None)
        np.copyto(room.slow, room.healthy)
        for rows, speed in speeds:
            differs = np.any(speed != 1.0, axis=2)
            for stage in np.flatnonzero(differs.any(axis=0)).tolist():
                own = self._rows.of_stage(stage)[rows[self._rows.of_stage(stage)]]
                for replicas, each, counts in _mixtures(speed[:, stage], differs[:, stage]):
                    shape = (len(own), len(replicas))
                    drawn = [self._jitter(generator, ranks, shape) for ranks in counts]
                    slowed = [factor * some for factor, some in zip(each, drawn, strict=True)]
                    cells = np.ix_(own, replicas)
                    room.healthy[cells] = np.max(drawn, axis=0)
                    room.slow[cells] = np.max(slowed, axis=0)
        return Factors(room.healthy, room.slow, slow, None)

    def _of_ranks(
        self,
        generator: np.random.Generator,
        room: Room,
        speeds: Sequence[tuple[NDArray[np.bool_], Floats]],
    ) -> Factors:
        """Draw every rank."""
        replicas, stages, members = self._grid.shape
        slowest = np.empty(room.slow.shape, dtype=np.intp)
        for stage in range(stages):
            own = self._rows.of_stage(stage)
            each = self._jitter(generator, 1, (len(own), replicas, members))
            room.healthy[own] = each.max(axis=2)
            for rows, speed in speeds:
                each[rows[own]] *= speed[:, stage]
            slowest[own] = each.argmax(axis=2)
            room.slow[own] = each.max(axis=2)
        return Factors(room.healthy, room.slow, _slow_groups(speeds), slowest)

    def _jitter(self, generator: np.random.Generator, ranks: int, shape: tuple[int, ...]) -> Floats:
        """Return factors of the slowest of so many ranks."""
        factors = np.empty(shape)
        self._fill(generator, ranks, np.empty(shape), factors)
        return factors

    def _fill(
        self, generator: np.random.Generator, ranks: int, normal: Floats, out: Floats
    ) -> None:
        """Fill ``out`` with factors of the slowest of so many ranks."""
        if self._variation.jitter is None:
            out.fill(1.0)
            return
        generator.standard_normal(out=normal)
        interpolate(self._tables[ranks], normal, out, numba=self._numba)


def _slow_groups(speeds: Sequence[tuple[NDArray[np.bool_], Floats]]) -> NDArray[np.bool_]:
    """Return which groups have a rank of another speed in any rows, ``(replicas, stages)``."""
    slow: NDArray[np.bool_] = np.any([np.any(speed != 1.0, axis=2) for _, speed in speeds], axis=0)
    return slow


def _mixtures(
    speed: Floats, slow: NDArray[np.bool_]
) -> Iterator[tuple[Indices, list[float], list[int]]]:
    """Yield slow replicas with equal speeds in their group: these, the speeds, ranks of each.

    ``speed`` is of one stage, shape ``(replicas, members)``.
    """
    alike: dict[tuple[float, ...], list[int]] = {}
    replicas = np.flatnonzero(slow)
    for replica, row in zip(replicas.tolist(), np.sort(speed[replicas], axis=1), strict=True):
        alike.setdefault(tuple(row.tolist()), []).append(replica)
    for mixture, members in alike.items():
        counts = Counter(mixture)
        yield np.array(members), list(counts), list(counts.values())
