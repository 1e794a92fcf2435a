"""Prices of layouts, each part remembered by what it depends on.

A layout's times are those of a step's program (`simulator.program`): passes depend on the shard,
the spans of its groups and what is recomputed; the data-parallel part on the weights of a rank and
the span of those who share them; transfers on the message and the links of the stages.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np

from simulator.parallel.blocks import VirtualStage, block_kinds, placed_block
from simulator.parallel.memory import pass_memory, static_memory
from simulator.program.actions import backlog, slowed
from simulator.program.build import placement_of
from simulator.program.gradients import GradientCosts
from simulator.program.passes import block_pattern
from simulator.program.prices import Prices
from simulator.program.transfers import StageTransfer
from simulator.schedule.actions import Kind
from simulator.search.candidates import scenario_of
from simulator.workload.parameters import embedding_parameters_per_rank

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from numpy.typing import NDArray

    from simulator.parallel.blocks import BlockKind, PlacedBlock
    from simulator.parallel.placement import Placement
    from simulator.parallel.stages import Chunk
    from simulator.scenario import Scenario
    from simulator.search.candidates import Candidate
    from simulator.search.pipeline import Split
    from simulator.workload.transformer import Transformer

    Floats = NDArray[np.float64]

T = TypeVar("T")

MOST_REMEMBERED: Final = 200_000
"""Prices remembered by a process; beyond them it starts afresh."""


class StageMemory(NamedTuple):
    """The virtual stages of a split, by type; columns of shape ``(types,)``."""

    kept: Floats
    """Activations kept per micro-batch [B]."""
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
    link: NDArray[np.int64]
    """Number of the transfer from each stage to its neighbours, in the order of `Pipeline.link`."""


class LayoutPrices:
    """The parts of one layout's price, taken from what is remembered."""

    def __init__(self, memory: PriceMemory, candidate: Candidate) -> None:
        """Name what each part depends on."""
        self.memory = memory
        self._candidate = candidate
        self._pipelined = candidate.pipeline > 1
        self._recompute = (candidate.recompute, candidate.recompute_every)
        self._shard = (
            candidate.micro_batch,
            candidate.tensor,
            candidate.context,
            candidate.sequence_parallel,
        )
        self._sharing = (candidate.sharding, candidate.data * candidate.context)

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario with this layout."""
        return scenario_of(self.memory.scenario, self._candidate)

    @cached_property
    def gradients(self) -> GradientCosts:
        """Costs of data parallelism."""
        return GradientCosts(self.scenario, self._placed.placement)

    @cached_property
    def _placed(self) -> Placed:
        return self.memory.placed(self._candidate)

    @cached_property
    def _block(self) -> Hashable:
        """What the times of a block depend on."""
        return (*self._shard, self._placed.tensor, self._placed.context, self._pipelined)

    @cached_property
    def _gradient(self) -> Hashable:
        """What the times of data parallelism depend on."""
        return (*self._sharing, self._placed.gradient)

    def kept(self, split: Split) -> StageMemory:
        """Return what the virtual stages of a split keep and need."""
        key = ("kept", self._shard, self._recompute, self._pipelined, split.types)
        return self.memory.get(key, lambda: self._price_kept(split))

    def passes(self, split: Split, kinds: tuple[Kind, ...]) -> Floats:
        """Return the times of the split's whole passes [s], shape ``(types, kinds)``."""
        key = ("passes", self._block, self._recompute, split.types, kinds)
        return self.memory.get(key, lambda: self._price_passes(split, kinds))

    def split(self, split: Split, kinds: tuple[Kind, ...]) -> SplitPrice:
        """Return the split passes of the split's types."""
        key = ("split", self._block, self._recompute, self._gradient, split.types, kinds)
        return self.memory.get(key, lambda: self._price_split(split, kinds))

    def reduction(self, parameters: int) -> float:
        """Return the time of reducing the gradients of so many parameters [s]."""
        return self.memory.get(
            ("reduction", self._gradient, parameters),
            lambda: self.gradients.device_time(parameters),
        )

    def gather(self, parameters: int) -> float:
        """Return the time of gathering so many updated parameters [s]."""
        return self.memory.get(
            ("gather", self._gradient, parameters),
            lambda: self.gradients.gather(parameters).duration,
        )

    def update(self, parameters: int, blocks: int) -> float:
        """Return the time of the optimizer update of a rank with so many parameters [s]."""
        return self.memory.get(
            ("update", self._gradient, parameters, blocks),
            lambda: self.gradients.update(parameters, blocks),
        )

    def norm(self) -> float:
        """Return the time of summing the gradient norm over a replica [s]."""
        return self.memory.get(("norm", self._placed.model), lambda: self.gradients.norm().duration)

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
        return self.memory.get(
            ("static", self._shard, self._sharing, self._pipelined), self._price_static
        )

    def _planned(self, block: BlockKind) -> PlacedBlock:
        """Return a block of this shard as the workload has it."""
        key = ("planned", block, self._shard, self._pipelined)
        return self.memory.get(key, lambda: self._plan_block(block))

    def _plan_block(self, block: BlockKind) -> PlacedBlock:
        scenario = self.scenario
        kernels = scenario.software.kernels
        return placed_block(
            block, self.memory.model, scenario.shard, kernels, pipelined=self._pipelined
        )

    def _seconds_of(self, block: BlockKind, kind: Kind) -> float:
        """Return the time of one block's pass alone [s]."""
        key = ("seconds", block, kind, self._block)
        return self.memory.get(key, lambda: self._price_pass(block, kind))

    def _price_pass(self, block: BlockKind, kind: Kind) -> float:
        return block_pattern(self._prices, self._planned(block), kind).duration

    @property
    def _prices(self) -> Prices:
        return self.memory.get(("prices", self._block), self._new_prices)

    def _new_prices(self) -> Prices:
        scenario = self.scenario
        return Prices(scenario.cluster, scenario.software, self._placed.placement.collectives)

    def _blocks(self, chunk: Chunk) -> list[BlockKind]:
        """Return the blocks of a virtual stage in model order."""
        return block_kinds(chunk, self.scenario.recompute)

    def _stage(self, chunk: Chunk) -> VirtualStage:
        """Return a virtual stage as a rank runs it."""
        blocks = self._blocks(chunk)
        known = {block: self._planned(block) for block in set(blocks)}
        return VirtualStage(chunk, tuple(known[block] for block in blocks))

    def _ordered(self, chunk: Chunk, kind: Kind) -> tuple[float, ...]:
        """Return the times of a virtual stage's blocks in the order of the pass [s].

        A pause comes before the first.
        """
        key = ("ordered", self._block, self._recompute, chunk, kind)
        return self.memory.get(key, lambda: self._price_blocks(chunk, kind))

    def _price_blocks(self, chunk: Chunk, kind: Kind) -> tuple[float, ...]:
        blocks = self._blocks(chunk)
        known = {block: self._seconds_of(block, kind) for block in set(blocks)}
        ordered = blocks if kind is Kind.FORWARD else blocks[::-1]
        seconds = [known[block] for block in ordered]
        if self._pipelined:
            again = kind is not Kind.FORWARD and any(
                self._planned(block).recomputed for block in known
            )
            seconds[0] += self._prices.restart_time(recomputes=again)
        return tuple(seconds)

    def _price_passes(self, split: Split, kinds: tuple[Kind, ...]) -> Floats:
        return np.array(
            [[sum(self._ordered(chunk, kind)) for kind in kinds] for chunk in split.types]
        )

    def _price_kept(self, split: Split) -> StageMemory:
        scenario = self.scenario
        shared = scenario.layout, scenario.shard, scenario.software, scenario.stream_width
        stages = [self._stage(chunk) for chunk in split.types]
        kept, transient = np.array([pass_memory(stage, *shared) for stage in stages]).T
        return StageMemory(kept, transient, np.array([stage.parameters for stage in stages]))

    def _price_split(self, split: Split, kinds: tuple[Kind, ...]) -> SplitPrice:
        weights = Kind.BACKWARD if Kind.BACKWARD in kinds else Kind.WEIGHT_GRADIENT
        stolen = self._prices.stolen_share
        columns: list[list[float]] = [[], [], [], []]
        for chunk in split.types:
            blocks = self._blocks(chunk)
            held = [self._planned(block).parameters for block in blocks]
            incoming = [self.gather(parameters) for parameters in held]
            leaving = [self.reduction(parameters) for parameters in reversed(held)]
            forward = self._ordered(chunk, Kind.FORWARD)
            backward = self._ordered(chunk, weights)
            columns[0] += incoming
            columns[1] += slowed(forward, [*incoming[1:], 0.0], stolen)
            columns[2] += slowed(backward, backlog(backward, leaving), stolen)
            columns[3] += leaving
        return SplitPrice(*(np.array(column) for column in columns))

    def _price_tied(self) -> float:
        held = embedding_parameters_per_rank(self.memory.model, self._candidate.tensor).split
        return self.gradients.tied_embedding(held).duration

    def _price_transfers(self) -> Floats:
        transfer = StageTransfer(self.scenario, self._placed.placement)
        _, first, alike = np.unique(self._placed.link, return_index=True, return_inverse=True)
        peers = _neighbours(self.scenario.layout.pipeline)
        times: Floats = np.array([transfer.cost(*peers[at]).time for at in first.tolist()])
        return times[alike]

    def _price_static(self) -> StaticPrice:
        scenario = self.scenario
        one = static_memory(
            1, scenario.layout, scenario.shard, scenario.software, scenario.stream_width
        )
        return StaticPrice(
            per_parameter=one.weights + one.gradients + one.optimizer,
            constant=one.buffers + one.framework,
        )


