"""`simulator calibrate`: measured tables in, a profile of one's own and its fit quality out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.options import Profiles  # noqa: TC001 - typer reads it at run time

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Fit profiles to your own measurements and print how well they fit.",
)


@app.command()
def operators(
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="TABLE…",
            help="gemm.csv, attention.csv or pointwise.csv, or a version's directory of the "
            "aiconfigurator database (its GEMMs and prompts). Recognised by their columns.",
        ),
    ],
    accelerator: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The part's profile, whose peaks and sizes are used."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write an accelerator profile into this .yaml file."),
    ] = None,
    profiles: Profiles = None,
) -> None:
    """Fit kernel costs to tables of operator timings.

    \b
    simulator calibrate operators gemm.csv attention.csv --accelerator h200-sxm
    simulator calibrate operators gemm.csv --accelerator mine --out mine/accelerators/mine.yaml
    """  # noqa: D301 - the escape keeps the command line from joining the lines
    from simulator.cli.calibrate_operators import calibrate_operators  # noqa: PLC0415 - slow

    calibrate_operators(tables, accelerator=accelerator, out=out, profiles=profiles or [])


@app.command()
def collectives(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", help="Text that nccl-tests or rccl-tests printed."),
    ],
    cluster: Annotated[
        str, typer.Option(metavar="NAME", help="Cluster profile of the site, or the nearest one.")
    ],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the profiles that are written.")
    ] = "my-site",
    collective: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="What was measured, where the text does not say."),
    ] = None,
    table: Annotated[
        bool,
        typer.Option("--table", help="Measured curves take the place of the fit where they apply."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write node, fabric and cluster profiles below it."),
    ] = None,
    profiles: Profiles = None,
) -> None:
    """Fit collective costs to logs of nccl-tests or rccl-tests.

    \b
    simulator calibrate collectives all_reduce.log all_gather.log --cluster h100-ndr400
    simulator calibrate collectives logs/*.txt --cluster h100-ndr400 --name mine --out site
    """  # noqa: D301 - as above
    from simulator.cli.calibrate_collectives import calibrate_collectives  # noqa: PLC0415

    calibrate_collectives(
        files,
        cluster=cluster,
        name=name,
        collective=collective,
        tabulate=table,
        out=out,
        profiles=profiles or [],
    )
