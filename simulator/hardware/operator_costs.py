"""Seconds of device time for one operator: the larger of arithmetic and memory time, by shape.

The model of a kernel is physical and small. A GEMM is cut into tiles that run in waves over the
multiprocessors; attention is cut into blocks of queries (backward: keys) whose longest one ends
last; everything else moves bytes. A kernel that draws more power than the part can sustain
starts at its burst rate and falls to its sustained one. Constants come from the part's
`KernelModel`; none stands here.

Host launch time is not included: a stack that launches eagerly pays it on its own lane. The
device-side gap between two queued kernels is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.hardware.attention_costs import attention_time
from simulator.hardware.convolution_costs import convolution_time
from simulator.hardware.exchange_costs import exchange_time
from simulator.hardware.gemm_costs import gemm_time
from simulator.hardware.grouped_costs import grouped_gemm_time
from simulator.hardware.pointwise_costs import optimizer_time, pointwise_time
from simulator.operators import (
    Attention,
    Compute,
    Convolution,
    ExpertExchange,
    Gemm,
    GroupedGemm,
    OptimizerUpdate,
    Pointwise,
)

if TYPE_CHECKING:
    from simulator.hardware.accelerator import Accelerator


def operator_time(operator: Compute, accelerator: Accelerator) -> float:
    """Return the device time [s] of ``operator`` on ``accelerator``, launch gaps included.

    Raises
    ------
    SimulatorError
        If the part's profile has no rate at the operator's precision or no such attention kernel.

    Notes
    -----
    Neglected: what the caches keep from one kernel to the next, and everything that runs beside
    the operator.
    """
    match operator:
        case Gemm():
            time = gemm_time(operator, accelerator)
        case GroupedGemm():
            time = grouped_gemm_time(operator, accelerator)
        case Convolution():
            time = convolution_time(operator, accelerator)
        case Attention():
            time = attention_time(operator, accelerator)
        case Pointwise():
            time = pointwise_time(operator, accelerator)
        case OptimizerUpdate():
            time = optimizer_time(operator, accelerator)
        case ExpertExchange():
            time = exchange_time(operator, accelerator)
    return time
