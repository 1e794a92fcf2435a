"""Every file of a search, written together: all of them appear, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.report.files import OutputDirectory
from simulator.report.palette import write_figure
from simulator.report.parquet import write_json
from simulator.report.search_plot import search_figure
from simulator.search.runnable import runnable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from simulator.search.search import Search

FILES: Final[Mapping[str, str]] = {
    "summary": "search.json",
    "layouts": "layouts.parquet",
    "best": "best.yaml",
    "front_png": "front.png",
    "front_svg": "front.svg",
}
"""Files of a search by what they hold."""


def write_search(
    found: Search,
    directory: Path,
    path: Path,
    *,
    overrides: Sequence[str] = (),
    profiles: Sequence[Path] = (),
) -> dict[str, Path]:
    """Write `FILES` into ``directory`` and return their paths by what they hold.

    Parameters
    ----------
    found
        The search.
    directory
        Where.
    path, overrides, profiles
        The scenario that was searched, as it was loaded.

    Raises
    ------
    OutputError
        If the directory cannot be written.
    """
    frame = found.frame()
    best = found.summary["best"][0]
    text = runnable(
        path,
        found.scenario,
        found.best,
        best["step_time_s"],
        overrides=overrides,
        profiles=profiles,
    )
    with OutputDirectory(directory) as output:
        write_json(found.summary, output.path(FILES["summary"]))
        frame.to_parquet(output.path(FILES["layouts"]), index=False, compression="zstd")
        output.path(FILES["best"]).write_text(text, encoding="utf-8")
        figure = search_figure(frame, found.summary)
        write_figure(figure, output.path(FILES["front_png"]))
        write_figure(figure, output.path(FILES["front_svg"]))
    return {what: directory / name for what, name in FILES.items()}
