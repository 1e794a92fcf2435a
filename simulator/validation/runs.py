"""Predictions of measured runs, a row each: `predictions.csv`."""

from __future__ import annotations

import dataclasses
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from simulator.api import simulate
from simulator.errors import ScenarioError, SimulatorError
from simulator.validation.cases import cases_of
from simulator.validation.cells import InvalidError, UnsupportedError
from simulator.validation.columns import BREAKDOWN, PARTS
from simulator.validation.sources import run_name, source_of
from simulator.validation.stacks import stack_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.catalog import Catalog
    from simulator.scenario.scenario import Scenario
    from simulator.validation.cases import Case
    from simulator.validation.cells import Row


def split_of(row: Row) -> str:
    """Return ``calibration`` for a row that fitted a profile predicting it, else ``validation``.

    Rows of a layout that was measured again in another release count with the layout.
    """
    patterns = source_of(row["source"]).calibration
    fitted = any(fnmatch(run_name(row), pattern) for pattern in patterns)
    return "calibration" if fitted else "validation"


def predict_row(row: Row, catalog: Catalog) -> dict[str, Any]:
    """Return the prediction of one row as the columns of ``predictions.csv``."""
    source = source_of(row["source"])
    stated = {"run_id": row["run_id"], "split": split_of(row), "stack": stack_of(row, source)}
    try:
        best = min((_predicted(case) for case in cases_of(row, catalog)), key=_step_time)
    except UnsupportedError as error:
        return {**stated, "status": "unsupported", "reason": str(error)}
    except (InvalidError, ScenarioError) as error:
        return {**stated, "status": "invalid", "reason": str(error)}
    except SimulatorError as error:
        return {**stated, "status": "unsupported", "reason": str(error)}
    return {**stated, "status": "ok", "reason": "", **best}


def _step_time(prediction: dict[str, Any]) -> float:
    return float(prediction["step_time_s"])


def _predicted(case: Case) -> dict[str, Any]:
    summary = simulate(case.scenario).summary
    memory = summary["memory_gib"]
    worst = max(memory["stages"], key=lambda stage: stage["total"])
    outside = worst["framework"] + worst["fragmentation"] if case.allocated_memory else 0.0
    drains = (case.flushes - 1) * _drain_time(case.scenario, summary) if case.flushes > 1 else 0.0
    seconds = (summary["step_time_s"] + drains) * case.share
    summary["breakdown_s"]["bubble"] += drains
    tokens = case.scenario.batch.tokens * case.share
    return {
        # That such runs drain their pipeline was inferred from them.
        **({"split": "calibration"} if case.flushes > 1 else {}),
        "step_time_s": seconds,
        "tokens_per_s_per_gpu": tokens / seconds / case.scenario.accelerators,
        "peak_memory_gib": worst["total"] - outside,
        "fits": summary["fits"],
        "capacity_gib": memory["capacity"],
        "cluster": case.cluster,
        "assumed": case.assumed,
        **{
            column: summary["breakdown_s"][name] * case.share
            for name, column in zip(PARTS, BREAKDOWN, strict=True)
        },
        **{
            f"memory_{name}_gib": value
            for name, value in worst.items()
            if name not in ("stage", "total")
        },
    }


def _drain_time(scenario: Scenario, once: Mapping[str, Any]) -> float:
    """Return what one more fill and drain of the pipeline costs [s] beside the step ``once``.

    Steps of m and 2 m micro-batches differ by m slots of the slowest stage; what the first takes
    beyond these and beyond its work per step is the fill and drain.
    """
    batch = dataclasses.replace(scenario.batch, global_batch=2 * scenario.batch.global_batch)
    twice = simulate(dataclasses.replace(scenario, batch=batch)).summary
    slots = twice["step_time_s"] - once["step_time_s"]
    parts = once["breakdown_s"]
    per_step = parts["optimizer"] + parts["exposed_data"]
    return float(max(0.0, once["step_time_s"] - slots - per_step))
