"""What commands print alike: results as JSON, the files that they wrote, how far they are."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path


def write_json(document: Mapping[str, Any], files: Mapping[str, Path] | None = None) -> None:
    """Write a document, and the files of a run if any, to stdout as JSON; it holds no NaN."""
    if files:
        document = {**document, "files": {what: str(path) for what, path in files.items()}}
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def print_files(console: Console, files: Collection[Path]) -> None:
    """Print the files that were written, if any."""
    if files:
        console.print(Text("\nFiles", style="bold"))
    for path in files:
        # Not wrapped, so that it can be copied.
        console.print(Text(f"- {path}"), soft_wrap=True)


@contextmanager
def progress_bar(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, nothing where no one looks; yield what to call with what is done."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda count: progress.advance(task, count)
