"""A swept quantity as lines: speed over its values, the compute-bound speed, and the knee."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from simulator.report.comparison_bars import PARTS, colours_of
from simulator.report.comparison_words import (
    LINE_RATE,
    OVER_MEMORY,
    REFUSED,
    field_words,
    row_label,
)
from simulator.report.page import LEFT_IN, RIGHT_IN, add_legend, add_panel
from simulator.report.palette import ALARM, HUES, MUTED
from simulator.report.quantities import significant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Row = Mapping[str, Any]

FEWEST_VALUES: Final = 3
"""Values from which a quantity makes a line."""
GEOMETRIC: Final = 4.0
"""Ratio of the largest to the smallest value from which the axis is logarithmic."""
ROUNDING: Final = 1e-9
"""Relative difference of speeds that are one."""
PANEL_IN: Final = 4.4
HEADER_IN, FOOTER_IN = 1.35, 1.0
HEIGHT_IN: Final = HEADER_IN + PANEL_IN + FOOTER_IN
LABELS_IN: Final = 2.1
"""Room for names at the right end of the lines."""
PARTS_IN: Final = 4.3
"""Width of the panel of parts."""
APART: Final = 0.05
"""Least distance of two names as a share of the axis."""
MOST_TICKS: Final = 12
SPEED: Final = "tokens_per_s_per_accelerator"
WAITS: Final = tuple(name for name, _ in PARTS.values() if name.startswith(("exposed", "bubble")))
"""Parts of a step in which it waits."""


@dataclass(frozen=True, slots=True)
class Series:
    """The rows that differ in the swept quantity alone, by its growing values."""

    label: str
    places: tuple[float, ...]
    """Swept values."""
    rows: tuple[Row, ...]

    @property
    def compute_bound(self) -> float | None:
        """Compute-bound speed [tokens/s per accelerator]; None if it varies or was not sought."""
        shares = [row.get("share_of_compute_bound") for row in self.rows]
        if None in shares:
            return None
        speeds = [row[SPEED] / share for row, share in zip(self.rows, shares, strict=True)]
        same = max(speeds) <= min(speeds) * (1 + ROUNDING)
        return speeds[0] if same else None


def swept_number(summary: Mapping[str, Any]) -> str | None:
    """Return the swept field that makes lines: the number with the most values, if it has enough.

    A line rate comes before others: it is what the knee is about.
    """
    counts = {key: len({row[key] for row in summary["rows"]}) for key in summary["swept"]}
    numbers = [
        key
        for key, count in counts.items()
        if count >= FEWEST_VALUES and all(_is_number(row[key]) for row in summary["rows"])
    ]
    return max(numbers, key=lambda key: (key == LINE_RATE, counts[key]), default=None)


def series_of(summary: Mapping[str, Any], key: str) -> list[Series]:
    """Return the lines over the values of ``key``: one for each cluster and other swept value."""
    groups: dict[str, list[Row]] = {}
    for row in summary["rows"]:
        if row["status"] != REFUSED:
            groups.setdefault(row_label(row, summary, without=key), []).append(row)
    ordered = {
        label: sorted(rows, key=lambda row: float(row[key])) for label, rows in groups.items()
    }
    return [
        Series(label, tuple(float(row[key]) for row in rows), tuple(rows))
        for label, rows in ordered.items()
    ]


def add_lines(figure: Figure, summary: Mapping[str, Any], key: str) -> None:
    """Draw speed over the values of ``key``; of a single line also where its steps go."""
    lines = series_of(summary, key)
    single = len(lines) == 1
    right_in = RIGHT_IN - (PARTS_IN + 1.0 if single else LABELS_IN)
    speed = add_panel(figure, LEFT_IN, right_in, FOOTER_IN, PANEL_IN)
    plot_speed(lines, key, summary["knee_columns"], speed)
    if single:
        left_in = RIGHT_IN - PARTS_IN
        parts = add_panel(figure, left_in, RIGHT_IN, FOOTER_IN, PANEL_IN)
        plot_parts(lines[0], key, parts)
        waits = {name: hue for name, hue in colours_of(lines[0].rows).items() if name in WAITS}
        add_legend(figure, waits, left_in, HEADER_IN - 0.32)


def plot_speed(lines: Sequence[Series], key: str, columns: Mapping[str, float], ax: Axes) -> Axes:
    """Draw tokens/s of an accelerator over the swept values; points are simulated steps.

    Dashed is the compute-bound speed. Where the swept field is the line rate, rings are the knees.
    """
    top = 0.0
    for line, hue in zip(lines, HUES, strict=False):
        speeds = [row[SPEED] for row in line.rows]
        knees = knee_points(line, columns) if key == LINE_RATE else []
        way = sorted([*zip(line.places, speeds, strict=True), *(knee[1:] for knee in knees)])
        ax.plot(*zip(*way, strict=True), color=hue, linewidth=2)
        ax.plot(line.places, speeds, color=hue, linestyle="none", marker="o", markersize=4.5)
        for value, speed, row in zip(line.places, speeds, line.rows, strict=True):
            if row["status"] == OVER_MEMORY:
                ax.plot([value], [speed], marker="x", markersize=9, color=ALARM, zorder=4)
        top = max(top, *speeds, line.compute_bound or 0)
        if line.compute_bound is not None:
            ax.axhline(line.compute_bound, color=hue, linewidth=1, linestyle=(0, (5, 4)))
            _mark_knees(knees, hue, ax, named=len(lines) == 1)
    ax.set(ylim=(0, 1.08 * top), ylabel="tokens/s per accelerator", xlabel=field_words(key))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    _scale(sorted({value for line in lines for value in line.places}), ax)
    _name(lines, 1.08 * top, ax)
    return ax


def plot_parts(line: Series, key: str, ax: Axes) -> Axes:
    """Draw for every swept value what its step waits for, as shares of the step."""
    places = np.arange(len(line.rows))
    bottom = np.zeros(len(line.rows))
    for part, (name, colour) in PARTS.items():
        if name in WAITS:
            shares = np.array([100 * row[part] / row["step_time_s"] for row in line.rows])
            ax.bar(places, shares, bottom=bottom, width=0.7, color=colour, linewidth=0)
            bottom += shares
    for place, share in enumerate(bottom.tolist()):
        ax.text(place, share, f"{share:.0f}%", size=9, ha="center", va="bottom")
    ax.set_xticks(places, [f"{value:,g}" for value in line.places])
    ax.set(xlabel=field_words(key), ylabel="share of the step [%]")
    return ax


def knee_points(line: Series, columns: Mapping[str, float]) -> list[tuple[float, float, float]]:
    """Return share, swept value and speed of each knee inside the swept range.

    The speed is the one that was searched for, met within the tolerance of the search.
    """
    row, bound = line.rows[0], line.compute_bound
    if bound is None:
        return []
    interfaces = line.places[0] / row["line_rate_gbit_per_s"]
    found = [
        (share, row[name] * interfaces, share * bound)
        for name, share in columns.items()
        if row[name] is not None
    ]
    return [knee for knee in found if line.places[0] <= knee[1] <= line.places[-1]]


def _mark_knees(
    knees: Sequence[tuple[float, float, float]], hue: str, ax: Axes, *, named: bool
) -> None:
    """Ring the knees, the share inside the ring, and name their values where there is room."""
    for share, at, speed in knees:
        ax.plot([at], [speed], marker="o", ms=17, mfc="white", mec=hue, mew=1.6, zorder=3)
        ax.text(at, speed, f"{100 * share:.0f}", size=9, color=hue, ha="center", va="center")
        if named:
            ax.annotate(
                f"{significant(at)} Gbit/s",
                (at, speed),
                xytext=(4, -17),
                textcoords="offset points",
                size=10,
                weight="bold",
                color=hue,
            )


def _scale(values: Sequence[float], ax: Axes) -> None:
    """Put the ticks on the swept values, as far as they keep apart."""
    if values[0] > 0 and values[-1] / values[0] >= GEOMETRIC:
        ax.set_xscale("log")
        ax.set_xlim(values[0] / 1.12, values[-1] * 1.12)
    step = -(-len(values) // MOST_TICKS)
    ax.xaxis.set_major_locator(FixedLocator(list(values[::step])))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _name(lines: Sequence[Series], top: float, ax: Axes) -> None:
    """Write each line's name at its right end; a single line is named by the title."""
    if len(lines) == 1:
        _name_bound(lines[0].compute_bound, ax)
        return
    ends = [
        (line.rows[-1][SPEED] / top, line.label, hue)
        for line, hue in zip(lines, HUES, strict=False)
    ]
    lowest = 0.0
    for end, label, hue in sorted(ends):
        place = max(end, lowest)
        lowest = place + APART
        ax.text(1.02, place, label, transform=ax.transAxes, size=10, color=hue, va="center")


def _name_bound(bound: float | None, ax: Axes) -> None:
    if bound is not None:
        ax.annotate(
            f"compute-bound: {significant(bound)}",
            (0, bound),
            xycoords=("axes fraction", "data"),
            xytext=(2, 4),
            textcoords="offset points",
            size=10,
            color=MUTED,
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
