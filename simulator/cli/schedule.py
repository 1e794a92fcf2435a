"""``simulator schedule``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from simulator.errors import OutputError
from simulator.schedule.notation import format_schedule
from simulator.schedule.pipelines import build_schedule
from simulator.schedule.validation import validate_schedule

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.schedule.actions import Schedule

PICTURES = (".png", ".svg", ".pdf")


def print_schedule(
    name: str, stages: int, micro_batches: int, chunks: int, plot: Path | None
) -> None:
    """Print a schedule in its text form and draw it if asked to.

    Raises
    ------
    ScheduleError
        If there is no such schedule or it refuses the counts.
    OutputError
        If the picture cannot be written.
    """
    schedule = build_schedule(name, stages, micro_batches, chunks)
    validate_schedule(schedule)
    if plot is not None:
        _draw(schedule, name, plot)
    sys.stdout.write(format_schedule(schedule) + "\n")


def _draw(schedule: Schedule, name: str, path: Path) -> None:
    if path.suffix not in PICTURES:
        raise OutputError(f"{path}: a picture's name ends in {', '.join(PICTURES)}")
    from matplotlib.figure import Figure  # noqa: PLC0415 - only pictures pay for matplotlib

    from simulator.report.palette import picture_style, write_figure  # noqa: PLC0415 - as above
    from simulator.report.schedule_plot import plot_schedule  # noqa: PLC0415 - as above

    with picture_style():
        figure = Figure(figsize=(12, 1.6 + 0.35 * schedule.stages), layout="constrained")
        axes = figure.add_subplot()
        plot_schedule(schedule, axes)
        figure.suptitle(
            f"{name}: {schedule.stages} stages, {schedule.micro_batches} micro-batches",
            x=0.01,
            horizontalalignment="left",
        )
        partial = path.with_name(f".partial-{path.name}")
        try:
            write_figure(figure, partial)
            partial.replace(path)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)
