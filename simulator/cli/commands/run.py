"""``simulator run``: its options."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli.options import (  # noqa: TC001 - typer reads them at run time
    Engine,
    Overrides,
    Profiles,
    ScenarioName,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from simulator.report.drawing import DrawingProcess


def run(
    scenario: ScenarioName,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write summary, trace and pictures into this directory."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print one line only.")] = False,
    engine: Engine = "auto",
    set_: Overrides = None,
    slow_rank: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RANK:FACTOR",
            help="This rank's compute takes so many times as long. Repeatable.",
        ),
    ] = None,
    slow_interface: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RANK:FACTOR",
            help="Transfers through this rank's network interface do. Repeatable.",
        ),
    ] = None,
    lost_node: Annotated[
        list[int] | None,
        typer.Option(metavar="NODE", help="Leave this node out; ranks move up. Repeatable."),
    ] = None,
    jitter: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:SPREAD",
            help="Draw the compute time of every action on every rank: lognormal:0.02.",
        ),
    ] = None,
    slow_ranks: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE%:EXCESS%", help="Draw slow ranks: 0.5%:10% makes 1 in 200 slow."
        ),
    ] = None,
    slow_nodes: Annotated[
        str | None, typer.Option(metavar="SHARE%:EXCESS%", help="Draw slow nodes instead.")
    ] = None,
    per_rank: Annotated[
        bool, typer.Option("--per-rank", help="Play every rank as itself, with draws of its own.")
    ] = False,
    samples: Annotated[
        int | None, typer.Option(metavar="N", help="Steps to draw and play; default 1.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="What draws depend on; default 0.")
    ] = None,
    profiles: Profiles = None,
) -> None:
    """Simulate one training step.

    \b
    simulator run llama3-405b-16k-h100
    simulator run my.yaml --set layout.tensor=4 --set cluster=h200-ndr400 --out results
    simulator run my.yaml --json | jq .mfu
    simulator run my.yaml --slow-rank 37:1.2
    simulator run my.yaml --jitter lognormal:0.02 --slow-ranks 0.5%:10% --samples 1000
    """  # noqa: D301 - the escape keeps the command line from joining the lines
    with _drawer(out) as drawer:
        from simulator.cli.run import run_scenario  # noqa: PLC0415 - --help must not pay for it
        from simulator.cli.variation import VariationOptions  # noqa: PLC0415 - as above

        run_scenario(
            scenario,
            out=out,
            as_json=json,
            quiet=quiet,
            engine=engine,
            overrides=set_ or [],
            profiles=profiles or [],
            options=VariationOptions(
                slow_rank=slow_rank or [],
                slow_interface=slow_interface or [],
                lost_node=lost_node or [],
                jitter=jitter,
                slow_ranks=slow_ranks,
                slow_nodes=slow_nodes,
                per_rank=per_rank,
                samples=samples,
                seed=seed,
            ),
            drawer=drawer,
        )


def _drawer(out: Path | None) -> AbstractContextManager[DrawingProcess | None]:
    """Return who draws, started before all else: it gets ready while the step is simulated."""
    if out is None:
        return nullcontext()
    from simulator.report.drawing import DrawingProcess  # noqa: PLC0415 - as above

    return closing(DrawingProcess())
