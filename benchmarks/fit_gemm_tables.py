r"""Refit GEMM constants and deviations by shape to measured products, and test both held out.

Run from the repository root, for example::

    PYTHONPATH=. python benchmarks/fit_gemm_tables.py gemm.parquet bfloat16 \
        b200-sxm gb200 b300-sxm gb300 --library trtllm --constants

Reads the operator database's table or this project's ``gemm.csv``. Layers, pairs (n, k), are held
out by a stable hash. Parts named together share constants and table; the profile is edited by hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import least_squares
from scipy.sparse.linalg import spsolve

from simulator.calibration.operators import read_gemms, with_shapes
from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.gemm_costs import PARTIAL_SUM_BYTES, gemm_time
from simulator.hardware.operator_tables import PRECISIONS, TIMING_OVERHEAD, gemm_of
from simulator.hardware.shape_table import LoadedTable, ShapeTable

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from simulator.operators import Gemm

NAMES: Final = ("burst_rate", "tile_overhead", "kernel_overhead", "bandwidth")
"""Constants that are refitted."""
CASTS: Final = ("fp8", "fp8_block", "nvfp4")
"""Dtypes whose rows in the operator database hold casts of the input: not part of the GEMM."""
CAST_BYTES: Final = 3.0
"""bf16 read, eight bits written."""
OUTLIER: Final = 0.05
"""Logarithmic error from which a row counts less than its square."""
AXIS_M: Final = (128, 256, 512, 1024, 2048, 4096, 8192, 32768)
AXIS_NK: Final = (64, 256, 1024, 2048, 4096, 8192, 16384, 65536)
RIDGE: Final = 1e-2
"""Weight of a deviation from none, in rows."""
Array = np.ndarray[Any, np.dtype[np.float64]]
Axes = Sequence[Sequence[int]]


class Rows(NamedTuple):
    """Products of one part and precision."""

    part: Accelerator
    gemms: list[Gemm]
    sizes: Array
    time: Array
    held_out: np.ndarray[Any, np.dtype[np.bool_]]

    def only(self, chosen: np.ndarray[Any, np.dtype[Any]]) -> Rows:
        """Return the chosen rows."""
        gemms = [self.gemms[i] for i in np.arange(len(self.time))[chosen]]
        return Rows(self.part, gemms, self.sizes[chosen], self.time[chosen], self.held_out[chosen])


def main() -> None:
    """Fit what the command line names; print errors by part and what the profile needs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("table", type=Path, help="gemm.parquet or gemm.csv")
    parser.add_argument("dtype", help="bfloat16, fp8, ... as the table writes it")
    parser.add_argument("parts", nargs="+", help="accelerator profiles, such as b200-sxm")
    parser.add_argument("--library", default="", help="start of the library's name")
    parser.add_argument("--constants", action="store_true", help="refit the constants, too")
    parser.add_argument("--smoothness", type=float, default=1.0, help="of the table, in rows")
    for axis, points in zip(
        "mnk",
        ("128 256 512 1024 2048 4096 8192 32768",)
        + 2 * ("64 256 1024 2048 4096 8192 16384 65536",),
        strict=True,
    ):
        parser.add_argument(f"--{axis}", type=int, nargs="+", default=[*map(int, points.split())])
    arguments = parser.parse_args()
    frame = read_gemms(arguments.table)
    frame = frame[frame["dtype"] == arguments.dtype]
    database = "library" in frame
    tables = [rows_of(frame, name, arguments.library) for name in arguments.parts]
    model = tables[0].part.kernels.gemm
    values = np.array([getattr(model, name) for name in NAMES])
    print("profile", *(f"{table.part.name}: {quality(table)}" for table in tables), sep="\n  ")
    fits = [table.only(~table.held_out) for table in tables]
    cast = np.zeros(2)
    if arguments.constants:
        values = fitted(fits, values)
    if database and arguments.dtype in CASTS:
        cast = fitted_cast(fits, values, arguments.passes)
    print("constants", dict(zip(NAMES, values.tolist(), strict=True)), "casts", cast)
    axes = (arguments.m, arguments.n, arguments.k)
    table = fitted_table(fits, values, cast, axes, arguments.smoothness)
    print(f"first: {axes[0]}\nsecond: {axes[1]}\nthird: {axes[2]}")
    print("percent: [" + ", ".join(f"{value:.0f}" for value in table.percent) + "]")
    print("held out: median, 90th percentile; plain | with the table | where casts are < 30 %")
    for rows in tables:
        check(rows, values)
        held = rows.only(rows.held_out)
        added = cast_time(held, cast)
        plain = modelled(held, values)
        factor = np.array([LoadedTable(table).factor(*map(int, size)) for size in held.sizes])
        errors = [(time + added) / held.time - 1 for time in (plain, plain * factor)]
        errors.append(errors[1][added < 0.3 * held.time])
        print(f"  {rows.part.name}", *map(summary, errors), sep=" | ")


def rows_of(frame: pd.DataFrame, name: str, library: str) -> Rows:
    """Return the rows of one part: in the operator database by its name, elsewhere all."""
    catalog = Catalog(())
    document = catalog.document("accelerator", name)
    part = validate(Accelerator, catalog.resolve("accelerator", document, ()))
    time = frame["time_us"] * 1e-6
    if "library" in frame:
        label = name.upper() if name.endswith("-sxm") else f"{name.upper()}-NVL72"
        chosen = (frame["accelerator"] == label) & frame["library"].str.startswith(library)
        frame, time = frame[chosen], time[chosen]
    else:
        time = time - TIMING_OVERHEAD
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


