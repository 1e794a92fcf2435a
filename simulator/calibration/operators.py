"""Fit of matrix products: how far measured times are from the tile model, over the sizes."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from typing import TYPE_CHECKING, Any, Final

from simulator.hardware.gemm_costs import gemm_time
from simulator.hardware.operator_tables import gemm_of
from simulator.hardware.shape_table import ShapeTable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from simulator.hardware.accelerator import Accelerator
    from simulator.precision import Precision

HELD_OUT: Final = 4
"""One pair (n, k) of a layer in so many is kept from the fit, by the SHA-256 of its text."""
AXIS_M: Final = (64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
AXIS_NK: Final = (256, 1024, 2048, 4096, 8192, 16384, 32768)
"""Points of the table of deviations."""
LEAST_FLOPS: Final = 1e8
"""Smaller products are left out: launches, not arithmetic, decide a step's share of them."""
SMOOTHNESS: Final = 1.0
"""Weight of a difference between neighbouring points, in rows."""
OUTLIER: Final = 0.1
"""Logarithmic error from which a row counts less than its square."""
DATABASE_COLUMNS: Final = {"gemm_dtype": "dtype"}


def read_gemms(path: Path) -> pd.DataFrame:
    """Return products of a table: columns dtype, pass, m, n, k, time_us, held_out.

    Reads this project's ``gemm.csv`` and the operator database's ``gemm_perf.txt`` (CSV text with
    ``latency`` in ms) or its extraction as Parquet.
    """
    import pandas as pd  # noqa: PLC0415 - start-up stays fast

    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    frame = frame.rename(columns=DATABASE_COLUMNS)
    if "latency" in frame:
        frame["time_us"] = 1e3 * frame["latency"]
    if "pass" not in frame:
        frame["pass"] = "fprop"  # noqa: S105 - a direction
    frame["held_out"] = [is_held_out(n, k) for n, k in zip(frame["n"], frame["k"], strict=True)]
    return frame[2.0 * frame["m"] * frame["n"] * frame["k"] >= LEAST_FLOPS]


def is_held_out(n: int, k: int) -> bool:
    """Return whether all products of this layer are kept from fits."""
    return hashlib.sha256(f"{n}x{k}".encode()).digest()[0] % HELD_OUT == 0


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
    kernels = dataclasses.replace(
        accelerator.kernels, gemm=dataclasses.replace(gemm, shapes=shapes)
    )
    return dataclasses.replace(accelerator, kernels=kernels)


def fitted_shapes(frame: pd.DataFrame, accelerator: Accelerator) -> ShapeTable:
    """Return the deviations of ``frame`` (one precision) from the tile model without a table.

    Least squares on the logarithms, trilinear between the points, smoothed by first differences,
    outliers weighted down (iteratively, by a Cauchy weight).
    """
    import numpy as np  # noqa: PLC0415 - start-up stays fast

    gemms = [gemm_of(row) for row in frame.to_dict("records")]
    sizes = np.array([(gemm.m, gemm.n, gemm.k) for gemm in gemms], dtype=float)
    plain = with_shapes(accelerator, gemms[0].precision, None)
    wanted = log_errors(frame, plain)
    design, smooth = _design(sizes), SMOOTHNESS * _differences()
    values: NDArray[Any] = np.zeros(design.shape[1])
    weights: NDArray[Any] = np.ones(len(wanted))
    for _ in range(5):
        normal = design.T @ (design * weights[:, None]) + smooth.T @ smooth
        values = np.linalg.solve(normal + 1e-3 * np.eye(len(values)), design.T @ (weights * wanted))
        weights = 1 / (1 + ((wanted - design @ values) / OUTLIER) ** 2)
    percent = tuple(float(value) for value in np.round(100 * values))
    return ShapeTable(first=AXIS_M, second=AXIS_NK, third=AXIS_NK, percent=percent)


def _design(sizes: NDArray[np.float64]) -> NDArray[Any]:
    import numpy as np  # noqa: PLC0415 - start-up stays fast

    weights = [_hats(sizes[:, at], axis) for at, axis in enumerate((AXIS_M, AXIS_NK, AXIS_NK))]
    product: NDArray[Any] = np.einsum("ri,rj,rk->rijk", *weights).reshape(len(sizes), -1)
    return product


def _hats(sizes: NDArray[np.float64], axis: tuple[int, ...]) -> NDArray[Any]:
    """Return the weight of each point of the axis at each size: linear between neighbours."""
    import numpy as np  # noqa: PLC0415 - start-up stays fast

    points = [math.log2(point) for point in axis]
    at = np.log2(sizes)
    return np.stack([np.interp(at, points, row) for row in np.eye(len(points))], axis=1)


def _differences() -> NDArray[Any]:
    """Return the matrix of differences between neighbouring points of the table."""
    import numpy as np  # noqa: PLC0415 - start-up stays fast

    eyes = [np.eye(len(axis)) for axis in (AXIS_M, AXIS_NK, AXIS_NK)]
    rows = []
    for along in range(3):
        parts = [np.diff(eye, axis=0) if at == along else eye for at, eye in enumerate(eyes)]
        rows.append(np.kron(np.kron(parts[0], parts[1]), parts[2]))
    return np.concatenate(rows)
