"""What predictions are worth: errors, ranks of layouts, memory verdicts, by source and split.

A table of predictions has one row per measured run (`COLUMNS`). Nothing here knows how a prediction
was made, and a row that fitted a profile stays in its own split throughout: ``validation`` figures
never contain ``calibration`` rows.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from simulator.units import GIGA, KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run_id": "name of the row",
        "source": "who published it",
        "model": "as the source calls it",
        "accelerator": "as the table calls it",
        "n_accel": "accelerators of the job",
        "status": "ok, unsupported or invalid",
        "reason": "why a row has no prediction",
        "assumed": "what stands for empty cells, '; ' between the parts",
        "stack": "software profile",
        "cluster": "cluster profile",
        "step_time_s": "predicted [s]",
        "tokens_per_s_per_gpu": "predicted [1/s]",
        "peak_memory_gib": "predicted, fullest accelerator [GiB]",
        "fits": "whether that is within the capacity",
        "capacity_gib": "memory that a process can allocate there [GiB]",
        "measured_step_time_s": "[s]",
        "measured_tokens_per_s_per_gpu": "[1/s]",
        "measured_memory_gib": "[GiB]",
        "measured_oom": "whether the run ended out of memory; empty if unknown",
        "flags": "warnings about the row, ',' between them",
        "group": "rows whose layouts compete: one source, model, size, sequence length and batch",
        "split": "calibration (fitted a profile that predicts it) or validation",
    }
)
"""Columns that every table of predictions has."""

LAYOUT: Final = (
    "tp",
    "pp",
    "vpp",
    "cp",
    "ep",
    "dp",
    "mbs",
    "gbs",
    "seq_len",
    "recompute",
    "attention_kernel",
    "sequence_parallel",
)
"""Columns that make a layout."""

BREAKDOWN: Final = (
    "compute_s",
    "recompute_s",
    "exposed_tensor_s",
    "exposed_context_s",
    "exposed_pipeline_s",
    "exposed_data_s",
    "bubble_s",
    "optimizer_s",
    "other_s",
)
"""Columns of the parts of a predicted step [s]."""

RIVALS: Final = ("group", "accelerator", "precision")
"""Layouts compete within these; across accelerators or precisions a ranking would be too easy."""
JOB: Final = ("source", "model", "accelerator", "precision", "n_accel")
"""With `LAYOUT`, what two measurements share that repeat each other."""

SPLITS: Final = ("validation", "calibration")
LEAST_RIVALS: Final = 5
"""Layouts of a group that is ranked: fewer say little of a rank correlation."""
TOP: Final = 3
"""How many of the best predictions someone would try."""

FLAWS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "config_mismatch": "what was run and what is described differ",
        "layout_unknown": "the source does not give the layout",
        "layout_partial": "the source gives part of the layout",
        "layout_from_memory": "the layout was not checked against the source",
        "minibs_override": "the log's batch differs from the configuration's",
        "example_log": "one line of an example, not a measurement",
        "expected_performance": "a target, not a measurement",
        "end_to_end_average": "an average over a whole training run, with its interruptions",
        "CHK_layout_product": "the degrees do not multiply to the accelerators",
        "precision_ambiguous": "two configurations match the log",
    }
)
"""Flags of rows that no simulator can be judged by, and why. They are counted, apart."""

NOT_RUN: Final = "memory_analytic_not_measured"
"""Flag of rows whose memory was calculated: neither a measurement nor a run that fitted."""

WORST: Final = 24
WORST_OF_A_SOURCE: Final = 3
"""Worst rows that are listed, and how many of them may come from one source."""

LEAST_FLOP: Final = 0.1 * GIGA
"""Operators below this are launch-bound: no figure of an operator model contains them [FLOP]."""


SIZE_BANDS: Final = (
    (32 * KIB, "< 32 KiB"),
    (MIB, "32 KiB - 1 MiB"),
    (32 * MIB, "1 - 32 MiB"),
    (float("inf"), ">= 32 MiB"),
)
"""Upper end [B] and name of the size bands of messages: latency, LL128, transition, bandwidth."""


def relative_errors(predicted: pd.Series[float], measured: pd.Series[float]) -> pd.Series[float]:
    """Return predicted / measured - 1; NaN where either is missing or the measured is not positive.

    Parameters
    ----------
    predicted, measured
        In one unit, with one index.
    """
    return predicted / measured.where(measured > 0) - 1


def with_errors(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with what follows from comparing them; the argument stays as it is.

    New columns: ``error``, signed and relative, of the step time (from tokens/s where only those
    were measured: throughput and time are inverse); ``measured_s``, the measured step time, or the
    one that the measured tokens/s imply [s]; ``memory_error``; ``ran``, 1 if the run is known to
    have fitted into memory, 0 if it is known not to, else NaN (a run with a time did fit);
    ``flawed``, whether a flag of `FLAWS` is set.

    Parameters
    ----------
    predictions
        Table with `COLUMNS`.
    """
    predicted = predictions["status"] == "ok"
    by_time = relative_errors(predictions["step_time_s"], predictions["measured_step_time_s"])
    by_rate = relative_errors(
        predictions["measured_tokens_per_s_per_gpu"], predictions["tokens_per_s_per_gpu"]
    )
    error = by_time.fillna(by_rate).where(predicted)
    return predictions.assign(
        error=error,
        measured_s=predictions["measured_step_time_s"].fillna(
            predictions["step_time_s"] / (1 + error)
        ),
        memory_error=relative_errors(
            predictions["peak_memory_gib"], predictions["measured_memory_gib"]
        ).where(predicted & ~_has_flag(predictions, [NOT_RUN])),
        ran=_ran(predictions),
        flawed=_has_flag(predictions, FLAWS),
    )


