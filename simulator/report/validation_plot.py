"""Predictions beside measurements as a picture: times, errors by source, ranks, memory verdicts.

Every panel takes the table of compared rows: one row per measured run with ``step_time_s`` and
``measured_s`` [s], ``error`` (signed, relative), ``source``, ``split``, ``peak_memory_gib``,
``capacity_gib``, ``ran`` (1, 0 or NaN). Rows that fitted a profile are drawn hollow: they are no
evidence of accuracy.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from simulator.report.page import LEFT_IN, RIGHT_IN, add_panel, add_title, new_page
from simulator.report.palette import ALARM, COLOURS, HUES, MUTED, picture_style
from simulator.report.validation_tables import headline_sentence

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats: TypeAlias = npt.NDArray[np.float64]

SHAPES: Final = ("o", "s", "^", "D", "v", "P", "X")
"""One for each of the first hues: what colours say, shapes say too."""
REST: Final = "#8A8A8A"
INK: Final = "#222222"

BANDS: Final = ((0.25, "#F0F2F4"), (0.10, "#DFE4E8"))
"""Errors within which the background is shaded, from the widest."""
WIDEST_ERROR: Final = 0.6
"""Errors beyond are drawn at the edge, as arrows."""
MEMORY_RANGE: Final = (0.25, 4.0)
"""Peaks over the capacity beyond are drawn at the edge."""

FEW_DECADES: Final = 300
"""Ratio of the slowest to the fastest step below which powers of ten alone are too few labels."""

MOST_RANKED: Final = 5
"""Groups whose ranks are drawn."""
GOLDEN: Final = 0.6180339887498949
"""Multiples of it, modulo 1, scatter evenly: a jitter that is the same every time."""

HEADER_IN, FOOTER_IN = 1.15, 0.62
TOP_IN: Final = 5.35
"""Height of the upper panels."""
BETWEEN_IN: Final = 1.25
RANKS_IN: Final = 1.95
VERDICTS_IN: Final = 1.5


class Hue(NamedTuple):
    """How the points of a source look."""

    colour: str
    shape: str


def validation_figure(
    compared: pd.DataFrame, layouts: pd.DataFrame, summary: Mapping[str, Any]
) -> Figure:
    """Return predicted over measured times, errors by source, ranks and memory verdicts.

    Ranks are left out where no group of layouts is large enough, memory where no outcome is known.

    Parameters
    ----------
    compared
        Table of compared rows (`simulator.validation.errors.with_errors`).
    layouts
        Ranked layouts (`simulator.validation.ranks.ranked_layouts`).
    summary
        Summary of the same rows: its headline is the title.
    """
    groups = largest_groups(layouts)
    known = outcomes(compared)
    lower = [RANKS_IN] * bool(groups) + [VERDICTS_IN] * bool(len(known))
    height_in = HEADER_IN + TOP_IN + sum(BETWEEN_IN + panel for panel in lower) + FOOTER_IN
    with picture_style():
        figure = new_page(height_in)
        _add_heading(figure, summary)
        bottom_in = height_in - HEADER_IN - TOP_IN
        _add_upper(figure, compared, bottom_in)
        if groups:
            bottom_in -= BETWEEN_IN + RANKS_IN
            _add_ranks(figure, groups, bottom_in)
        if len(known):
            bottom_in -= BETWEEN_IN + VERDICTS_IN
            verdicts = add_panel(figure, LEFT_IN + 0.5, RIGHT_IN, bottom_in, VERDICTS_IN)
            plot_verdicts(known, verdicts)
    return figure


def plot_times(compared: pd.DataFrame, ax: Axes) -> Axes:
    """Draw predicted over measured step times, both logarithmic, within bands of 10 and 25 %."""
    rows = compared[compared["error"].notna()]
    ends = _decades(rows)
    for width, colour in BANDS:
        ax.fill_between(
            ends, ends * (1 - width), ends * (1 + width), color=colour, linewidth=0, zorder=0
        )
    ax.plot(ends, ends, color=MUTED, linewidth=0.8, zorder=1)
    hues = source_hues(rows)
    for source, part in rows.groupby("source", sort=False):
        _scatter(ax, part["measured_s"], part["step_time_s"], part, hues[source])
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    ax.set_title("Step time, bands of 10 and 25 %")
    ax.set(xlabel="measured [s]", ylabel="predicted [s]")
    subs = (1, 2, 5) if ends[1] / ends[0] < FEW_DECADES else (1,)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=subs, numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())
    fitted = bool((rows["split"] == "calibration").any())
    handles = _legend(hues, fitted=fitted)
    ax.legend(handles=handles, loc="upper left", fontsize=9, handletextpad=0.1, borderpad=0.2)
    return ax


def plot_errors(compared: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the signed error of every row by source, with the quartiles of each source.

    Sources stand in the order of their rows, validation above calibration.
    """
    rows = compared[compared["error"].notna()]
    hues = source_hues(rows)
    lines = _source_lines(rows)
    for width, colour in BANDS:
        ax.axvspan(-width, width, color=colour, linewidth=0, zorder=0)
    ax.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    for row, (source, _, part) in enumerate(lines):
        y = row + 0.5 + 0.56 * (jitter(len(part)) - 0.5)
        _strip(ax, part["error"].to_numpy(), y, part, hues[source])
        _quartiles(ax, part["error"], row + 0.5)
    ax.set(xlim=(-WIDEST_ERROR - 0.04, WIDEST_ERROR + 0.04), ylim=(max(len(lines), 1), 0))
    ax.set_yticks(np.arange(len(lines)) + 0.5, [label for _, label, _ in lines], size=9)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.0f}%"))
    ax.set_title("Error by source, median and quartiles")
    ax.set_xlabel("predicted over measured, minus 1")
    return ax


