"""``simulator run``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from simulator.api import simulate
from simulator.catalog import Catalog
from simulator.report.tables import headline, summary_tables
from simulator.scenario import load_scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

SUFFIXES: Final = (".yaml", ".yml")
"""What only the name of a file ends in."""


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
    """Simulate a scenario and print its summary, with the files if any were written.

    Raises
    ------
    SimulatorError
        For every mistake of the user.
    """
    path = _path(scenario, Catalog(tuple(profiles)))
    loaded = load_scenario(path, overrides=overrides, profiles=profiles)
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


def _path(scenario: str, catalog: Catalog) -> Path:
    """Return the file of a scenario given as a path, or by the name of a profile.

    A directory hides no name: results are often written into one called like their scenario.
    """
    path = Path(scenario)
    if path.is_file() or path.suffix in SUFFIXES or len(path.parts) != 1:
        return path
    if path.exists() and scenario not in catalog.names("scenario"):
        return path
    return catalog.path("scenario", scenario)
