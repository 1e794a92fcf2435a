"""How fast an accelerator's memory-bound kernels are: the section ``pointwise`` of a profile."""

from __future__ import annotations

from typing import Annotated

from simulator.fields import MICROSECONDS, Efficiency, NonNegative, record
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