def plot_ranks(layouts: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the predicted over the measured rank of the layouts of one group; 1 is the fastest.

    Parameters
    ----------
    layouts
        Rows of one group: ``predicted_rank``, ``measured_rank``, ``split``, ``model``,
        ``accelerator``, ``n_accel``.
    ax
        Where to draw.
    """
    count = len(layouts)
    ends = np.array([1 - 0.06 * count, count * 1.06])
    ax.plot(ends, ends, color=MUTED, linewidth=0.8, zorder=1)
    hue = Hue(HUES[0], "o")
    _scatter(ax, layouts["measured_rank"], layouts["predicted_rank"], layouts, hue)
    best = layouts.nsmallest(1, "measured_rank")
    ax.scatter(
        best["measured_rank"],
        best["predicted_rank"],
        s=70,
        facecolor="none",
        edgecolor=ALARM,
        linewidth=1.4,
        zorder=4,
    )
    ax.set(xlim=ends, ylim=ends, aspect="equal")
    ticks = [1, count]
    ax.set_xticks(ticks)
    ax.set_yticks(ticks)
    first = layouts.iloc[0]
    name = f"{first['model']}, {first['n_accel']:,} {first['accelerator']}"
    ax.set_title("\n".join(textwrap.wrap(name, 26)[:2]), size=9, weight="normal", color=INK)
    return ax


def plot_verdicts(compared: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the predicted peak memory over the capacity of runs that did, and did not, fit.

    Right of the capacity the prediction says that a run does not fit. Counts say how many rows
    stand on either side, of those that fitted nothing (`counted_rows`); what is wrong is in red.
    """
    for row, (ran, part) in enumerate((value, outcomes(compared, value)) for value in (1, 0)):
        share = (part["peak_memory_gib"] / part["capacity_gib"]).to_numpy(dtype=float)
        y = row + 0.62 + 0.52 * (jitter(len(part)) - 0.5)
        right = (share <= 1) == bool(ran)
        clipped = np.clip(share, *MEMORY_RANGE)
        for good, colour in ((True, HUES[0]), (False, ALARM)):
            shown = right == good
            _scatter(ax, clipped[shown], y[shown], part[shown], Hue(colour, "o"))
        _write_counts(ax, row, share[counted_rows(part)], ran=bool(ran))
    ax.axvline(1, color=COLOURS["capacity"], linewidth=1.2)
    ax.set(xscale="log", xlim=(MEMORY_RANGE[0] * 0.96, MEMORY_RANGE[1] * 1.04), ylim=(2, 0))
    ticks = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks([0.62, 1.62], ["ran", "out of\nmemory"])
    ax.set_title("Memory: predicted peak of runs whose outcome is known")
    ax.set_xlabel("predicted peak over capacity")
    return ax


def counted_rows(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which rows are counted: those of the validation split, or all if there are none."""
    counted = (rows["split"] != "calibration").to_numpy(dtype=bool)
    return counted if counted.any() else ~counted


def outcomes(compared: pd.DataFrame, ran: int | None = None) -> pd.DataFrame:
    """Return predicted rows whose outcome in memory is known (or is ``ran``: 1 yes, 0 no)."""
    if "capacity_gib" not in compared:
        return compared.iloc[:0]
    known = compared["ran"].notna() if ran is None else compared["ran"] == ran
    return compared[known & (compared["status"] == "ok")]


def largest_groups(layouts: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the largest groups of ranked layouts, those that fitted nothing first."""
    keys = ["split", "group", *(key for key in ("accelerator", "precision") if key in layouts)]
    groups = [part for _, part in layouts.groupby(keys, dropna=False)]
    by_size = sorted(groups, key=lambda part: (part["split"].iloc[0] == "calibration", -len(part)))
    return by_size[:MOST_RANKED]


def source_hues(rows: pd.DataFrame) -> dict[Hashable, Hue]:
    """Return a colour and a shape for each source: one each for the largest, grey for the rest."""
    by_size = rows["source"].value_counts(sort=False)
    # Not by size alone: equally large sources must keep their colours from run to run.
    names = sorted(by_size.index, key=lambda source: (-by_size[source], source))
    own = [Hue(*look) for look in zip(HUES, SHAPES, strict=False)]
    look = [*own, *([Hue(REST, "o")] * len(names))]
    return dict(zip(names, look, strict=False))


def jitter(count: int) -> Floats:
    """Return evenly scattered numbers between 0 and 1, the same for the same count.

    References
    ----------
    The additive recurrence of the golden ratio, a low-discrepancy sequence (Weyl).
    """
    return np.asarray((np.arange(count) * GOLDEN) % 1.0, dtype=np.float64)


def _add_heading(figure: Figure, summary: Mapping[str, Any]) -> None:
    title = "Predicted and measured training steps"
    first, _, rest = headline_sentence(summary).partition("; Spearman")
    add_title(figure, title, first)
    if rest:
        height_in = figure.get_figheight()
        figure.text(
            LEFT_IN / figure.get_figwidth(),
            1 - 0.96 / height_in,
            f"Spearman{rest}",
            size=12,
            color=MUTED,
        )


def _add_upper(figure: Figure, compared: pd.DataFrame, bottom_in: float) -> None:
    plot_times(compared, add_panel(figure, LEFT_IN, LEFT_IN + 4.95, bottom_in, 4.95))
    plot_errors(compared, add_panel(figure, 8.15, RIGHT_IN, bottom_in, 4.95))


def _add_ranks(figure: Figure, groups: Sequence[pd.DataFrame], bottom_in: float) -> None:
    step_in = (RIGHT_IN - LEFT_IN + 0.42) / MOST_RANKED
    for column, layouts in enumerate(groups):
        left_in = LEFT_IN + column * step_in
        ax = add_panel(figure, left_in, left_in + step_in - 0.42, bottom_in, RANKS_IN)
        plot_ranks(layouts, ax)
        ax.set_xlabel("measured rank", labelpad=-8)
        if column == 0:
            ax.set_ylabel("predicted rank", labelpad=-8)
    figure.text(
        LEFT_IN / figure.get_figwidth(),
        (bottom_in + RANKS_IN + 0.55) / figure.get_figheight(),
        "Ranks of layouts in the largest groups (1 is the fastest; red ring: the measured best)",
        size=12,
        weight="bold",
    )


def _decades(rows: pd.DataFrame) -> Floats:
    """Return limits that hold all times, measured and predicted, with some room [s]."""
    times = rows[["measured_s", "step_time_s"]].to_numpy(dtype=float)
    if not times.size:
        return np.array([0.1, 10.0])
    return np.array([times.min() / 1.5, times.max() * 1.5])


def _source_lines(rows: pd.DataFrame) -> list[tuple[Hashable, str, pd.DataFrame]]:
    """Return source, label and rows of each line of the error panel, from the top down."""
    parts = [(split, source, part) for (split, source), part in rows.groupby(["split", "source"])]
    parts.sort(key=lambda line: (line[0] == "calibration", -len(line[2])))
    return [
        (source, f"{source} ({len(part):,}{', fitted' * (split == 'calibration')})", part)
        for split, source, part in parts
    ]


def _scatter(ax: Axes, x: Any, y: Any, rows: pd.DataFrame, hue: Hue) -> None:  # noqa: ANN401 - any sequence of numbers
    """Draw rows as points: filled, or hollow if they fitted a profile."""
    fitted = (rows["split"] == "calibration").to_numpy()
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    for shown, filled in ((~fitted, True), (fitted, False)):
        if shown.any():
            ax.scatter(
                x[shown],
                y[shown],
                s=16,
                marker=hue.shape,
                zorder=2 + filled,
                facecolor=hue.colour if filled else "none",
                edgecolor=hue.colour,
                linewidth=0.3 if filled else 0.6,
                alpha=0.75,
            )


def _strip(ax: Axes, errors: Floats, y: Floats, rows: pd.DataFrame, hue: Hue) -> None:
    """Draw errors as points; those beyond the panel as arrows at its edge."""
    beyond = np.abs(errors) > WIDEST_ERROR
    _scatter(ax, errors[~beyond], y[~beyond], rows[~beyond], hue)
    for side, shape in ((-1.0, "<"), (1.0, ">")):
        at = beyond & (np.sign(errors) == side)
        ax.scatter(
            np.full(at.sum(), side * (WIDEST_ERROR + 0.02)),
            y[at],
            s=16,
            marker=shape,
            color=ALARM,
            zorder=4,
        )


def _quartiles(ax: Axes, errors: pd.Series[float], y: float) -> None:
    low, middle, high = np.clip(errors.quantile([0.25, 0.5, 0.75]), -WIDEST_ERROR, WIDEST_ERROR)
    ax.plot([low, high], [y, y], color=INK, linewidth=1.6, zorder=5, solid_capstyle="butt")
    ax.plot([middle, middle], [y - 0.32, y + 0.32], color=INK, linewidth=2.2, zorder=5)


def _write_counts(ax: Axes, row: int, share: Floats, *, ran: bool) -> None:
    """Write above a strip how many of its rows stand on either side of the capacity."""
    fits = int((share <= 1).sum())
    for count, x, side, right in (
        (fits, 0.98, "right", ran),
        (len(share) - fits, 1.02, "left", not ran),
    ):
        words = f"{count:,} predicted to {'fit' if side == 'right' else 'exceed it'}"
        colour = INK if right else ALARM
        ax.text(x, row + 0.15, words, ha=side, va="center", size=10, weight="bold", color=colour)


def _legend(hues: Mapping[Hashable, Hue], *, fitted: bool) -> list[Line2D]:
    named = {str(source): hue for source, hue in hues.items() if hue.colour != REST}
    if len(named) < len(hues):
        named["others"] = Hue(REST, "o")
    handles = [_handle(source, hue, filled=True) for source, hue in named.items()]
    return [*handles, *([_handle("hollow: fitted", Hue(REST, "o"), filled=False)] * fitted)]


def _handle(label: str, hue: Hue, *, filled: bool) -> Line2D:
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=hue.shape,
        color=hue.colour,
        markerfacecolor=hue.colour if filled else "none",
        label=label,
        markersize=5,
    )
