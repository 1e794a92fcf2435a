"""Memory of every stage over a step, beside what it consists of at its peak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.collections import PolyCollection

from simulator.report.page import (
    LEFT_IN,
    RIGHT_IN,
    add_legend,
    add_panel,
    add_title,
    label_rows,
    labelled_rows,
    new_page,
    panel_height,
)
from simulator.report.palette import ALARM, COLOURS, MEMORY_COLOURS, picture_style
from simulator.report.quantities import time_unit
from simulator.report.tables import memory_verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.intp]

HEADER_IN, FOOTER_IN = 1.85, 0.62
LEGEND_IN: Final = 0.98
CURVES_RIGHT_IN: Final = 5.6
BARS_LEFT_IN: Final = 5.95

TALLEST: Final = 0.84
"""Height of the capacity, or of a larger peak, above its row's baseline, as share of the row."""
BAR: Final = (0.18, 0.90)
"""Top and bottom of a bar, as shares of its row."""

COARSEST, FINEST, MOST_POINTS = 60, 600, 16_000
"""Points of one curve, and of all curves: an SVG of 64 stages stays below 1 MB."""

CURVE_COLOURS: Final = {
    "never freed": "#AEB8C2",
    "in use": MEMORY_COLOURS["activations"],
    "free": "#EEF0F2",
    "over capacity": ALARM,
}
"""Areas of a curve, from the front to the back."""


def memory_figure(
    memory: pd.DataFrame,
    memory_stages: Sequence[Mapping[str, float]],
    capacity_gib: float,
    summary: Mapping[str, Any],
) -> Figure:
    """Return one row per stage: memory over the step, and its components at the peak as a bar.

    Parameters
    ----------
    memory
        Columns ``stage``, ``time_s``, ``memory_gib``: a value holds from its time on.
    memory_stages
        Components of each stage's peak [GiB]: ``stage``, ``weights``, ``gradients``, …, ``total``.
    capacity_gib
        Memory that a process can allocate [GiB].
    summary
        Summary of the same step: scenario, step time [s] and whether it fits.
    """
    panel_in = panel_height(len(memory_stages), row_in=(0.14, 0.42), most_in=4.8)
    with picture_style():
        figure = new_page(HEADER_IN + panel_in + FOOTER_IN)
        curves = add_panel(figure, LEFT_IN, CURVES_RIGHT_IN, FOOTER_IN, panel_in)
        bars = add_panel(figure, BARS_LEFT_IN, RIGHT_IN, FOOTER_IN, panel_in)
        plot_memory(memory, curves, capacity_gib, summary["step_time_s"])
        plot_components(memory_stages, bars, capacity_gib)
        bars.set_yticks([])
        add_title(figure, f"{summary['scenario']}: memory by stage", memory_verdict(summary))
        add_legend(figure, _areas_in_use(summary["fits"]), LEFT_IN, LEGEND_IN)
        add_legend(figure, _components_in_use(memory_stages), BARS_LEFT_IN, LEGEND_IN)
    return figure


