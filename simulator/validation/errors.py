"""How far predictions are off: errors relative to the measurement, and what they amount to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.units import GIGA
from simulator.validation.columns import FLAWS, NOT_RUN

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

LEAST_FLOP: Final = 0.1 * GIGA
"""Operators below this are launch-bound: no figure of an operator model contains them [FLOP]."""


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
        Table with `columns.COLUMNS`.
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
    return known.mask(_timed(predictions), 1.0).where(~_has_flag(predictions, [NOT_RUN]))


def _timed(predictions: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows have a measured step time or measured tokens/s."""
    columns = ["measured_step_time_s", "measured_tokens_per_s_per_gpu"]
    return (predictions[columns] > 0).any(axis=1)


def _has_flag(predictions: pd.DataFrame, flags: Iterable[str]) -> pd.Series[bool]:
    wanted = frozenset(flags)
    given = predictions["flags"].fillna("").str.split(",")
    return given.map(lambda row: not wanted.isdisjoint(row)).astype(bool)


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


def operator_errors(
    predicted: pd.Series[float],
    measured: pd.Series[float],
    operators: pd.DataFrame,
    n_flop: pd.Series[float],
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
        none: all are NaN, and all are kept.
    """
    errors = relative_errors(predicted, measured)
    if n_flop.isna().all():
        return errors_by(errors, operators)
    large = n_flop >= LEAST_FLOP
    return errors_by(errors[large], operators[large])


def step_errors(steps: pd.DataFrame) -> pd.DataFrame:
    """Return `error_statistics` of the time and the peak memory of steps on one accelerator.

    Columns: ``quantity`` (``time``, ``memory``), ``rows`` (compared or not), then the figures.

    Parameters
    ----------
    steps
        Columns ``step_time_s``, ``peak_memory_gib`` and the same with ``measured_`` before them.
    """
    import pandas as pd  # noqa: PLC0415 - as above

    lines = [
        {
            "quantity": name,
            "rows": len(steps),
            **error_statistics(relative_errors(steps[column], steps[f"measured_{column}"])),
        }
        for name, column in (("time", "step_time_s"), ("memory", "peak_memory_gib"))
    ]
    return pd.DataFrame(lines)
