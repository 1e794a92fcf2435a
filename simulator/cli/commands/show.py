"""``simulator show``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.options import Profiles  # noqa: TC001 - typer reads it at run time


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="accelerators, nodes, fabrics, clusters, software, kernels, models or scenarios; "
            "or the NAME or KIND/NAME of a profile.",
        ),
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A profile of the KIND before it.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw a cluster into this .png, .svg or .pdf."),
    ] = None,
    accelerators: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of a cluster, only the first so many: list or draw links."),
    ] = None,
    profiles: Profiles = None,
) -> None:
    """List profiles, or print one with its sources; draw a cluster and list its links.

    \b
    simulator show accelerators
    simulator show h100-sxm
    simulator show cluster h100-ndr400 --plot cluster.png --accelerators 16384
    """  # noqa: D301 - the escape keeps the command line from joining the lines
    if plot is not None or accelerators is not None:
        from simulator.cli.show_cluster import show_cluster  # noqa: PLC0415 - --help must not pay for it

        show_cluster(what, name, plot, accelerators, profiles or [])
        return
    from simulator.cli.show import show_profiles  # noqa: PLC0415 - --help must not pay for it

    show_profiles(what if name is None else f"{what}/{name}", profiles or [])