class PriceMemory:
    """Everything that has been priced for one scenario, whatever its layout."""

    def __init__(self, scenario: Scenario, model: Transformer) -> None:
        """Price ``model``, the scenario's, on its cluster and software."""
        self.scenario = scenario
        self.model = model
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

    def placed(self, candidate: Candidate) -> Placed:
        """Return where the groups of a layout sit."""
        key = ("placed", *candidate.degrees, candidate.order)
        return self.get(key, lambda: self._place(candidate))

    def _place(self, candidate: Candidate) -> Placed:
        scenario = scenario_of(self.scenario, candidate)
        placement = placement_of(scenario)
        neighbours = _neighbours(scenario.layout.pipeline)
        return Placed(
            placement,
            tensor=self._number(placement.tensor.span),
            context=self._number(placement.context.span),
            gradient=self._number(placement.gradient.span),
            model=self._number(placement.model.span),
            links=self._number(placement.stage_links),
            tied=self._number(placement.stage_links[-1]),
            link=np.array([self._number(placement.link(*ends)) for ends in neighbours]),
        )

    def _number(self, value: Hashable) -> int:
        """Return a number that is equal for equal values."""
        return self._numbers.setdefault(value, len(self._numbers))


def _neighbours(stages: int) -> list[tuple[int, int]]:
    """Return senders and receivers of all transfers, in the order of `Pipeline.link`."""
    return [
        (stage, peer)
        for stage in range(stages)
        for peer in ((stage + 1) % stages, (stage - 1) % stages)
    ]
