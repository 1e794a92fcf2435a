"""A comparison as rich renderables and as Markdown: rows, knees, what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulator.report.listing import plain_table, spaced
from simulator.report.quantities import percent_text, significant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    Row = Mapping[str, Any]

REFUSED: Final = "refused"
OVER_MEMORY: Final = "over_memory"
LINE_RATE: Final = "cluster.fabric.nic_gbit_per_s"
"""Where it is swept, all rows of a series have one knee."""
PRICES: Final[Mapping[str, str]] = {
    "network_share_of_price": "network of price",
    "rent_per_million_tokens": "rent per M tokens",
}
"""Columns of prices and their headings, shown where some row has a value."""
NOTHING: Final = "-"
"""In a cell without a value."""
MFU: Final = "mfu_palm"
EXPOSED: Final = ("tensor", "context", "expert", "pipeline", "data", "offload")
"""Kinds of communication that a step can wait for, in the order of the breakdown."""
LEAST_SHARE: Final = 0.005
"""Share of some step from which a kind of communication has a column."""
SHARED_WORDS: Final[Mapping[str, str]] = {
    "model": "{}",
    "accelerator": "{}",
    "accelerators": "{:,} accelerators",
    "layout": "{}",
    "software": "{}",
    "precision": "{}",
    "global_batch": "{:,} sequences a step",
}


def comparison_tables(summary: Mapping[str, Any]) -> list[RenderableType]:
    """Return all that a comparison says, from its title down.

    Parameters
    ----------
    summary
        Rows and what they have in common (`simulator.comparison.compare.compare`).
    """
    head = Group(Text(title(summary), style="bold"), Text(facts(summary), style="dim"))
    parts: list[RenderableType] = [head, _rows_table(summary)]
    if sentences := knee_sentences(summary):
        parts.append(_listing("Bandwidth between nodes", sentences))
    if remarks := row_remarks(summary):
        parts.append(_listing("Rows", remarks))
    parts.append(_listing("Notes", summary["notes"]))
    return spaced(parts)


def title(summary: Mapping[str, Any]) -> str:
    """Return what is compared over what."""
    clusters = _clusters(summary)
    over = [f"{len(clusters)} clusters"] * (len(clusters) > 1)
    over += [field_words(key) for key in summary["swept"]]
    if len(clusters) == 1:
        over.append(f"on {clusters.pop()}")
    return f"{summary['shared'].get('scenario', 'One scenario')}: {', '.join(over)}"


def facts(summary: Mapping[str, Any], longest: int = 1000) -> str:
    """Return in one line of at most so many characters what all rows have in common."""
    shared = summary["shared"]
    words = [form.format(shared[key]) for key, form in SHARED_WORDS.items() if key in shared]
    while len(", ".join(words)) > longest and len(words) > 1:
        words.pop()
    return ", ".join(words)


def field_words(key: str) -> str:
    """Return a swept field as people say it: its last part, the unit in brackets.

    Examples
    --------
    >>> field_words("cluster.fabric.nic_gbit_per_s")
    'NIC [Gbit/s]'
    >>> field_words("cluster.fabric.tiers.1.oversubscription")
    'tiers 1 oversubscription'
    """
    *way, name = key.split(".")
    place = way[-2:] if way and way[-1].isdecimal() else []
    suffix = next((suffix for suffix in UNITS if name.endswith(f"_{suffix}")), "")
    words = " ".join([*place, name.removesuffix(f"_{suffix}")]).replace("_", " ")
    words = "NIC" if words == "nic" else words
    return f"{words} [{UNITS[suffix]}]" if suffix else words


UNITS: Final[Mapping[str, str]] = {
    "gbit_per_s": "Gbit/s",
    "gb_per_s": "GB/s",
    "tb_per_s": "TB/s",
    "tflop_per_s": "TFLOP/s",
    "gb": "GB",
    "gib": "GiB",
    "mib": "MiB",
    "us": "µs",
    "ms": "ms",
    "w": "W",
}
"""Units by the ending of a key."""


def knee_sentences(summary: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each knee: what the shares of the compute-bound speed need."""
    columns = summary["knee_columns"]
    by_text: dict[str, None] = {}
    for row in summary["rows"]:
        if columns and row["status"] != REFUSED and row["compute_bound_step_time_s"] is not None:
            by_text[_knee_sentence(row, summary)] = None
    return list(by_text)


