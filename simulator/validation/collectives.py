"""Predicted beside measured collectives: a table of nccl-tests figures in, errors out.

`simulator.validation.collective_sites` says which profiles stand for a row. What none claims to
predict is ``unsupported`` with its reason, never guessed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from simulator.errors import SimulatorError
from simulator.hardware.collective_costs import bus_factor, collective_time
from simulator.hardware.collective_tables import KINDS, band
from simulator.operators import Collective
from simulator.units import GIGA, MICRO
from simulator.validation.collective_sites import (
    claim_of,
    library_of,
    number_of,
    site_of,
    span_of,
    text_of,
)
from simulator.validation.errors import relative_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

REQUIRED: Final = ("accelerator", "n_gpus", "nodes", "collective", "message_bytes")
"""Columns without which a table is not one of collectives."""
MEASURES: Final = ("time_us", "busbw_GBps")
"""Columns of which a table of collectives has at least one."""
OPTIONAL: Final = ("source", "nic", "dtype", "library_version", "library")

FITTED: Final = (
    "aiconfigurator|Echo|issue #309|oci-hpc|SimuMax|ai-scripts|prasad|NREL|cluster-toolkit|"
    "ml-engineering|issue #527|awsome-distributed|nccl-tests|ROCm docs"
)
"""Sources whose rows fitted a profile: their errors are quality of fit, not evidence."""
FITTED_PAIRS: Final = "vidur"
"""Source of which only the transfers between two ranks did."""


def is_collective_table(columns: Sequence[str]) -> bool:
    """Return whether a table with these columns is one of collectives."""
    return set(REQUIRED) <= set(columns) and bool(set(MEASURES) & set(columns))


def predict(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a prediction for every row of a table of measured collectives, in its order.

    Parameters
    ----------
    frame
        With the columns `REQUIRED`, one of `MEASURES` and any of `OPTIONAL`; sizes as nccl-tests
        counts them. A missing time is derived from the bus bandwidth.

    Returns
    -------
    DataFrame
        On the index of ``frame``: ``source, accelerator, n_gpus, nodes, collective,
        message_bytes``; ``measured_time_us``; ``time_us`` predicted; ``status`` (ok, unsupported,
        invalid) and ``reason``; ``node, fabric`` profiles; ``scope, band``; ``split``
        (calibration: rows of that source, and kind, fitted a profile).

    Raises
    ------
    SimulatorError
        If columns are missing.
    """
    import pandas as pd  # noqa: PLC0415 - slow to import

    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing or not is_collective_table(list(frame.columns)):
        lacking = ", ".join(missing) or " or ".join(MEASURES)
        raise SimulatorError(f"not a table of collectives: it has no column {lacking}")
    columns = [*REQUIRED, *MEASURES, *OPTIONAL]
    plain = {
        name: frame[name].tolist() if name in frame.columns else [None] * len(frame)
        for name in columns
    }
    records = (dict(zip(columns, row, strict=True)) for row in zip(*plain.values(), strict=True))
    return pd.DataFrame([_predicted(record) for record in records], index=frame.index)


