"""Tables of the terminal: what summaries of a step and of predictions are laid out with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType


def plain_table(title: str, **options: Any) -> Table:  # noqa: ANN401 - rich's own options
    """Return an empty table with its title, and a rule below the headings alone."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        **options,
    )


def named_lines(lines: Mapping[str, str]) -> Table:
    """Return a line for each fact, its name dim before it."""
    grid = Table.grid(padding=(0, 2))
    for name, line in lines.items():
        grid.add_row(Text(name, style="dim"), Text(line))
    return grid


def sentences(heading: str, lines: Iterable[str]) -> Group:
    """Return sentences below a heading, a dash before each."""
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row("-", Text(line))
    return Group(Text(heading, style="bold"), grid)


def spaced(parts: Sequence[RenderableType]) -> list[RenderableType]:
    """Return the parts with an empty line before each but the first."""
    return [parts[0], *(Padding(part, (1, 0, 0, 0)) for part in parts[1:])]
