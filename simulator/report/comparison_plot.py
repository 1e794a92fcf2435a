"""A comparison as one picture: bars of steps and bandwidths, or lines over a swept quantity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from simulator.report.comparison_bars import add_bars, bars_height
from simulator.report.comparison_lines import HEIGHT_IN, add_lines, series_of, swept_number
from simulator.report.comparison_words import (
    LINE_RATE,
    OVER_MEMORY,
    TRANSFERRED_WORDS,
    facts,
    title,
    transferred_clusters,
)
from simulator.report.page import LEFT_IN, WIDTH_IN, add_title, new_page
from simulator.report.palette import HUES, MUTED, picture_style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

FACTS_WIDTH: Final = 122
"""Characters of the line of facts."""
FOOT_IN: Final = 0.1
"""Where the lowest line of text stands."""


def comparison_figure(summary: Mapping[str, Any]) -> Figure:
    """Return the picture of a comparison.

    A swept number with three values or more makes lines, unless there are more of them than
    colours; anything else makes a bar for each row.

    Parameters
    ----------
    summary
        Rows and what they have in common (`simulator.comparison.compare.compare`).
    """
    key = swept_number(summary)
    drawn = key is not None and len(series_of(summary, key)) <= len(HUES)
    with picture_style():
        figure = new_page(HEIGHT_IN if drawn else bars_height(len(summary["rows"])))
        add_title(figure, title(summary), facts(summary, FACTS_WIDTH))
        if key is not None and drawn:
            add_lines(figure, summary, key)
        else:
            add_bars(figure, summary)
        _explain(figure, _legend(summary, key if drawn else None))
    return figure


def _legend(summary: Mapping[str, Any], key: str | None) -> str:
    """Return what dashes, rings and crosses mean; ``key`` is the field of lines."""
    sentences = list(summary["notes"][:1]) if summary["knee_columns"] else []
    if key is not None:
        sentences = [
            words.replace("Compute-bound", "Compute-bound (dashed)") for words in sentences
        ]
        if sentences and key == LINE_RATE:
            sentences.append("Rings: its share in percent.")
        if any(row["status"] == OVER_MEMORY for row in summary["rows"]):
            sentences.append("Crosses: over the memory.")
    lines = [" ".join(sentences)]
    if clusters := transferred_clusters(summary):
        lines.append(f"{', '.join(clusters)}: {TRANSFERRED_WORDS}.")
    return "\n".join(filter(None, lines))


def _explain(figure: Figure, words: str) -> None:
    """Write at the foot of the page what is drawn."""
    left, bottom = LEFT_IN / WIDTH_IN, FOOT_IN / figure.get_figheight()
    figure.text(left, bottom, words, size=9, color=MUTED, va="bottom")
