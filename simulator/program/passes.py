"""The passes of each virtual stage in time: one pattern per block, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from simulator.program.patterns import Pattern, joined, on_layer
from simulator.program.tasks import SpanKind
from simulator.workload.steps import input_gradient, weight_gradient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.parallel.blocks import PlacedBlock, VirtualStage
    from simulator.program.prices import Prices
    from simulator.workload.steps import Step


@dataclass(frozen=True)
class StagePasses:
    """What one virtual stage does with one micro-batch; patterns are in order of play."""

    forward_blocks: tuple[Pattern, ...]
    backward_blocks: tuple[Pattern, ...]
    """From the last block to the first, recomputation included."""
    input_gradient_blocks: tuple[Pattern, ...]
    weight_gradient_blocks: tuple[Pattern, ...]
    parameters: tuple[int, ...]
    """Parameters of each block in model order."""
    first_layer: int
    """Layer of the model from which the patterns' layers count."""

    @cached_property
    def forward(self) -> Pattern:
        """The whole forward pass."""
        return joined(self.forward_blocks)

    @cached_property
    def backward(self) -> Pattern:
        """The whole backward pass with both gradients."""
        return joined(self.backward_blocks)

    @cached_property
    def input_gradient(self) -> Pattern:
        """The part of the backward pass that the previous stage waits for."""
        return joined(self.input_gradient_blocks)

    @cached_property
    def weight_gradient(self) -> Pattern:
        """The part of the backward pass that can be put off."""
        return joined(self.weight_gradient_blocks)


class PassPlanner:
    """Prices virtual stages; equal blocks are priced once."""

    def __init__(self, prices: Prices) -> None:
        """Price with ``prices``."""
        self._prices = prices
        self._known: dict[tuple[int, str], tuple[PlacedBlock, Pattern]] = {}

    def passes(self, stage: VirtualStage) -> StagePasses:
        """Return the passes of one virtual stage."""
        blocks = stage.blocks
        backwards = tuple(reversed(blocks))
        return StagePasses(
            forward_blocks=self._patterns(stage, blocks, "F"),
            backward_blocks=self._patterns(stage, backwards, "B"),
            input_gradient_blocks=self._patterns(stage, backwards, "I"),
            weight_gradient_blocks=self._patterns(stage, backwards, "W"),
            parameters=tuple(block.parameters for block in blocks),
            first_layer=stage.chunk.first_layer,
        )

    def _patterns(
        self, stage: VirtualStage, blocks: Sequence[PlacedBlock], letter: str
    ) -> tuple[Pattern, ...]:
        return tuple(
            self._pattern(block, letter)
            if block.layer is None
            else on_layer(self._pattern(block, letter), block.layer - stage.chunk.first_layer)
            for block in blocks
        )

    def _pattern(self, placed: PlacedBlock, letter: str) -> Pattern:
        key = (id(placed.block), f"{letter}{placed.recomputation}")
        if key not in self._known:
            self._known[key] = (placed, self._price(placed, letter))
        return self._known[key][1]

    def _price(self, placed: PlacedBlock, letter: str) -> Pattern:
        block = placed.block
        if letter == "F":
            return self._prices.pattern(block.forward, SpanKind.FORWARD)
        if letter == "W":
            return self._prices.pattern(weight_gradient(block.backward), SpanKind.WEIGHT_GRADIENT)
        again = self._prices.pattern(placed.recomputed, SpanKind.RECOMPUTE)
        steps: Sequence[Step] = block.backward
        kind = SpanKind.BACKWARD
        if letter == "I":
            steps, kind = input_gradient(block.backward), SpanKind.INPUT_GRADIENT
        return joined((again, self._prices.pattern(steps, kind)))
