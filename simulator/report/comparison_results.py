"""Every file of a comparison, written together: all of them appear, or none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from simulator.report.comparison_plot import comparison_figure
from simulator.report.comparison_tables import markdown
from simulator.report.files import OutputDirectory
from simulator.report.palette import write_figure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from simulator.report.spans import Column

FILES: Final[Mapping[str, str]] = {
    "parquet": "comparison.parquet",
    "csv": "comparison.csv",
    "markdown": "comparison.md",
    "picture_png": "comparison.png",
    "picture_svg": "comparison.svg",
}
"""Files of a comparison by what they hold."""


def write_comparison(
    summary: Mapping[str, Any], columns: Mapping[str, Column], target: Path
) -> dict[str, Path]:
    """Write `FILES` into ``target`` and return their paths by what they hold.

    Parameters
    ----------
    summary
        Rows and what they have in common (`simulator.comparison.compare.compare`).
    columns
        Unit and meaning of the columns that are not swept fields.
    target
        The directory.

    Raises
    ------
    OutputError
        If the directory cannot be written; it is then as it was before.
    """
    frame = comparison_frame(summary)
    figure = comparison_figure(summary)
    with OutputDirectory(target) as output:
        _write_parquet(frame, summary, columns, output.path(FILES["parquet"]))
        frame.to_csv(output.path(FILES["csv"]), index=False)
        output.path(FILES["markdown"]).write_text(markdown(summary), encoding="utf-8")
        write_figure(figure, output.path(FILES["picture_png"]))
        write_figure(figure, output.path(FILES["picture_svg"]))
    return {what: target / name for what, name in FILES.items()}


def comparison_frame(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows as a table; swept fields are numbers where all their values are."""
    import pandas as pd  # noqa: PLC0415 - loaded only when a table is written

    frame = pd.DataFrame(summary["rows"])
    for key in summary["swept"]:
        numbers = pd.to_numeric(frame[key], errors="coerce")
        frame[key] = frame[key] if numbers.isna().any() else numbers
    return frame


def _write_parquet(
    frame: pd.DataFrame, summary: Mapping[str, Any], columns: Mapping[str, Column], path: Path
) -> None:
    """Write the table; every column carries its unit and meaning, the table what rows share."""
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    table = pa.Table.from_pandas(frame, preserve_index=False)
    fields = []
    for field in table.schema:
        column = columns.get(field.name)
        known = {"unit": column.unit, "description": column.meaning} if column else SWEPT
        fields.append(field.with_metadata(known))
    facts = {"shared": json.dumps(summary["shared"]), "notes": json.dumps(summary["notes"])}
    pq.write_table(table.cast(pa.schema(fields, metadata=facts)), path, compression="zstd")


SWEPT: Final = {"unit": "", "description": "swept field, as its key in a scenario says"}
