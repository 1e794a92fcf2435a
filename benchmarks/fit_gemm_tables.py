r"""Refit GEMM constants and deviations by shape to measured products, and test both held out.

Run from the repository root, for example::

    PYTHONPATH=. python benchmarks/fit_gemm_tables.py gemm.parquet bfloat16 \
        b200-sxm gb200 --library trtllm --constants

Hopper's bf16 table, this project's own rows counted twelve times::

    PYTHONPATH=. python benchmarks/fit_gemm_tables.py benchmarks/measurements/h200/gemm.csv bf16 \
        h200-sxm ... --also gemm.parquet --also-parts h200-sxm h100-sxm --faster 1.03 \
        --library trtllm --aligned --smoothness 0.3 --pin 100 --m 64 128 256 ... 32768 ...

Reads the operator database's table or this project's ``gemm.csv``. Layers, pairs (n, k), are held
out by a stable hash. Parts named together share constants and table, and one named twice counts
twice; the profile is edited by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from gemm_rows import NAMES, cast_time, long_points, modelled, rows_of
from kernel_fits import OUTLIER, error_text, with_constants
from scipy.optimize import least_squares

from simulator.calibration.operators import read_gemms, with_shapes
from simulator.calibration.shape_fit import Smoothing, fitted_table
from simulator.hardware.gemm_costs import gemm_time
from simulator.hardware.operator_tables import PRECISIONS
from simulator.hardware.shape_table import LoadedTable

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from gemm_rows import Axes, Rows
    from kernel_fits import Array

    from simulator.hardware.shape_table import ShapeTable

CASTS: Final = ("fp8", "fp8_block", "nvfp4")
"""Dtypes whose rows in the operator database hold casts of the input: not part of the GEMM."""
CAST_BYTES: Final = 3.0
"""bf16 read, eight bits written: one pass of a cast, by which its time is printed."""
ALIGNMENT: Final = 16
"""Rows: half of the database's m are one more than a multiple, which no training step has."""
AXIS_M: Final = (128, 256, 512, 1024, 2048, 4096, 8192, 32768)
AXIS_NK: Final = (64, 256, 1024, 2048, 4096, 8192, 16384, 65536)
RIDGE: Final = 1e-2
"""Weight of a deviation from none, in rows."""


def main() -> None:
    """Fit what the command line names; print errors by part and what the profile needs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("table", type=Path, help="gemm.parquet or gemm.csv")
    parser.add_argument("dtype", help="bfloat16, fp8, ... as the table writes it")
    parser.add_argument("parts", nargs="+", help="accelerator profiles, such as b200-sxm")
    parser.add_argument("--library", default="", help="start of the library's name")
    parser.add_argument("--constants", action="store_true", help="refit the constants, too")
    parser.add_argument("--smoothness", type=float, default=1.0, help="of the table, in rows")
    parser.add_argument("--pin", type=float, default=0.0, help="weight of none in long products")
    parser.add_argument("--also", type=Path, help="operator database, beside tables of ours")
    parser.add_argument("--also-parts", nargs="+", default=[], help="its parts")
    parser.add_argument("--faster", type=float, default=1.0, help="its library than ours, times")
    parser.add_argument("--aligned", action="store_true", help="only m in multiples of 16")
    parser.add_argument("--passes", type=float, help="of 3 B of the casts over the input, if known")
    for axis in "mnk":
        points = AXIS_M if axis == "m" else AXIS_NK
        parser.add_argument(f"--{axis}", type=int, nargs="+", default=points)
    arguments = parser.parse_args()
    frame = products(arguments.table, arguments)
    tables = [rows_of(frame, name, arguments.library) for name in arguments.parts]
    if arguments.also:
        frame = products(arguments.also, arguments)
        frame["time_us"] *= arguments.faster
        tables += [rows_of(frame, name, arguments.library) for name in arguments.also_parts]
    values = np.array([getattr(tables[0].part.kernels.gemm, name) for name in NAMES])
    print("profile", *(f"{table.part.name}: {quality(table)}" for table in tables), sep="\n  ")
    fits = [table.only(~table.held_out) for table in tables]
    cast = np.zeros(2)
    if arguments.constants:
        values = fitted(fits, values)
    if "library" in frame and arguments.dtype in CASTS:
        bandwidth = tables[0].part.achievable_memory_bandwidth / CAST_BYTES
        known = arguments.passes / bandwidth if arguments.passes else None
        cast = fitted_cast(fits, values, known)
        print(f"casts: {1e6 * cast[0]:.1f} us and {cast[1] * bandwidth:.2f} passes of 3 B")
    print("constants", dict(zip(NAMES, values.tolist(), strict=True)))
    axes = (arguments.m, arguments.n, arguments.k)
    smoothness, pin = arguments.smoothness, arguments.pin
    table = shared_table(fits, values, cast, axes, smoothness=smoothness, pin=pin)
    print(f"first: {axes[0]}\nsecond: {axes[1]}\nthird: {axes[2]}")
    print("percent: " + " ".join(str(int(value)) for value in table.percent))
    print("held out: plain | with the table | where casts are < 30 %")
    for rows in {(rows.part.name, len(rows.time)): rows for rows in tables}.values():
        check(rows, values)
        held = rows.only(rows.held_out)
        added = cast_time(held, cast)
        plain, lookup = modelled(held, values), LoadedTable(table)
        factor = np.array([lookup.factor(*map(int, size)) for size in held.sizes])
        errors = [(time + added) / held.time - 1 for time in (plain, plain * factor)]
        errors.append(errors[1][added < 0.3 * held.time])
        print(f"  {rows.part.name}", *map(error_text, errors), sep=" | ")


def products(path: Path, arguments: argparse.Namespace) -> pd.DataFrame:
    """Return the rows of a table at the precision that the command line names."""
    frame = read_gemms(path)
    known = frame["dtype"].map(PRECISIONS) == PRECISIONS[arguments.dtype]
    return frame[known & (frame["m"] % ALIGNMENT == 0) if arguments.aligned else known]


def fitted(tables: list[Rows], values: Array) -> Array:
    """Return the constants that fit all tables best."""

    def residuals(at: Array) -> Array:
        return np.concatenate([np.log(modelled(rows, at) / rows.time) for rows in tables])

    return solved(residuals, values)


def fitted_cast(tables: list[Rows], values: Array, element_time: float | None) -> Array:
    """Return launches [s] and time per element [s] of the casts; the GEMM's rates move, too."""

    def cast(at: Array) -> Array:
        return np.array([at[3], at[4] if element_time is None else element_time])

    def residuals(at: Array) -> Array:
        constants = np.array([at[0], at[1], values[2], at[2]])
        return np.concatenate(
            [
                np.log((modelled(rows, constants) + cast_time(rows, cast(at))) / rows.time)
                for rows in tables
            ]
        )

    start = 1.5 * CAST_BYTES / tables[0].part.achievable_memory_bandwidth
    return cast(solved(residuals, np.array([values[0], values[1], values[3], 5e-6, start])))


