"""All layouts of a search as step time over memory, with the front and the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simulator.report.page import LEFT_IN, RIGHT_IN, add_legend, add_panel, add_title, new_page
from simulator.report.palette import ALARM, COLOURS, MUTED, picture_style
from simulator.report.quantities import time_text, time_unit
from simulator.report.search_tables import layout_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADER_IN, PANEL_IN, FOOTER_IN = 1.5, 4.2, 0.75
LEGEND_IN: Final = 0.98
SLOWEST: Final = 4.0
"""Multiple of the best step time at which the axis ends; slower layouts are counted, not drawn."""
FRONT: Final = COLOURS["backward"]
FITS: Final = COLOURS["forward"]


def search_figure(frame: pd.DataFrame, summary: Mapping[str, Any]) -> Figure:
    """Return the played layouts of a search, step time over memory.

    Parameters
    ----------
    frame
        All layouts: columns step_time_s, peak_memory_gib, fits, on_front.
    summary
        Summary of the search.
    """
    best = summary["best"][0]
    with picture_style():
        figure = new_page(HEADER_IN + PANEL_IN + FOOTER_IN)
        panel = add_panel(figure, LEFT_IN, RIGHT_IN, FOOTER_IN, PANEL_IN)
        plot_layouts(panel, frame, summary)
        told = f"{summary['layouts']:,} layouts, {summary['fit']:,} fit; best {layout_text(best)}"
        add_title(figure, f"{summary['scenario']}: {time_text(best['step_time_s'])}", told)
        colours = {"fits": FITS, "Pareto front": FRONT, "does not fit, by 10% at most": ALARM}
        add_legend(figure, colours, LEFT_IN, LEGEND_IN)
    return figure


def plot_layouts(ax: Axes, frame: pd.DataFrame, summary: Mapping[str, Any]) -> Axes:
    """Draw step time over memory; ``frame`` and ``summary`` as for `search_figure`."""
    best = summary["best"][0]
    size, symbol = time_unit(best["step_time_s"])
    most = SLOWEST * best["step_time_s"] / size
    played = frame[np.isfinite(frame["step_time_s"])]
    time, memory = played["step_time_s"] / size, played["peak_memory_gib"]
    for chosen, colour in ((played["fits"], FITS), (~played["fits"], ALARM)):
        shown = chosen & (time <= most)
        ax.scatter(memory[shown], time[shown], s=6, color=colour, alpha=0.35, lw=0, rasterized=True)
    front = frame[frame["on_front"]].sort_values("peak_memory_gib")
    ax.plot(
        front["peak_memory_gib"],
        front["step_time_s"] / size,
        color=FRONT,
        drawstyle="steps-post",
        marker="o",
        ms=4,
        lw=1.5,
    )
    ax.axvline(summary["capacity_gib"], color=COLOURS["capacity"], lw=1, ls="--")
    ax.annotate(
        f"capacity {summary['capacity_gib']:.0f} GiB",
        (summary["capacity_gib"], 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        color=MUTED,
    )
    ax.plot(
        best["peak_memory_gib"],
        best["step_time_s"] / size,
        marker="*",
        ms=14,
        color=FRONT,
        mec="#222222",
    )
    ax.annotate(
        "best",
        (best["peak_memory_gib"], best["step_time_s"] / size),
        xytext=(0, -14),
        textcoords="offset points",
        ha="center",
        fontsize=10,
    )
    slower = int((time > most).sum())
    ax.set_ylim(0, most)
    ax.set_xlim(0, 1.02 * float(memory.max()))
    ax.set_xlabel("peak memory of the fullest stage (GiB)")
    ax.set_ylabel(f"step time ({symbol})")
    if slower:
        ax.set_title(f"{slower:,} layouts take longer than the axis shows", fontsize=9, color=MUTED)
    return ax
