"""How fast an accelerator's memory-bound kernels are: the section ``pointwise`` of a profile."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated

from simulator.fields import MICROSECONDS, TB_PER_S, Efficiency, NonNegative, Positive, record
from simulator.operators import PointwiseKind


@record
class PointwiseModel:
    """Kernels that only move memory, by kind: each saturates its bandwidth with size."""

    kernel_overhead: Annotated[dict[PointwiseKind, NonNegative], MICROSECONDS]
    """Ramp-up and drain of one kernel [s], without the launch gap."""
    bandwidth: dict[PointwiseKind, Efficiency]
    """Bandwidth of a long kernel as a share of the achievable memory bandwidth."""
    optimizer_bandwidth: Efficiency
    """The same for a fused optimizer update over many tensors."""
    instruction_rate: Annotated[dict[PointwiseKind, Positive], TB_PER_S] = field(
        default_factory=dict
    )
    """Traffic [B/s] at which instructions, not memory, bound a kind of kernel: what a family of
    parts with one die and several memories shares. None where memory always bounds."""
