"""Every file of a validation, written together: all of them appear, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from simulator.report.files import OutputDirectory
from simulator.report.palette import write_figure
from simulator.report.parquet import write_json
from simulator.report.validation_page import validation_page
from simulator.report.validation_plot import validation_figure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

FILES: Final[Mapping[str, str]] = {
    "predictions": "predictions.csv",
    "summary": "validation.json",
    "page": "validation.html",
    "picture_png": "validation.png",
    "picture_svg": "validation.svg",
}
"""Files of a validation by what they hold."""


def write_validation(
    predictions: pd.DataFrame,
    compared: pd.DataFrame,
    layouts: pd.DataFrame,
    summary: Mapping[str, Any],
    target: Path,
    *,
    title: str,
) -> dict[str, Path]:
    """Write `FILES` into ``target`` and return their paths by what they hold.

    Parameters
    ----------
    predictions
        The table that becomes ``predictions.csv``, as it is.
    compared, layouts, summary
        What `simulator.validation` makes of it: ``errors.with_errors``, ``ranks.ranked_layouts``,
        ``statistics.summary``.
    target
        The directory.
    title
        Name of the table of runs.

    Raises
    ------
    OutputError
        If the directory cannot be written; it is then as it was before.
    """
    figure = validation_figure(compared, layouts, summary)
    page = validation_page(compared, summary, figure, title=title)
    with OutputDirectory(target) as output:
        predictions.to_csv(output.path(FILES["predictions"]), index=False)
        write_json(summary, output.path(FILES["summary"]))
        output.path(FILES["page"]).write_text(page, encoding="utf-8")
        write_figure(figure, output.path(FILES["picture_png"]))
        write_figure(figure, output.path(FILES["picture_svg"]))
    return {what: target / name for what, name in FILES.items()}
