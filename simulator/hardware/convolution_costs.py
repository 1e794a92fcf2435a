"""Seconds of convolutions: the tiles of a matrix product, the memory traffic of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.hardware.gemm_costs import (
    aligned,
    loop_rate,
    memory_time,
    sustained_time,
    tiled_time,
)
from simulator.hardware.memo import remembered
from simulator.hardware.power import power_limited
from simulator.operators import Role
from simulator.precision import Precision

if TYPE_CHECKING:
    from simulator.hardware.accelerator import Accelerator
    from simulator.operators import Convolution

WEIGHT_GRADIENT_SPLITS: Final = tuple(2**power for power in range(1, 9))
"""In how many parts the sum over positions may be cut: its matrix is small, its sum very long
(10^5 positions), so kernels spread the sum over the multiprocessors whatever it takes."""


def convolution_time(convolution: Convolution, accelerator: Accelerator) -> float:
    """Return the device time [s] of a convolution as an implicit matrix product.

    Raises
    ------
    SimulatorError
        If the part has no rate at the product's precision.

    Notes
    -----
    Neglected: algorithms that need fewer multiplications (Winograd, FFT), which libraries take
    for some 3x3 convolutions, and copies between memory formats.
    """
    return remembered(accelerator, convolution, lambda: _time(convolution, accelerator))


def _time(convolution: Convolution, accelerator: Accelerator) -> float:
    product, model = convolution.product, accelerator.kernels.gemm
    # Kernels of CUDA cores gather windows value by value; only tensor cores need aligned rows.
    gathers = product.precision is Precision.FP32
    slowed = 1.0 if gathers or aligned(product) else model.misaligned_rate
    rate = slowed * loop_rate(product, accelerator)
    weights = product.role is Role.WEIGHT_GRADIENT
    splits = WEIGHT_GRADIENT_SPLITS if weights else model.split_k
    arithmetic = tiled_time(product, rate, accelerator, splits)
    burst = max(arithmetic, memory_time(convolution.n_bytes, accelerator))
    busy = power_limited(
        burst, sustained_time(product, accelerator), accelerator.kernels.boost_time
    )
    return accelerator.launch_gap + model.kernel_overhead + busy