def _ran(predictions: pd.DataFrame) -> pd.Series[float]:
    known = predictions["measured_oom"].map({True: 0.0, False: 1.0}).astype(float)
    return known.mask(timed_rows(predictions), 1.0).where(~_has_flag(predictions, [NOT_RUN]))


def _has_flag(predictions: pd.DataFrame, flags: Iterable[str]) -> pd.Series[bool]:
    wanted = frozenset(flags)
    given = predictions["flags"].fillna("").str.split(",")
    return given.map(lambda row: not wanted.isdisjoint(row)).astype(bool)


def timed_rows(predictions: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows have a measured step time or measured tokens/s."""
    columns = ["measured_step_time_s", "measured_tokens_per_s_per_gpu"]
    return (predictions[columns] > 0).any(axis=1)


def error_statistics(errors: pd.Series[float]) -> dict[str, float]:
    """Return what a sample of signed relative errors says; NaN errors are not compared.

    ``compared`` counts them, ``mape`` is the mean absolute error, ``median`` and ``p90`` are
    quantiles of the absolute error, ``bias`` the mean signed error, ``within_10`` and ``within_25``
    shares of rows whose absolute error is at most 0.10 and 0.25. All but the count are shares of 1
    and NaN for an empty sample.
    """
    size = errors.abs().dropna()
    return {
        "compared": len(size),
        "mape": float(size.mean()),
        "median": float(size.median()),
        "bias": float(errors.mean()),
        "p90": float(size.quantile(0.9)),
        "within_10": float((size <= 0.10).mean()),  # noqa: PLR2004 - as the name says
        "within_25": float((size <= 0.25).mean()),  # noqa: PLR2004 - as the name says
    }


def errors_by(errors: pd.Series[float], groups: pd.DataFrame) -> pd.DataFrame:
    """Return `error_statistics` of each group, sorted, with ``rows`` (compared or not).

    Parameters
    ----------
    errors
        Signed relative errors.
    groups
        Columns that name the group of each error, same index; an empty cell is a group, too.
    """
    import pandas as pd  # noqa: PLC0415 - slow, and a run without tables needs none

    keys = list(groups.columns)
    lines = [
        {**dict(zip(keys, key, strict=True)), "rows": len(part), **error_statistics(part)}
        for key, part in errors.groupby([groups[key] for key in keys], dropna=False, observed=True)
    ]
    return pd.DataFrame(lines, columns=[*keys, "rows", *error_statistics(errors.iloc[:0])])


def size_bands(n_bytes: pd.Series[float]) -> pd.Series[Any]:
    """Return the band of `SIZE_BANDS` of each message size [B], as an ordered category."""
    import numpy as np  # noqa: PLC0415 - as above
    import pandas as pd  # noqa: PLC0415 - as above

    ends = [end for end, _ in SIZE_BANDS]
    codes = np.searchsorted(ends, n_bytes.to_numpy(dtype=float), side="right")
    codes[n_bytes.isna()] = -1  # no size, no band
    names = pd.Index([name for _, name in SIZE_BANDS])
    bands = pd.Categorical.from_codes(codes, names, ordered=True)
    return pd.Series(bands, index=n_bytes.index, name="size")


def collective_errors(
    predicted: pd.Series[float], measured: pd.Series[float], messages: pd.DataFrame
) -> pd.DataFrame:
    """Return the errors of collective times by part, scope, kind and size band.

    Parameters
    ----------
    predicted, measured
        Times, in one unit.
    messages
        Columns ``accelerator``, ``nodes``, ``collective``, ``message_bytes``; and ``split`` if
        some rows fitted the model.
    """
    scope = (messages["nodes"] > 1).map({True: "between nodes", False: "one node"})
    groups = messages[_present(messages, ["split", "accelerator"])].assign(
        scope=scope,
        collective=messages["collective"],
        size=size_bands(messages["message_bytes"].astype(float)),
    )
    return errors_by(relative_errors(predicted, measured), groups)


def operator_errors(
    predicted: pd.Series[float],
    measured: pd.Series[float],
    operators: pd.DataFrame,
    n_flop: pd.Series[float] | None = None,
) -> pd.DataFrame:
    """Return the errors of operator times by the columns of ``operators``.

    Parameters
    ----------
    predicted, measured
        Times, in one unit.
    operators
        Columns that name operators alike, such as ``op``, ``dtype``, ``pass``, ``split``.
    n_flop
        FLOPs of each operator; those below `LEAST_FLOP` are left out. Pointwise operators have
        none: leave it out.
    """
    errors = relative_errors(predicted, measured)
    if n_flop is None:
        return errors_by(errors, operators)
    large = n_flop >= LEAST_FLOP
    return errors_by(errors[large], operators[large])


def step_errors(steps: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return `error_statistics` of the ``time`` and the peak ``memory`` of single-device steps.

    Parameters
    ----------
    steps
        Columns ``step_time_s``, ``peak_memory_gib`` and the same with ``measured_`` before them.
    """
    return {
        name: error_statistics(relative_errors(steps[column], steps[f"measured_{column}"]))
        for name, column in (("time", "step_time_s"), ("memory", "peak_memory_gib"))
    }


def ranked_layouts(compared: pd.DataFrame) -> pd.DataFrame:
    """Return one row per layout of each group of `LEAST_RIVALS` or more: what is ranked.

    Repeats of a layout count as one, with their median. Columns: ``source``, ``split``, ``model``,
    ``n_accel``, `RIVALS`, ``step_time_s``, ``measured_s`` and their ranks within the group, 1 the
    fastest, ``predicted_rank`` and ``measured_rank``.

    Parameters
    ----------
    compared
        Table of `with_errors`.
    """
    keys = _group_keys(compared)
    rows = compared[compared["error"].notna()]
    layouts = rows.groupby([*keys, *_present(rows, LAYOUT)], dropna=False, sort=False)
    each = layouts[["step_time_s", "measured_s"]].median().reset_index()
    rivals = each.groupby(keys, dropna=False)
    each = each.assign(
        predicted_rank=rivals["step_time_s"].rank(), measured_rank=rivals["measured_s"].rank()
    )
    return each[rivals["measured_s"].transform("size") >= LEAST_RIVALS].reset_index(drop=True)


def rankings(layouts: pd.DataFrame) -> pd.DataFrame:
    """Return how well the layouts of each group are ranked.

    Columns: what names the group (see `ranked_layouts`); ``layouts``; ``spearman``, the rank
    correlation of predicted and measured step times (NaN if either is constant);
    ``rank_of_best``, where the measured best stands among the predictions; ``best_in_top_3``;
    ``regret``, the measured time of the predicted best over the measured best, minus 1.

    Parameters
    ----------
    layouts
        Table of `ranked_layouts`.
    """
    import pandas as pd  # noqa: PLC0415 - as above

    keys = _group_keys(layouts)
    lines = [
        {**dict(zip(keys, key, strict=True)), **ranking(part)}
        for key, part in layouts.groupby(keys, dropna=False)
    ]
    columns = ["layouts", "spearman", "rank_of_best", "best_in_top_3", "regret"]
    return pd.DataFrame(lines, columns=[*keys, *columns])


def _group_keys(frame: pd.DataFrame) -> list[str]:
    return ["source", "split", "model", "n_accel", *_present(frame, RIVALS)]


def ranking(layouts: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of `rankings` for the layouts of one group."""
    predicted = layouts["step_time_s"].reset_index(drop=True)
    measured = layouts["measured_s"].reset_index(drop=True)
    rank = int(predicted.rank(method="min").iloc[int(measured.argmin())])
    return {
        "layouts": len(layouts),
        "spearman": spearman(predicted, measured),
        "rank_of_best": rank,
        "best_in_top_3": rank <= TOP,
        "regret": float(measured.iloc[int(predicted.argmin())] / measured.min() - 1),
    }


def spearman(left: pd.Series[float], right: pd.Series[float]) -> float:
    """Return the rank correlation of two samples, ties at their mean rank; NaN if one is constant.

    References
    ----------
    Spearman 1904: the product-moment correlation of ranks.
    """
    ranks = left.rank(), right.rank()
    if any(rank.min() == rank.max() for rank in ranks):
        return float("nan")
    return float(ranks[0].corr(ranks[1]))


def verdicts(compared: pd.DataFrame) -> dict[str, float]:
    """Return the confusion of memory verdicts: what was predicted of runs whose outcome is known.

    ``ran_fits`` and ``oom_exceeds`` are right; ``ran_exceeds`` is a false alarm, ``oom_fits`` a
    missed one. ``accuracy`` is the share that is right (NaN if no outcome is known).

    Parameters
    ----------
    compared
        Table of `with_errors`.
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
        Table with `COLUMNS` and `LAYOUT`.
    """
    import pandas as pd  # noqa: PLC0415 - as above

    keys = _present(predictions, [*JOB, *LAYOUT])
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
        Table of `with_errors`, or part of it.
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

    ``splits`` and ``sources`` hold an `overview` each, sources by split; ``groups`` the `rankings`;
    then ``repeats``, ``unsupported`` (reasons by count), ``assumed`` (assumptions by count) and
    ``worst`` rows. A figure that there is no data for is None.

    Parameters
    ----------
    predictions
        Table with `COLUMNS`, `LAYOUT` and `BREAKDOWN`.
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


def unsupported(predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Return why rows have no prediction, most frequent first.

    Keys: ``status``, ``reason``, ``rows`` (how many), ``sources`` (which).
    """
    missing = predictions[predictions["status"] != "ok"]
    lines = [
        {
            "status": status,
            "reason": reason,
            "rows": len(part),
            "sources": sorted(part["source"].unique()),
        }
        for (status, reason), part in missing.groupby(["status", "reason"], dropna=False)
    ]
    return sorted(lines, key=lambda line: -line["rows"])


def assumptions(predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what was assumed for empty cells of predicted rows, most frequent first.

    Keys: ``assumption``, ``rows`` (how many), ``sources`` (which).
    """
    covered = predictions[predictions["status"] == "ok"]
    each = covered["assumed"].fillna("").str.split("; ").explode().rename("assumption")
    named = covered[["source"]].join(each[each != ""], how="inner")
    lines = [
        {"assumption": text, "rows": len(part), "sources": sorted(part["source"].unique())}
        for text, part in named.groupby("assumption")
    ]
    return sorted(lines, key=lambda line: -line["rows"])


def worst_rows(
    compared: pd.DataFrame, most: int = WORST, of_a_source: int = WORST_OF_A_SOURCE
) -> pd.DataFrame:
    """Return the rows that are furthest off as a ratio, worst first (half and double are equal).

    Parameters
    ----------
    compared
        Table of `with_errors`.
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
            name.removesuffix("_s"): row[name]
            for name in BREAKDOWN
            if name in row and row[name] > 0
        },
    }


def _present(frame: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return those of the columns that a table has: not every table knows every degree."""
    return [column for column in columns if column in frame.columns]


def _plain(value: Any) -> Any:  # noqa: ANN401 - any nesting of plain and numpy values
    """Return a value as JSON knows it: no numpy numbers, and None for what is not a number."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - NaN
