"""What a comparison says in words: its title, what rows share, labels, knees and remarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from simulator.report.quantities import percent_text, significant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Row = Mapping[str, Any]

REFUSED: Final = "refused"
"""Status of a row whose layout, model or stack does not go together with its cluster."""
OVER_MEMORY: Final = "over_memory"
"""Status of one that was simulated, but a stage needs more memory than the accelerator has."""
TRANSFERRED: Final = "transferred"
"""Kernels of a part of whose family nobody has measured any."""
TRANSFERRED_WORDS: Final = "kernel times are transferred from other parts, none was measured on it"
MFU: Final = "mfu_"
"""Beginning of the columns of utilisations, by convention."""
LINE_RATE: Final = "cluster.fabric.nic_gbit_per_s"
"""Field that the search for the knee varies: where it is swept, rows of a series have one knee."""
SHARED_WORDS: Final[Mapping[str, str]] = {
    "model": "{}",
    "accelerator": "{}",
    "accelerators": "{:,} accelerators",
    "layout": "{}",
    "software": "{}",
    "precision": "{}",
    "global_batch": "{:,} sequences a step",
}
"""What the line below the title may name, and how."""
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


def title(summary: Mapping[str, Any]) -> str:
    """Return what is compared over what."""
    clusters = clusters_of(summary)
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


def transferred_clusters(summary: Mapping[str, Any]) -> list[str]:
    """Return the clusters whose accelerators' kernels nobody has measured."""
    rows = summary["rows"]
    return list(dict.fromkeys(row["cluster"] for row in rows if row["kernels"] == TRANSFERRED))


def row_label(row: Row, summary: Mapping[str, Any], without: str | None = None) -> str:
    """Return what tells a row from the others: cluster and swept values, ``without`` one field.

    A single cluster is named by the title if there are other values.
    """
    swept = [key for key in summary["swept"] if key != without]
    values = [f"{field_words(key).partition(' [')[0]} {row[key]}" for key in swept]
    named = len(clusters_of(summary)) > 1 or not values
    return ", ".join([str(row["cluster"])] * named + values)


def changes_of(row: Row) -> str:
    """Return what was changed on a row's cluster alone, each field by the last part of its key."""
    changes = [change.partition("=") for change in row["changes"].split(", ") if change]
    return ", ".join(f"{field_words(key)} {value}" for key, _, value in changes)


def knee_sentences(summary: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each knee: what the shares of the compute-bound speed need."""
    columns = summary["knee_columns"]
    by_text: dict[str, None] = {}
    for row in summary["rows"]:
        if columns and row["status"] != REFUSED and row["compute_bound_step_time_s"] is not None:
            by_text[_knee_sentence(row, summary)] = None
    return list(by_text)


def knee_reasons(summary: Mapping[str, Any]) -> list[str]:
    """Return why some rows lack a knee: latency, a single node, measured curves."""
    reasons = {
        f"{row_label(row, summary, without=LINE_RATE)}: {row['knee_reason']}": None
        for row in summary["rows"]
        if row.get("knee_reason")
    }
    return list(reasons)


def row_remarks(summary: Mapping[str, Any]) -> list[str]:
    """Return for every row that is no plain result what is the matter with it."""
    rows_by_remark: dict[str, list[str]] = {}
    for row in summary["rows"]:
        remarks = [f"with {row['changes']}"] if row["changes"] else []
        remarks += [row["notes"]] if row["notes"] else []
        remarks += [TRANSFERRED_WORDS] if row["kernels"] == TRANSFERRED else []
        if row["status"] == REFUSED:
            remarks.append(f"cannot run: {row['reason']}")
        elif row["status"] == OVER_MEMORY:
            remarks.append(f"does not fit: {row['reason']}; times are as if it did")
        for remark in remarks:
            rows_by_remark.setdefault(remark, []).append(row_label(row, summary))
    return [f"{_some(labels)}: {remark}" for remark, labels in rows_by_remark.items()]


def _some(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"


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


def mfu_of(row: Row) -> tuple[str, float]:
    """Return the first convention of model FLOPs that a simulated row knows, and its MFU by it."""
    return next(
        (name.removeprefix(MFU), share)
        for name, share in row.items()
        if name.startswith(MFU) and share is not None
    )


def clusters_of(summary: Mapping[str, Any]) -> set[str]:
    """Return the clusters of all rows."""
    return {row["cluster"] for row in summary["rows"]}
