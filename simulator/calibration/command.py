"""`simulator calibrate operators`: tables in, fit quality and an accelerator profile out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.calibration.operators import (
    fitted_shapes,
    log_errors,
    read_gemms,
    with_shapes,
)
from simulator.calibration.rates import (
    Timing,
    group_of,
    profile_lines,
    scaled,
    timings,
)
from simulator.calibration.rates import (
    log_errors as rate_errors,
)
from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.operator_tables import TIMING_OVERHEAD, gemm_of
from simulator.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from simulator.hardware.shape_table import ShapeTable
    from simulator.precision import Precision

NEEDED = {"dtype", "m", "n", "k", "time_us"}


def calibrate_operators(
    tables: Sequence[Path], *, accelerator: str | None, out: Path | None, profiles: Sequence[Path]
) -> None:
    """Fit tables of operators, print fit quality and write a profile based on the named one.

    GEMMs get a table of deviations by shape; the rates of attention and memory-bound kernels are
    scaled.

    Raises
    ------
    SimulatorError
        If no accelerator is named, or a table cannot be read or is of no kind that is fitted.
    """
    if accelerator is None:
        raise SimulatorError("--accelerator NAME is needed: its peaks and sizes are used")
    catalog = Catalog(tuple(profiles))
    document = catalog.document("accelerator", accelerator)
    part = validate(Accelerator, catalog.resolve("accelerator", document, ()))
    products, others = _rows(tables)
    fits = {} if products is None else dict(_fits(products, part))
    rated = scaled(part, others)
    _print_rates(rated, others)
    if out:
        lines = [*_shape_lines(fits), *profile_lines(rated, others)]
        text = "\n".join([f"base: {accelerator}", "kernels:", *lines, ""])
        out.write_text(text, encoding="utf-8")


def _rows(tables: Sequence[Path]) -> tuple[pd.DataFrame | None, list[Timing]]:
    """Return the products of all tables, if there are any, and the other operators."""
    import pandas as pd  # noqa: PLC0415 - start-up stays fast

    products, others = [], []
    for path in tables:
        columns = () if path.is_dir() or path.suffix != ".csv" else _header(path)
        if {"op", "bytes_moved"} <= set(columns) or {"backend", "heads"} <= set(columns):
            others += timings(pd.read_csv(path))
        else:
            products.append(_read(path))
    return (pd.concat(products, ignore_index=True) if products else None), others


def _header(path: Path) -> tuple[str, ...]:
    try:
        with path.open(encoding="utf-8") as file:
            return tuple(file.readline().strip().split(","))
    except (OSError, UnicodeDecodeError) as error:
        raise SimulatorError(f"{path}: cannot be read: {error}") from None


def _print_rates(part: Accelerator, rows: Sequence[Timing]) -> None:
    if not rows:
        return
    import numpy as np  # noqa: PLC0415 - start-up stays fast

    print(f"{'operator':44}{'rows':>12}{'n':>7}{'median %':>10}{'p90 %':>8}")  # noqa: T201
    for group in sorted({group_of(row.operator) for row in rows}):
        for held_out in (False, True):
            some = [
                row for row in rows if group_of(row.operator) == group and row.held_out is held_out
            ]
            if not some:
                continue
            errors = abs(np.expm1(-np.array(rate_errors(part, some))))
            middle, p90 = (100 * float(np.quantile(errors, share)) for share in (0.5, 0.9))
            which = "held out" if held_out else "fitted"
            print(f"{' '.join(group):44}{which:>12}{len(some):7}{middle:10.1f}{p90:8.1f}")  # noqa: T201


def _read(path: Path) -> pd.DataFrame:
    path = path / "gemm_perf.txt" if path.is_dir() else path
    try:
        frame = read_gemms(path)
    except (OSError, ValueError, KeyError) as error:
        message = f"{path}: cannot be read as a table of GEMMs ({type(error).__name__}: {error})"
        raise SimulatorError(message) from None
    if not set(frame.columns) >= NEEDED:
        raise SimulatorError(f"{path}: a table of GEMMs has the columns {', '.join(NEEDED)}")
    if "tflops" in frame:  # timed with an event pair, unlike the database
        frame["time_us"] -= TIMING_OVERHEAD / MICRO
    return frame


def _fits(frame: pd.DataFrame, part: Accelerator) -> Iterator[tuple[Precision, ShapeTable]]:
    import numpy as np  # noqa: PLC0415 - start-up stays fast

    print(f"{'dtype':12}{'pass':8}{'rows':>12}{'n':>7}{'median %':>10}{'p90 %':>8}")  # noqa: T201
    for dtype, rows in frame.groupby("dtype"):
        precision = gemm_of(next(iter(rows.to_dict("records")))).precision
        table = fitted_shapes(rows[~rows["held_out"]], part)
        fitted = with_shapes(part, precision, table)
        for (role, held_out), some in rows.groupby(["pass", "held_out"]):
            errors = abs(np.expm1(-log_errors(some, fitted)))
            median, p90 = (100 * float(np.quantile(errors, share)) for share in (0.5, 0.9))
            which = "held out" if held_out else "fitted"
            print(f"{dtype:12}{role:8}{which:>12}{len(some):7}{median:10.1f}{p90:8.1f}")  # noqa: T201
        yield precision, table


def _shape_lines(fits: dict[Precision, ShapeTable]) -> list[str]:
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
