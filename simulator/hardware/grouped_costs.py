"""Seconds of grouped matrix products: the tiles of all groups in one sequence of waves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator.hardware.gemm_costs import (
    at_least_roofline,
    loop_rate,
    memory_time,
    sustained_time,
    tiles_of,
)
from simulator.hardware.gemm_model import Tile
from simulator.hardware.kernels import entry
from simulator.hardware.power import power_limited
from simulator.operators import Role

if TYPE_CHECKING:
    from simulator.hardware.accelerator import Accelerator
    from simulator.hardware.grouped_model import GroupedModel, GroupedTile
    from simulator.operators import GroupedGemm


def grouped_gemm_time(grouped: GroupedGemm, accelerator: Accelerator) -> float:
    """Return the device time [s] of a grouped product, launch gap included.

    Tiles of all groups run in one sequence of waves over the multiprocessors, the deepest first
    (a weight gradient is as deep as its group has rows). Where the part's profile describes the
    library's kernel (``gemm.grouped``), its tiles and their clusters are taken, so that a group
    with few rows costs a whole cluster of tiles; elsewhere the best tile of the ordinary products.

    Raises
    ------
    SimulatorError
        If the part has no rate at the product's precision.

    Notes
    -----
    Neglected: split k; without ``gemm.grouped`` also the kernel that lays out the groups.
    """
    model = accelerator.kernels.gemm.grouped
    if model:
        burst = _clustered_time(grouped, model, accelerator)
        fixed = model.kernel_overhead + len(grouped.rows) * model.group_overhead
    else:
        burst = _tiled_time(grouped, accelerator)
        fixed = accelerator.kernels.gemm.kernel_overhead
    sustained = sustained_time(grouped, accelerator)
    busy = power_limited(burst, sustained, accelerator.kernels.boost_time)
    return at_least_roofline(accelerator.launch_gap + fixed + busy, grouped, accelerator)


def taken_tile(grouped: GroupedGemm, model: GroupedModel) -> GroupedTile:
    """Return the tile that the library takes, by the mean group alone.

    References
    ----------
    PyTorch, ``aten/src/ATen/native/cuda/GroupMM.cu`` (commit 06c0cf011), Hopper: tiles of 64 x 128
    up to 128 rows or columns, else 128 x 256; clusters of two along m.
    """
    rows = grouped.k if grouped.role is Role.WEIGHT_GRADIENT else sum(grouped.rows)
    if grouped.role is not Role.WEIGHT_GRADIENT:
        rows //= max(1, len(grouped.rows))
    return model.few_rows_tile if min(rows, grouped.n) <= model.few_rows else model.tile


def _clustered_time(grouped: GroupedGemm, model: GroupedModel, accelerator: Accelerator) -> float:
    """Return the burst time [s] of the kernel that a profile describes."""
    taken = taken_tile(grouped, model)
    tile = Tile(m=model.cluster * taken.m, n=taken.n)
    role = entry(model.role_rate, grouped.role, "grouped GEMM role", accelerator.name)
    achievable = taken.burst_rate * role * accelerator.achievable(grouped.precision)
    rate = min(achievable, accelerator.peak(grouped.precision))
    clusters = max(1, accelerator.multiprocessors // model.cluster)
    arithmetic = _waves_time(
        tiles_of(grouped, tile),
        clusters,
        step=2.0 * tile.m * tile.n * clusters / rate,
        overhead=taken.overhead,
        ragged_wave=model.ragged_wave,
    )
    memory = grouped.n_bytes / (model.bandwidth * accelerator.achievable_memory_bandwidth)
    longer, shorter = max(arithmetic, memory), min(arithmetic, memory)
    power = model.overlap_exponent
    return longer * (1.0 + (shorter / longer) ** power) ** (1.0 / power) if longer else 0.0


def _tiled_time(grouped: GroupedGemm, accelerator: Accelerator) -> float:
    """Return the burst time [s] with the best tile of the part's ordinary products."""
    model = accelerator.kernels.gemm
    many, rate = accelerator.multiprocessors, loop_rate(grouped, accelerator)
    arithmetic = min(
        _waves_time(
            tiles_of(grouped, tile),
            many,
            step=2.0 * tile.m * tile.n * many / rate,
            overhead=model.tile_overhead,
            ragged_wave=model.ragged_wave,
        )
        for tile in model.tiles
    )
    return max(arithmetic, memory_time(grouped.n_bytes, accelerator))


def _waves_time(
    tiles: list[tuple[int, int]], many: int, *, step: float, overhead: float, ragged_wave: float
) -> float:
    """Return the time [s] of tiles, given by number and depth, on ``many`` places at once.

    Each takes ``step`` [s] per unit of depth and ``overhead``; the deepest come first, and a
    ragged last wave is as long as one of them.
    """
    load = sum(count for count, _ in tiles) / many
    work = sum(count * (depth * step + overhead) for count, depth in tiles)
    longest = max((depth for count, depth in tiles if count), default=0) * step + overhead
    return max(longest, work / many + ragged_wave * (math.ceil(load) - load) * longest)
