"""The passes of each virtual stage in time: one pattern per block, by kind of action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.program.patterns import Pattern, Segment, joined, on_layer
from simulator.program.tasks import Lane, SpanKind
from simulator.schedule.actions import Kind
from simulator.workload.steps import input_gradient, weight_gradient

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from simulator.parallel.blocks import PlacedBlock, Recomputation, VirtualStage
    from simulator.program.prices import Prices


@dataclass(frozen=True, slots=True)
class StagePasses:
    """What one virtual stage does with one micro-batch."""

    blocks: Mapping[Kind, tuple[Pattern, ...]]
    """Patterns in order of play: forward in model order, backward from the last block."""
    parameters: tuple[int, ...]
    """Parameters of each block in model order."""
    first_layer: int
    """Layer of the model from which the patterns' layers count."""

    def whole(self, kind: Kind) -> Pattern:
        """Return the pass over all blocks as one pattern."""
        return joined(self.blocks[kind])

    @property
    def duration(self) -> float:
        """Time of one micro-batch, all passes together [s]."""
        return sum(pattern.duration for block in self.blocks.values() for pattern in block)


class PassPlanner:
    """Prices virtual stages; equal blocks are priced once."""

    def __init__(self, prices: Prices, kinds: Iterable[Kind], *, pipelined: bool) -> None:
        """Price the passes of ``kinds``, between transfers if the model is ``pipelined``."""
        self._prices = prices
        self._pipelined = pipelined
        self._kinds = tuple(kinds)
        self._known: dict[tuple[str, Recomputation, Kind], Pattern] = {}
        self._stages: dict[Hashable, Mapping[Kind, tuple[Pattern, ...]]] = {}

    def passes(self, stage: VirtualStage) -> StagePasses:
        """Return the passes of one virtual stage; stages that are alike share their patterns."""
        first = stage.chunk.first_layer
        alike = tuple(
            (
                placed.block.name,
                placed.recomputation,
                None if placed.layer is None else placed.layer - first,
            )
            for placed in stage.blocks
        )
        if alike not in self._stages:
            self._stages[alike] = {kind: self._patterns(stage, kind) for kind in self._kinds}
        return StagePasses(
            blocks=self._stages[alike],
            parameters=tuple(block.parameters for block in stage.blocks),
            first_layer=first,
        )

    def _patterns(self, stage: VirtualStage, kind: Kind) -> tuple[Pattern, ...]:
        blocks = stage.blocks if kind is Kind.FORWARD else tuple(reversed(stage.blocks))
        first, *rest = (
            self._pattern(block, kind)
            if block.layer is None
            else on_layer(self._pattern(block, kind), block.layer - stage.chunk.first_layer)
            for block in blocks
        )
        recomputes = kind is not Kind.FORWARD and any(block.recomputed for block in blocks)
        return (joined((self._restart(recomputes=recomputes), first)), *rest)

    def _restart(self, *, recomputes: bool) -> Pattern:
        """Return the idle time before the host launches again after a transfer."""
        seconds = self._prices.restart_time(recomputes=recomputes) if self._pipelined else 0.0
        if seconds == 0.0:
            return Pattern((), 0.0)
        segment = Segment("restart", SpanKind.OTHER, Lane.COMPUTE, 0.0, seconds)
        return Pattern((segment,), seconds)

    def _pattern(self, placed: PlacedBlock, kind: Kind) -> Pattern:
        # All layers of a model are alike: a block is known by its name and what it recomputes.
        key = (placed.block.name, placed.recomputation, kind)
        if key not in self._known:
            self._known[key] = block_pattern(self._prices, placed, kind)
        return self._known[key]


def block_pattern(prices: Prices, placed: PlacedBlock, kind: Kind) -> Pattern:
    """Return one pass of a block alone."""
    block = placed.block
    if kind is Kind.FORWARD:
        return prices.pattern(block.forward, SpanKind.FORWARD)
    if kind is Kind.WEIGHT_GRADIENT:
        return prices.pattern(weight_gradient(block.backward), SpanKind.WEIGHT_GRADIENT)
    again = prices.pattern(placed.recomputed, SpanKind.RECOMPUTE)
    if kind is Kind.BACKWARD:
        gradients = prices.pattern(block.backward, SpanKind.BACKWARD)
    else:
        gradients = prices.pattern(input_gradient(block.backward), SpanKind.INPUT_GRADIENT)
    return joined((again, gradients))
