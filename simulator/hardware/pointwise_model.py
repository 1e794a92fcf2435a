"""How fast an accelerator's memory-bound kernels are: the section ``pointwise`` of a profile."""

from __future__ import annotations

from typing import Annotated

from simulator.fields import MICROSECONDS, Efficiency, NonNegative, record


@record
class PointwiseModel:
    """Kernels that only move memory."""

    kernel_overhead: Annotated[NonNegative, MICROSECONDS]
    """Ramp-up and drain of one kernel [s], without the launch gap."""
    bandwidth: Efficiency
    """Bandwidth of a long kernel as a share of the achievable memory bandwidth."""
    optimizer_bandwidth: Efficiency
    """The same for a fused optimizer update over many tensors."""