def cast_time(rows: Rows, cast: Array) -> Array:
    """Return the time [s] of casts of the input: launches, and passes over it."""
    n_bytes = CAST_BYTES * rows.sizes[:, 0] * rows.sizes[:, 2]
    return np.asarray(cast[0] + cast[1] * n_bytes / rows.part.achievable_memory_bandwidth)


def fitted(tables: list[Rows], values: Array) -> Array:
    """Return the constants that fit all tables best."""

    def residuals(at: Array) -> Array:
        return np.concatenate([np.log(modelled(rows, at) / rows.time) for rows in tables])

    return solved(residuals, values)


def fitted_cast(tables: list[Rows], values: Array, passes: float | None) -> Array:
    """Return launches [s] and passes of the casts, while the rates of the GEMM move, too."""

    def cast(at: Array) -> Array:
        return np.array([at[3], at[4] if passes is None else passes])

    def residuals(at: Array) -> Array:
        constants = np.array([at[0], at[1], values[2], at[2]])
        return np.concatenate(
            [
                np.log((modelled(rows, constants) + cast_time(rows, cast(at))) / rows.time)
                for rows in tables
            ]
        )

    return cast(solved(residuals, np.array([values[0], values[1], values[3], 5e-6, 1.5])))


def solved(residuals: Callable[[Array], Array], start: Array) -> Array:
    """Return the non-negative values that give the least residuals, outliers weighted down."""
    solution = least_squares(
        residuals,
        start,
        bounds=(0.0, math.inf),
        x_scale=np.maximum(start, 1e-7),
        diff_step=1e-3,
        loss="soft_l1",
        f_scale=OUTLIER,
        max_nfev=30,
    )
    return np.asarray(solution.x)


def fitted_table(
    tables: list[Rows], values: Array, cast: Array, axes: Axes, smoothness: float
) -> ShapeTable:
    """Return the deviations that all tables share, smoothed by differences of neighbours."""
    design = sparse.vstack([hats(rows.sizes, axes) for rows in tables])
    wanted = np.concatenate(
        [np.log(without_cast(rows, cast) / modelled(rows, values)) for rows in tables]
    )
    # Where casts hide the GEMM its logarithm says little.
    hidden = np.concatenate([cast_time(rows, cast) / rows.time for rows in tables])
    certainty = 1.0 - np.minimum(hidden, 0.8)
    eyes = [sparse.identity(len(axis)) for axis in axes]
    smooth = []
    for along in range(3):
        parts = [
            sparse.csr_matrix(np.diff(np.eye(len(axis)), axis=0)) if at == along else eye
            for at, (axis, eye) in enumerate(zip(axes, eyes, strict=True))
        ]
        smooth.append(sparse.kron(sparse.kron(parts[0], parts[1]), parts[2]))
    rough = sparse.vstack(smooth)
    penalty = smoothness * rough.T @ rough + RIDGE * sparse.identity(design.shape[1])
    weights = certainty**2
    for _ in range(8):
        weighted = design.T @ sparse.diags(weights)
        found = spsolve((weighted @ design + penalty).tocsc(), weighted @ wanted)
        error = certainty * (wanted - design @ found)
        weights = certainty**2 / np.sqrt(1 + (error / OUTLIER) ** 2)
    first, second, third = (tuple(axis) for axis in axes)
    percent = tuple(float(value) for value in np.round(100 * found))
    return ShapeTable(first=first, second=second, third=third, percent=percent)


def without_cast(rows: Rows, cast: Array) -> Array:
    """Return the measured times [s] less the casts', no shorter than the best GEMM allows."""
    if not cast.any():
        return rows.time
    flops = 2.0 * rows.sizes.prod(axis=1)
    least = flops / rows.part.achievable(rows.gemms[0].precision)
    least = np.maximum(least, 0.2 * rows.time)
    return np.asarray(np.maximum(rows.time - cast_time(rows, cast), least))


def hats(sizes: Array, axes: Axes) -> sparse.csr_matrix:
    """Return the weight of each point of the table at each row's sizes."""
    product = np.ones((len(sizes), 1))
    for at, axis in enumerate(axes):
        points, where = np.log2(axis), np.log2(sizes[:, at])
        weights = np.stack([np.interp(where, points, row) for row in np.eye(len(axis))], axis=1)
        product = (product[:, :, None] * weights[:, None, :]).reshape(len(sizes), -1)
    return sparse.csr_matrix(product)


def check(rows: Rows, values: Array) -> None:
    """Make sure that the model here is the simulator's."""
    few = rows.only(np.arange(0, len(rows.time), 997))
    gemm = dataclasses.replace(
        few.part.kernels.gemm, **dict(zip(NAMES, values.tolist(), strict=True))
    )
    kernels = dataclasses.replace(few.part.kernels, gemm=gemm)
    part = with_shapes(dataclasses.replace(few.part, kernels=kernels), few.gemms[0].precision, None)
    expected = np.array([gemm_time(gemm, part) for gemm in few.gemms])
    assert (modelled(few, values) <= expected * (1 + 1e-9)).all()
    assert np.median(expected / modelled(few, values)) < 1 + 1e-9


def quality(rows: Rows) -> str:
    """Return the held-out errors of the profile as it is (casts of the database included)."""
    held = rows.only(rows.held_out)
    times = np.array([gemm_time(gemm, held.part) for gemm in held.gemms])
    return summary(times / held.time - 1)


def summary(errors: Array) -> str:
    """Return median and 90th percentile [%] of the errors' size, their median, and their number."""
    size = 100 * np.abs(errors)
    middle, high = np.quantile(size, (0.5, 0.9))
    return f"{middle:.1f} {high:.1f} (bias {100 * np.median(errors):+.1f}, n {len(size)})"


if __name__ == "__main__":
    main()
