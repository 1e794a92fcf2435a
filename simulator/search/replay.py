"""Layouts played one by one by the engine: to explain the best, and where nothing faster can."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from simulator.api import simulate
from simulator.errors import SimulatorError
from simulator.parallel.network import Sharing
from simulator.search.candidates import Candidate, scenario_of
from simulator.search.evaluate import RESULT
from simulator.search.ranking import EQUAL, differences, standing
from simulator.search.table import columns_of
from simulator.units import GIB

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.processes import Crew
    from simulator.scenario import Scenario
    from simulator.search.candidates import Rows
    from simulator.search.ranking import Place


SHARED: Final = (
    "Layouts are ranked with links of their own for every transfer; the best are played again with "
    "links that transfers share (network.sharing: fair), and their order is that of these times."
)
"""What a search of a scenario whose transfers share links must say."""


class Replayed(NamedTuple):
    """One of the best layouts, simulated in full."""

    candidate: int
    """Its row."""
    told: dict[str, Any]
    """Its layout and results, what it loses against the best, its breakdown."""


def shares_links(scenario: Scenario) -> bool:
    """Return whether transfers share links, so that only the engine with a clock plays them."""
    return scenario.network.sharing is not Sharing.NONE


def unshared(scenario: Scenario) -> Scenario:
    """Return ``scenario`` with links of its own for every transfer."""
    network = replace(scenario.network, sharing=Sharing.NONE)
    return replace(scenario, network=network)


def replayed(
    scenario: Scenario,
    by: str,
    rows: Rows,
    results: NDArray[np.void],
    found: list[Place],
    *,
    crew: Crew,
) -> list[Replayed]:
    """Return the best places simulated in full, each with what it loses against the first.

    Where transfers share links, a ranking by time is that of the simulated times.

    Raises
    ------
    SimulatorError
        If a simulated time differs from the search's where it must not: a bug.
    """
    items = {at: Candidate(*rows[place.candidate].tolist()) for at, place in enumerate(found)}
    done = dict(crew.finished(partial(summary_of, scenario), items))
    summaries = [done[at] for at in items]
    times = [summary["step_time_s"] for summary in summaries]
    order = list(range(len(found)))
    if not shares_links(scenario):
        for place, seconds in zip(found, times, strict=True):
            _require_equal(float(results["step_time"][place.candidate]), seconds)
    elif by == "step_time":
        order.sort(key=times.__getitem__)
    best = summaries[order[0]]
    return [
        Replayed(
            found[at].candidate,
            {
                **told_of(scenario, rows, results, found[at].candidate, step_time=times[at]),
                "alike": found[at].alike,
                "standing": standing(times[at], best["step_time_s"], first=at == order[0]),
                "bubble_fraction": summaries[at]["bubble_fraction"],
                "mfu": summaries[at]["mfu"],
                "breakdown_s": summaries[at]["breakdown_s"],
                "loses": differences(
                    summaries[at]["breakdown_s"], best["breakdown_s"], best["step_time_s"]
                ),
            },
        )
        for at in order
    ]


def told_of(
    scenario: Scenario,
    rows: Rows,
    results: NDArray[np.void],
    number: int,
    *,
    step_time: float | None = None,
) -> dict[str, Any]:
    """Return a layout and its results as plain values, by the names of `columns_of`.

    ``step_time`` takes the place of that of the results, if given [s].
    """
    one = slice(number, number + 1)
    result = results[one].copy()
    if step_time is not None:
        result["step_time"] = step_time
    columns = columns_of(scenario, rows[one], result)
    told = {name: column[0].item() for name, column in columns.items()}
    return told | {"other_size": told["accelerators"] != scenario.accelerators}


def _require_equal(searched: float, simulated: float) -> None:
    if abs(simulated / searched - 1) > EQUAL:
        raise SimulatorError(
            f"the search has a step time of {searched} s where the engine has {simulated} s: "
            f"please report"
        )


def summary_of(scenario: Scenario, candidate: Candidate) -> dict[str, Any]:
    """Return the summary of a step with the layout of a candidate (docs/summary.md)."""
    return simulate(scenario_of(scenario, candidate)).summary


def evaluate_by_engine(scenario: Scenario, rows: Rows) -> NDArray[np.void]:
    """Return the results of candidates from a simulation of each, shape ``(rows,)`` of `RESULT`.

    The same as `Evaluator.evaluate`, some hundred times slower: the way without numba, and where
    layouts cannot be played side by side.
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
