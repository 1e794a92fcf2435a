"""``simulator search``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from simulator.cli.output import print_files, write_json
from simulator.cli.run import scenario_path
from simulator.report.search_tables import headline, search_tables
from simulator.scenario import load_scenario
from simulator.search.results import write_search
from simulator.search.search import search_layouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


def search_scenario(
    scenario: str,
    *,
    by: str,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    overrides: Sequence[str],
    workers: int | None,
    dask: str | None,
    profiles: Sequence[Path],
) -> None:
    """Search the layouts of a scenario and print the best, with the files if any were written.

    Raises
    ------
    SimulatorError
        For every mistake of the user.
    """
    path = scenario_path(scenario, profiles)
    loaded = load_scenario(path, overrides=overrides, profiles=profiles)
    with _progress() as advance:
        found = search_layouts(
            loaded, by=by, out=out, workers=workers, dask=dask, on_progress=advance
        )
    files = {}
    if out is not None:
        files = write_search(found, out, path, overrides=overrides, profiles=profiles)
    if as_json:
        write_json(found.summary, files)
        return
    console = Console()
    if quiet:
        console.print(headline(found.summary), soft_wrap=True)
        return
    for part in search_tables(found.summary):
        console.print(part)
    print_files(console, files.values())


class _Rate(ProgressColumn):
    """Layouts per second."""

    def render(self, task: Task) -> Text:
        """Return the rate of late, empty before it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} layouts/s", style="dim")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Yield what to call with layouts done and all: it moves a bar on a terminal's stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done, _all: None
        return
    columns = (
        TextColumn("layouts"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("layouts", total=None)
        yield lambda done, every: progress.update(task, completed=done, total=every)
