"""``simulator compare``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from simulator.cli.output import print_files, progress_bar, write_json
from simulator.cli.run import scenario_path
from simulator.comparison.columns import COLUMNS
from simulator.comparison.compare import compare, tasks
from simulator.comparison.points import make_points
from simulator.comparison.rows import Job
from simulator.comparison.sweeps import parse_sweep
from simulator.report.comparison_tables import comparison_tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

WIDTH: Final = 140
"""Columns of tables that no terminal shows."""


def compare_scenario(
    scenario: str,
    *,
    clusters: Sequence[str],
    sweeps: Sequence[str],
    overrides: Sequence[str],
    on_cluster: Sequence[str],
    out: Path | None,
    as_json: bool,
    knee: bool,
    best_layout: bool,
    workers: int | None,
    engine: str,
    profiles: Sequence[Path],
) -> None:
    """Compare a scenario over clusters and swept fields, and print the rows and the knees.

    Raises
    ------
    SimulatorError
        For every mistake of the user.
    """
    named = [name.strip() for text in clusters for name in text.split(",")]
    points = make_points(named, [parse_sweep(text) for text in sweeps], overrides, on_cluster)
    path = scenario_path(scenario, profiles)
    job = Job(path, tuple(profiles), engine, best_layout)
    with progress_bar("comparing", tasks(points, knee=knee)) as advance:
        summary = compare(job, points, knee=knee, workers=workers, advance=advance)
    files = _write(summary, out) if out is not None else {}
    if as_json:
        write_json(summary, files)
        return
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    for part in comparison_tables(summary):
        console.print(part)
    print_files(console, files.values())


def _write(summary: Mapping[str, Any], out: Path) -> dict[str, Path]:
    from simulator.report.comparison_results import (  # noqa: PLC0415 - matplotlib is slow
        write_comparison,
    )

    return write_comparison(summary, COLUMNS, out)