def summary(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return errors of `predict`'s rows by part, scope, kind and size band.

    Columns: ``accelerator, scope, collective, band, split, rows, covered``, and of covered rows
    with a time the median absolute, 90th-percentile absolute and median signed error as shares
    (``median_error, p90_error, bias``).
    """
    keys = ["accelerator", "scope", "collective", "band", "split"]
    return _errors(predictions, keys)


def part_summary(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return errors of `predict`'s rows by split, part, scope and size band, as `summary`."""
    return _errors(predictions, ["split", "accelerator", "scope", "band"])


def _errors(predictions: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    covered = predictions["status"] == "ok"
    error = relative_errors(predictions["time_us"], predictions["measured_time_us"]).where(covered)
    table = predictions[keys].assign(covered=covered, error=error, size=error.abs())
    groups = table.groupby(keys, sort=True, dropna=False)
    return groups.agg(
        rows=("covered", "size"),
        covered=("covered", "sum"),
        median_error=("size", "median"),
        p90_error=("size", lambda sizes: sizes.quantile(0.9)),
        bias=("error", "median"),
    ).reset_index()


def _predicted(row: dict[str, Any]) -> dict[str, Any]:
    """Return the prediction of one row, or why there is none."""
    ranks, nodes, n_bytes = (number_of(row[name]) for name in ("n_gpus", "nodes", "message_bytes"))
    kind = KINDS.get(text_of(row["collective"]))
    result: dict[str, Any] = {
        "source": text_of(row["source"]),
        **{name: row[name] for name in REQUIRED},
        "measured_time_us": _measured_us(row, kind),
        "time_us": float("nan"),
        "status": "ok",
        "reason": "",
        "node": "",
        "fabric": "",
        "scope": "inside" if nodes == 1 else "between",
        "band": band(n_bytes) if n_bytes is not None else "",
        "split": "calibration" if _fitted(text_of(row["source"]), kind) else "validation",
    }
    status, reason = _objection(row, kind, ranks, nodes, n_bytes)
    if status:
        return result | {"status": status, "reason": reason}
    if kind is None or ranks is None or nodes is None or n_bytes is None:  # for the type checker
        return result
    claim = claim_of(row, kind, int(nodes))
    if claim.reason:
        return result | {"status": "unsupported", "reason": claim.reason}
    result |= {"node": claim.node, "fabric": claim.fabric if nodes > 1 else ""}
    site = site_of(claim.node, claim.fabric)
    span = span_of(int(ranks), int(nodes), site)
    if isinstance(span, str):
        return result | {"status": "unsupported", "reason": span}
    result["scope"] = "inside" if span.nodes == 1 else "between"
    try:
        seconds = collective_time(kind, n_bytes, span, site)
    except SimulatorError as error:
        return result | {"status": "unsupported", "reason": str(error)}
    return result | {"time_us": seconds / MICRO}


def _fitted(source: str, kind: Collective | None) -> bool:
    """Return whether rows of a source and kind fitted a profile."""
    pairs = kind is Collective.SEND_RECV and re.search(FITTED_PAIRS, source)
    return bool(pairs or re.search(FITTED, source))


def _objection(
    row: Mapping[str, Any],
    kind: Collective | None,
    ranks: float | None,
    nodes: float | None,
    n_bytes: float | None,
) -> tuple[str, str]:
    """Return the status and the reason of a row that cannot be predicted, else empty texts."""
    collective = text_of(row["collective"])
    library = library_of(row)
    if collective.startswith("moe_"):
        return "unsupported", "a fused kernel for experts, not a collective of the library"
    if re.search("MSCCL|TransferBench", library):
        return "unsupported", f"kernels of {library.split()[0]}, not of NCCL or RCCL"
    if kind is None:
        return "unsupported", f"no model of {collective or 'an unnamed collective'}"
    if "threshold" in text_of(row["source"]):
        return "invalid", "an acceptance threshold, not a measurement"
    placed = _is_count(ranks) and _is_count(nodes) and ranks >= nodes
    if not placed or n_bytes is None or n_bytes < 0:
        return (
            "invalid",
            "n_gpus and nodes must be whole numbers, a rank in each node, message_bytes at least 0",
        )
    return "", ""


def _is_count(number: float | None) -> TypeGuard[float]:
    """Return whether a number counts something: a whole one from 1 on."""
    return number is not None and number >= 1 and number % 1 == 0


def _measured_us(row: Mapping[str, Any], kind: Collective | None) -> float:
    """Return the measured time [us], derived from the bus bandwidth if need be; else NaN."""
    time = number_of(row["time_us"])
    if time:
        return time
    rate, n_bytes, ranks = (
        number_of(row[name]) for name in ("busbw_GBps", "message_bytes", "n_gpus")
    )
    if not (kind and rate and n_bytes and ranks):
        return float("nan")
    return bus_factor(kind, int(ranks)) * n_bytes / (rate * GIGA) / MICRO
