"""A schedule as a picture before any cost is known: one row per stage, one cell per action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from simulator.report.palette import COLOURS
from simulator.schedule.actions import KINDS, Kind
from simulator.schedule.timeline import evaluate_equal_costs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from simulator.schedule.actions import Actions, Schedule
    from simulator.schedule.timeline import Timeline

    Floats = NDArray[np.float64]

SPAN_KIND: Final = {
    Kind.FORWARD: "forward",
    Kind.BACKWARD: "backward",
    Kind.INPUT_GRADIENT: "input_gradient",
    Kind.WEIGHT_GRADIENT: "weight_gradient",
}
"""Names under which `palette` keeps the colours."""

ROW: Final = (0.06, 0.94)
"""Top and bottom of a cell, as shares of its row."""
PALEST: Final = 0.6
"""How far the last chunk's colour goes towards white; chunk 0 has the full colour."""

DARKEST_UNDER_BLACK: Final = 0.55
"""Luma below which numbers are white."""
NUMBER_SIZE: Final = 8.0
DIGIT_WIDTH: Final = 0.65
"""Width of a digit over the size of the font."""
MOST_NUMBERS: Final = 2000
MOST_LABELLED_ROWS: Final = 32
MOST_VECTOR_CELLS: Final = 20_000
"""Beyond this the cells are drawn as an image, also in an SVG or PDF."""

POINTS_PER_INCH: Final = 72


def plot_schedule(
    schedule: Schedule, ax: Axes, forward: float = 1.0, backward: float = 2.0
) -> Axes:
    """Draw when each stage runs which action if all stages and chunks cost the same.

    Cells carry their micro-batch as far as the numbers fit. Colour is the kind of the action,
    lightness its chunk: chunk 0 is darkest.

    Parameters
    ----------
    schedule
        The schedule to draw.
    ax
        Where to draw. Its present size decides which numbers fit.
    forward, backward
        Relative time of F and B of one micro-batch through one chunk; I and W take half of
        ``backward`` each. The defaults are the FLOPs of a linear layer.

    Raises
    ------
    ScheduleError
        If the schedule cannot run or a cost is negative.
    """
    timeline = evaluate_equal_costs(schedule, forward, backward)
    shades = _shades(schedule.chunks)
    ax.set(xlim=(0, timeline.makespan or 1.0), ylim=(schedule.stages, 0))
    ax.set_facecolor(COLOURS["idle"])
    _draw_cells(schedule, timeline, shades, ax)
    _number_cells(schedule, timeline, shades, ax)
    ax.set_xlabel(f"time, if every forward takes {forward:g} and every backward {backward:g}")
    labelled = np.arange(0, schedule.stages, -(-schedule.stages // MOST_LABELLED_ROWS))
    ax.set_yticks(labelled + 0.5, [f"stage {stage}" for stage in labelled])
    _add_legend(schedule, shades, ax)
    return ax


def _draw_cells(schedule: Schedule, timeline: Timeline, shades: Floats, ax: Axes) -> None:
    rows = enumerate(zip(timeline.starts, timeline.ends, strict=True))
    cells = np.concatenate([_cells(stage, start, end) for stage, (start, end) in rows])
    colours = [shades[actions.kinds, actions.chunks] for actions in schedule.actions]
    swarm = len(cells) > MOST_VECTOR_CELLS
    collection = PolyCollection(
        cells,  # type: ignore[arg-type]  # an array is drawn twice as fast as the list in the stub
        facecolors=np.concatenate(colours),
        edgecolors="none" if swarm else "white",
        linewidths=0.0 if swarm else 0.4,
        rasterized=swarm,
    )
    ax.add_collection(collection, autolim=False)


def _cells(stage: int, start: Floats, end: Floats) -> Floats:
    """Return the corners of one row's cells, shape ``(actions, 4, 2)``."""
    top, bottom = np.full_like(start, stage + ROW[0]), np.full_like(start, stage + ROW[1])
    x = np.stack([start, end, end, start], axis=-1)
    return np.stack([x, np.stack([top, top, bottom, bottom], axis=-1)], axis=-1)


def _shades(chunks: int) -> Floats:
    """Return RGB by kind and chunk, shape ``(kinds, chunks, 3)``."""
    full = np.array([to_rgb(COLOURS[SPAN_KIND[kind]]) for kind in KINDS])[:, None, :]
    towards_white = PALEST * np.linspace(0, 1, chunks)[None, :, None]
    return np.asarray(full + (1 - full) * towards_white)


def _number_cells(schedule: Schedule, timeline: Timeline, shades: Floats, ax: Axes) -> None:
    """Write its micro-batch on each cell with room for it; on none if that is a swarm."""
    width, height = _points_per_unit(ax)
    if height * (ROW[1] - ROW[0]) < NUMBER_SIZE:
        return
    rows = list(zip(schedule.actions, timeline.starts, timeline.ends, strict=True))
    fitting = [
        np.flatnonzero((end - start) * width > _number_widths(actions))
        for actions, start, end in rows
    ]
    if sum(map(len, fitting)) > MOST_NUMBERS:
        return
    for stage, (actions, start, end) in enumerate(rows):
        for position in fitting[stage].tolist():
            kind, micro_batch, chunk = actions[position]
            middle = (start[position] + end[position]) / 2, stage + 0.5
            ax.annotate(
                str(micro_batch),
                middle,
                color=_ink(shades[kind, chunk]),
                size=NUMBER_SIZE,
                ha="center",
                va="center_baseline",
            )


def _ink(shade: Floats) -> str:
    """Return black or white, whichever stands out from a shade (ITU-R BT.601 luma)."""
    return "black" if shade @ (0.299, 0.587, 0.114) > DARKEST_UNDER_BLACK else "white"


def _number_widths(actions: Actions) -> Floats:
    """Return the width [points] that each action's micro-batch takes, with a margin."""
    digits = 1 + np.floor(np.log10(np.maximum(actions.micro_batches, 1)))
    return np.asarray(NUMBER_SIZE * (DIGIT_WIDTH * digits + 0.3))


def _points_per_unit(ax: Axes) -> tuple[float, float]:
    """Return the size [points] of one unit of time and of one row."""
    box = ax.get_window_extent()
    points = POINTS_PER_INCH / ax.figure.dpi
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    return box.width * points / (right - left), box.height * points / abs(top - bottom)


def _add_legend(schedule: Schedule, shades: Floats, ax: Axes) -> None:
    """Name the colours in use above the rows, where they hide nothing."""
    present = np.unique(np.concatenate([actions.kinds for actions in schedule.actions]))
    handles = [
        Patch(color=shades[kind, 0], label=SPAN_KIND[KINDS[kind]].replace("_", " "))
        for kind in present
    ]
    handles.append(Patch(color=COLOURS["idle"], label="idle"))
    if schedule.chunks > 1:
        note = f"lighter: later of {schedule.chunks} chunks"
        handles.append(Patch(color="none", label=note))
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(handles),
        frameon=False,
        borderpad=0,
        handlelength=1.0,
        handleheight=1.0,
    )
