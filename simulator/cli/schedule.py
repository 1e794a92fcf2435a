"""``simulator schedule``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from simulator.errors import ScheduleError
from simulator.report.palette import picture_style, require_picture, write_picture
from simulator.schedule.notation import format_schedule
from simulator.schedule.pipelines import build_schedule
from simulator.schedule.validation import validate_schedule

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.schedule.actions import Schedule

MOST_ACTIONS: Final = 10_000_000
"""Actions of the longest schedule that is printed: some 70 MB of text."""
WIDTH_IN: Final = 12.0
TITLE_IN: Final = 1.6
ROW_IN: Final = 0.35
TALLEST_IN: Final = 40.0


def print_schedule(
    name: str, stages: int, micro_batches: int, chunks: int, plot: Path | None
) -> None:
    """Print a schedule in its text form and draw it if asked to.

    Raises
    ------
    ScheduleError
        If there is no such schedule, it refuses the counts, or it is too long to print.
    OutputError
        If the picture cannot be written.
    """
    _require_printable(stages, micro_batches, chunks)
    if plot is not None:
        require_picture(plot)
    schedule = build_schedule(name, stages, micro_batches, chunks)
    validate_schedule(schedule)
    if plot is not None:
        _draw(schedule, name, plot)
    sys.stdout.write(format_schedule(schedule) + "\n")


def _require_printable(stages: int, micro_batches: int, chunks: int) -> None:
    if min(stages, micro_batches, chunks) < 1:
        return  # the schedule itself says which count is wrong
    actions = 2 * stages * micro_batches * chunks
    if actions > MOST_ACTIONS:
        raise ScheduleError(
            f"2 passes x {stages:,} stages x {micro_batches:,} micro-batches x {chunks:,} chunks"
            f" = {actions:,} actions; at most {MOST_ACTIONS:,} are printed"
        )


def _draw(schedule: Schedule, name: str, path: Path) -> None:
    # Only pictures pay for matplotlib.
    from matplotlib.figure import Figure  # noqa: PLC0415 - as said

    from simulator.report.schedule_plot import plot_schedule  # noqa: PLC0415 - as above

    height_in = min(TITLE_IN + ROW_IN * schedule.stages, TALLEST_IN)
    with picture_style():
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        plot_schedule(schedule, figure.add_subplot())
        counts = f"{schedule.stages} stages, {schedule.micro_batches} micro-batches"
        figure.suptitle(f"{name}: {counts}", x=0.01, horizontalalignment="left")
        write_picture(figure, path)
