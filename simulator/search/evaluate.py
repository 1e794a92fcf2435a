"""Step time and peak memory of many layouts that share a pipeline."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from simulator.errors import SimulatorError
from simulator.hardware.software import GradientAllReduce, PipelineTransfer
from simulator.parallel.stages import split_layers
from simulator.ranges import spread
from simulator.search.candidates import SCHEDULES, Candidate, scenario_of
from simulator.search.pipeline import Pipeline, PipelineKey, Split, pipeline_of
from simulator.search.prices import LayoutPrices, PriceMemory
from simulator.workload.transformer import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from simulator.scenario import Scenario
    from simulator.search.candidates import Rows
    from simulator.search.kernels import Kernels
    from simulator.search.prices import StageMemory

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]

MARGIN: Final = 0.1
"""Share of the capacity by which a layout may be too large and is still played: what a little more
memory would buy is worth knowing."""
WIDTH: Final = 64
"""Layouts that are played side by side: few enough that their clocks stay in the cache."""

RESULT: Final = np.dtype(
    [("step_time", np.float64), ("peak_memory", np.float64), ("peak_stage", np.int32)]
)
"""Columns of a result: step time [s], NaN where memory falls short by more than `MARGIN` and
nothing was played; memory of the fullest stage [B], and which that is."""


class _Batch(NamedTuple):
    """Layouts with the same pipeline and the same parts of a step."""

    pipeline: Pipeline
    split: Split
    prices: list[LayoutPrices]
    kept: list[StageMemory]
    held: Indices
    """Parameters of a rank of each stage, ``(stages, layouts)``."""
    reduces: bool
    gathers: bool


def hindrance(scenario: Scenario) -> str | None:
    """Return what of a scenario layouts cannot be played side by side with, None if nothing.

    Its layouts are then played one by one by the engine.
    """
    software = scenario.software
    if not isinstance(scenario.model, Transformer):
        return "a model that is no transformer"
    if scenario.islands is not None:
        return "islands"
    if software.step_jitter:
        return "late data-parallel ranks (software.step_jitter)"
    if software.gradient_all_reduce is not GradientAllReduce.LIBRARY:
        return f"gradients summed by {software.gradient_all_reduce}"
    return None


class Evaluator:
    """Prices and plays layouts of one scenario; remembers prices from call to call."""

    def __init__(self, scenario: Scenario, machine: Kernels) -> None:
        """Play on ``machine``.

        Raises
        ------
        SimulatorError
            If the scenario has a `hindrance`.
        """
        found = hindrance(scenario)
        if found or not isinstance(scenario.model, Transformer):
            raise SimulatorError(f"layouts cannot be played side by side with {found}")
        self._scenario = scenario
        self._model = scenario.model
        self._machine = machine
        self._memory = PriceMemory(scenario, scenario.model)
        self._pipeline: tuple[PipelineKey, Pipeline] | None = None

    def evaluate(self, rows: Rows) -> NDArray[np.void]:
        """Return the results of candidates, shape ``(rows,)`` of `RESULT`.

        Memory comes first: a layout that is far from fitting is not played.
        """
        results = np.zeros(len(rows), dtype=RESULT)
        keys = rows[["schedule", "pipeline", "micro_batches", "virtual_stages"]]
        starts = [0, *(1 + np.flatnonzero(keys[1:] != keys[:-1])), len(rows)]
        for begin, end in itertools.pairwise(starts):
            results[begin:end] = self._alike(rows[begin:end])
        return results

    def _alike(self, rows: Rows) -> NDArray[np.void]:
        """Return the results of candidates with the same pipeline."""
        candidates = [Candidate(*row) for row in rows.tolist()]
        pipeline = self._pipeline_of(candidates[0])
        prices = [LayoutPrices(self._memory, candidate) for candidate in candidates]
        results = np.zeros(len(rows), dtype=RESULT)
        # What differs in these has other parts in its step, or other types of virtual stages.
        kinds = [(row.recompute_every, row.reduces, row.gathers) for row in candidates]
        for kind in sorted(set(kinds)):
            same = [at for at, other in enumerate(kinds) if other == kind]
            for at in range(0, len(same), WIDTH):
                chosen = same[at : at + WIDTH]
                results[chosen] = self._together(
                    pipeline,
                    [candidates[i] for i in chosen],
                    [prices[i] for i in chosen],
                )
        return results

    def _pipeline_of(self, candidate: Candidate) -> Pipeline:
        key = PipelineKey(
            SCHEDULES[candidate.schedule],
            candidate.pipeline,
            candidate.micro_batches,
            candidate.virtual_stages,
        )
        if self._pipeline is None or self._pipeline[0] != key:
            self._pipeline = key, pipeline_of(key, self._machine)
        return self._pipeline[1]

    def _together(
        self, pipeline: Pipeline, candidates: Sequence[Candidate], prices: list[LayoutPrices]
    ) -> NDArray[np.void]:
        """Return the results of candidates whose steps have the same parts."""
        split = self._split(candidates[0])
        kept = [price.kept(split) for price in prices]
        types = split.type_of[pipeline.virtual_of]
        held = np.stack([part.parameters for part in kept], 1)[types].sum(axis=1)
        batch = _Batch(
            pipeline,
            split,
            prices,
            kept,
            held,
            reduces=candidates[0].reduces,
            gathers=candidates[0].gathers,
        )
        memory = self._memory_of(batch)
        results = np.zeros(len(candidates), dtype=RESULT)
        results["peak_memory"] = memory.max(axis=0)
        results["peak_stage"] = memory.argmax(axis=0)
        results["step_time"] = np.nan
        most = (1 + MARGIN) * self._scenario.cluster.accelerator.memory
        fits = np.flatnonzero(results["peak_memory"] <= most)
        if len(fits):
            chosen = batch._replace(
                prices=[prices[i] for i in fits], kept=[kept[i] for i in fits], held=held[:, fits]
            )
            results["step_time"][fits] = self._step_times(chosen)
        return results

    def _split(self, candidate: Candidate) -> Split:
        """Return how the layers are cut into virtual stages."""
        shape = candidate.pipeline, candidate.virtual_stages, candidate.recompute_every
        return self._memory.get(("cut", *shape), lambda: self._cut(candidate))

    def _cut(self, candidate: Candidate) -> Split:
        layout = scenario_of(self._scenario, candidate).layout
        layers = layout.layers or split_layers(self._model.layers, layout.chunks)
        return Split.of(layers, candidate.recompute_every)

    def _memory_of(self, batch: _Batch) -> Floats:
        """Return the most memory of each stage [B], ``(stages, layouts)``."""
        pipeline, type_of = batch.pipeline, batch.split.type_of
        peak = np.zeros(batch.held.shape)
        self._machine.peaks(
            pipeline.moment_stage,
            pipeline.moment_counts,
            pipeline.moment_working,
            pipeline.virtual_of,
            np.stack([part.kept for part in batch.kept], 1)[type_of],
            np.stack([part.transient for part in batch.kept], 1)[type_of],
            peak,
        )
        static = [price.static() for price in batch.prices]
        per_parameter = np.array([part.per_parameter for part in static])
        constant = np.array([part.constant for part in static])
        lost = 1 + self._scenario.software.fragmentation
        whole: Floats = batch.held * per_parameter + constant + peak * lost
        return whole

    def _step_times(self, batch: _Batch) -> Floats:
        """Return the step times of layouts [s]."""
        software = self._scenario.software
        compute, send, data, ended = (np.zeros(batch.held.shape) for _ in range(4))
        compute += software.step_overhead
        self._play(batch, compute, send, data, ended)
        ready = self._reduce(batch, data, ended)
        if self._model.tied_embeddings and batch.pipeline.stages > 1:
            seconds = np.array([price.tied_embedding() for price in batch.prices])
            ends = [0, -1]
            data[ends] = np.maximum(data[ends], ready[ends].max(axis=0)) + seconds
            ready[ends] = data[ends]
        if software.gradient_norm:
            seconds = np.array([price.norm() for price in batch.prices])
            data[:] = np.maximum(data, ready.max(axis=0)) + seconds
            ready = data
        compute = np.maximum(compute, ready) + _by_stage(batch, LayoutPrices.update)
        if batch.gathers and not software.parameter_gather_overlap:
            seconds = _by_stage(batch, lambda prices, held, _: prices.gather(held))
            data = np.maximum(data, compute) + seconds
        end: Floats = np.maximum(np.maximum(compute, data), send).max(axis=0)
        return end

    def _play(
        self, batch: _Batch, compute: Floats, send: Floats, data: Floats, ended: Floats
    ) -> None:
        """Play the schedule: lanes move on to where each stage's last action leaves them."""
        pipeline, software, split = batch.pipeline, self._scenario.software, batch.split
        layouts = compute.shape[1]
        split_first = batch.gathers and software.parameter_gather_overlap
        split_last = batch.reduces and software.gradient_reduce_overlap
        by_type = np.stack([price.passes(split, pipeline.kinds) for price in batch.prices], 2)
        tables = [np.zeros((0, layouts))] * 4
        blocks = np.zeros(len(split.type_of) + 1, dtype=np.int64)
        gathered = np.zeros((len(split.type_of), layouts))
        if split_first or split_last:
            priced = [price.split(split, pipeline.kinds) for price in batch.prices]
            lengths = split.blocks[split.type_of]
            first = np.cumsum(split.blocks) - split.blocks
            row = spread(first[split.type_of], lengths)
            tables = [np.stack(column, 1)[row] for column in zip(*priced, strict=True)]
            blocks[1:] = np.cumsum(lengths)
        if split_first:
            _begin_gathers(pipeline, blocks, tables[0], gathered, data)
        self._machine.play_layouts(
            pipeline.stage,
            pipeline.row,
            pipeline.source,
            pipeline.output,
            pipeline.link,
            pipeline.mark,
            pipeline.virtual,
            blocks,
            split_first,
            split_last,
            software.pipeline_transfer is PipelineTransfer.BLOCKING,
            by_type[split.type_of].reshape(-1, layouts),
            np.stack([price.transfers() for price in batch.prices], 1),
            gathered,
            *tables,
            np.empty((pipeline.places, layouts)),
            compute,
            send,
            data,
            ended,
        )

    def _reduce(self, batch: _Batch, data: Floats, ended: Floats) -> Floats:
        """Return when the gradients of each stage are reduced [s]; ``data`` moves on."""
        if not batch.reduces:
            return ended
        if not self._scenario.software.gradient_reduce_overlap:
            seconds = _by_stage(batch, lambda prices, held, _: prices.reduction(held))
            data[:] = np.maximum(data, ended) + seconds
        return data.copy()


def _by_stage(batch: _Batch, price: Callable[[LayoutPrices, int, int], float]) -> Floats:
    """Return a price of each stage's parameters and blocks [s], ``(stages, layouts)``."""
    types = batch.split.type_of[batch.pipeline.virtual_of]
    blocks = batch.split.blocks[types].sum(axis=1).tolist()
    seconds = np.empty(batch.held.shape)
    for layout, (prices, held) in enumerate(zip(batch.prices, batch.held.T.tolist(), strict=True)):
        stages = list(zip(held, blocks, strict=True))
        known = {stage: price(prices, *stage) for stage in set(stages)}
        seconds[:, layout] = [known[stage] for stage in stages]
    return seconds


def _begin_gathers(
    pipeline: Pipeline, blocks: Indices, gather: Floats, gathered: Floats, data: Floats
) -> None:
    """Fill when the gathers of each virtual stage begin, and when each stage's have ended [s]."""
    for stage, chunks in enumerate(pipeline.virtual_of.tolist()):
        for virtual in chunks:
            gathered[virtual] = data[stage]
            for block in range(blocks[virtual], blocks[virtual + 1]):
                data[stage] += gather[block]
