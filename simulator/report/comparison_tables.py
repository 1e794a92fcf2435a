"""A comparison as rich renderables and as Markdown: speeds, then what the network has to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.console import Group
from rich.text import Text

from simulator.report.comparison_words import (
    OVER_MEMORY,
    REFUSED,
    clusters_of,
    facts,
    field_words,
    knee_reasons,
    knee_sentences,
    mfu_of,
    row_remarks,
    title,
)
from simulator.report.listing import plain_table, sentences, spaced
from simulator.report.quantities import percent_text, significant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import RenderableType
    from rich.table import Table

    Row = Mapping[str, Any]

NOTHING: Final = "-"
"""In a cell without a value."""
EXPOSED: Final = ("tensor", "context", "expert", "pipeline", "data", "offload")
"""Kinds of communication that a step can wait for, in the order of the breakdown."""
LEAST_SHARE: Final = 0.005
"""Share of some step from which a kind of communication has a column."""


class Field(NamedTuple):
    """A column of a table: its heading and the text of a row's cell."""

    heading: str
    cell: Callable[[Row], str]


class Listing(NamedTuple):
    """A table of text: title, headings, cells, and which rows stand back."""

    title: str
    headings: list[str]
    lines: list[list[str]]
    dim: list[bool]


def comparison_tables(summary: Mapping[str, Any]) -> list[RenderableType]:
    """Return all that a comparison says, from its title down.

    Parameters
    ----------
    summary
        Rows and what they have in common (`simulator.comparison.compare.compare`).
    """
    head = Group(Text(title(summary), style="bold"), Text(facts(summary), style="dim"))
    parts: list[RenderableType] = [head, *map(_table, listings(summary))]
    if reasons := knee_reasons(summary):
        parts.append(sentences("No knee", reasons))
    if remarks := row_remarks(summary):
        parts.append(sentences("Rows", remarks))
    if summary["notes"]:
        parts.append(sentences("Notes", summary["notes"]))
    return spaced(parts)


def markdown(summary: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown: title, tables, knees in words, remarks and notes."""
    remarks = (knee_sentences(summary), row_remarks(summary), summary["notes"])
    parts = [
        f"# {title(summary)}",
        facts(summary),
        *map(_markdown_table, listings(summary)),
        *("\n".join(f"* {line}" for line in lines) for lines in remarks if lines),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def listings(summary: Mapping[str, Any]) -> list[Listing]:
    """Return the table of speeds and, where knees were sought or prices known, of the network."""
    rows, place = summary["rows"], _place_fields(summary)
    star = any(row["status"] == OVER_MEMORY for row in rows)
    conventions = {mfu_of(row)[0]: None for row in rows if row["status"] != REFUSED}
    name = f"Speed: shares of the step, MFU by {', '.join(conventions)}"
    name += ", * over capacity" if star else ""
    tables = [_listing(name, rows, [*place, *_speed_fields(summary)])]
    if fields := _network_fields(summary):
        simulated = [row for row in rows if row["status"] != REFUSED]
        name = "Network between nodes, of one accelerator"
        tables.append(_listing(name, simulated, [*place, *fields]))
    return tables


def _listing(name: str, rows: Sequence[Row], fields: Sequence[Field]) -> Listing:
    return Listing(
        title=name,
        headings=[field.heading for field in fields],
        lines=[[field.cell(row) for field in fields] for row in rows],
        dim=[row["status"] != "ok" for row in rows],
    )


def _place_fields(summary: Mapping[str, Any]) -> list[Field]:
    """Return what tells rows apart; a single cluster is named by the title."""
    swept = [_formatted(field_words(key), key, str) for key in summary["swept"]]
    if swept and len(clusters_of(summary)) == 1:
        return swept
    return [_formatted("cluster", "cluster", str), *swept]


def _speed_fields(summary: Mapping[str, Any]) -> list[Field]:
    rows = [row for row in summary["rows"] if row["status"] != REFUSED]
    kinds = [
        kind
        for kind in EXPOSED
        if any(row[f"exposed_{kind}_s"] >= LEAST_SHARE * row["step_time_s"] for row in rows)
    ]
    return [
        _number("step [s]", "step_time_s"),
        _number("tokens/s per accel.", "tokens_per_s_per_accelerator"),
        Field("MFU", _mfu),
        *(_share(f"exposed {kind}", f"exposed_{kind}_s") for kind in kinds),
        _percent("bubble", "bubble_fraction"),
        Field("memory [GiB]", _memory),
    ]


def _network_fields(summary: Mapping[str, Any]) -> list[Field]:
    fields = []
    if summary["knee_columns"]:
        fields += [
            _number("has [Gbit/s]", "line_rate_gbit_per_s"),
            _percent("of compute bound", "share_of_compute_bound"),
        ]
        fields += [
            _number(f"{share:.0%} needs [Gbit/s]", name)
            for name, share in summary["knee_columns"].items()
        ]
    prices = [
        _percent("network of price", "network_share_of_price"),
        Field("rent per M tokens", _rent),
    ]
    return fields + [
        field for field in prices if any(field.cell(row) != NOTHING for row in summary["rows"])
    ]


def _number(heading: str, name: str) -> Field:
    return _formatted(heading, name, significant)


def _percent(heading: str, name: str) -> Field:
    return _formatted(heading, name, percent_text)


def _formatted(heading: str, name: str, form: Callable[[Any], str]) -> Field:
    def cell(row: Row) -> str:
        return NOTHING if row.get(name) is None else form(row[name])

    return Field(heading, cell)


def _share(heading: str, part: str) -> Field:
    def cell(row: Row) -> str:
        return NOTHING if row[part] is None else percent_text(row[part] / row["step_time_s"])

    return Field(heading, cell)


def _mfu(row: Row) -> str:
    return NOTHING if row["status"] == REFUSED else percent_text(mfu_of(row)[1])


def _rent(row: Row) -> str:
    rent = row.get("rent_per_million_tokens")
    return NOTHING if rent is None else f"{significant(rent)} {row['currency']}"


def _memory(row: Row) -> str:
    if row["status"] == REFUSED:
        return "cannot run"
    used, has = row["peak_memory_gib"], row["memory_capacity_gib"]
    star = " *" if row["status"] == OVER_MEMORY else ""
    return f"{used:.0f} of {has:.0f}{star}"


def _table(listing: Listing) -> Table:
    table = plain_table(listing.title, padding=(0, 1, 0, 0))
    table.add_column(listing.headings[0], no_wrap=True)
    for heading in listing.headings[1:]:
        table.add_column(heading, justify="right")
    for line, dim in zip(listing.lines, listing.dim, strict=True):
        table.add_row(*line, style="dim" if dim else "")
    return table


def _markdown_table(listing: Listing) -> str:
    rule = ["---", *["---:"] * (len(listing.headings) - 1)]
    table = [listing.headings, rule, *listing.lines]
    return f"{listing.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in table)
