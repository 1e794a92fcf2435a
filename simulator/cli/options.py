"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Profiles = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="Directory of your own profiles, searched first. Repeatable."),
]
