"""Rows of a comparison as bars: where each step goes, beside the bandwidth that it needs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from simulator.report.comparison_words import (
    OVER_MEMORY,
    REFUSED,
    changes_of,
    mfu_of,
    row_label,
)
from simulator.report.page import (
    LARGEST_PANEL_IN,
    RIGHT_IN,
    WIDTH_IN,
    add_legend,
    add_panel,
    label_rows,
    panel_height,
)
from simulator.report.palette import ALARM, COLOURS, MUTED, is_light
from simulator.report.quantities import percent_text, significant, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Row = Mapping[str, Any]

PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "compute_s": ("compute", COLOURS["forward"]),
    "recompute_s": ("recompute", COLOURS["recompute"]),
    "exposed_tensor_s": ("exposed tensor", COLOURS["tensor"]),
    "exposed_context_s": ("exposed context", COLOURS["context"]),
    "exposed_expert_s": ("exposed expert", COLOURS["expert"]),
    "exposed_pipeline_s": ("exposed pipeline", COLOURS["pipeline"]),
    "exposed_data_s": ("exposed data", COLOURS["data"]),
    "exposed_offload_s": ("exposed offload", COLOURS["offload"]),
    "bubble_s": ("bubble", "#D5D9DE"),
    "optimizer_s": ("optimizer", COLOURS["optimizer"]),
    "other_s": ("other", COLOURS["other"]),
}
"""Parts of a step: name and colour, in the order of the bars. The bubble is idle, a shade darker
than on timelines, where it would else be lost on white paper."""
LEAST_SHARE: Final = 0.002
"""Share of the longest step that a part must reach in some row to be named."""
LABELLED_SHARE: Final = 0.05
"""Share of the axis from which a part carries its percentage."""
ROW_IN: Final = (0.3, 0.62)
"""Lowest legible and comfortable height of a row [in]."""
LABELS_IN: Final = 2.6
"""Where bars begin: cluster names stand before."""
KNEE_IN: Final = 3.5
"""Width of the panel of line rates."""
HEADER_IN, FOOTER_IN = 1.55, 0.95
REASON_WIDTH: Final = 88
"""Characters of a line that says why a row was refused."""
REASON_IN_PANEL: Final = 34
"""The same, of a line that says why there is no knee."""
LABEL_WIDTH: Final = 26
"""Characters of a line of a row's name."""
ABOVE: Final = 12
"""Where the number of a line rate stands over its point [points]."""
FEW_DECADES: Final = 25.0
"""Ratio of the largest to the least line rate below which powers of ten are too few ticks."""
CLOSE: Final = 1.7
"""Ratio of two line rates below which their numbers would overlap side by side."""


def bars_height(rows: int) -> float:
    """Return the height [in] of a page with a bar for each row."""
    return HEADER_IN + panel_height(rows, ROW_IN, LARGEST_PANEL_IN) + FOOTER_IN


def add_bars(figure: Figure, summary: Mapping[str, Any]) -> None:
    """Draw the rows of a comparison: a bar for each step, and line rates where they were sought."""
    rows = summary["rows"]
    panel_in = panel_height(len(rows), ROW_IN, LARGEST_PANEL_IN)
    right_in = RIGHT_IN - (KNEE_IN + 0.35 if summary["knee_columns"] else 0)
    steps = add_panel(figure, LABELS_IN, right_in, FOOTER_IN, panel_in)
    plot_steps(rows, steps)
    label_rows(steps, _labels(summary), 0.5)
    add_legend(figure, colours_of(rows), LABELS_IN, HEADER_IN - 0.42)
    if summary["knee_columns"]:
        rates = add_panel(figure, RIGHT_IN - KNEE_IN, RIGHT_IN, FOOTER_IN, panel_in)
        plot_rates(rows, summary["knee_columns"], rates)
        _name_rates(figure, summary["knee_columns"])


def plot_steps(rows: Sequence[Row], ax: Axes) -> Axes:
    """Draw every step as a bar of its parts, time and MFU at its end.

    Steps that do not fit in memory are pale and say so; refused rows have their reason.
    """
    simulated = [row["step_time_s"] for row in rows if row["status"] != REFUSED]
    longest = max(simulated)
    end = 1.32 * longest
    for number, row in enumerate(rows):
        if row["status"] == REFUSED:
            words = textwrap.wrap(f"cannot run: {row['reason']}", REASON_WIDTH)
            shown = "\n".join(words[:2]) + " …" * (len(words) > 2)  # noqa: PLR2004 - lines of a row
            ax.text(0, number + 0.5, shown, size=9, color=ALARM, va="center")
        else:
            _bar(row, number, LABELLED_SHARE * end, ax)
    ax.set(xlim=(0, end), ylim=(len(rows), 0), xlabel="step time [s]")
    return ax


