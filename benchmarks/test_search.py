"""Layouts per second of a search, and its memory: ``pytest benchmarks/test_search.py``.

Two rates: of all legal layouts, most of which memory rules out, and of those that are played event
by event. Both at full accuracy; a tenth of a second of each search goes into enumerating.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from simulator.scenario import load_scenario
from simulator.search import kernels
from simulator.search.candidates import candidates
from simulator.search.evaluate import Evaluator
from simulator.search.search import search_layouts
from simulator.search.workers import evaluator_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.scenario import Scenario

    Measure = Callable[..., None]

SCENARIOS = Path(__file__).parents[1] / "scenarios"
PLAYS = 3
NAMES = ("gpt3-175b-1k-a100", "llama3-405b-16k-h100")


def anew(scenario: Scenario) -> Iterator[Scenario]:
    """Yield equal scenarios of whose parts nothing is remembered."""
    return iter([deepcopy(scenario) for _ in range(PLAYS)])


@pytest.mark.parametrize("name", NAMES)
def test_one_core(measure: Measure, name: str) -> None:
    """Everything priced anew, in this process."""
    scenario = load_scenario(SCENARIOS / f"{name}.yaml")
    rows, machine = candidates(scenario), kernels.compiled()
    assert machine is not None
    results = Evaluator(scenario, machine).evaluate(rows)
    played = int(np.count_nonzero(np.isfinite(results["step_time"])))
    for what, tasks in (("layouts", len(rows)), ("played", played)):
        copies = anew(scenario)
        measure(
            f"search {name}, one core: {what}",
            lambda copies=copies: Evaluator(next(copies), machine).evaluate(rows),
            tasks=tasks,
            plays=PLAYS,
        )


@pytest.mark.parametrize("name", NAMES)
def test_all_cores(measure: Measure, name: str) -> None:
    """A whole search with its processes, ranking and the simulation of the best ten.

    Everything is priced anew; the compiled kernels are loaded.
    """
    scenario = load_scenario(SCENARIOS / f"{name}.yaml")
    found = search_layouts(scenario)
    for what in ("layouts", "played"):
        copies = anew(scenario)

        def search(copies: Iterator[Scenario] = copies) -> None:
            evaluator_of.cache_clear()
            search_layouts(next(copies))

        tasks = int(found.summary[what])
        measure(f"search {name}, all cores: {what}", search, tasks=tasks, plays=PLAYS)
