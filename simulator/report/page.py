"""A page as wide as a slide: title, legend and panels at stated places, rows labelled alike.

Places are inches from the left and from the top or bottom of the page, so that text and rows keep
their size however many stages there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from simulator.report.palette import MUTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

WIDTH_IN: Final = 12.8
LEFT_IN: Final = 1.0
"""Left edge of title, legend and the first panel; row labels stand before it."""
RIGHT_IN: Final = WIDTH_IN - 0.35
LARGEST_PANEL_IN: Final = 12.0
MOST_IN_A_LINE: Final = 7
"""Colours that a line of a legend names."""
HEADING_IN: Final = 1.25
"""Width of what stands before the colours of a legend."""

MOST_ROW_LABELS: Final = 32


def new_page(height_in: float) -> Figure:
    """Return an empty page of the usual width."""
    return Figure(figsize=(WIDTH_IN, height_in))


def panel_height(rows: int, row_in: tuple[float, float], most_in: float) -> float:
    """Return the height [in] of a panel of rows.

    Parameters
    ----------
    rows
        How many.
    row_in
        Lowest legible and comfortable height of a row [in]; hundreds of rows are squeezed further.
    most_in
        Height of a panel [in] beyond which rows are no longer comfortable.
    """
    lowest_in, comfortable_in = row_in
    comfortable = min(max(comfortable_in * rows, 1.2), most_in)
    return min(max(comfortable, lowest_in * rows), LARGEST_PANEL_IN)


def add_panel(
    figure: Figure, left_in: float, right_in: float, bottom_in: float, panel_in: float
) -> Axes:
    """Return new axes between two vertical lines of the page."""
    height_in = figure.get_figheight()
    width_in = right_in - left_in
    return figure.add_axes(
        (left_in / WIDTH_IN, bottom_in / height_in, width_in / WIDTH_IN, panel_in / height_in)
    )


def add_title(figure: Figure, title: str, facts: str) -> None:
    """Write the title and, below it, one line of facts."""
    left, height_in = LEFT_IN / WIDTH_IN, figure.get_figheight()
    figure.text(left, 1 - 0.42 / height_in, title, size=16, weight="bold")
    figure.text(left, 1 - 0.72 / height_in, facts, size=12, color=MUTED)


def add_legend(
    figure: Figure, colours: Mapping[str, str], left_in: float, top_in: float, heading: str = ""
) -> None:
    """Name colours above a panel, where they hide no data: in one line, or two if they are many."""
    top = 1 - top_in / figure.get_figheight()
    lines = 1 if len(colours) <= MOST_IN_A_LINE else 2
    if heading:
        figure.text(left_in / WIDTH_IN, top, heading, size=10, color=MUTED, va="top")
        left_in += HEADING_IN
    figure.legend(
        handles=[Patch(color=colour, label=name) for name, colour in colours.items()],
        loc="upper left",
        bbox_to_anchor=(left_in / WIDTH_IN, top),
        ncols=-(-len(colours) // lines),
        borderpad=0,
        borderaxespad=0,
        handlelength=1.0,
        handleheight=1.0,
        handletextpad=0.5,
        columnspacing=1.1,
    )


def labelled_rows(rows: int, most: int = MOST_ROW_LABELS) -> list[int]:
    """Return which rows carry a label: all, or every so many that labels keep apart."""
    return list(range(0, rows, -(-rows // most)))


def label_rows(ax: Axes, labels: Sequence[str], middle: float, most: int = MOST_ROW_LABELS) -> None:
    """Label rows that start at 0, 1, … ; ``middle`` is where in its row a label stands."""
    shown = labelled_rows(len(labels), most)
    ax.set_yticks(np.array(shown) + middle, [labels[row] for row in shown])
