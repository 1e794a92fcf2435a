"""Seconds of device time for kernels that only move memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.hardware.accelerator import Accelerator
    from simulator.operators import OptimizerUpdate


def pointwise_time(n_bytes: float, kernels: int, accelerator: Accelerator) -> float:
    """Return the time [s] of ``kernels`` memory-bound kernels that move ``n_bytes`` together.

    The kernels' overhead makes small ones slow: the bandwidth saturates with size.
    """
    model = accelerator.kernels.pointwise
    moving = n_bytes / (model.bandwidth * accelerator.achievable_memory_bandwidth)
    return kernels * (accelerator.launch_gap + model.kernel_overhead) + moving


def optimizer_time(update: OptimizerUpdate, accelerator: Accelerator) -> float:
    """Return the time [s] of one fused optimizer update over all parameters of the rank."""
    model = accelerator.kernels.pointwise
    bandwidth = model.optimizer_bandwidth * accelerator.achievable_memory_bandwidth
    moving = update.parameters * update.bytes_per_parameter / bandwidth
    return accelerator.launch_gap + model.kernel_overhead + moving
