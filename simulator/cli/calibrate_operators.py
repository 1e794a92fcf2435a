"""``simulator calibrate operators``: tables in, fit quality and an accelerator profile out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from simulator.calibration.files import write_profile
from simulator.calibration.operator_database import (
    ATTENTION_TABLE,
    GEMM_TABLE,
    attention_calls,
    gemms,
    table_path,
)
from simulator.calibration.operators import (
    LEAST_FLOPS,
    fitted_shapes,
    log_errors,
    read_gemms,
    shape_lines,
    with_shapes,
)
from simulator.calibration.rates import group_of, profile_lines, scaled, timings
from simulator.calibration.rates import log_errors as rate_errors
from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.operator_tables import TIMING_OVERHEAD, gemm_of, timed_by_events
from simulator.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import ArrayLike

    from simulator.calibration.rates import Timing
    from simulator.hardware.shape_table import ShapeTable
    from simulator.precision import Precision


def calibrate_operators(
    tables: Sequence[Path], *, accelerator: str | None, out: Path | None, profiles: Sequence[Path]
) -> None:
    """Fit tables of operators, print fit quality and write a profile based on the named one.

    GEMMs get a table of deviations by shape; the rates of attention and memory-bound kernels are
    scaled.

    Raises
    ------
    SimulatorError
        If no accelerator is named, a table cannot be read or is of no kind that is fitted, or the
        profile cannot be written.
    """
    if accelerator is None:
        raise SimulatorError("--accelerator NAME is needed: its peaks and sizes are used")
    catalog = Catalog(tuple(profiles))
    part = validate(Accelerator, catalog.document("accelerator", accelerator))
    products, others = _rows(tables)
    fits = {} if products is None else dict(_fits(products, part))
    rated = scaled(part, others)
    _print_rates(rated, others)
    if out:
        lines = [*shape_lines(fits), *profile_lines(rated, others)]
        write_profile("\n".join([f"base: {accelerator}", "kernels:", *lines, ""]), out)


def _rows(tables: Sequence[Path]) -> tuple[pd.DataFrame | None, list[Timing]]:
    """Return the products of all tables, if there are any, and the other operators."""
    import pandas as pd  # noqa: PLC0415 - start-up stays fast

    products: list[pd.DataFrame] = []
    others: list[Timing] = []
    for path in tables:
        if path.is_dir():
            some, more = _directory(path)
            products += some
            others += more
            continue
        columns = _header(path) if path.suffix == ".csv" else ()
        if {"op", "bytes_moved"} <= set(columns) or {"backend", "heads"} <= set(columns):
            others += timings(_read_columns(path))
        else:
            products.append(_read(path))
    found = pd.concat(products, ignore_index=True) if products else None
    if (found is None or found.empty) and not others:
        raise SimulatorError(
            f"nothing to fit: no GEMM of {LEAST_FLOPS:.0e} FLOPs or more, nor others"
        )
    return found, others


def _directory(path: Path) -> tuple[list[pd.DataFrame], list[Timing]]:
    """Return products and attention calls of a directory of the public operator database."""
    products, calls = table_path(path, GEMM_TABLE), table_path(path, ATTENTION_TABLE)
    if not products and not calls:
        raise SimulatorError(f"{path}: holds no {GEMM_TABLE} and no {ATTENTION_TABLE} table")
    frames: list[pd.DataFrame] = []
    others: list[Timing] = []
    left_out: list[str] = []
    if products:
        frame, left_out = gemms(_read(products))
        frames.append(frame)
    if calls:
        frame, unknown = attention_calls(_read_columns(calls))
        others += timings(frame, events=False)
        left_out += unknown
    if left_out:
        sys.stderr.write(f"left out: {', '.join(left_out)}\n")
    return frames, others


def _read_columns(path: Path) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - start-up stays fast

    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise SimulatorError(f"{path}: cannot be read: {error}") from None


def _header(path: Path) -> tuple[str, ...]:
    try:
        with path.open(encoding="utf-8") as file:
            return tuple(file.readline().strip().split(","))
    except (OSError, UnicodeDecodeError) as error:
        raise SimulatorError(f"{path}: cannot be read: {error}") from None


def _print_rates(part: Accelerator, rows: Sequence[Timing]) -> None:
    if rows:
        _print_heading(f"{'operator':44}")
    for group in sorted({group_of(row.operator) for row in rows}):
        for held_out in (False, True):
            some = [
                row for row in rows if group_of(row.operator) == group and row.held_out is held_out
            ]
            if some:
                errors = rate_errors(part, some)
                _print_quality(f"{' '.join(group):44}", errors, held_out=held_out)


def _print_heading(label: str) -> None:
    sys.stdout.write(f"{label}{'rows':>12}{'n':>7}{'median %':>10}{'p90 %':>8}\n")


def _print_quality(label: str, logarithms: ArrayLike, *, held_out: bool) -> None:
    """Print the errors of a group of rows, given as logarithms of measured over modelled times."""
    import numpy as np  # noqa: PLC0415 - start-up stays fast

    errors = abs(np.expm1(-np.asarray(logarithms)))
    median, p90 = (100 * float(np.quantile(errors, share)) for share in (0.5, 0.9))
    which = "held out" if held_out else "fitted"
    sys.stdout.write(f"{label}{which:>12}{len(errors):7}{median:10.1f}{p90:8.1f}\n")


def _read(path: Path) -> pd.DataFrame:
    frame = read_gemms(path)
    if timed_by_events(frame.columns):
        frame["time_us"] -= TIMING_OVERHEAD / MICRO
    return frame


def _fits(frame: pd.DataFrame, part: Accelerator) -> Iterator[tuple[Precision, ShapeTable]]:
    """Yield the precision and the table of each dtype; print its errors."""
    _print_heading(f"{'dtype':12}{'pass':8}")
    for dtype, rows in frame.groupby("dtype"):
        precision = gemm_of(next(iter(rows.to_dict("records")))).precision
        if rows["held_out"].all():
            raise SimulatorError(f"all {dtype} GEMMs are held out: none is left to fit")
        table = fitted_shapes(rows[~rows["held_out"]], part)
        fitted = with_shapes(part, precision, table)
        for (role, held_out), some in rows.groupby(["pass", "held_out"]):
            errors = log_errors(some, fitted)
            _print_quality(f"{dtype:12}{role:8}", errors, held_out=bool(held_out))
        yield precision, table
