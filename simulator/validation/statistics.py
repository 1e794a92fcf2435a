"""What predictions are worth: errors, ranks of layouts, memory verdicts, by source and split.

A table of predictions has one row per measured run (`columns.COLUMNS`). Nothing here knows how a
prediction was made, and a row that fitted a profile stays in its own split throughout:
``validation`` figures never contain ``calibration`` rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from simulator.errors import SimulatorError
from simulator.validation.columns import BREAKDOWN, GROUPING, LAYOUT, PARTS, SPLITS, present
from simulator.validation.errors import error_statistics, with_errors
from simulator.validation.ranks import ranked_layouts, rankings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

JOB: Final = ("source", "model", "accelerator", "precision", "n_accel")
"""With `LAYOUT`, what two measurements share that repeat each other."""

BOTH: Final = "both"
"""Rows that fitted a profile and rows that did not, together."""

WORST: Final = 24
WORST_OF_A_SOURCE: Final = 3
"""Worst rows that are listed, and how many of them may come from one source."""


def verdicts(compared: pd.DataFrame) -> dict[str, float]:
    """Return the confusion of memory verdicts: what was predicted of runs whose outcome is known.

    ``ran_fits`` and ``oom_exceeds`` are right; ``ran_exceeds`` is a false alarm, ``oom_fits`` a
    missed one. ``accuracy`` is the share that is right (NaN if no outcome is known).

    Parameters
    ----------
    compared
        Table of `errors.with_errors`.
    """
    known = compared[(compared["status"] == "ok") & compared["ran"].notna()]
    ran, fits = known["ran"] == 1, known["fits"].astype(bool)
    counts = {
        "ran_fits": int((ran & fits).sum()),
        "ran_exceeds": int((ran & ~fits).sum()),
        "oom_fits": int((~ran & fits).sum()),
        "oom_exceeds": int((~ran & ~fits).sum()),
    }
    right = counts["ran_fits"] + counts["oom_exceeds"]
    return {**counts, "accuracy": right / len(known) if len(known) else float("nan")}


def repeats(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return how far measurements of one and the same layout differ, by source: the floor.

    Columns: ``source``; ``layouts`` measured more than once; ``rows`` of them; ``spread``, the
    median over these layouts of slowest / fastest - 1; ``floor``, the MAPE on these rows of
    predicting each layout's median. The same stack is not implied: releases differ, and settings
    that a source does not print.

    Parameters
    ----------
    predictions
        Table with `columns.COLUMNS` and `LAYOUT`.
    """
    import pandas as pd  # noqa: PLC0415 - slow, and a run without tables needs none

    keys = present(predictions, [*JOB, *LAYOUT])
    rate = 1 / predictions["measured_tokens_per_s_per_gpu"]
    measured = predictions["measured_step_time_s"].fillna(rate)
    runs = predictions[keys].assign(time=measured)[measured > 0]
    same = runs.groupby(keys, dropna=False)["time"]
    runs = runs.assign(
        size=same.transform("size"),
        spread=same.transform("max") / same.transform("min") - 1,
        floor=(runs["time"] / same.transform("median") - 1).abs(),
        first=~runs.duplicated(keys),
    )
    lines = [
        {
            "source": source,
            "layouts": int(part["first"].sum()),
            "rows": len(part),
            "spread": float(part.loc[part["first"], "spread"].median()),
            "floor": float(part["floor"].mean()),
        }
        for source, part in runs[runs["size"] > 1].groupby("source")
    ]
    return pd.DataFrame(lines, columns=["source", "layouts", "rows", "spread", "floor"])


def overview(compared: pd.DataFrame) -> dict[str, Any]:
    """Return every figure of a set of rows: coverage, errors, ranks, memory.

    Parameters
    ----------
    compared
        Table of `errors.with_errors`, or part of it.
    """
    covered = compared["status"] == "ok"
    sound = ~compared["flawed"]
    groups = rankings(ranked_layouts(compared))
    memory = error_statistics(compared["memory_error"])
    return {
        "rows": len(compared),
        "covered": int(covered.sum()),
        "flawed": int((~sound).sum()),
        "covered_not_flawed": int((covered & sound).sum()),
        **error_statistics(compared["error"]),
        "mape_not_flawed": error_statistics(compared["error"][sound])["mape"],
        "groups": len(groups),
        "spearman": float(groups["spearman"].astype(float).mean()),
        "best_in_top_3": int(groups["best_in_top_3"].sum()),
        "regret": float(groups["regret"].astype(float).mean()),
        "verdicts": verdicts(compared),
        "memory_compared": memory["compared"],
        "memory_mape": memory["mape"],
        "memory_bias": memory["bias"],
    }


