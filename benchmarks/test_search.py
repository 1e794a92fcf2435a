"""Layouts per second of a search, and its memory: ``pytest benchmarks/test_search.py``.

Two rates: of all legal layouts, most of which memory rules out, and of those that are played event
by event. Both at full accuracy; a tenth of a second of each search goes into enumerating.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from simulator.scenario import load_scenario
from simulator.search import kernels
from simulator.search.candidates import candidates
from simulator.search.evaluate import Evaluator
from simulator.search.search import search_layouts

if TYPE_CHECKING:
    from collections.abc import Callable

    Measure = Callable[..., None]

SCENARIOS = Path(__file__).parents[1] / "scenarios"
NAMES = ("gpt3-175b-1k-a100", "llama3-405b-16k-h100")


@pytest.mark.parametrize("name", NAMES)
def test_one_core(measure: Measure, name: str) -> None:
    """Everything priced anew, in this process."""
    scenario = load_scenario(SCENARIOS / f"{name}.yaml")
    rows, machine = candidates(scenario), kernels.compiled()
    assert machine is not None
    results = Evaluator(scenario, machine).evaluate(rows)
    played = int(np.count_nonzero(np.isfinite(results["step_time"])))

    def evaluate() -> None:
        Evaluator(scenario, machine).evaluate(rows)

    measure(f"search {name}, one core: layouts", evaluate, tasks=len(rows))
    measure(f"search {name}, one core: played", evaluate, tasks=played)


@pytest.mark.parametrize("name", NAMES)
def test_all_cores(measure: Measure, name: str) -> None:
    """A whole search with its processes, ranking and the simulation of the best ten."""
    scenario = load_scenario(SCENARIOS / f"{name}.yaml")
    found = search_layouts(scenario)
    plays = 2
    for what in ("layouts", "played"):
        measure(
            f"search {name}, all cores: {what}",
            lambda: search_layouts(scenario),
            tasks=int(found.summary[what]),
            plays=plays,
        )
