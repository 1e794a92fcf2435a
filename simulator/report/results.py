"""Every file of a result, written together: all of them appear, or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from simulator.metrics.memory import memory_columns
from simulator.report.drawing import DrawingHere
from simulator.report.files import OutputDirectory
from simulator.report.parquet import write_columns, write_json, write_spans
from simulator.report.perfetto import write_perfetto
from simulator.report.pictures import memory_picture, step_times_picture, timeline_picture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.api import Result
    from simulator.report.drawing import Drawer

FILES: Final[Mapping[str, str]] = {
    "summary": "summary.json",
    "trace": "trace.parquet",
    "timeline_png": "timeline.png",
    "timeline_svg": "timeline.svg",
    "memory": "memory.png",
    "perfetto": "trace.perfetto.json",
}
"""Files of every result by what they hold."""

SAMPLE_FILES: Final[Mapping[str, str]] = {
    "step_times": "step_times.png",
    "step_times_table": "step_times.parquet",
}
"""Files of a result with samples."""


def write_results(
    result: Result, directory: Path | str, *, drawer: Drawer | None = None
) -> dict[str, Path]:
    """Write `FILES` into ``directory`` and return their paths by what they hold.

    With samples of the step, `SAMPLE_FILES`, too.

    Parameters
    ----------
    result
        The result.
    directory
        Where; made if it does not exist.
    drawer
        Who draws; pictures are drawn here, one by one, if not given.

    Raises
    ------
    OutputError
        If the directory cannot be written; it is then as it was before.
    """
    target = Path(directory)
    drawer = drawer or DrawingHere()
    with OutputDirectory(target) as output:
        try:
            _draw(result, output, drawer)
            _write_tables(result, output)
            drawer.finish()
        except BaseException:
            drawer.close()  # it must not write into a directory that is gone
            raise
    files = {**FILES, **(SAMPLE_FILES if result.samples is not None else {})}
    return {what: target / name for what, name in files.items()}


def _draw(result: Result, output: OutputDirectory, drawer: Drawer) -> None:
    """Draw all pictures, first those that need no table of spans."""
    summary, samples = result.summary, result.samples
    memory = output.path(FILES["memory"])
    drawer.draw(memory_picture, memory_columns(result.memory), summary, to=[memory])
    if samples is not None:
        times = output.path(SAMPLE_FILES["step_times"])
        drawer.draw(
            step_times_picture, samples.step_time, samples.without_slow, summary, to=[times]
        )
    timelines = [output.path(FILES[what]) for what in ("timeline_png", "timeline_svg")]
    drawer.draw(timeline_picture, result.trace, summary, to=timelines)


def _write_tables(result: Result, output: OutputDirectory) -> None:
    """Write all that is no picture."""
    facts = {key: result.summary[key] for key in ("scenario", "model", "cluster", "step_time_s")}
    write_json(result.summary, output.path(FILES["summary"]))
    write_spans(result.trace, output.path(FILES["trace"]), facts)
    with output.path(FILES["perfetto"]).open("w", encoding="utf-8") as stream:
        write_perfetto(result.trace, stream, facts)
    if result.samples is not None:
        write_columns(result.step_times, output.path(SAMPLE_FILES["step_times_table"]), facts)
