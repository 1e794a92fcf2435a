"""Prices of layouts, each part remembered by what it depends on.

A layout's times are those of a step's program (`simulator.program`): passes depend on the shard,
the spans of its groups and what is recomputed; the data-parallel part on the weights of a rank and
the span of those who share them; transfers on the message and the links of the stages.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np

from simulator.parallel.blocks import PlacedBlock, Recomputation, VirtualStage, backward_peak
from simulator.parallel.memory import static_memory
from simulator.parallel.placement import place
from simulator.parallel.stages import Chunk
from simulator.precision import Precision
from simulator.program.actions import backlog
from simulator.program.gradients import GradientCosts
from simulator.program.passes import PassPlanner
from simulator.program.prices import Prices
from simulator.program.transfers import StageTransfer
from simulator.schedule.actions import Kind
from simulator.search.candidates import scenario_of
from simulator.workload.layers import embedding, head, transformer_layer
from simulator.workload.parameters import (
    embedding_parameters_per_rank,
    head_parameters_per_rank,
    layer_parameters_per_rank,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from numpy.typing import NDArray

    from simulator.parallel.placement import Placement
    from simulator.scenario import Scenario
    from simulator.search.candidates import Candidate
    from simulator.search.pipeline import Split, StageType

    Floats = NDArray[np.float64]

T = TypeVar("T")

LAYER, EMBEDDING, HEAD = "layer", "embedding", "head"
MOST_REMEMBERED: Final = 200_000
"""Prices remembered by a process; beyond them it starts afresh."""


class BlockPrice(NamedTuple):
    """One block of a rank: its passes [s], what it keeps and needs [B], its parameters."""

    seconds: dict[Kind, float]
    kept: float
    transient: float
    parameters: int
    recomputes: bool


class PassPrice(NamedTuple):
    """The virtual stages of a split, by type."""

    seconds: Floats
    """Times of whole passes [s], shape ``(types, kinds)``."""
    kept: Floats
    """Activations kept per micro-batch [B], shape ``(types,)``."""
    transient: Floats
    """The most that the backward pass needs beside them [B]."""
    parameters: NDArray[np.int64]


class SplitPrice(NamedTuple):
    """Passes that are split at their blocks, type by type, in the order of play [s]."""

    gather: Floats
    forward: Floats
    backward: Floats
    reduction: Floats


class StaticPrice(NamedTuple):
    """What a rank holds throughout the step [B]."""

    per_parameter: float
    constant: float


class Placed(NamedTuple):
    """A placement, and numbers that are equal where its spans are."""

    placement: Placement
    tensor: int
    context: int
    gradient: int
    model: int
    links: int
    tied: int


class LayoutPrices:
    """The parts of one layout's price, taken from what is remembered."""

    def __init__(self, memory: PriceMemory, candidate: Candidate) -> None:
        """Name what each part depends on."""
        self.memory = memory
        self._candidate = candidate
        self._placed = placed = memory.placed(candidate)
        pipelined = candidate.pipeline > 1
        self._shard = (
            candidate.micro_batch,
            candidate.tensor,
            candidate.context,
            candidate.sequence_parallel,
        )
        self._block = (*self._shard, placed.tensor, placed.context, pipelined)
        self._passes = (self._block, candidate.recompute, candidate.recompute_every)
        ranks = candidate.data * candidate.context
        self._gradient = (candidate.sharding, ranks, placed.gradient)
        self._static = (self._shard, candidate.sharding, ranks, pipelined)

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario with this layout."""
        return scenario_of(self.memory.scenario, self._candidate)

    @cached_property
    def gradients(self) -> GradientCosts:
        """Costs of data parallelism."""
        return GradientCosts(self.scenario, self._placed.placement)

    def passes(self, split: Split, kinds: tuple[Kind, ...]) -> PassPrice:
        """Return the prices of the split's types for these kinds of action."""
        return self.memory.get(
            ("passes", self._passes, split.types, kinds), lambda: self._price_passes(split, kinds)
        )

    def split(self, split: Split, stolen_share: float) -> SplitPrice:
        """Return the split passes of the split's types."""
        return self.memory.get(
            ("split", self._passes, self._gradient, split.types),
            lambda: self._price_split(split, stolen_share),
        )

    def reduction(self, parameters: int) -> float:
        """Return the time of reducing the gradients of so many parameters [s]."""
        return self.memory.get(
            ("reduction", self._gradient, parameters),
            lambda: self.gradients.reduction(parameters).duration,
        )

    def gather(self, parameters: int) -> float:
        """Return the time of gathering so many updated parameters [s]."""
        return self.memory.get(
            ("gather", self._gradient, parameters),
            lambda: self.gradients.gather(parameters).duration,
        )

    def update(self, parameters: int) -> float:
        """Return the time of the optimizer update of a rank with so many parameters [s]."""
        return self.memory.get(
            ("update", self._gradient, parameters), lambda: self.gradients.update(parameters)
        )

    def norm(self) -> float:
        """Return the time of summing the gradient norm over a replica [s]."""
        return self.memory.get(
            ("norm", self._placed.model), lambda: self.gradients.norm().duration
        )

    def tied_embedding(self) -> float:
        """Return the time of summing a tied embedding's gradient [s]."""
        return self.memory.get(("tied", self._placed.tied, self._shard), self._price_tied)

    def transfers(self) -> Floats:
        """Return the times of transfers from each stage to the next and the one before [s].

        Shape ``(2 * stages,)``, in the order of `Pipeline.link`.
        """
        key = ("transfers", self._shard, self._placed.links, self._placed.tensor)
        return self.memory.get(key, self._price_transfers)

    def static(self) -> StaticPrice:
        """Return what a rank holds throughout the step."""
        return self.memory.get(("static", self._static), self._price_static)

    def block(self, name: str, mode: Recomputation) -> BlockPrice:
        """Return the price of one block that recomputes ``mode``."""
        return self.memory.get(
            ("block", name, mode, self._block),
            lambda: self._price_block(name, mode),
        )

    def _price_block(self, name: str, mode: Recomputation) -> BlockPrice:
        scenario = self.scenario
        model, shard, kernels = scenario.model, scenario.shard, scenario.software.kernels
        tensor = scenario.layout.tensor
        if name == LAYER:
            block = transformer_layer(model, shard, kernels)
            parameters = layer_parameters_per_rank(model, tensor).total
        elif name == EMBEDDING:
            block = embedding(model, shard, kernels)
            parameters = embedding_parameters_per_rank(model, tensor).total
        else:
            block = head(model, shard, kernels)
            own_copy = scenario.layout.pipeline > 1
            parameters = head_parameters_per_rank(model, tensor, own_copy=own_copy).total
        placed = PlacedBlock(block, mode, parameters)
        prices = Prices(scenario.cluster, scenario.software, self._placed.placement.collectives)
        # Alone and outside a pipeline: the pauses between passes are added by `_seconds`.
        alone = VirtualStage(Chunk(0, 0, 1, embedding=False, head=False), (placed,))
        planned = PassPlanner(prices, Kind, pipelined=False).passes(alone)
        return BlockPrice(
            seconds={kind: planned.whole(kind).duration for kind in Kind},
            kept=placed.kept_bytes,
            transient=placed.transient_bytes,
            parameters=parameters,
            recomputes=bool(placed.recomputed),
        )

    def _blocks(self, kind: StageType) -> Iterator[BlockPrice]:
        """Yield the blocks of a virtual stage in model order."""
        recompute = self.scenario.recompute
        if kind.embedding:
            yield self.block(EMBEDDING, Recomputation.NONE)
        for number in range(kind.offset, kind.offset + kind.layers):
            yield self.block(LAYER, recompute.of_layer(number))
        if kind.head:
            yield self.block(HEAD, recompute.mode if recompute.head else Recomputation.NONE)

    def _seconds(self, blocks: list[BlockPrice], kind: Kind) -> list[float]:
        """Return the times of the blocks in the order of the pass; a pause before the first [s]."""
        ordered = blocks if kind is Kind.FORWARD else blocks[::-1]
        seconds = [block.seconds[kind] for block in ordered]
        if self.scenario.layout.pipeline > 1:
            recomputes = kind is not Kind.FORWARD and any(block.recomputes for block in blocks)
            seconds[0] += self.memory.restart(recomputes=recomputes)
        return seconds

    def _price_passes(self, split: Split, kinds: tuple[Kind, ...]) -> PassPrice:
        software = self.scenario.software
        deferred = Precision.BF16.n_bytes * software.kernels.deferred_accumulation
        rows = [list(self._blocks(kind)) for kind in split.types]
        return PassPrice(
            seconds=np.array([[sum(self._seconds(row, kind)) for kind in kinds] for row in rows]),
            kept=np.array([sum(block.kept for block in row) for row in rows])
            + np.array([0.0 if kind.head else self._sent_bytes() for kind in split.types]),
            transient=np.array(
                [
                    backward_peak(
                        (block.kept, block.transient, deferred * block.parameters)
                        for block in reversed(row)
                    )
                    for row in rows
                ]
            ),
            parameters=np.array([sum(block.parameters for block in row) for row in rows]),
        )

    def _sent_bytes(self) -> float:
        """Return what a virtual stage's output costs once it was sent [B]."""
        scenario = self.scenario
        if scenario.software.deallocate_pipeline_outputs or scenario.layout.pipeline == 1:
            return 0.0
        return Precision.BF16.n_bytes * scenario.shard.norm_tokens * scenario.model.hidden

    def _price_split(self, split: Split, stolen_share: float) -> SplitPrice:
        columns: list[list[float]] = [[], [], [], []]
        for kind in split.types:
            blocks = list(self._blocks(kind))
            incoming = [self.gather(block.parameters) for block in blocks]
            leaving = [self.reduction(block.parameters) for block in reversed(blocks)]
            forward = self._seconds(blocks, Kind.FORWARD)
            backward = self._seconds(blocks, Kind.BACKWARD)
            columns[0] += incoming
            columns[1] += _slowed(forward, [*incoming[1:], 0.0], stolen_share)
            columns[2] += _slowed(backward, backlog(backward, leaving), stolen_share)
            columns[3] += leaving
        return SplitPrice(*(np.array(column) for column in columns))

    def _price_tied(self) -> float:
        scenario = self.scenario
        held = embedding_parameters_per_rank(scenario.model, scenario.layout.tensor).split
        return self.gradients.tied_embedding(held).duration

    def _price_transfers(self) -> Floats:
        transfer = StageTransfer(self.scenario, self._placed.placement)
        stages = self.scenario.layout.pipeline
        known: dict[Hashable, float] = {}
        times = np.zeros(2 * stages)
        if stages == 1:
            return times
        for stage in range(stages):
            for way, peer in enumerate(((stage + 1) % stages, (stage - 1) % stages)):
                link = self._placed.placement.link(stage, peer)
                if link not in known:
                    known[link] = transfer.duration(stage, peer)
                times[2 * stage + way] = known[link]
        return times

    def _price_static(self) -> StaticPrice:
        scenario = self.scenario
        one = static_memory(
            1, scenario.layout, scenario.shard, scenario.software, scenario.model.hidden
        )
        return StaticPrice(
            per_parameter=one.weights + one.gradients + one.optimizer,
            constant=one.buffers + one.framework,
        )


