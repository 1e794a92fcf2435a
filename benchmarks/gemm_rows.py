"""Measured matrix products as arrays, and the tile model of `gemm_time` on all of them at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from kernel_fits import database_name, part_of

from simulator.hardware.gemm_costs import PARTIAL_SUM_BYTES
from simulator.hardware.operator_tables import TIMING_OVERHEAD, gemm_of, timed_by_events
from simulator.units import MICRO

if TYPE_CHECKING:
    import pandas as pd
    from kernel_fits import Array, Flags

    from simulator.hardware.accelerator import Accelerator
    from simulator.operators import Gemm

NAMES: Final = ("burst_rate", "tile_overhead", "kernel_overhead", "bandwidth")
"""Constants that are refitted."""
LONG: Final = 10
"""Times the boost time from which a product runs at the sustained rate, as in training."""
Axes = Sequence[Sequence[int]]


class Rows(NamedTuple):
    """Products of one part and precision."""

    part: Accelerator
    gemms: list[Gemm]
    sizes: Array
    time: Array
    held_out: Flags

    def only(self, chosen: np.ndarray[Any, np.dtype[Any]]) -> Rows:
        """Return the chosen rows."""
        gemms = [self.gemms[i] for i in np.arange(len(self.time))[chosen]]
        return Rows(self.part, gemms, self.sizes[chosen], self.time[chosen], self.held_out[chosen])


def rows_of(frame: pd.DataFrame, name: str, library: str) -> Rows:
    """Return the rows of one part: in the operator database by its name, elsewhere all."""
    part = part_of(name)
    if "library" in frame:
        mine = frame["accelerator"] == database_name(name)
        frame = frame[mine & frame["library"].str.startswith(library)]
    time = frame["time_us"] * MICRO
    if timed_by_events(frame.columns):
        time -= TIMING_OVERHEAD
    gemms = [gemm_of(row) for row in frame.to_dict("records")]
    sizes = np.array([(gemm.m, gemm.n, gemm.k) for gemm in gemms], dtype=float)
    return Rows(part, gemms, sizes, time.to_numpy(float), frame["held_out"].to_numpy(bool))


def modelled(rows: Rows, values: Array) -> Array:
    """Return the times [s] of `gemm_time` without a table of shapes, all rows at once."""
    part, model = rows.part, rows.part.kernels.gemm
    burst_rate, tile_overhead, kernel_overhead, share = values
    m, n, k = rows.sizes.T
    first = rows.gemms[0]
    roles = np.array([model.role_rate[gemm.role] for gemm in rows.gemms])
    rate = roles * min(burst_rate * part.achievable(first.precision), part.peak(first.precision))
    many = part.multiprocessors
    partial = PARTIAL_SUM_BYTES * m * n / part.achievable_memory_bandwidth
    best: Array = np.full(len(m), math.inf)
    for tile in model.tiles:
        tiles = np.ceil(m / tile.m) * np.ceil(n / tile.n)
        loop = 2.0 * tile.m * tile.n * many * k / rate
        load = np.maximum(1.0, tiles / many)
        waves = load + model.ragged_wave * (np.ceil(tiles / many) - load)
        best = np.minimum(best, waves * (loop + tile_overhead))
        for split in model.split_k:
            time = np.ceil(tiles * split / many) * (loop / split + tile_overhead) + split * partial
            best = np.minimum(best, np.where(tiles <= many, time, math.inf))
    n_bytes = first.precision.n_bytes * (m * k + k * n) + 2.0 * m * n
    burst = np.maximum(best, n_bytes / (share * part.achievable_memory_bandwidth))
    sustained_rate = model.sustained_rate[first.precision] * part.achievable(first.precision)
    slower = np.maximum(2.0 * m * n * k / sustained_rate - burst, 0.0)
    busy = burst + slower * burst / (burst + part.kernels.boost_time)
    return np.asarray(part.launch_gap + kernel_overhead + busy)


def long_points(rows: Rows, values: Array, axes: Axes) -> Flags:
    """Return at which points of a table products far outlast the boost: sustained rates rule."""
    points = np.array(list(itertools.product(*axes)), dtype=float)
    nothing = np.zeros(len(points))
    grid = Rows(rows.part, rows.gemms[:1] * len(points), points, nothing, nothing > 0)
    return np.asarray(modelled(grid, values) > LONG * rows.part.kernels.boost_time)


def cast_time(rows: Rows, cast: Array) -> Array:
    """Return the time [s] of casts of the input: launches, and passes over it.

    ``cast``: launches [s] and seconds per element. Instructions bound these casts, so that parts
    of one die share them, whatever their memory.
    """
    return np.asarray(cast[0] + cast[1] * rows.sizes[:, 0] * rows.sizes[:, 2])
