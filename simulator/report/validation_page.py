"""Predictions beside measurements as one page of HTML: no network, no server, nothing to install.

Everything that stands in a table of runs is escaped; styles, script and picture are inside.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simulator.report.palette import COLOURS, picture_style
from simulator.report.quantities import percent_text, significant, time_text
from simulator.report.validation_tables import (
    ONE_LINE,
    SPLITS,
    UNKNOWN,
    correlation_text,
    first_split,
    group_name,
    headline_sentence,
    known_outcomes,
    percents,
    signed_percent,
    source_cells,
    sources_text,
    verdict_cells,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.figure import Figure

TEMPLATE: Final = "validation.html.jinja"

PART_COLOURS: Final[Mapping[str, str]] = {
    "compute": COLOURS["forward"],
    "recompute": COLOURS["recompute"],
    "exposed_tensor": COLOURS["tensor"],
    "exposed_context": COLOURS["context"],
    "exposed_pipeline": COLOURS["pipeline"],
    "exposed_data": COLOURS["data"],
    "bubble": "#B9C0C7",
    "optimizer": "#777777",
    "other": COLOURS["weight_gradient"],
}
"""Hex colour by part of a step; bubble and optimizer are greys that dark paper shows."""

SHORT: Final[Mapping[str, str]] = {
    "tp": "tp{}",
    "pp": "pp{}",
    "vpp": "vpp{}",
    "cp": "cp{}",
    "ep": "ep{}",
    "dp": "dp{}",
    "mbs": "mbs {}",
    "gbs": "gbs {}",
    "seq_len": "seq {}",
    "recompute": "recompute {}",
    "attention_kernel": "{}",
}
"""How a layout is written in one line; degrees of one are left out."""
DEGREES: Final = frozenset({"tp", "pp", "vpp", "cp", "ep"})


def validation_page(
    compared: pd.DataFrame, summary: Mapping[str, Any], figure: Figure, *, title: str
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    compared
        Table of compared rows (`simulator.validation.errors.with_errors`), in order.
    summary
        Summary of the same rows (`simulator.validation.statistics.summary`).
    figure
        Picture of the same rows (`simulator.report.validation_plot.validation_figure`).
    title
        What was predicted: the name of the table.
    """
    from jinja2 import (  # noqa: PLC0415 - only a page pays for the template engine
        Environment,
        FileSystemLoader,
        StrictUndefined,
    )

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Functions rather than filters: the template calls what the tables of the terminal call.
    functions = {
        "percents": percents,
        "signed_percent": signed_percent,
        "time_text": time_text,
        "correlation_text": correlation_text,
        "group_name": group_name,
        "sources_text": sources_text,
        "source_cells": source_cells,
        "verdict_cells": verdict_cells,
        "layout_text": layout_text,
    }
    return environment.get_template(TEMPLATE).render(
        title=title,
        headline=headline_sentence(summary),
        summary=summary,
        cards=cards(summary),
        splits=SPLITS,
        headings=ONE_LINE,
        picture=inline_svg(figure),
        part_colours=PART_COLOURS,
        rows=[page_row(row) for row in compared.to_dict("records")],
        **functions,
    )


def cards(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the figures at the top of the page: value, what it is, and of how much."""
    split = first_split(summary)
    if split is None:
        return []
    figures = summary["splits"][split]
    groups = f"{figures['groups']:,} groups of layouts"
    known = known_outcomes(figures)
    within = figures["within_25"]
    shown = [
        (
            percents(figures["mape"]),
            "% mean error of step time",
            f"{figures['compared']:,} timed {split} rows",
        ),
        (
            percents(figures["median"]),
            "% median error",
            f"bias {percents(figures['bias'], '+.1f')} %",
        ),
        (percents(within), "% within 25 %", f"{percents(figures['within_10'])} % within 10 %"),
        (
            correlation_text(figures["spearman"]),
            "rank correlation",
            groups,
        ),
        (
            f"{figures['best_in_top_3']}/{figures['groups']}",
            "measured best in predicted top 3",
            groups,
        ),
        (
            percents(figures["verdicts"]["accuracy"]),
            "% of memory verdicts right",
            f"{known:,} known outcomes",
        ),
        (
            percents(figures["memory_mape"]),
            "% mean error of peak memory",
            f"{figures['memory_compared']:,} rows",
        ),
        (
            percent_text(figures["covered"] / figures["rows"]),
            "predicted",
            f"{figures['covered']:,} of {figures['rows']:,} rows",
        ),
    ]
    return [card for card in shown if not card[0].startswith((UNKNOWN, "0/0"))]


def page_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what the table of all rows shows of a row: texts, and numbers to sort by."""
    known = {name: None if value != value else value for name, value in row.items()}  # noqa: PLR0124 - NaN
    return {
        **{name: known[name] for name in ("run_id", "source", "split", "model", "status")},
        "job": _job(known),
        "n_accel": known["n_accel"],
        "layout": layout_text(known),
        "measured": _number(known["measured_s"]),
        "predicted": _number(known["step_time_s"]),
        "error": known["error"],
        "memory": _number(known["peak_memory_gib"]),
        "measured_memory": _number(known["measured_memory_gib"]),
        "verdict": _verdict(known),
        "remark": known["reason"] if known["status"] != "ok" else known["flags"] or "",
        "assumed": known["assumed"] or "",
    }


def layout_text(row: Mapping[str, Any]) -> str:
    """Return a layout in one line, such as ``tp4 pp2 dp16 mbs 1 gbs 2048 seq 8192``."""
    parts = [
        form.format(_short(row[name]))
        for name, form in SHORT.items()
        if row.get(name) not in {None, ""}
        and row[name] == row[name]
        and not (name in DEGREES and row[name] == 1)
    ]
    return " ".join([*parts, *(["SP"] * (row.get("sequence_parallel") is True))])


def inline_svg(figure: Figure) -> Any:  # noqa: ANN401 - markupsafe ships no name that a reader knows
    """Return a figure as the SVG element that stands in a page: no prologue, a width of its own."""
    from markupsafe import Markup  # noqa: PLC0415 - as above

    stream = io.StringIO()
    with picture_style():
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    element = text[text.index("<svg") :]
    # The page sets the size; the view box keeps the shape.
    element = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", element, count=1)
    element = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", element, count=1)
    # Safe: matplotlib escapes what it writes, and draws texts as outlines.
    return Markup(element)  # noqa: S704


def _job(row: Mapping[str, Any]) -> str:
    """Return how many accelerators of which kind; a source may leave out either."""
    count = "?" if row["n_accel"] is None else f"{row['n_accel']:,}"
    return f"{count} {row['accelerator'] or '?'}"


def _verdict(row: Mapping[str, Any]) -> str:
    """Return outcome and verdict in memory, such as ``ran, predicted to exceed``."""
    outcome = {1: "ran", 0: "out of memory"}.get(row["ran"], "")
    if row["status"] != "ok":
        return outcome
    return ", ".join(part for part in (outcome, "fits" if row["fits"] else "exceeds") if part)


def _number(value: float | None) -> tuple[float | None, str]:
    """Return a number to sort by and its text."""
    return value, "" if value is None else significant(value)


def _short(value: Any) -> str:  # noqa: ANN401 - a cell: a number or a text
    return f"{value:g}" if isinstance(value, float) else str(value)