def summary(predictions: pd.DataFrame) -> dict[str, Any]:
    """Return all that a table of predictions says, as plain values: what `--json` prints.

    ``splits`` and ``sources`` hold an `overview` each, sources by split; ``groups`` the
    `ranks.rankings`; then ``repeats``, ``unsupported`` (reasons by count), ``assumed`` (assumptions
    by count) and ``worst`` rows. A figure that there is no data for is None.

    Parameters
    ----------
    predictions
        Table with `columns.COLUMNS`, `LAYOUT` and `BREAKDOWN`.
    """
    compared = with_errors(predictions)
    by_split = {split: compared[compared["split"] == split] for split in SPLITS}
    figures: dict[str, Any] = _plain(
        {
            "rows": len(compared),
            "splits": {split: overview(rows) for split, rows in by_split.items() if len(rows)},
            "sources": [
                {"source": source, "split": split, **overview(rows)}
                for split in SPLITS
                for source, rows in by_split[split].groupby("source")
            ],
            "groups": rankings(ranked_layouts(compared)).to_dict("records"),
            "repeats": repeats(predictions).to_dict("records"),
            "unsupported": unsupported(predictions),
            "assumed": assumptions(predictions),
            "worst": [worst_line(row) for row in worst_rows(compared).to_dict("records")],
        }
    )
    return figures


def require_grouping(columns: Sequence[str]) -> None:
    """Refuse columns by which rows cannot be grouped, before any work is done.

    Raises
    ------
    SimulatorError
        Naming them, and those that there are.
    """
    unknown = [name for name in columns if name not in GROUPING]
    if unknown:
        known = ", ".join(GROUPING)
        raise SimulatorError(f"runs are not grouped by {', '.join(unknown)}, but by: {known}")


def by_columns(predictions: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return an `overview` of the rows of each value of some columns, as plain values.

    Keys before it: ``group``, the values by column; ``split``. Rows of both splits together follow
    under ``both`` where a group has either: they are no evidence of accuracy.

    Parameters
    ----------
    predictions
        Table with `columns.COLUMNS`, `LAYOUT` and `BREAKDOWN`.
    columns
        Some of `columns.GROUPING`.

    Raises
    ------
    SimulatorError
        If rows cannot be grouped by a column, or the table has no such column.
    """
    require_grouping(columns)
    absent = [name for name in columns if name not in predictions]
    if absent:
        raise SimulatorError(f"the table of runs has no column {', '.join(absent)}")
    compared = with_errors(predictions)
    lines = []
    for key, rows in compared.groupby(list(columns), dropna=False):
        group = dict(zip(columns, key, strict=True))
        parts = {split: part for split in SPLITS if len(part := rows[rows["split"] == split])}
        both = {BOTH: rows} if len(parts) > 1 else {}
        lines += [
            {"group": group, "split": split, **overview(part)}
            for split, part in (parts | both).items()
        ]
    plain: list[dict[str, Any]] = _plain(lines)
    return plain


def unsupported(predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Return why rows have no prediction, most frequent first.

    Keys: ``status``, ``reason``, ``rows`` (how many), ``sources`` (which).
    """
    return _counts(predictions[predictions["status"] != "ok"], ["status", "reason"])


def assumptions(predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what was assumed for empty cells of predicted rows, most frequent first.

    Keys: ``assumption``, ``rows`` (how many), ``sources`` (which).
    """
    covered = predictions[predictions["status"] == "ok"]
    each = covered["assumed"].fillna("").str.split("; ").explode().rename("assumption")
    named = covered[["source"]].join(each[each != ""], how="inner")
    return _counts(named, ["assumption"])


def _counts(rows: pd.DataFrame, keys: list[str]) -> list[dict[str, Any]]:
    """Return how many rows share what the keys name, and their sources, most frequent first."""
    lines = [
        {
            **dict(zip(keys, key, strict=True)),
            "rows": len(part),
            "sources": sorted(part["source"].unique()),
        }
        for key, part in rows.groupby(keys, dropna=False)
    ]
    return sorted(lines, key=lambda line: -line["rows"])


def worst_rows(
    compared: pd.DataFrame, most: int = WORST, of_a_source: int = WORST_OF_A_SOURCE
) -> pd.DataFrame:
    """Return the rows that are furthest off as a ratio, worst first (half and double are equal).

    Parameters
    ----------
    compared
        Table of `errors.with_errors`.
    most, of_a_source
        Rows in all, and of any one source, lest one hide the others.
    """
    import numpy as np  # noqa: PLC0415 - as above

    rows = compared[compared["error"].notna()]
    ratio = np.log1p(rows["error"]).abs()
    ordered = rows.assign(ratio=ratio).sort_values("ratio", ascending=False, kind="stable")
    return ordered.groupby("source", sort=False).head(of_a_source).head(most).drop(columns="ratio")


def worst_line(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what a list of worst rows shows of a row: names, layout, both times, breakdown [s]."""
    names = ("run_id", "source", "split", "model", "accelerator", "n_accel", *LAYOUT)
    return {
        **{name: row[name] for name in names if name in row},
        "flags": row["flags"] if isinstance(row["flags"], str) else "",
        "step_time_s": row["step_time_s"],
        "measured_s": row["measured_s"],
        "error": row["error"],
        "breakdown_s": {
            part: row[name]
            for part, name in zip(PARTS, BREAKDOWN, strict=True)
            if name in row and row[name] > 0
        },
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - any nesting of plain and numpy values
    """Return a value as JSON knows it: no numpy numbers, and None for what is not a number."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - NaN