def solved(residuals: Callable[[Array], Array], start: Array) -> Array:
    """Return the non-negative values that give the least residuals, outliers weighted down."""
    solution = least_squares(
        residuals,
        start,
        bounds=(0.0, np.inf),
        x_scale=np.maximum(start, 1e-13),
        diff_step=1e-3,
        loss="soft_l1",
        f_scale=OUTLIER,
        max_nfev=30,
    )
    return np.asarray(solution.x)


def shared_table(
    tables: list[Rows], values: Array, cast: Array, axes: Axes, *, smoothness: float, pin: float
) -> ShapeTable:
    """Return the deviations that all tables share, smoothed by differences of neighbours."""
    ratios = [without_cast(rows, cast) / modelled(rows, values) for rows in tables]
    # Where casts hide the GEMM its logarithm says little.
    hidden = np.concatenate([cast_time(rows, cast) / rows.time for rows in tables])
    ridge = RIDGE + pin * long_points(tables[0], values, axes)
    return fitted_table(
        np.concatenate([rows.sizes for rows in tables]),
        np.log(np.concatenate(ratios)),
        axes,
        Smoothing(smoothness=smoothness, ridge=ridge, outlier=OUTLIER, power=0.5, rounds=8),
        certainty=1.0 - np.minimum(hidden, 0.8),
    )


def without_cast(rows: Rows, cast: Array) -> Array:
    """Return the measured times [s] less the casts', no shorter than the best GEMM allows."""
    if not cast.any():
        return rows.time
    least = 2.0 * rows.sizes.prod(axis=1) / rows.part.achievable(rows.gemms[0].precision)
    least = np.maximum(least, 0.2 * rows.time)
    return np.asarray(np.maximum(rows.time - cast_time(rows, cast), least))


def check(rows: Rows, values: Array) -> None:
    """Make sure that the model here is the simulator's."""
    few = rows.only(np.arange(0, len(rows.time), 997))
    part = with_constants(few.part, [f"gemm.{name}" for name in NAMES], values)
    part = with_shapes(part, few.gemms[0].precision, None)
    expected = np.array([gemm_time(gemm, part) for gemm in few.gemms])
    assert (modelled(few, values) <= expected * (1 + 1e-9)).all()
    assert np.median(expected / modelled(few, values)) < 1 + 1e-9


def quality(rows: Rows) -> str:
    """Return the held-out errors of the profile as it is (casts of the database included)."""
    held = rows.only(rows.held_out)
    times = np.array([gemm_time(gemm, held.part) for gemm in held.gemms])
    return error_text(times / held.time - 1)


if __name__ == "__main__":
    main()
