"""Layouts played one by one by the engine: to explain the best, and where nothing faster can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.api import simulate
from simulator.search.candidates import Candidate, scenario_of
from simulator.search.evaluate import RESULT
from simulator.units import GIB

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.scenario import Scenario
    from simulator.search.candidates import Rows


def summary_of(scenario: Scenario, candidate: Candidate) -> dict[str, Any]:
    """Return the summary of a step with the layout of a candidate (docs/summary.md)."""
    return simulate(scenario_of(scenario, candidate)).summary


def evaluate_by_engine(scenario: Scenario, rows: Rows) -> NDArray[np.void]:
    """Return the results of candidates from a simulation of each, shape ``(rows,)`` of `RESULT`.

    The same as `Evaluator.evaluate`, some hundred times slower: the way without numba.
    """
    results = np.zeros(len(rows), dtype=RESULT)
    for number, row in enumerate(rows.tolist()):
        summary = summary_of(scenario, Candidate(*row))
        totals = [stage["total"] for stage in summary["memory_gib"]["stages"]]
        results[number] = (
            summary["step_time_s"],
            max(totals) * GIB,
            int(np.argmax(totals)),
        )
    return results
