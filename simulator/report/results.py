"""Every file of a result, written together: all of them appear, or none."""

from __future__ import annotations

from concurrent.futures import wait
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simulator.report.drawing import draw_timeline
from simulator.report.files import OutputDirectory
from simulator.report.palette import write_figure
from simulator.report.parquet import write_columns, write_json, write_spans
from simulator.report.perfetto import write_perfetto

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from simulator.api import Result

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
    result: Result, directory: Path | str, *, drawer: Executor | None = None
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
        Who draws the timeline while the rest is written; nobody else if not given.

    Raises
    ------
    OutputError
        If the directory cannot be written; it is then as it was before.
    """
    target = Path(directory)
    with OutputDirectory(target) as output:
        timelines = [output.path(FILES[what]) for what in ("timeline_png", "timeline_svg")]
        if drawer is None:
            draw_timeline(result.trace, result.summary, timelines)
            _write_others(result, output)
        else:
            drawn = drawer.submit(draw_timeline, result.trace, result.summary, timelines)
            try:
                _write_others(result, output)
            except BaseException:
                drawn.cancel()
                raise
            finally:
                wait([drawn])  # it must not write into a directory that is gone
            drawn.result()
    files = {**FILES, **(SAMPLE_FILES if result.samples is not None else {})}
    return {what: target / name for what, name in files.items()}


def _write_others(result: Result, output: OutputDirectory) -> None:
    """Write all files but the timeline."""
    facts = {key: result.summary[key] for key in ("scenario", "model", "cluster", "step_time_s")}
    write_json(result.summary, output.path(FILES["summary"]))
    write_spans(result.trace, output.path(FILES["trace"]), facts)
    write_figure(result.plot_memory(), output.path(FILES["memory"]))
    with output.path(FILES["perfetto"]).open("w", encoding="utf-8") as stream:
        write_perfetto(result.trace, stream, facts)
    if result.samples is not None:
        picture, table = (output.path(name) for name in SAMPLE_FILES.values())
        write_figure(result.plot_step_times(), picture)
        write_columns(result.step_times, table, facts)
