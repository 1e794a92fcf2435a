"""``simulator run``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from simulator.api import simulate
from simulator.catalog import Catalog
from simulator.report.tables import headline, summary_tables
from simulator.scenario import load_scenario

if TYPE_CHECKING:
    from collections.abc import Sequence


def run_scenario(
    scenario: str,
    *,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    engine: str,
    overrides: Sequence[str],
    profiles: Sequence[Path],
) -> None:
    """Simulate a scenario and print its summary.

    Raises
    ------
    SimulatorError
        For every mistake of the user.
    """
    loaded = load_scenario(_path(scenario), overrides=overrides, profiles=profiles)
    result = simulate(loaded, engine=engine)
    summary = result.summary
    if out is not None:
        files = result.write(out)
        summary = summary | {"files": {what: str(path) for what, path in files.items()}}
    if as_json:
        sys.stdout.write(json.dumps(summary, indent=2, allow_nan=False) + "\n")
        return
    console = Console()
    for part in [headline(summary)] if quiet else summary_tables(summary):
        console.print(part)


def _path(scenario: str) -> Path:
    """Return the file of a scenario given as a path, or as the name of a shipped one."""
    path = Path(scenario)
    if path.suffix or path.exists() or len(path.parts) > 1:
        return path
    return Catalog().path("scenario", scenario)
