"""`simulator calibrate operators`: tables in, fit quality and an accelerator profile out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.calibration.operators import (
    fitted_shapes,
    log_errors,
    read_gemms,
    with_shapes,
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
    """Fit GEMM tables, print fit quality and write an accelerator profile based on the named one.

    Raises
    ------
    SimulatorError
        If no accelerator is named, or a table cannot be read or is not one of GEMMs.
    """
    if accelerator is None:
        raise SimulatorError("--accelerator NAME is needed: its peaks and sizes are used")
    catalog = Catalog(tuple(profiles))
    document = catalog.document("accelerator", accelerator)
    part = validate(Accelerator, catalog.resolve("accelerator", document, ()))
    frame = _rows(tables)
    fits = dict(_fits(frame, part))
    if out:
        out.write_text(_profile(fits, accelerator), encoding="utf-8")


def _rows(tables: Sequence[Path]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - start-up stays fast

    return pd.concat([_read(path) for path in tables], ignore_index=True)


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


def _profile(fits: dict[Precision, ShapeTable], base: str) -> str:
    """Return an accelerator profile: the part with these tables of deviations."""
    lines = [f"base: {base}", "kernels:", "  gemm:", "    shapes:"]
    for precision, table in fits.items():
        lines += [f"      {precision}:", "        value:"]
        lines += [
            f"          {axis}: {list(getattr(table, axis))}"
            for axis in ("first", "second", "third")
        ]
        percent = " ".join(f"{value:.0f}" for value in table.percent)
        lines += [f"          percent: {percent}"]
        lines += ["        source: simulator calibrate operators", "        status: fitted"]
    return "\n".join([*lines, ""])
