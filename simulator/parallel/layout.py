"""The degrees of a parallel layout, and what they make of a batch."""

from __future__ import annotations

from enum import StrEnum
from math import prod

from simulator.fields import Count, CountOrZero, Flag, record
from simulator.operators import Axis


class Sharding(StrEnum):
    """What data-parallel ranks split between them."""

    NONE = "none"
    """Every rank keeps everything; gradients are all-reduced."""
    OPTIMIZER = "optimizer"
    """ZeRO-1, Megatron's distributed optimizer: reduce-scatter, update a share, all-gather."""


INNERMOST_FIRST = (Axis.TENSOR, Axis.CONTEXT, Axis.PIPELINE, Axis.DATA)


@record
class Layout:
    """Degrees and their order on the rank grid (``layout:`` in a scenario)."""

    tensor: Count = 1
    context: Count = 1
    pipeline: Count = 1
    virtual_stages: Count = 1
    """Model chunks per pipeline stage."""
    data: Count
    sequence_parallel: Flag = False
    sharding: Sharding = Sharding.NONE
    order: tuple[Axis, ...] = INNERMOST_FIRST
    """Axes from the innermost (neighbouring ranks) to the outermost."""
    layers: tuple[CountOrZero, ...] | None = None
    """Layers of each virtual stage in model order; none: as even as possible."""

    @property
    def degrees(self) -> dict[Axis, int]:
        """Degree of every axis of the rank grid, in ``order``."""
        sizes = {
            Axis.TENSOR: self.tensor,
            Axis.CONTEXT: self.context,
            Axis.PIPELINE: self.pipeline,
            Axis.DATA: self.data,
        }
        return {axis: sizes[axis] for axis in self.order}

    @property
    def ranks(self) -> int:
        """Product of all degrees."""
        return prod(self.degrees.values())

    @property
    def chunks(self) -> int:
        """Virtual stages of the whole pipeline."""
        return self.pipeline * self.virtual_stages

    @property
    def gradient_ranks(self) -> int:
        """Ranks that hold the same weights: the data and context axes together."""
        return self.data * self.context


@record
class Batch:
    """What one optimizer step processes (``batch:`` in a scenario)."""

    sequence_length: Count
    """Tokens per sequence."""
    global_batch: Count
    """Sequences per step over all data-parallel ranks."""
    micro_batch: Count = 1
    """Sequences that one pipeline processes at once."""

    @property
    def tokens(self) -> int:
        """Tokens per step."""
        return self.global_batch * self.sequence_length

    def micro_batches(self, data: int) -> int:
        """Return the micro-batches of each of ``data`` ranks (callers check divisibility)."""
        return self.global_batch // (data * self.micro_batch)
