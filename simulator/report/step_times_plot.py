"""The samples of a step as a histogram beside the step as priced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.ticker import MaxNLocator

from simulator.report.page import LEFT_IN, RIGHT_IN, add_legend, add_panel, add_title, new_page
from simulator.report.palette import COLOURS, MUTED, picture_style
from simulator.report.quantities import percent_text, time_text, time_unit
from simulator.report.variation_tables import drawn_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

HEADER_IN, PANEL_IN, FOOTER_IN = 1.5, 3.4, 0.75
LEGEND_IN: Final = 0.98
BINS: Final = 60
WITHOUT: Final = COLOURS["recompute"]
DRAWN: Final = COLOURS["backward"]
MARGIN: Final = 0.06
"""Empty share of the axis before the first bar; twice that after the last, for a name."""


def step_times_figure(
    step_time: NDArray[np.float64], without_slow: NDArray[np.float64], summary: Mapping[str, Any]
) -> Figure:
    """Return how often which step time was drawn, with and without slow ranks.

    Parameters
    ----------
    step_time, without_slow
        Of every sample [s].
    summary
        Summary of the step with the key ``variation``.
    """
    variation = summary["variation"]
    with picture_style():
        figure = new_page(HEADER_IN + PANEL_IN + FOOTER_IN)
        panel = add_panel(figure, LEFT_IN, RIGHT_IN, FOOTER_IN, PANEL_IN)
        plot_step_times(panel, step_time, without_slow, variation["step_time_s"])
        add_title(figure, f"{summary['scenario']}: step time", _facts(variation))
        slow = variation["cost_s"]["slow_ranks"] != 0
        colours = {"as drawn": DRAWN} | ({"without slow ranks": WITHOUT} if slow else {})
        add_legend(figure, colours, LEFT_IN, LEGEND_IN)
    return figure


def plot_step_times(
    ax: Axes,
    step_time: NDArray[np.float64],
    without_slow: NDArray[np.float64],
    times_s: Mapping[str, float],
) -> Axes:
    """Draw the histogram; lines mark the step as priced, the median and the 99th percentile.

    Parameters
    ----------
    ax
        Where to draw.
    step_time, without_slow
        Of every sample [s].
    times_s
        ``step_time_s`` of the summary's ``variation``.
    """
    size_s, unit = time_unit(times_s["priced"])
    every = np.concatenate([step_time, without_slow, [times_s["priced"]]]) / size_s
    low, high = float(every.min()), float(every.max())
    margin = MARGIN * (high - low) or MARGIN * high
    edges = np.linspace(low - margin, high + 2 * margin, BINS + 1).tolist()
    if not np.array_equal(step_time, without_slow):
        ax.hist(without_slow / size_s, edges, color=WITHOUT)
    ax.hist(step_time / size_s, edges, color=DRAWN)
    ax.set_ylim(0, 1.22 * ax.get_ylim()[1])
    _mark(ax, times_s["priced"] / size_s, "as priced", COLOURS["optimizer"])
    _mark(ax, times_s["p50"] / size_s, "median", MUTED, left=True)
    _mark(ax, times_s["p99"] / size_s, "p99", MUTED)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel(f"step time [{unit}]")
    ax.set_ylabel("samples")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def _mark(ax: Axes, place: float, name: str, colour: str, *, left: bool = False) -> None:
    """Draw a line with its name on one side."""
    ax.axvline(place, color=colour, linewidth=1.2)
    written = ax.text(place, 0.97, f" {name} {place:.3f} ", transform=ax.get_xaxis_transform())
    written.set(ha="right" if left else "left", va="top", size=10)


def _facts(variation: Mapping[str, Any]) -> str:
    times, mfu = variation["step_time_s"], variation["mfu"]
    facts = (
        f"{variation['samples']:,} samples",
        drawn_text(variation),
        f"mean {time_text(times['mean'])}",
        (
            f"MFU {percent_text(mfu['mean'])} "
            f"(as priced {percent_text(mfu['priced'])}, {mfu['convention']})"
        ),
    )
    return "   ·   ".join(facts)
