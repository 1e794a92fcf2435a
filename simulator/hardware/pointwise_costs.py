"""Seconds of device time for kernels that only move memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator.errors import SimulatorError
from simulator.operators import PointwiseKind

if TYPE_CHECKING:
    from simulator.hardware.accelerator import Accelerator
    from simulator.operators import OptimizerUpdate, Pointwise


def pointwise_time(operator: Pointwise, accelerator: Accelerator) -> float:
    """Return the time [s] of the memory-bound kernels of ``operator``, launch gaps included.

    The kernels' overhead makes small ones slow: the bandwidth saturates with size. Long ones run
    at their share of the memory's bandwidth, or as fast as their instructions are issued.

    Raises
    ------
    SimulatorError
        If the part's profile has no bandwidth for the kind of kernel.

    Notes
    -----
    Neglected: data that the kernel before left in the cache. Measured on one H100 with 50 MB of
    it, a tensor just touched takes 0.5 (below 15 MB) to 0.95 times (above 60 MB) as long.
    """
    model = accelerator.kernels.pointwise
    share = _of_kind(model.bandwidth, operator.kind, accelerator)
    overhead = _of_kind(model.kernel_overhead, operator.kind, accelerator)
    bandwidth = share * accelerator.achievable_memory_bandwidth
    bandwidth = min(bandwidth, model.instruction_rate.get(operator.kind, math.inf))
    moving = operator.n_bytes / bandwidth
    return operator.kernels * (accelerator.launch_gap + overhead) + moving


def optimizer_time(update: OptimizerUpdate, accelerator: Accelerator) -> float:
    """Return the time [s] of one fused optimizer update over all parameters of the rank."""
    model = accelerator.kernels.pointwise
    bandwidth = model.optimizer_bandwidth * accelerator.achievable_memory_bandwidth
    moving = update.parameters * update.bytes_per_parameter / bandwidth
    overhead = _of_kind(model.kernel_overhead, PointwiseKind.ELEMENTWISE, accelerator)
    return accelerator.launch_gap + overhead + moving


def _of_kind(
    values: dict[PointwiseKind, float], kind: PointwiseKind, accelerator: Accelerator
) -> float:
    if kind not in values:
        known = ", ".join(sorted(values)) or "none"
        raise SimulatorError(f"{accelerator.name} has no {kind} kernels; its profile has: {known}")
    return values[kind]
