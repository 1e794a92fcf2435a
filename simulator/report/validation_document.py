"""Predictions beside measurements as the tables of a Markdown page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.report.quantities import time_text
from simulator.report.validation_tables import (
    FIGURES,
    GROUP_HEADINGS,
    ONE_LINE,
    SPLITS,
    error_headings,
    error_lines,
    group_cells,
    headline_sentence,
    known_outcomes,
    largest_groups,
    parts_text,
    percents,
    signed_percent,
    source_cells,
    sources_text,
    verdict_cells,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd


def document_parts(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of a page by name, as Markdown; what there is no data for is empty.

    ``headline`` is a sentence, ``validation`` and ``calibration`` are tables by source; then come
    ``ranks``, ``verdicts``, ``repeats``, ``worst``, ``unsupported`` and ``assumed``.

    Parameters
    ----------
    summary
        Of a table of predictions (`simulator.validation.statistics.summary`).
    """
    return {
        "headline": f"{headline_sentence(summary)}.",
        **{split: _sources(summary, split) for split in SPLITS},
        "ranks": _ranks(summary["groups"]),
        "verdicts": _verdicts(summary),
        "repeats": _repeats(summary["repeats"]),
        "worst": _worst(summary["worst"]),
        "unsupported": _counts(summary["unsupported"], "reason"),
        "assumed": _counts(summary["assumed"], "assumption"),
    }


def error_markdown(errors: pd.DataFrame) -> str:
    """Return errors by group, of collectives, operators or steps, as a Markdown table.

    Parameters
    ----------
    errors
        As for `simulator.report.validation_tables.error_table`.
    """
    names = sum(column not in FIGURES for column in errors)
    return markdown_table(error_headings(errors), error_lines(errors), names=names)


def markdown_table(headings: Sequence[str], lines: Iterable[Sequence[str]], *, names: int) -> str:
    """Return a table in Markdown, or nothing if it has no lines.

    Parameters
    ----------
    headings, lines
        Texts; a bar in one is escaped.
    names
        How many columns from the left are texts: the others are set flush right.
    """
    rows = [_row(line) for line in lines]
    rule = "|".join("---" if column < names else "--:" for column in range(len(headings)))
    return "\n".join([_row(headings), f"|{rule}|", *rows]) if rows else ""


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _sources(summary: Mapping[str, Any], split: str) -> str:
    lines = [
        [source["source"], *source_cells(source).values()]
        for source in summary["sources"]
        if source["split"] == split
    ]
    if split in summary["splits"]:
        total = source_cells(summary["splits"][split]).values()
        lines.append(["**all**", *(f"**{cell}**" for cell in total)])
    return markdown_table(["source", *ONE_LINE.values()], lines, names=1)


def _ranks(groups: Sequence[Mapping[str, Any]]) -> str:
    lines = [group_cells(group) for group in largest_groups(groups)]
    return markdown_table(GROUP_HEADINGS, lines, names=2)


def _verdicts(summary: Mapping[str, Any]) -> str:
    headings = ["source", "split", "ran, fits", "ran, exceeds", "OOM, fits", "OOM, exceeds"]
    sources = [
        [source["source"], source["split"], *verdict_cells(source)]
        for source in summary["sources"]
        if known_outcomes(source)
    ]
    totals = [
        ["**all**", split, *verdict_cells(figures)] for split, figures in summary["splits"].items()
    ]
    return markdown_table([*headings, "right %"], [*sources, *totals], names=2)


def _repeats(repeats: Sequence[Mapping[str, Any]]) -> str:
    headings = ["source", "layouts", "rows", "slowest over fastest, median %", "least MAPE %"]
    lines = [
        [
            line["source"],
            f"{line['layouts']}",
            f"{line['rows']}",
            percents(line["spread"]),
            percents(line["floor"]),
        ]
        for line in repeats
    ]
    return markdown_table(headings, lines, names=1)


def _worst(worst: Sequence[Mapping[str, Any]]) -> str:
    headings = ["row", "source", "predicted to consist of", "measured", "predicted", "error"]
    lines = [
        [
            f"`{row['run_id']}`",
            f"{row['source']}, {row['split']}",
            parts_text(row["breakdown_s"]),
            time_text(row["measured_s"]),
            time_text(row["step_time_s"]),
            signed_percent(row["error"]),
        ]
        for row in worst
    ]
    return markdown_table(headings, lines, names=3)


def _counts(lines: Sequence[Mapping[str, Any]], what: str) -> str:
    cells = [[str(line[what]), sources_text(line), f"{line['rows']:,}"] for line in lines]
    return markdown_table([what, "sources", "rows"], cells, names=2)
