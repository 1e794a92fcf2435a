"""Fit of matrix products: how far measured times are from the tile model, over the sizes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from simulator.calibration.held_out import is_held_out
from simulator.calibration.shape_fit import Smoothing, fitted_table
from simulator.errors import SimulatorError
from simulator.hardware.gemm_costs import gemm_time
from simulator.hardware.operator_tables import gemm_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from simulator.hardware.accelerator import Accelerator
    from simulator.hardware.shape_table import ShapeTable
    from simulator.precision import Precision

AXIS_M: Final = (64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
AXIS_NK: Final = (256, 1024, 2048, 4096, 8192, 16384, 32768)
"""Points of the table of deviations."""
LEAST_FLOPS: Final = 1e8
"""Smaller products are left out: launches, not arithmetic, decide a step's share of them."""
SMOOTHING: Final = Smoothing(smoothness=1.0, ridge=1e-3, outlier=0.1, power=1.0, rounds=5)
DATABASE_COLUMNS: Final = {"gemm_dtype": "dtype"}
NUMBERS: Final = ("m", "n", "k", "time_us")
"""Columns of a table of GEMMs that hold numbers; another is ``dtype``."""


def read_gemms(path: Path) -> pd.DataFrame:
    """Return products of a table: columns dtype, pass, m, n, k, time_us, held_out.

    All products of a layer, a pair (n, k), are held out or none is. Reads this project's
    ``gemm.csv`` and the operator database's ``gemm_perf.txt`` (CSV text with ``latency`` in ms) or
    its extraction as Parquet.

    Raises
    ------
    SimulatorError
        If it cannot be read, lacks a column, or has words where numbers should be.
    """
    import pandas as pd  # noqa: PLC0415 - start-up stays fast

    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        frame = frame.rename(columns=DATABASE_COLUMNS)
        if "latency" in frame:
            frame["time_us"] = 1e3 * pd.to_numeric(frame["latency"])
        if missing := [name for name in ("dtype", *NUMBERS) if name not in frame]:
            raise SimulatorError(f"{path}: a table of GEMMs has a column {missing[0]}")
        for name in NUMBERS:
            frame[name] = pd.to_numeric(frame[name])
            if frame[name].isna().any():
                raise SimulatorError(f"{path}: column {name} has an empty cell")
    except (OSError, ValueError) as error:
        raise SimulatorError(f"{path}: cannot be read as a table of GEMMs: {error}") from None
    if "pass" not in frame:
        frame["pass"] = "fprop"  # noqa: S105 - a direction
    layers = zip(frame["n"], frame["k"], strict=True)
    frame["held_out"] = [is_held_out(f"{n}x{k}") for n, k in layers]
    return frame[2.0 * frame["m"] * frame["n"] * frame["k"] >= LEAST_FLOPS]


def log_errors(frame: pd.DataFrame, accelerator: Accelerator) -> NDArray[np.float64]:
    """Return log(measured / modelled time) of each row."""
    import numpy as np  # noqa: PLC0415 - start-up stays fast

    times = [gemm_time(gemm_of(row), accelerator) for row in frame.to_dict("records")]
    errors: NDArray[np.float64] = np.log(frame["time_us"].to_numpy(float) * 1e-6 / np.array(times))
    return errors


def with_shapes(
    accelerator: Accelerator, precision: Precision, table: ShapeTable | None
) -> Accelerator:
    """Return the accelerator with this table of deviations, or none, at ``precision``."""
    gemm = accelerator.kernels.gemm
    shapes = {key: value for key, value in gemm.shapes.items() if key != precision}
    if table:
        shapes[precision] = table
    return accelerator.with_kernels(gemm=dataclasses.replace(gemm, shapes=shapes))


def fitted_shapes(frame: pd.DataFrame, accelerator: Accelerator) -> ShapeTable:
    """Return the deviations of ``frame`` (one precision) from the tile model without a table."""
    import numpy as np  # noqa: PLC0415 - start-up stays fast

    gemms = [gemm_of(row) for row in frame.to_dict("records")]
    sizes = np.array([(gemm.m, gemm.n, gemm.k) for gemm in gemms], dtype=float)
    plain = with_shapes(accelerator, gemms[0].precision, None)
    axes = (AXIS_M, AXIS_NK, AXIS_NK)
    return fitted_table(sizes, log_errors(frame, plain), axes, SMOOTHING)


def shape_lines(fits: Mapping[Precision, ShapeTable]) -> list[str]:
    """Return the lines under ``kernels:`` of a profile that hold the tables of deviations."""
    lines = ["  gemm:", "    shapes:"] if fits else []
    for precision, table in fits.items():
        lines += [f"      {precision}:", "        value:"]
        lines += [
            f"          {axis}: {list(getattr(table, axis))}"
            for axis in ("first", "second", "third")
        ]
        percent = " ".join(f"{value:.0f}" for value in table.percent)
        lines += [f"          percent: {percent}"]
        lines += ["        source: simulator calibrate operators", "        status: fitted"]
    return lines
