"""``simulator search``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.options import (  # noqa: TC001 - typer reads them at run time
    Overrides,
    Profiles,
    ScenarioName,
    Workers,
)


def search(
    scenario: ScenarioName,
    by: Annotated[
        str, typer.Option(metavar="WHAT", help="Rank by step_time, memory_headroom or cost.")
    ] = "step_time",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write all layouts, best.yaml and picture; an interrupted search goes on there.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print one line only.")] = False,
    set_: Overrides = None,
    workers: Workers = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, tcp://host:8786; or local."),
    ] = None,
    profiles: Profiles = None,
) -> None:
    """Search the layouts of a scenario: which fit, and which is fastest.

    \b
    simulator search llama3-405b-16k-h100 --out results
    simulator search my.yaml --set 'space={tensor: [4, 8], recompute: [none, selective]}'
    simulator run results/best.yaml
    """  # noqa: D301 - the escape keeps the command line from joining the lines
    from simulator.cli.search import search_scenario  # noqa: PLC0415 - --help must not pay for it

    search_scenario(
        scenario,
        by=by,
        out=out,
        as_json=json,
        quiet=quiet,
        overrides=set_ or [],
        workers=workers,
        dask=dask,
        profiles=profiles or [],
    )
