"""``simulator run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from simulator.api import simulate
from simulator.catalog import Catalog
from simulator.cli.output import print_files, write_json
from simulator.cli.variation import sampling_progress
from simulator.report.tables import headline, summary_tables
from simulator.scenario import load_scenario

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.api import Result
    from simulator.cli.variation import VariationOptions
    from simulator.report.drawing import Drawer
    from simulator.scenario import Scenario

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
    options: VariationOptions,
    drawer: Drawer | None,
) -> None:
    """Simulate a scenario and print its summary, with the files if any were written.

    A ``drawer`` draws the pictures.

    Raises
    ------
    SimulatorError
        For every mistake of the user.
    """
    path = scenario_path(scenario, profiles)
    loaded = load_scenario(path, overrides=overrides, profiles=profiles)
    result = _simulated(loaded, engine, options)
    files = result.write(out, drawer=drawer) if out is not None else {}
    if as_json:
        write_json(result.summary, files)
    elif quiet:
        Console().print(headline(result.summary), soft_wrap=True)
    else:
        _print_tables(result.summary, files)


def _simulated(scenario: Scenario, engine: str, options: VariationOptions) -> Result:
    """Return the result, with a progress bar on stderr while samples are played."""
    variation = options.variation(scenario)
    with sampling_progress(variation) as advance:
        return simulate(
            scenario,
            engine=engine,
            perturbations=options.perturbations(),
            variation=variation,
            on_progress=advance,
        )


def _print_tables(summary: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    console = Console()
    for part in summary_tables(summary):
        console.print(part)
    print_files(console, files.values())


def scenario_path(scenario: str, profiles: Sequence[Path]) -> Path:
    """Return the file of a scenario given as a path, or by the name of a profile.

    A directory hides no name: results are often written into one called like their scenario.
    """
    catalog = Catalog(tuple(profiles))  # refuses directories that are not there
    path = Path(scenario)
    if path.is_file() or path.suffix in SUFFIXES or len(path.parts) != 1:
        return path
    if path.exists() and scenario not in catalog.names("scenario"):
        return path
    return catalog.path("scenario", scenario)
