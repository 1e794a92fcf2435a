"""Bytes per rank: those that do not change over the step, and those of one micro-batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from simulator.parallel.layout import Sharding
from simulator.precision import Precision

if TYPE_CHECKING:
    from simulator.hardware.software import Software
    from simulator.parallel.blocks import VirtualStage
    from simulator.parallel.layout import Layout
    from simulator.workload.steps import Shard


@dataclass(frozen=True, slots=True)
class StaticMemory:
    """What one rank of a stage holds throughout the step [B]."""

    weights: float
    gradients: float
    optimizer: float
    buffers: float
    framework: float

    @property
    def total(self) -> float:
        """Sum of all terms [B]."""
        return self.weights + self.gradients + self.optimizer + self.buffers + self.framework


def static_memory(
    parameters: int, layout: Layout, shard: Shard, software: Software, hidden: int
) -> StaticMemory:
    """Return the static memory of one rank that holds so many ``parameters``.

    Weights are kept in the format of the matmuls, but not below bf16 (fp8 recipes keep bf16
    weights). ZeRO-1 splits the optimizer state over all ranks that hold the same weights.
    Buffers: two incoming and two outgoing pipeline messages, and with sequence parallelism one
    gathered input. Allocator losses are a share of dynamic memory and are added there.
    """
    state = software.optimizer_state_bytes_per_parameter
    state += Precision.FP32.n_bytes if software.master_weights else 0.0
    if layout.sharding is Sharding.OPTIMIZER:
        state /= layout.gradient_ranks
    stream = Precision.BF16.n_bytes * shard.norm_tokens * hidden
    gathered = Precision.BF16.n_bytes * shard.tokens * hidden if shard.sequence_parallel else 0.0
    return StaticMemory(
        weights=parameters * max(shard.precision.n_bytes, Precision.BF16.n_bytes),
        gradients=parameters * software.gradient_precision.n_bytes,
        optimizer=parameters * state,
        buffers=gathered + (4 * stream if layout.pipeline > 1 else 0.0),
        framework=software.context_memory,
    )


class PassMemory(NamedTuple):
    """What one micro-batch takes on one rank of a virtual stage [B]."""

    kept: float
    """From its forward pass to its backward pass."""
    transient: float
    """The most that its backward pass needs beside that."""


def pass_memory(
    stage: VirtualStage, layout: Layout, shard: Shard, software: Software, hidden: int
) -> PassMemory:
    """Return what one micro-batch takes on a virtual stage.

    Kept are activations, logits and, unless the stack frees them, outputs that were sent on. Where
    accumulation is deferred, bf16 gradients stay until the backward pass ends.
    """
    sends = layout.pipeline > 1 and not stage.chunk.head
    stays = sends and not software.deallocate_pipeline_outputs
    output = Precision.BF16.n_bytes * shard.norm_tokens * hidden if stays else 0.0
    deferred = Precision.BF16.n_bytes * software.kernels.deferred_accumulation
    return PassMemory(stage.kept_bytes + output, stage.transient_bytes(deferred))
