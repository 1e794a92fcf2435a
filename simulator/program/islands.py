"""Training across islands as a program: inner steps of one island, exchanges on its link.

All islands behave alike, so one stands for them all. Its steps follow one another as in an
ordinary run: the next begins when everything of the last has ended. The exchanges of all its ranks
share one lane, the link to the other islands, in the order in which the step releases them; they
run beside the steps and hold up only the task that needs their result. Latency occupies no link:
each block's exchange is then in flight on a lane of its own.

A step that waits for nothing takes the time of a step alone, and releases its blocks when a step
alone does. Runs of such steps are played as one task, cut where something is released; only steps
that await an exchange are played in full. That is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.parallel.islands import Method
from simulator.program.builder import COLUMNS, ProgramBuilder
from simulator.program.tasks import NONE, Lane, Program, SpanKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from simulator.parallel.islands import Islands, Synchronisation
    from simulator.program.inner_step import InnerStep

    Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Calendar:
    """After which steps of a period blocks are exchanged, and when their result is awaited."""

    period: int
    """Steps after which the calendar repeats."""
    released: Mapping[int, Indices]
    """Step of the period -> blocks whose exchange may start in it."""
    delay: int
    """Steps from the release to the one that waits for the result; 0: the same step."""


def calendar(step: InnerStep, synchronisation: Synchronisation) -> Calendar:
    """Return which blocks of ``step`` are exchanged when.

    Streaming spreads its fragments evenly: one every ``H // (P + 1)`` steps for P fragments of
    layers, the last one being that of embedding and head (empty where the step has neither).
    """
    inner_steps = synchronisation.inner_steps
    delay = 1 + synchronisation.overlap_steps
    everything = np.arange(len(step.layer))
    if synchronisation.method is Method.DATA_PARALLEL:
        within = bool(np.all(step.applies != NONE))
        return Calendar(1, {0: everything}, 0 if within else delay)
    if synchronisation.method is Method.DILOCO:
        return Calendar(inner_steps, {inner_steps - 1: everything}, delay)
    fragments = synchronisation.fragments(int(step.layer.max()) + 1)
    interval = inner_steps // (len(fragments) + 1)
    blocks = [*(np.isin(step.layer, layers) for layers in fragments), step.layer == NONE]
    return Calendar(
        period=inner_steps,
        released={at * interval: np.flatnonzero(of) for at, of in enumerate(blocks) if of.any()},
        delay=delay,
    )


@dataclass(frozen=True, slots=True, eq=False)
class TrainingProgram:
    """Several periods of training on one island."""

    program: Program
    """The program with exchanges that take no time; `over` has their times."""
    period_ends: Indices
    """Gate at the end of each period, shape ``(periods,)``."""
    exchanges: Indices
    """Tasks of the link."""
    exchanged: NDArray[np.float64]
    """Parameters that each of them exchanges."""
    flights: Indices
    """Tasks of the latency, one after each exchange; none without latency."""

    def over(self, islands: Islands) -> Program:
        """Return the program with the exchanges taking their time over the link of ``islands``."""
        n_bytes = self.program.n_bytes.copy()
        n_bytes[self.exchanges] = self.exchanged * islands.sent_bytes_per_parameter
        duration = self.program.duration.copy()
        duration[self.exchanges] = n_bytes[self.exchanges] / islands.link
        duration[self.flights] = islands.ring_latency
        return replace(self.program, duration=duration, n_bytes=n_bytes)


def training_program(
    step: InnerStep,
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    islands: Islands,
    periods: int,
) -> TrainingProgram:
    """Return ``periods`` periods of training on an island.

    Parameters
    ----------
    step
        Its step.
    start, end
        When the tasks of the step start and end if it is played alone [s], shape ``(tasks,)``.
    islands
        What is exchanged when; bandwidth and length of the latency come later.
    periods
        How many times the calendar is gone through.
    """
    return _Training(step, start, end, islands).build(periods)


class _Training:
    """Adds steps one after another, and the exchanges beside them."""

    def __init__(
        self,
        step: InnerStep,
        start: NDArray[np.float64],
        end: NDArray[np.float64],
        islands: Islands,
    ) -> None:
        program = step.program
        synchronisation = islands.synchronisation
        self._step = step
        self._calendar = calendar(step, synchronisation)
        self._merges = synchronisation.method is not Method.DATA_PARALLEL
        self._ready = step.updated if self._merges else step.gradient
        # The link sends in the order of release, and of what was released together first what is
        # needed first.
        self._order = np.lexsort((start[step.needs], end[self._ready]))
        self._released_at = end[self._ready]
        self._alone = float(end.max())
        self._flies = islands.latency > 0
        # A class of its own for each block in flight: it stands for no rank and no stage.
        wires = len(step.layer) if self._flies else 0
        self._builder = ProgramBuilder(
            [*program.stage.tolist(), *wires * [NONE]], [*program.weight.tolist(), *wires * [0.0]]
        )
        for name in program.names:
            self._builder.name(name)
        self._waits = np.repeat(np.arange(len(program)), np.diff(program.predecessor_offsets))
        before = program.lane_predecessor()
        lanes = np.flatnonzero(program.lane != Lane.GATE)
        self._first = lanes[before[lanes] == NONE]
        self._last = np.setdiff1d(lanes, before)
        self._awaited: dict[int, tuple[Indices, Indices]] = {}
        """Step -> blocks whose exchange it waits for, and the tasks of these exchanges."""
        self._barrier = NONE
        self._quiet = 0
        self._exchanges: list[Indices] = []
        self._blocks: list[Indices] = []
        self._flights: list[Indices] = [np.zeros(0, dtype=np.int64)]

    def build(self, periods: int) -> TrainingProgram:
        period = self._calendar.period
        ends = []
        for number in range(periods * period):
            self._add_step(number)
            if (number + 1) % period == 0:
                self._flush()
                ends.append(self._barrier)
        return TrainingProgram(
            program=self._builder.build(),
            period_ends=np.array(ends),
            exchanges=np.concatenate(self._exchanges),
            exchanged=self._step.parameters[np.concatenate(self._blocks)],
            flights=np.concatenate(self._flights),
        )

    def _add_step(self, number: int) -> None:
        released = self._calendar.released.get(number % self._calendar.period)
        awaited = self._awaited.pop(number, None)
        if released is None and awaited is None:
            self._quiet += 1
            return
        self._flush()
        blocks = self._order[np.isin(self._order, [] if released is None else released)]
        if awaited is None and self._calendar.delay:
            self._add_undisturbed(number, blocks)
            return
        base = self._copy([] if awaited is None else awaited[0])
        if awaited is not None:
            self._builder.after(base + self._step.needs[awaited[0]], awaited[1])
        if released is not None:
            results = self._exchange(blocks, base + self._ready[blocks])
            if self._calendar.delay:
                self._awaited[number + self._calendar.delay] = (blocks, results)
            else:
                self._builder.after(base + self._step.applies[blocks], results)
        self._barrier = self._builder.gate(base + self._last, "step")

    def _add_undisturbed(self, number: int, blocks: Indices) -> None:
        """Add a step that waits for nothing: its time, cut where it releases ``blocks``."""
        moments, which = np.unique(self._released_at[blocks], return_inverse=True)
        parts = self._add_time(np.diff([0.0, *moments, self._alone]))
        results = self._exchange(blocks, parts[which])
        self._awaited[number + self._calendar.delay] = (blocks, results)

    def _copy(self, merged: Indices | list[int]) -> int:
        """Add the tasks of a step, with the outer step on ``merged`` blocks; return the first."""
        program = self._step.program
        columns: dict[str, NDArray[Any]] = {key: getattr(program, key) for key in COLUMNS}
        columns["pattern"] = np.full(len(program), NONE)
        if self._merges and len(merged):
            columns["duration"] = program.duration.copy()
            reads, seconds = self._step.reads[merged], self._step.merge_time[merged]
            np.add.at(columns["duration"], reads, seconds)
        base = int(self._builder.add(len(program), **columns)[0])
        self._builder.after(base + self._waits, base + program.predecessors)
        if self._barrier != NONE:
            self._builder.after(base + self._first, self._barrier)
        return base

    def _exchange(self, blocks: Indices, ready: Indices) -> Indices:
        """Add the exchange of ``blocks``, each after its task in ``ready``; return their ends."""
        exchanges = results = self._link("exchange", blocks, np.zeros(len(blocks)))
        self._builder.after(exchanges, ready)
        if self._flies:
            results = self._link("flight", blocks, self._step.program.rank_classes + blocks)
            self._builder.after(results, exchanges)
            self._flights.append(results)
        self._exchanges.append(exchanges)
        self._blocks.append(blocks)
        return results

    def _link(self, name: str, blocks: Indices, rank_class: NDArray[Any]) -> Indices:
        return self._builder.add(
            len(blocks),
            name=self._builder.name(name),
            rank_class=rank_class,
            lane=Lane.ISLANDS,
            kind=SpanKind.DATA,
            layer=self._step.layer[blocks],
        )

    def _flush(self) -> None:
        """Add the steps since the last one in full as one task, and what they end with."""
        if self._quiet:
            self._add_time(np.array([self._quiet * self._alone]))
            self._quiet = 0

    def _add_time(self, parts: NDArray[np.float64]) -> Indices:
        """Add undisturbed time after all before it, in ``parts`` one after another [s]."""
        tasks = self._builder.add(
            len(parts),
            name=self._builder.name("undisturbed"),
            rank_class=0,
            lane=Lane.COMPUTE,
            kind=SpanKind.FORWARD,
            duration=parts,
        )
        if self._barrier != NONE:
            self._builder.after(tasks[:1], self._barrier)
        self._barrier = self._builder.gate(tasks[-1:], "step")
        return tasks
