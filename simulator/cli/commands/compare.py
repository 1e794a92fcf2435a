"""``simulator compare``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.options import (  # noqa: TC001 - typer reads them at run time
    Engine,
    Overrides,
    Profiles,
    ScenarioName,
    Workers,
)


def compare(
    scenario: ScenarioName,
    clusters: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,C", help="Clusters to run it on, names or files. The scenario's if none."
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES",
            help="Values of a field: 1,2,4 or 50:800:x2 or 0:1:0.25. Repeatable: a grid.",
        ),
    ] = None,
    set_: Overrides = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLUSTER:KEY=VALUE", help="Change a field on one of the clusters. Repeatable."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write tables and picture into this directory."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the rows as JSON and nothing else.")
    ] = False,
    knee: Annotated[
        bool,
        typer.Option(
            "--knee/--no-knee", help="Search the bandwidth that 90, 95 and 99 % of the speed need."
        ),
    ] = True,
    best_layout: Annotated[
        bool,
        typer.Option(
            "--best-layout", help="Give every row the fastest layout that fits there, by search."
        ),
    ] = False,
    workers: Workers = None,
    engine: Engine = "auto",
    profiles: Profiles = None,
) -> None:
    """Compare a scenario on several clusters, or over the values of any field.

    \b
    simulator compare llama-70b-1024 --clusters h100-ndr400,h200-ndr400,b200-ndr400 --out results
    simulator compare llama-70b-1024 --sweep fabric.nic_gbit_per_s=50:800:x2
    """  # noqa: D301 - the escape keeps the command line from joining the lines
    from simulator.cli.compare import compare_scenario  # noqa: PLC0415 - --help must not pay for it

    compare_scenario(
        scenario,
        clusters=clusters or [],
        sweeps=sweep or [],
        overrides=set_ or [],
        on_cluster=on or [],
        out=out,
        as_json=json,
        knee=knee,
        best_layout=best_layout,
        workers=workers,
        engine=engine,
        profiles=profiles or [],
    )