def row_label(row: Row, summary: Mapping[str, Any], without: str | None = None) -> str:
    """Return what tells a row from the others: cluster and swept values, ``without`` one field.

    A single cluster is named by the title if there are other values.
    """
    swept = [key for key in summary["swept"] if key != without]
    values = [f"{field_words(key).partition(' [')[0]} {row[key]}" for key in swept]
    named = len(_clusters(summary)) > 1 or not values
    return ", ".join([str(row["cluster"])] * named + values)


def row_remarks(summary: Mapping[str, Any]) -> list[str]:
    """Return for every row that is no plain result what is the matter with it."""
    rows_by_remark: dict[str, list[str]] = {}
    for row in summary["rows"]:
        remarks = [row["notes"]] if row["notes"] else []
        if row["status"] == REFUSED:
            remarks.append(f"cannot run: {row['reason']}")
        elif row["status"] == OVER_MEMORY:
            remarks.append(f"does not fit: {row['reason']}; times are as if it did")
        for remark in remarks:
            rows_by_remark.setdefault(remark, []).append(row_label(row, summary))
    return [f"{_some(labels)}: {remark}" for remark, labels in rows_by_remark.items()]


def _some(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"


def markdown(summary: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown: title, table, knees and notes."""
    headings, lines = cells(summary)
    rule = ["---", *["---:"] * (len(headings) - 1)]
    table = [" | ".join(headings), " | ".join(rule), *(" | ".join(line) for line in lines)]
    parts = [
        f"# {title(summary)}",
        facts(summary),
        "\n".join(f"| {line} |" for line in table),
        *("\n".join(f"* {line}" for line in lines) for lines in _remarks(summary) if lines),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _remarks(summary: Mapping[str, Any]) -> tuple[list[str], ...]:
    return knee_sentences(summary), row_remarks(summary), summary["notes"]


def cells(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return headings and the text of every row's cells."""
    rows = summary["rows"]
    kinds = [kind for kind in EXPOSED if any(_exposed(row, kind) >= LEAST_SHARE for row in rows)]
    columns = summary["knee_columns"]
    priced = [column for column in PRICES if any(row.get(column) is not None for row in rows)]
    needs = columns and LINE_RATE not in summary["swept"]
    headings = [
        *_place_headings(summary),
        *("step [s]", "tokens/s per accel.", "MFU"),
        *(f"exposed {kind}" for kind in kinds),
        "bubble",
        *(["of compute bound"] if columns else []),
        *([f"{_knee_shares(summary)} needs [Gbit/s]"] if needs else []),
        *(PRICES[column] for column in priced),
        "memory [GiB]",
    ]
    return headings, [_cells(row, summary, kinds, priced) for row in rows]


def _cells(
    row: Row, summary: Mapping[str, Any], kinds: Sequence[str], priced: Sequence[str]
) -> list[str]:
    columns = summary["knee_columns"]
    needs = columns and LINE_RATE not in summary["swept"]
    place = _place(row, summary)
    if row["status"] == REFUSED:
        count = 4 + len(kinds) + bool(columns) + bool(needs) + len(priced)
        return [*place, *[NOTHING] * count, "cannot run"]
    return [
        *place,
        significant(row["step_time_s"]),
        significant(row["tokens_per_s_per_accelerator"]),
        percent_text(row[MFU]),
        *(percent_text(_exposed(row, kind)) for kind in kinds),
        percent_text(row["bubble_fraction"]),
        *([_percent(row["share_of_compute_bound"])] if columns else []),
        *([_needs(row, columns)] if needs else []),
        *(_price(row, column) for column in priced),
        _memory(row),
    ]


def _place_headings(summary: Mapping[str, Any]) -> list[str]:
    """Return the headings of what tells rows apart; a single cluster is named by the title."""
    swept = [field_words(key) for key in summary["swept"]]
    return swept if swept and len(_clusters(summary)) == 1 else ["cluster", *swept]


def _place(row: Row, summary: Mapping[str, Any]) -> list[str]:
    swept = [str(row[key]) for key in summary["swept"]]
    return swept if swept and len(_clusters(summary)) == 1 else [row["cluster"], *swept]


def _clusters(summary: Mapping[str, Any]) -> set[str]:
    return {row["cluster"] for row in summary["rows"]}


def _exposed(row: Row, kind: str) -> float:
    """Return the share of the step that waits for a kind of communication; 0 if refused."""
    return row[f"exposed_{kind}_s"] / row["step_time_s"] if row["status"] != REFUSED else 0.0


def _knee_shares(summary: Mapping[str, Any]) -> str:
    return "/".join(f"{100 * share:.0f}" for share in summary["knee_columns"].values()) + " %"


def _needs(row: Row, columns: Iterable[str]) -> str:
    rates = [row[name] for name in columns]
    return NOTHING if rates == [None] * len(rates) else "/".join(map(_number, rates))


def _percent(share: float | None) -> str:
    return NOTHING if share is None else percent_text(share)


def _number(value: float | None) -> str:
    return NOTHING if value is None else significant(value)


def _price(row: Row, column: str) -> str:
    value: float | None = row[column]
    if value is None or column == "network_share_of_price":
        return _percent(value)
    return f"{significant(value)} {row['currency']}"


def _memory(row: Row) -> str:
    used, has = row["peak_memory_gib"], row["memory_capacity_gib"]
    star = " *" if row["status"] == OVER_MEMORY else ""
    return f"{used:.0f} of {has:.0f}{star}"


def _rows_table(summary: Mapping[str, Any]) -> Table:
    star = any(row["status"] == OVER_MEMORY for row in summary["rows"])
    over = ", * over capacity" if star else ""
    table = plain_table(f"Shares are of the step; MFU by palm{over}", padding=(0, 1, 0, 0))
    headings, lines = cells(summary)
    table.add_column(headings[0], no_wrap=True)
    for column, heading in enumerate(headings[1:], start=1):
        # Numbers joined by slashes would be broken anywhere.
        joined = max(len(line[column]) * ("/" in line[column]) for line in lines)
        table.add_column(heading, justify="right", min_width=joined or None)
    for row, line in zip(summary["rows"], lines, strict=True):
        table.add_row(*line, style="" if row["status"] == "ok" else "dim")
    return table


def _knee_sentence(row: Row, summary: Mapping[str, Any]) -> str:
    """Return what the shares of the compute-bound speed need, of one row with or without a knee."""
    columns: Mapping[str, float] = summary["knee_columns"]
    label = row_label(row, summary, without=LINE_RATE)
    needs = [
        f"{share:.0%} of the compute-bound speed needs {significant(row[name])} Gbit/s"
        for name, share in columns.items()
        if row[name] is not None
    ]
    whole = "; ".join([", ".join(_shortened(needs)), *filter(None, [row["knee_reason"]])])
    if LINE_RATE not in summary["swept"]:
        share, rate = percent_text(row["share_of_compute_bound"]), row["line_rate_gbit_per_s"]
        whole += f"; it has {significant(rate)} and runs at {share}"
    return f"{label}: {whole.removeprefix('; ')}"


def _shortened(needs: Sequence[str]) -> Iterator[str]:
    """Yield phrases, what all have in common in the first alone."""
    for number, need in enumerate(needs):
        yield need if number == 0 else need.replace(" of the compute-bound speed needs", "")


def _listing(heading: str, lines: Sequence[str]) -> Group:
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row("-", Text(line))
    return Group(Text(heading, style="bold"), grid)