def plot_rates(rows: Sequence[Row], columns: Mapping[str, float], ax: Axes) -> Axes:
    """Draw the line rates that shares of the compute-bound speed need, and the one there is."""
    rates = [rate for row in rows for rate in _rates(row, columns)]
    for number, row in enumerate(rows):
        if row["status"] != REFUSED:
            _plot_rate(row, columns, number + 0.5, ax)
    if rates:
        ax.set(xscale="log", xlim=(min(rates) / 1.7, max(rates) * 1.7))
        subs = (1, 2, 5) if max(rates) / min(rates) < FEW_DECADES else (1,)
        ax.xaxis.set_major_locator(LogLocator(subs=subs, numticks=6))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set(ylim=(len(rows), 0), xlabel="network of one accelerator [Gbit/s]", yticks=[])
    return ax


def _name_rates(figure: Figure, columns: Mapping[str, float]) -> None:
    """Say above the panel of line rates what its marks are."""
    shares = ", ".join(f"{100 * share:.0f}" for share in columns.values())
    needs = f"needs for {shares} % of compute-bound"
    figure.legend(
        handles=[
            Line2D([], [], marker="|", ms=11, mew=2.5, ls="none", color="black", label="has"),
            Line2D([], [], marker="o", ms=5, color=COLOURS["data"], label=needs),
        ],
        loc="upper left",
        bbox_to_anchor=(
            (RIGHT_IN - KNEE_IN) / WIDTH_IN,
            1 - (HEADER_IN - 0.42) / figure.get_figheight(),
        ),
        ncols=2,
        fontsize=9,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.0,
        handletextpad=0.4,
        columnspacing=0.8,
    )


def _bar(row: Row, number: int, labelled: float, ax: Axes) -> None:
    """Draw one step; parts from ``labelled`` [s] on carry their share of it."""
    over = row["status"] == OVER_MEMORY
    left = 0.0
    for part, (_, colour) in PARTS.items():
        middle = left + row[part] / 2
        ax.barh(
            number + 0.5,
            row[part],
            left=left,
            height=0.62,
            color=colour,
            alpha=0.35 if over else 1,
            linewidth=0,
        )
        if row[part] >= labelled:
            ink = "black" if over or is_light(colour) else "white"
            share = f"{100 * row[part] / row['step_time_s']:.0f}%"
            ax.text(middle, number + 0.5, share, size=9, ha="center", va="center", color=ink)
        left += row[part]
    words = f" {time_text(row['step_time_s'])}, MFU {percent_text(mfu_of(row)[1])}"
    ax.text(left, number + (0.36 if over else 0.5), words, size=10, weight="bold", va="center")
    if over:
        ax.text(left, number + 0.68, f" {row['reason']}", size=9, color=ALARM, va="center")


def _plot_rate(row: Row, columns: Mapping[str, float], y: float, ax: Axes) -> None:
    needs = [row[name] for name in columns if row[name] is not None]
    colour = COLOURS["data"]
    ax.plot(needs, [y] * len(needs), color=colour, linewidth=1.6, marker="o", markersize=5)
    for need, side in zip(needs, _sides(needs), strict=True):
        ax.annotate(
            significant(need),
            (need, y),
            xytext=(0, side),
            textcoords="offset points",
            ha="center",
            va="center",
            size=9,
            color=colour,
        )
    has = row["line_rate_gbit_per_s"]
    ax.plot([has], [y], marker="|", markersize=13, markeredgewidth=2.5, color="black", zorder=3)
    if row["knee_reason"] and not needs:
        words = "\n".join(textwrap.wrap(row["knee_reason"], REASON_IN_PANEL))
        ax.annotate(
            words,
            (1.0, y),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            size=9,
            color=MUTED,
        )


def _sides(needs: Sequence[float]) -> list[int]:
    """Return where labels stand, above or below [points]: neighbours that are close alternate."""
    sides: list[int] = []
    for number, need in enumerate(needs):
        close = number > 0 and need < CLOSE * needs[number - 1]
        sides.append(-sides[-1] if close else ABOVE)
    return sides


def _rates(row: Row, columns: Mapping[str, float]) -> list[float]:
    if row["status"] == REFUSED:
        return []
    needs = [row[name] for name in columns if row[name] is not None]
    return [row["line_rate_gbit_per_s"], *needs]


def _labels(summary: Mapping[str, Any]) -> list[str]:
    """Return the name of every row, with what was changed on its cluster alone below it."""
    texts = [(row_label(row, summary), changes_of(row)) for row in summary["rows"]]
    return [
        "\n".join(line for text in pair for line in textwrap.wrap(text, LABEL_WIDTH))
        for pair in texts
    ]


def colours_of(rows: Sequence[Row]) -> dict[str, str]:
    """Return the colours of the parts that some step has enough of to be seen, by name."""
    simulated = [row for row in rows if row["status"] != REFUSED]
    longest = max(row["step_time_s"] for row in simulated)
    return {
        name: colour
        for part, (name, colour) in PARTS.items()
        if max(row[part] for row in simulated) >= LEAST_SHARE * longest
    }
