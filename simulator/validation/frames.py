"""Predictions of runs beside their measurements: rows of both become one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from simulator.validation.columns import BREAKDOWN, COLUMNS, LAYOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

MEASURED: Final[Mapping[str, str]] = {
    "measured_step_time_s": "step_time_s",
    "measured_tokens_per_s_per_gpu": "tokens_per_s_per_gpu",
    "measured_memory_gib": "memory_gb",
}
"""Measured column of predictions by the column of a table of runs (GiB there, despite its name)."""
GROUP: Final = ("source", "model", "n_accel", "seq_len", "gbs")
"""Layouts compete within these."""
NAMES: Final = ("source", "model", "accelerator")
"""Columns by which errors are grouped: a row whose cell is empty must not be lost."""
UNNAMED: Final = "?"
_GIVEN: Final = (
    *("run_id", "source", "model", "accelerator", "n_accel", "precision", "flags"),
    *("recompute", "attention_kernel", "sequence_parallel", "seq_len", "gbs"),
)
_TEXTS: Final = ("reason", "assumed", "flags", "stack", "cluster", "split")
_NUMERIC: Final = ("tp", "pp", "vpp", "cp", "ep", "dp", "mbs", "gbs", "seq_len")
_PREDICTED: Final = (
    *("step_time_s", "tokens_per_s_per_gpu", "peak_memory_gib", "capacity_gib"),
    *BREAKDOWN,
)

SMALLEST, LARGEST = 1e-9, 1e12
"""Between them lies what runs are measured in: seconds, tokens/s, GiB."""
EXACT: Final = 2.0**53
"""Below it a float holds every whole number."""


def run_frame(table: pd.DataFrame, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return predictions of runs beside their measurements: `columns.COLUMNS` and more.

    Further columns of the predictions (memory by component) come last.

    Parameters
    ----------
    table
        Rows as text.
    rows
        What `runs.predict_row` says of each.
    """
    import pandas as pd  # noqa: PLC0415 - slow, and --help must not pay for it

    predicted = pd.DataFrame(list(rows), index=table.index)
    given = table.reindex(columns=[*_GIVEN, "oom"], fill_value="").astype(object)
    given = given.mask(given == "", None)
    given[list(NAMES)] = given[list(NAMES)].fillna(UNNAMED)
    stated = pd.DataFrame(
        {
            **{name: given[name] for name in _GIVEN},
            "n_accel": _counts(table, "n_accel"),
            **{name: numbers(table, name) for name in _NUMERIC},
            **{name: measurements(table, column) for name, column in MEASURED.items()},
            "measured_oom": given["oom"].map(_truth),
            "sequence_parallel": given["sequence_parallel"].map(_truth),
            "group": given[list(GROUP)].fillna(UNNAMED).agg(" ".join, axis=1),
            "split": "validation",
            "assumed": "",
        }
    )
    own = [name for name in predicted if name not in stated or name in {"split", "assumed"}]
    whole = stated.drop(columns=[name for name in own if name in stated]).join(predicted[own])
    first = [name for name in (*COLUMNS, "precision", *LAYOUT, *BREAKDOWN) if name != "flags"]
    order = dict.fromkeys([*first, "flags", *whole.columns])
    frame = whole.reindex(columns=list(order))
    # A column that is empty throughout would otherwise count as numbers.
    frame = frame.astype(dict.fromkeys(_TEXTS, object))
    return frame.assign(
        **{name: pd.to_numeric(frame[name]) for name in _PREDICTED},
        split=frame["split"].fillna("validation"),
    )


def numbers(table: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return a column as numbers; NaN where it is empty, absent, no number or infinite."""
    import pandas as pd  # noqa: PLC0415 - as above

    if column not in table:
        return pd.Series(float("nan"), index=table.index)
    found = pd.to_numeric(table[column], errors="coerce").astype(float)
    return found.where(found.abs() < float("inf"))


def measurements(table: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return a column as measured numbers, missing where nothing can have measured them."""
    known = numbers(table, column)
    return known.where((known > SMALLEST) & (known < LARGEST))


def _counts(table: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return a column as whole numbers, missing where they are none."""
    known = numbers(table, column)
    return known.where((known % 1 == 0) & (known.abs() < EXACT)).astype("Int64")


def _truth(cell: object) -> bool | None:
    return {"true": True, "false": False, "1": True, "0": False}.get(
        str(cell).lower().removesuffix(".0")
    )
