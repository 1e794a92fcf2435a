"""Rows of measured tables to frames of predictions beside measurements, on all cores.

Rows of runs and steps are simulated one by one, in processes; collectives and operators are priced
as whole tables.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.operator_tables import measured_times
from simulator.processes import map_items
from simulator.units import MICRO, MILLI, TERA
from simulator.validation.frames import measurements, run_frame
from simulator.validation.tables import family_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd

    from simulator.validation.cells import Row

FEW_ROWS: Final = 24
"""Rows that are simulated sooner than processes for them start."""

UNREADABLE: Final = (KeyError, ValueError, ArithmeticError)
"""What cells that are no numbers, or that no formula admits, raise in passing."""

STEP_NAMES: Final = ("model", "n_layers", "hidden", "seq", "mbs", "grad_accum", "recompute")
STEP_COLUMNS: Final = ("status", "reason", "step_time_s", "peak_memory_gib")


def predict_runs(
    table: pd.DataFrame,
    *,
    profiles: Sequence[Path] = (),
    workers: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> pd.DataFrame:
    """Return the predictions of a table of runs, in its order (`columns.COLUMNS`).

    Parameters
    ----------
    table
        Rows as text (`tables.read_table`).
    profiles
        Directories of profiles, searched before the shipped ones.
    workers
        Processes; all cores if None.
    advance
        Called with the number of rows that were done since the last call.
    """
    rows = predict_rows("runs", table, profiles=profiles, workers=workers, advance=advance)
    return run_frame(table, rows)


def predict_steps(
    table: pd.DataFrame,
    *,
    profiles: Sequence[Path] = (),
    workers: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> pd.DataFrame:
    """Return the predictions of a table of single-accelerator steps, in its order.

    Columns: those of the table that name the step; ``status``, ``reason``; predicted
    ``step_time_s``, ``peak_memory_gib`` (allocated) and phases; the first two measured.

    Parameters
    ----------
    table, profiles, workers, advance
        As `predict_runs`.
    """
    import pandas as pd  # noqa: PLC0415 - slow, and --help must not pay for it

    rows = predict_rows("steps", table, profiles=profiles, workers=workers, advance=advance)
    named = table[[name for name in STEP_NAMES if name in table]]
    predicted = pd.DataFrame(rows, index=table.index)
    predicted = predicted.reindex(
        columns=list(dict.fromkeys([*STEP_COLUMNS, *predicted.columns])),
    )
    measured = {
        "measured_step_time_s": measurements(table, "step_ms") * MILLI,
        "measured_peak_memory_gib": measurements(table, "peak_alloc_gb"),
    }
    return pd.concat([named, predicted.assign(**measured)], axis=1)


def predict_operators(
    table: pd.DataFrame, accelerator: str, *, profiles: Sequence[Path] = ()
) -> pd.DataFrame:
    """Return the predictions of a table of operator timings, in its order.

    Columns: those of the table without its measured time; ``time_us``; ``measured_time_us``;
    ``family`` (gemm, attention, grouped_gemm, pointwise, exchange); ``n_flop``, NaN where the table
    states no rate.

    Parameters
    ----------
    table
        Rows as text (`tables.read_table`).
    accelerator
        Profile of the part that was measured.
    profiles
        Directories of profiles, searched before the shipped ones.
    """
    document = Catalog(tuple(profiles)).document("accelerator", accelerator)
    part = validate(Accelerator, document)
    timed = _with_numbers(table)
    predict = import_module("simulator.validation.operators").predict
    measured = measured_times(timed)
    rates = timed["tflops"].astype(float) if "tflops" in timed else measured * float("nan")
    return timed.assign(
        family=family_of(table),
        measured_time_us=measured,
        time_us=predict(timed, part),
        # The table's own FLOPs: it says how it counts causal attention and skewed groups.
        n_flop=rates * TERA * measured * MICRO,
    )


def predict_collectives(table: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions of a table of collective timings (`collectives.predict`), in order."""
    frame: pd.DataFrame = import_module("simulator.validation.collectives").predict(
        _with_numbers(table)
    )
    return frame


def predict_rows(
    kind: str,
    table: pd.DataFrame,
    *,
    profiles: Sequence[Path],
    workers: int | None,
    advance: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Return what ``simulator.validation.KIND.predict_row`` says of each row, in order.

    Parameters
    ----------
    kind
        ``runs`` or ``steps``.
    table, profiles, workers, advance
        As `predict_runs`.
    """
    rows = rows_of(table)
    predict = partial(predict_row, kind, tuple(profiles))
    here = len(rows) <= FEW_ROWS
    return map_items(predict, rows, workers=workers, here=here, advance=advance)


def predict_row(kind: str, profiles: tuple[Path, ...], row: Row) -> dict[str, Any]:
    """Return the prediction of one row; ``status`` is ``invalid`` if its cells are unreadable."""
    module = import_module(f"simulator.validation.{kind}")
    try:
        predicted: dict[str, Any] = module.predict_row(row, Catalog(profiles))
    except UNREADABLE as error:
        reason = f"cells that cannot be read or computed with: {type(error).__name__} {error}"
        return {"status": "invalid", "reason": reason}
    return predicted


def _with_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text with the columns that hold only numbers as such, empty as NaN."""
    import pandas as pd  # noqa: PLC0415 - as above

    def column(cells: pd.Series[Any]) -> pd.Series[Any]:
        numbers = pd.to_numeric(cells, errors="coerce")
        numeric = bool((numbers.notna() | (cells == "")).all() and numbers.notna().any())
        return numbers if numeric else cells

    return table.apply(column)
