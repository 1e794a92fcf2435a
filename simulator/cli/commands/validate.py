"""``simulator validate``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.options import (  # noqa: TC001 - typer reads them at run time
    Profiles,
    Workers,
)


def validate(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE.csv",
            help="Measured runs, collectives, operators or steps. Recognised by its columns.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write predictions, page and picture into it."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON and nothing else.")
    ] = False,
    workers: Workers = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="SPLIT", help="Only rows of calibration, or of validation."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS", help="Of runs, errors by other columns: source,attention_kernel."
        ),
    ] = None,
    accelerator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The part that a table of operators was measured on: h200-sxm."
        ),
    ] = None,
    profiles: Profiles = None,
) -> None:
    """Predict every row of a table of measurements, and print how far off that is.

    \b
    simulator validate benchmarks/published/runs.csv --out results/validation
    simulator validate gemm.csv --accelerator h200-sxm --json
    """  # noqa: D301 - the escape keeps the command line from joining the lines
    from simulator.cli.validate import validate_table  # noqa: PLC0415 - --help must not pay for it

    validate_table(
        table,
        out=out,
        as_json=json,
        workers=workers,
        split=split,
        by=by,
        accelerator=accelerator,
        profiles=profiles or [],
    )