def _slowed(alone: list[float], beside: list[float], stolen_share: float) -> list[float]:
    """Return the times of blocks that run beside so much communication each [s]."""
    return [
        seconds + stolen_share * min(seconds, together)
        for seconds, together in zip(alone, beside, strict=True)
    ]


class PriceMemory:
    """Everything that has been priced for one scenario, whatever its layout."""

    def __init__(self, scenario: Scenario) -> None:
        """Price on the scenario's cluster, model and software."""
        self.scenario = scenario
        self.stolen_share = Prices(scenario.cluster, scenario.software, {}).stolen_share
        """Share of the multiprocessors that a running collective takes from other kernels."""
        self._known: dict[Hashable, object] = {}
        self._numbers: dict[Hashable, int] = {}

    def get(self, key: Hashable, price: Callable[[], T]) -> T:
        """Return what ``price`` returned when first asked for ``key``."""
        try:
            value: T = self._known[key]  # type: ignore[assignment]  # its key tells its type
        except KeyError:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            value = price()
            self._known[key] = value
        return value

    def restart(self, *, recomputes: bool) -> float:
        """Return how long the device idles at the start of a pass between transfers [s]."""
        software = self.scenario.software
        return software.pass_overhead + (software.recompute_overhead if recomputes else 0.0)

    def placed(self, candidate: Candidate) -> Placed:
        """Return where the groups of a layout sit."""
        key = ("placed", *candidate.degrees, candidate.order)
        return self.get(key, lambda: self._place(candidate))

    def _place(self, candidate: Candidate) -> Placed:
        scenario = scenario_of(self.scenario, candidate)
        placement = place(scenario.layout, scenario.cluster)
        spans = (placement.tensor, placement.context, placement.gradient, placement.model)
        return Placed(
            placement,
            *(self._number(placed.span) for placed in spans),
            links=self._number(placement.stage_links),
            tied=self._number(placement.stage_links[-1]),
        )

    def _number(self, value: Hashable) -> int:
        """Return a number that is equal for equal values."""
        return self._numbers.setdefault(value, len(self._numbers))
