"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ScenarioName = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A file, or the name of a shipped scenario.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a field, value in YAML. Repeatable."),
]
Engine = Annotated[
    str,
    typer.Option(metavar="ENGINE", help="auto (the fastest that applies), compiled or simpy."),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Processes; all cores if not given.")
]
Profiles = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="Directory of your own profiles, searched first. Repeatable."),
]
