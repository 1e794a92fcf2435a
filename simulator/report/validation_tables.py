"""Predictions beside measurements as rich renderables: errors by source, ranks, memory, worst rows.

Every table reads at 100 columns and without colour. Errors are in percent of the measurement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from simulator.report.listing import plain_table, spaced
from simulator.report.quantities import percent_text, time_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from rich.console import RenderableType
    from rich.table import Table

SPLITS: Final[Mapping[str, str]] = {
    "validation": "Validation: rows that fitted nothing",
    "calibration": "Calibration: rows that fitted a profile (no evidence of accuracy)",
}
"""Title by split; calibration rows are shown, and never added to the others."""

MOST_LINES: Final = 12
"""Lines of a listing in the terminal; the page has all."""
MOST_GROUPS: Final = 16
"""Groups of layouts whose ranks a table lists, the largest first."""
MOST_PARTS: Final = 3
"""Parts of the breakdown of a worst row: the largest."""
UNKNOWN: Final = "-"

COUNTS: Final = frozenset({"rows", "covered", "compared"})
ERROR_COLUMNS: Final[Mapping[str, str]] = {
    "rows": "rows",
    "covered": "predicted",
    "compared": "timed",
    "mape": "MAPE %",
    "median": "median %",
    "median_error": "median %",
    "bias": "bias %",
    "p90": "p90 %",
    "p90_error": "p90 %",
}
"""Headings of counts and errors in tables by group."""
FIGURES: Final = frozenset({*ERROR_COLUMNS, "within_10", "within_25"})
"""Columns of such a table that do not name the group."""

SOURCE_COLUMNS: Final[Mapping[str, str]] = {
    "rows": "rows",
    "covered": "ok",
    "compared": "timed",
    "mape": "MAPE\n%",
    "median": "med.\n%",
    "bias": "bias\n%",
    "p90": "p90\n%",
    "spearman": "rank\ncorr.",
    "top": "top\n3",
    "regret": "re-\ngret %",
    "accuracy": "OOM\nok %",
    "memory": "mem.\n%",
}
"""Headings of the table by source, in two lines."""
BY_SOURCE_ONLY: Final = frozenset({"top", "regret", "memory"})
"""Figures that leave their room to the names of groups by other columns."""
ONE_LINE: Final = {
    name: text.replace("-\n", "").replace("\n", " ") for name, text in SOURCE_COLUMNS.items()
}
"""The same headings, where there is room."""
GROUP_HEADINGS: Final = ("group", "split", "layouts", "Spearman", "rank of best", "regret %")


def validation_tables(summary: Mapping[str, Any]) -> list[RenderableType]:
    """Return all that a summary of predictions says, from the headline down.

    Parameters
    ----------
    summary
        Of a table of predictions (`simulator.validation.statistics.summary`).
    """
    parts: list[RenderableType] = [Text(headline_sentence(summary), style="bold")]
    parts += [source_table(summary, split) for split in SPLITS if split in summary["splits"]]
    if summary["groups"]:
        parts.append(groups_table(summary["groups"]))
    if any(known_outcomes(source) for source in summary["sources"]):
        parts.append(verdicts_table(summary))
    if summary["repeats"]:
        parts.append(repeats_table(summary["repeats"]))
    if summary["worst"]:
        parts.append(worst_table(summary["worst"]))
    if summary["unsupported"]:
        parts.append(counts_table("Rows without a prediction", summary["unsupported"], "reason"))
    if summary["assumed"]:
        parts.append(counts_table("Assumed for empty cells", summary["assumed"], "assumption"))
    return spaced(parts)


def headline_sentence(summary: Mapping[str, Any]) -> str:
    """Return rows, coverage, error of the step time, ranks and memory verdicts of `first_split`."""
    split = first_split(summary)
    if split is None:
        return "No rows"
    figures = summary["splits"][split]
    facts = [f"{figures['rows']:,} {split} rows", f"{figures['covered']:,} predicted"]
    if figures["compared"]:
        facts.append(
            f"step time of {figures['compared']:,} off by {percent_text(figures['mape'])} "
            f"in the mean, {percent_text(figures['median'])} in the median, "
            f"bias {signed_percent(figures['bias'])}"
        )
    if figures["spearman"] is not None:
        facts.append(
            f"Spearman {figures['spearman']:.2f} within {figures['groups']:,} groups of layouts"
        )
    if known_outcomes(figures):
        facts.append(f"{percent_text(figures['verdicts']['accuracy'])} of memory verdicts right")
    return "; ".join(facts)


def first_split(summary: Mapping[str, Any]) -> str | None:
    """Return the split that headlines speak of: validation if it has rows; None without rows."""
    return next((name for name in SPLITS if name in summary["splits"]), None)


def source_table(summary: Mapping[str, Any], split: str) -> Table:
    """Return coverage, errors, ranks and memory by source, for the rows of one split."""
    table = _table(SPLITS[split], show_footer=True)
    total = summary["splits"][split]
    table.add_column("source", "all", overflow="fold")
    for heading, value in zip(SOURCE_COLUMNS.values(), source_cells(total).values(), strict=True):
        table.add_column(heading, value, justify="right", no_wrap=True)
    for source in summary["sources"]:
        if source["split"] == split:
            table.add_row(Text(source["source"]), *source_cells(source).values())
    return table


def columns_table(groups: Sequence[Mapping[str, Any]]) -> Table:
    """Return the figures of a table by source for groups of rows by other columns.

    Parameters
    ----------
    groups
        As `simulator.validation.statistics.by_columns` returns them.
    """
    names = [*groups[0]["group"]]
    table = _table("By " + ", ".join(name.replace("_", " ") for name in names))
    for name in (*names, "split"):
        table.add_column(name.replace("_", " "), overflow="fold")
    shown = [name for name in SOURCE_COLUMNS if name not in BY_SOURCE_ONLY]
    for name in shown:
        table.add_column(SOURCE_COLUMNS[name], justify="right", no_wrap=True)
    for line in groups:
        named = [UNKNOWN if value is None else str(value) for value in line["group"].values()]
        cells = source_cells(line)
        table.add_row(*map(Text, (*named, line["split"])), *(cells[name] for name in shown))
    return table


def source_cells(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the figures of a set of rows as text, by the keys of `SOURCE_COLUMNS`."""
    groups = figures["groups"]
    return {
        **{name: f"{figures[name]:,}" for name in ("rows", "covered", "compared")},
        "mape": percents(figures["mape"]),
        "median": percents(figures["median"]),
        "bias": percents(figures["bias"], "+.1f"),
        "p90": percents(figures["p90"]),
        "spearman": correlation_text(figures["spearman"]),
        "top": f"{figures['best_in_top_3']}/{groups}" if groups else UNKNOWN,
        "regret": percents(figures["regret"]),
        "accuracy": percents(figures["verdicts"]["accuracy"])
        if known_outcomes(figures)
        else UNKNOWN,
        "memory": percents(figures["memory_mape"]),
    }


