"""What commands print alike: results as JSON, and the files that they wrote."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from rich.console import Console


def write_json(document: Mapping[str, Any]) -> None:
    """Write a document to stdout as JSON; it holds no NaN."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def print_files(console: Console, files: Collection[Path]) -> None:
    """Print the files that were written, if any."""
    if files:
        console.print(Text("\nFiles", style="bold"))
    for path in files:
        # Not wrapped, so that it can be copied.
        console.print(Text(f"- {path}"), soft_wrap=True)
