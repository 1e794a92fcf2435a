"""``simulator validate``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from simulator.cli.output import print_files, progress_bar, write_json
from simulator.errors import SimulatorError
from simulator.validation import collectives, errors, predictions, statistics
from simulator.validation.columns import SPLITS
from simulator.validation.ranks import ranked_layouts
from simulator.validation.tables import TableKind, kind_of, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

PREDICTIONS: Final = "predictions.csv"
"""What every table leaves; a table of runs leaves a page and a picture, too."""
MEASURED_PART: Final = "h200-sxm"
"""What tables of operators were measured on if the command line does not say."""
WIDTH: Final = 100
"""Columns of tables that no terminal shows."""


def validate_table(
    path: Path,
    *,
    out: Path | None,
    as_json: bool,
    workers: int | None,
    split: str | None,
    by: str | None,
    accelerator: str | None,
    profiles: Sequence[Path],
) -> None:
    """Predict every row of a table of measurements and print how far off the predictions are.

    Raises
    ------
    SimulatorError
        For every mistake of the user.
    """
    if split is not None and split not in SPLITS:
        known = ", ".join(SPLITS)
        raise SimulatorError(f"--split must be one of {known}, got {split!r}")
    table = read_table(path)
    kind = kind_of(table, path)
    if accelerator is not None and kind is not TableKind.OPERATORS:
        raise SimulatorError("--accelerator is for tables of operators; others name their parts")
    columns = [name.strip() for name in by.split(",")] if by is not None else []
    if columns and kind is not TableKind.RUNS:
        raise SimulatorError("--by is for tables of runs; others are grouped by what they time")
    statistics.require_grouping(columns)
    with progress_bar(f"predicting {kind}", len(table)) as advance:
        if kind in (TableKind.RUNS, TableKind.STEPS):
            runs = kind is TableKind.RUNS
            predict = predictions.predict_runs if runs else predictions.predict_steps
            frame = predict(table, profiles=profiles, workers=workers, advance=advance)
        elif kind is TableKind.COLLECTIVES:
            frame = predictions.predict_collectives(table)
        else:
            frame = predictions.predict_operators(
                table, accelerator or MEASURED_PART, profiles=profiles
            )
    if split is not None and "split" in frame:
        frame = frame[frame["split"] == split]
    report = _report(kind, frame)
    if columns:
        report["by"] = statistics.by_columns(frame, columns)
    files = _write(kind, frame, report, out, path.name) if out is not None else []
    if as_json:
        _print_json(kind, report, files)
    else:
        _print_tables(kind, report, files)


def _report(kind: TableKind, frame: pd.DataFrame) -> Any:  # noqa: ANN401 - figures as plain values
    """Return what predictions say, as plain values: of runs a summary, else errors by group."""
    if kind is TableKind.RUNS:
        return statistics.summary(frame)
    return json.loads(_group_errors(kind, frame).to_json(orient="records"))


def _group_errors(kind: TableKind, frame: pd.DataFrame) -> pd.DataFrame:
    if kind is TableKind.COLLECTIVES:
        return collectives.summary(frame)
    if kind is TableKind.OPERATORS:
        names = [name for name in ("family", "op", "backend", "dtype", "pass") if name in frame]
        times = frame["time_us"], frame["measured_time_us"]
        return errors.operator_errors(*times, frame[names], frame["n_flop"])
    return errors.step_errors(frame)


def _write(
    kind: TableKind,
    frame: pd.DataFrame,
    report: Any,  # noqa: ANN401 - as above
    out: Path,
    title: str,
) -> list[Path]:
    """Write the files of a table, all or none, and return their paths."""
    if kind is not TableKind.RUNS:
        from simulator.report.files import OutputDirectory  # noqa: PLC0415 - only here

        with OutputDirectory(out) as directory:
            frame.to_csv(directory.path(PREDICTIONS), index=False)
        return [out / PREDICTIONS]
    from simulator.report.validation_results import (  # noqa: PLC0415 - matplotlib is slow
        write_validation,
    )

    compared = errors.with_errors(frame)
    layouts = ranked_layouts(compared)
    return list(write_validation(frame, compared, layouts, report, out, title=title).values())


def _print_json(kind: TableKind, report: Any, files: Sequence[Path]) -> None:  # noqa: ANN401 - as above
    figures = report if kind is TableKind.RUNS else {"errors": report}
    written = {"files": [str(path) for path in files]} if files else {}
    write_json({"table": str(kind), **figures, **written})


def _print_tables(kind: TableKind, report: Any, files: Sequence[Path]) -> None:  # noqa: ANN401 - as above
    import pandas as pd  # noqa: PLC0415 - slow, and --help must not pay for it

    from simulator.report.validation_tables import (  # noqa: PLC0415 - as above
        columns_table,
        error_table,
        validation_tables,
    )

    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    if kind is TableKind.RUNS:
        grouped = report.get("by")
        for part in [columns_table(grouped)] if grouped else validation_tables(report):
            console.print(part)
    else:
        title = f"Predicted and measured {kind}, errors in percent"
        groups = pd.DataFrame(report)
        counted = "covered" if "covered" in groups else "compared"
        console.print(error_table(groups[groups[counted] > 0], title))
        missing = int((groups["rows"] - groups[counted]).sum())
        if missing:
            console.print(f"\n{missing:,} of {groups['rows'].sum():,} rows are not compared")
    print_files(console, files)
