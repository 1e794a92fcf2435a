"""``simulator schedule``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def schedule(
    name: Annotated[str, typer.Argument(metavar="NAME", help="gpipe, 1f1b or interleaved_1f1b.")],
    stages: Annotated[int, typer.Option(metavar="P", help="Pipeline stages.")],
    microbatches: Annotated[int, typer.Option(metavar="M", help="Micro-batches per step.")],
    chunks: Annotated[
        int, typer.Option(metavar="V", help="Model chunks (virtual stages) per stage.")
    ] = 1,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it into this .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Print a pipeline schedule, one line per stage.

    F3 is the forward, B3 the backward of micro-batch 3; F3.1 that of chunk 1.

    \b
    simulator schedule 1f1b --stages 4 --microbatches 8
    simulator schedule interleaved_1f1b --stages 4 --microbatches 8 --chunks 2 --plot order.png
    """  # noqa: D301 - the escape keeps the command line from joining the lines
    from simulator.cli.schedule import print_schedule  # noqa: PLC0415 - --help must not pay for it

    print_schedule(name, stages, microbatches, chunks, plot)