def groups_table(groups: Sequence[Mapping[str, Any]]) -> Table:
    """Return how the layouts of each group are ranked; of many groups, the largest."""
    largest = largest_groups(groups)
    table = _table(f"Ranks of layouts{_only(len(largest), len(groups), 'largest groups')}")
    name, split, *figures = GROUP_HEADINGS
    table.add_column(name, overflow="fold")
    table.add_column(split)
    for heading in figures:
        table.add_column(heading, justify="right")
    for group in largest:
        table.add_row(*(Text(cell) for cell in group_cells(group)))
    return table


def largest_groups(groups: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the groups of layouts that a table lists, the largest first."""
    return sorted(groups, key=lambda group: -group["layouts"])[:MOST_GROUPS]


def group_cells(group: Mapping[str, Any]) -> list[str]:
    """Return how the layouts of a group are ranked as text, under `GROUP_HEADINGS`."""
    return [
        group_name(group),
        group["split"],
        f"{group['layouts']}",
        correlation_text(group["spearman"]),
        f"{group['rank_of_best']}",
        percents(group["regret"]),
    ]


def correlation_text(value: float | None) -> str:
    """Return a rank correlation, or a dash where there is none."""
    return UNKNOWN if value is None else f"{value:.2f}"


def group_name(group: Mapping[str, Any]) -> str:
    """Return a layout group with what else its rivals share."""
    more = (group.get("accelerator"), group.get("precision"))
    return " ".join([str(group["group"]), *(str(name) for name in more if name)])


def verdicts_table(summary: Mapping[str, Any]) -> Table:
    """Return what was predicted of runs that are known to have fitted, or not, by source."""
    table = _table("Out of memory or not")
    table.add_column("source", overflow="fold")
    table.add_column("split")
    for heading in ("ran,\nfits", "ran,\nexceeds", "OOM,\nfits", "OOM,\nexceeds", "right\n%"):
        table.add_column(heading, justify="right", no_wrap=True)
    for source in summary["sources"]:
        if known_outcomes(source):
            table.add_row(Text(source["source"]), source["split"], *verdict_cells(source))
    for split, figures in summary["splits"].items():
        table.add_row(Text("all", style="bold"), split, *verdict_cells(figures))
    return table


def verdict_cells(figures: Mapping[str, Any]) -> list[str]:
    """Return the four counts of a confusion of memory verdicts and its accuracy [%] as text."""
    *counts, accuracy = figures["verdicts"].values()
    return [*(f"{count:,}" for count in counts), percents(accuracy)]


def repeats_table(repeats: Sequence[Mapping[str, Any]]) -> Table:
    """Return how far measurements of one layout differ among themselves."""
    table = _table("The floor: one layout, measured again")
    table.add_column("source", overflow="fold")
    for heading in ("layouts", "rows", "slowest over fastest, median %", "least possible MAPE %"):
        table.add_column(heading, justify="right")
    for line in repeats:
        spread, floor = percents(line["spread"]), percents(line["floor"])
        table.add_row(
            Text(line["source"]), f"{line['layouts']:,}", f"{line['rows']:,}", spread, floor
        )
    return table


def worst_table(worst: Sequence[Mapping[str, Any]]) -> Table:
    """Return the rows that are furthest off, and what the prediction consists of."""
    shown = worst[:MOST_LINES]
    table = _table(f"Worst rows{_only(len(shown), len(worst), 'listed')}")
    table.add_column("row", overflow="fold")
    for heading in ("measured", "predicted", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("predicted to consist of", overflow="fold")
    for row in shown:
        table.add_row(
            Text(str(row["run_id"])),
            time_text(row["measured_s"]),
            time_text(row["step_time_s"]),
            signed_percent(row["error"]),
            parts_text(row["breakdown_s"]),
        )
    return table


def parts_text(breakdown_s: Mapping[str, float]) -> str:
    """Return the largest parts of a step with their shares, such as ``compute 61%, bubble 20%``."""
    whole = sum(breakdown_s.values())
    largest = sorted(breakdown_s.items(), key=lambda part: -part[1])[:MOST_PARTS]
    return ", ".join(f"{name.replace('_', ' ')} {value / whole:.0%}" for name, value in largest)


def counts_table(title: str, lines: Sequence[Mapping[str, Any]], what: str) -> Table:
    """Return texts with how many rows, and of which sources, they concern."""
    shown = lines[:MOST_LINES]
    table = _table(f"{title}{_only(len(shown), len(lines), 'most frequent')}")
    table.add_column("rows", justify="right")
    table.add_column(what, overflow="fold")
    table.add_column("sources", overflow="fold")
    for line in shown:
        table.add_row(f"{line['rows']:,}", Text(str(line[what])), Text(sources_text(line)))
    return table


def sources_text(line: Mapping[str, Any]) -> str:
    """Return the sources of a line, or how many there are if they are many."""
    sources = line["sources"]
    return ", ".join(sources) if len(sources) <= 3 else f"{len(sources)} sources"  # noqa: PLR2004


def error_table(errors: pd.DataFrame, title: str) -> Table:
    """Return errors by group: of collectives, operators or steps.

    Parameters
    ----------
    errors
        One row per group: columns that name it, then counts and errors (shares of 1) under the
        names of `ERROR_COLUMNS`.
    title
        What was compared.
    """
    table = _table(title)
    for heading in error_headings(errors):
        numeric = heading in ERROR_COLUMNS.values()
        table.add_column(
            heading,
            justify="right" if numeric else "left",
            no_wrap=numeric,
            overflow="ellipsis" if numeric else "fold",
        )
    for line in error_lines(errors):
        table.add_row(*(Text(cell) for cell in line))
    return table


def error_headings(errors: pd.DataFrame) -> list[str]:
    """Return the headings of a table of errors by group: names first, then figures."""
    names = [str(name).replace("_", " ") for name in errors if name not in FIGURES]
    return [*names, *(ERROR_COLUMNS[name] for name in ERROR_COLUMNS if name in errors)]


def error_lines(errors: pd.DataFrame) -> list[list[str]]:
    """Return the cells of a table of errors by group as text."""
    names = [name for name in errors if name not in FIGURES]
    figures = [name for name in ERROR_COLUMNS if name in errors]
    return [
        [*(_cell(line[name]) for name in names), *(_figure(name, line[name]) for name in figures)]
        for line in errors.to_dict("records")
    ]


def _figure(name: str, value: float) -> str:
    if name in COUNTS:
        return f"{value:,}"
    return percents(value, "+.1f" if name == "bias" else ".1f")


def percents(share: float | None, form: str = ".1f") -> str:
    """Return a share of 1 in percent without the sign, or a dash for what is not known."""
    return UNKNOWN if share is None or share != share else f"{100 * share:{form}}"  # noqa: PLR0124


def signed_percent(share: float) -> str:
    """Return a share of 1 in percent with its sign, such as ``-4.2%``."""
    return f"{100 * share:+.1f}%"


def _cell(value: Any) -> str:  # noqa: ANN401 - names of groups: text, numbers, or nothing
    return UNKNOWN if value is None or value != value else str(value)  # noqa: PLR0124 - NaN


def known_outcomes(figures: Mapping[str, Any]) -> int:
    """Return of how many runs the outcome is known and predicted."""
    counts: Iterable[int] = list(figures["verdicts"].values())[:-1]
    return sum(counts)


def _only(shown: int, there: int, what: str) -> str:
    return f", the {shown} {what} of {there}" if shown < there else ""


def _table(title: str, **options: Any) -> Table:  # noqa: ANN401 - rich's own options
    """Return a table that is narrow enough for many columns: one blank between them."""
    return plain_table(title, padding=(0, 1, 0, 0), **options)