def plot_memory(memory: pd.DataFrame, ax: Axes, capacity_gib: float, step_time_s: float) -> Axes:
    """Draw the memory of each stage over the step in a row of its own, as tall as the capacity.

    Where a curve is coarser than the steps of the memory it shows the highest of them.

    Parameters
    ----------
    memory
        Columns ``stage``, ``time_s``, ``memory_gib``.
    ax
        Where to draw.
    capacity_gib
        Memory that a process can allocate [GiB].
    step_time_s
        Length of the step [s].
    """
    stages = sorted(memory["stage"].unique())
    parts = [memory[memory["stage"] == stage] for stage in stages]
    points = min(max(MOST_POINTS // len(stages), COARSEST), FINEST)
    edges = np.linspace(0.0, step_time_s, points + 1)
    scale = TALLEST / max(capacity_gib, float(memory["memory_gib"].max()))
    size_s, unit = time_unit(step_time_s)
    levels = [_levels(part, edges, capacity_gib) for part in parts]
    for name in reversed(CURVE_COLOURS):
        areas = [
            _area(edges / size_s, scale * level[name], row) for row, level in enumerate(levels)
        ]
        ax.add_collection(PolyCollection(areas, facecolor=CURVE_COLOURS[name], edgecolor="none"))
    ax.set(xlim=(0.0, step_time_s / size_s), ylim=(len(stages), 0.0))
    ax.set_xlabel(f"time in the step [{unit}]")
    label_rows(ax, [f"stage {stage}" for stage in stages], middle=sum(BAR) / 2)
    return ax


def plot_components(
    memory_stages: Sequence[Mapping[str, float]], ax: Axes, capacity_gib: float
) -> Axes:
    """Draw each stage's peak memory as a bar of components, with its total and the capacity.

    Parameters
    ----------
    memory_stages
        Components of each stage's peak [GiB].
    ax
        Where to draw.
    capacity_gib
        Memory that a process can allocate [GiB].
    """
    rows = np.arange(len(memory_stages))
    left = np.zeros(len(memory_stages))
    for component, colour in MEMORY_COLOURS.items():
        right = left + [stage[component] for stage in memory_stages]
        boxes = list(_boxes(left, right, rows))
        ax.add_collection(PolyCollection(boxes, facecolor=colour, edgecolor="none"))
        left = right
    ax.axvline(capacity_gib, color=COLOURS["capacity"], linewidth=1.0)
    largest = max(capacity_gib, float(left.max()))
    ax.set(xlim=(0.0, 1.16 * largest), ylim=(len(memory_stages), 0.0))
    ax.set_xlabel("memory at the peak [GiB]")
    ax.text(capacity_gib, 0, f"capacity {capacity_gib:.1f}", ha="center", va="bottom", size=10)
    label_rows(ax, [f"stage {stage['stage']}" for stage in memory_stages], middle=sum(BAR) / 2)
    _write_totals(memory_stages, ax, capacity_gib)
    return ax


def highest_within(edges_s: Floats, time_s: pd.Series[float], values: pd.Series[float]) -> Floats:
    """Return the highest value of a step function within each bin.

    Parameters
    ----------
    edges_s
        Edges of the bins [s], rising; there is one bin less than edges.
    time_s, values
        Each value holds from its time on, the first also before.
    """
    held = np.maximum(np.searchsorted(time_s, edges_s[:-1], side="right") - 1, 0)
    after = np.maximum(np.searchsorted(time_s, edges_s[1:], side="left"), held + 1)
    # reduceat takes no index past the end: one more copy of the last value changes no maximum.
    padded = np.append(values, values.iloc[-1])
    highest: Floats = np.maximum.reduceat(padded, np.column_stack([held, after]).ravel())[::2]
    return highest


def _levels(memory: pd.DataFrame, edges_s: Floats, capacity_gib: float) -> dict[str, Floats]:
    """Return the top of each area of `CURVE_COLOURS` within each bin [GiB]."""
    highest = highest_within(edges_s, memory["time_s"], memory["memory_gib"])
    lowest = min(float(memory["memory_gib"].min()), capacity_gib)
    return {
        "never freed": np.full_like(highest, lowest),
        "in use": np.minimum(highest, capacity_gib),
        "free": np.full_like(highest, capacity_gib),
        "over capacity": highest,
    }


def _area(edges: Floats, heights: Floats, row: int) -> Floats:
    """Return the outline of an area of steps on the baseline of a row, shape ``(points, 2)``."""
    changes = np.append(True, np.diff(heights) != 0)
    x = np.repeat(np.append(edges[:-1][changes], edges[-1]), 2)
    y = np.concatenate([[0.0], np.repeat(heights[changes], 2), [0.0]])
    return np.column_stack([x, row + 1 - y])


def _boxes(left: Floats, right: Floats, rows: Integers) -> Floats:
    """Return the corners of one bar a row, shape ``(rows, 4, 2)``."""
    x = np.stack([left, right, right, left], axis=1)
    y = np.stack([rows + BAR[0], rows + BAR[0], rows + BAR[1], rows + BAR[1]], axis=1)
    return np.stack([x, y], axis=2)


def _write_totals(
    memory_stages: Sequence[Mapping[str, float]], ax: Axes, capacity_gib: float
) -> None:
    right = ax.get_xlim()[1]
    for row in labelled_rows(len(memory_stages)):
        total = memory_stages[row]["total"]
        over = total > capacity_gib
        ax.text(
            right,
            row + sum(BAR) / 2,
            f"{total:.1f}",
            ha="right",
            va="center",
            size=10,
            color=ALARM if over else "black",
            weight="bold" if over else "normal",
        )


def _areas_in_use(fits: bool) -> dict[str, str]:  # noqa: FBT001 - a fact, not a mode
    return {
        name: colour
        for name, colour in CURVE_COLOURS.items()
        if name != "over capacity" or not fits
    }


def _components_in_use(memory_stages: Sequence[Mapping[str, float]]) -> dict[str, str]:
    used = {name for stage in memory_stages for name in MEMORY_COLOURS if stage[name] > 0}
    return {name: colour for name, colour in MEMORY_COLOURS.items() if name in used}
