"""Seconds of matrix products: tiles in waves over the multiprocessors, beside memory traffic."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from simulator.errors import SimulatorError
from simulator.hardware.gemm_library import library_rate
from simulator.hardware.kernels import entry
from simulator.hardware.memo import remembered
from simulator.hardware.power import power_limited
from simulator.hardware.shape_table import LoadedTable
from simulator.operators import Gemm, GroupedGemm, Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulator.hardware.accelerator import Accelerator
    from simulator.hardware.gemm_model import Tile
    from simulator.precision import Precision

PARTIAL_SUM_BYTES: Final = 8
"""A split k writes each partial result once and reads it once, in fp32."""
WIDE_ACCESS_BYTES: Final = 16
"""Widest load of a thread: what tensor-core kernels copy their operands with."""


def gemm_time(gemm: Gemm, accelerator: Accelerator) -> float:
    """Return the device time [s] of a matrix product, launch gap included.

    Raises
    ------
    SimulatorError
        If the part has no rate at the product's precision.
    """
    key = (gemm.precision, gemm.role, gemm.m, gemm.n, gemm.k, gemm.groups)
    return remembered(accelerator, key, lambda: _gemm_time(gemm, accelerator))


def _gemm_time(gemm: Gemm, accelerator: Accelerator) -> float:
    model = accelerator.kernels.gemm
    rate = loop_rate(gemm, accelerator) * (1.0 if aligned(gemm) else model.misaligned_rate)
    burst = max(tiled_time(gemm, rate, accelerator), memory_time(gemm.n_bytes, accelerator))
    sustained = sustained_time(gemm, accelerator)
    busy = power_limited(burst, sustained, accelerator.kernels.boost_time)
    fixed = accelerator.launch_gap + model.kernel_overhead
    # Batched products fill the part like one with all their rows.
    factor = _shape_factor(gemm.precision, gemm.groups * gemm.m, gemm.n, gemm.k, accelerator)
    time = (fixed + busy) * factor / library_rate(accelerator, gemm.precision)
    if accelerator.kernels.boost_time == 0.0:
        # Deviations were measured in bursts: without any, none outruns the power limit.
        time = max(time, sustained)
    return at_least_roofline(time, gemm, accelerator)


def aligned(gemm: Gemm) -> bool:
    """Return whether all rows of operands and result start at multiples of 16 B.

    Contiguous in memory are k and n of a linear layer's products, m and n of its weight gradient.
    """
    elements = 1 << math.ceil(math.log2(WIDE_ACCESS_BYTES / gemm.precision.n_bytes))
    depth = gemm.m if gemm.role is Role.WEIGHT_GRADIENT else gemm.k
    return gemm.n % elements == 0 and depth % elements == 0


def loop_rate(gemm: Gemm | GroupedGemm, accelerator: Accelerator) -> float:
    """Return the rate [FLOP/s] inside the k loop, before power limits."""
    model = accelerator.kernels.gemm
    burst_rate = model.burst_rate * accelerator.achievable(gemm.precision)
    role = entry(model.role_rate, gemm.role, "GEMM role", accelerator.name)
    return role * min(burst_rate, accelerator.peak(gemm.precision))


def memory_time(n_bytes: float, accelerator: Accelerator) -> float:
    """Return the time [s] in which a memory-bound product moves ``n_bytes``."""
    bandwidth = accelerator.kernels.gemm.bandwidth * accelerator.achievable_memory_bandwidth
    return n_bytes / bandwidth


def sustained_time(gemm: Gemm | GroupedGemm, accelerator: Accelerator) -> float:
    """Return the time [s] of a product at the rate at which power holds long ones."""
    rates = accelerator.kernels.gemm.sustained_rate
    sustained = entry(rates, gemm.precision, "sustained GEMM rate", accelerator.name)
    return gemm.flops / (sustained * accelerator.achievable(gemm.precision))


def at_least_roofline(time: float, gemm: Gemm | GroupedGemm, accelerator: Accelerator) -> float:
    """Return ``time`` [s], or that of the peak rate or peak memory bandwidth if it is longer."""
    arithmetic = gemm.flops / accelerator.peak(gemm.precision)
    return max(time, arithmetic, gemm.n_bytes / accelerator.memory_bandwidth)


def tiles_of(product: Gemm | GroupedGemm, tile: Tile) -> list[tuple[int, int]]:
    """Return how many tiles a product has, and how deep they are, group by group."""
    columns = -(-product.n // tile.n)
    if isinstance(product, Gemm):
        return [(product.groups * -(-product.m // tile.m) * columns, product.k)]
    if product.role is Role.WEIGHT_GRADIENT:
        count = -(-product.k // tile.m) * columns
        return [(count, rows) for rows in product.rows]
    return [(-(-rows // tile.m) * columns, product.k) for rows in product.rows]


def tiled_time(
    gemm: Gemm, rate: float, accelerator: Accelerator, split_k: Iterable[int] | None = None
) -> float:
    """Return the arithmetic time [s] of a GEMM on multiprocessors that together run at ``rate``.

    Tiles run in whole waves: a last, ragged wave costs a full one. Fewer tiles than
    multiprocessors may cut k, into as many parts as the part's profile or ``split_k`` lists, at the
    price of adding up the parts in memory.
    """
    model = accelerator.kernels.gemm
    multiprocessors = accelerator.multiprocessors
    element_time = 2.0 * gemm.k * multiprocessors / rate
    partial_sums = PARTIAL_SUM_BYTES * gemm.groups * gemm.m * gemm.n
    sum_time = partial_sums / accelerator.achievable_memory_bandwidth
    best = math.inf
    for tile in model.tiles:
        ((tiles, _),) = tiles_of(gemm, tile)
        loop = tile.m * tile.n * element_time
        whole = -(-tiles // multiprocessors)
        load = max(1.0, tiles / multiprocessors)
        waves = load + model.ragged_wave * (whole - load)
        best = min(best, waves * (loop + model.tile_overhead))
        if whole > 1:
            continue
        for split in model.split_k if split_k is None else split_k:
            waves = -(-tiles * split // multiprocessors)
            time = waves * (loop / split + model.tile_overhead) + split * sum_time
            best = min(best, time)
    if best == math.inf:
        raise SimulatorError(f"the kernels of {accelerator.name} list no GEMM tile")
    return best


def _shape_factor(precision: Precision, m: int, n: int, k: int, accelerator: Accelerator) -> float:
    shapes = accelerator.kernels.gemm.shapes
    if precision not in shapes:
        return 1.0
    key = ("shapes", precision)
    table = remembered(accelerator, key, lambda: LoadedTable(shapes[precision]))
    return table.factor(m, n, k)
