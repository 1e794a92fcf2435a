"""Places, ties, the front and the reasons, on results made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from search_samples import scenario

from simulator.errors import SimulatorError
from simulator.search.candidates import ROW
from simulator.search.evaluate import RESULT
from simulator.search.ranking import (
    Place,
    differences,
    front,
    near_misses,
    places,
    ranking,
    require_objective,
    roomiest,
    standing,
)

NAN = float("nan")
RESULTS = np.array(
    [
        (2.0, 50.0, 0),
        (1.0, 90.0, 0),  # the fastest
        (1.005, 60.0, 1),  # a near tie with more room
        (2.0, 50.0, 0),  # like the first
        (0.8, 104.0, 0),  # faster, but too large
        (0.9, 130.0, 0),  # far too large
        (NAN, 500.0, 0),
        (1.5, 95.0, 0),  # beaten in both
        (0.999, 101.0, 0),  # too large, and no faster than a near tie
    ],
    dtype=RESULT,
)
ROWS = np.zeros(len(RESULTS), dtype=ROW)
ROWS["accelerators"] = [1, 8, 1, 1, 1, 1, 1, 1, 1]
CAPACITY = 100.0


def test_ranking_by_step_time() -> None:
    assert ranking("step_time", ROWS, RESULTS, CAPACITY).tolist() == [1, 2, 7, 0, 3]


def test_ranking_by_headroom() -> None:
    assert ranking("memory_headroom", ROWS, RESULTS, CAPACITY).tolist() == [0, 3, 2, 1, 7]


def test_ranking_by_cost() -> None:
    """Accelerators times seconds: 8 x 1 s costs the most."""
    assert ranking("cost", ROWS, RESULTS, CAPACITY).tolist() == [2, 7, 0, 3, 1]


def test_equal_layouts_share_a_place() -> None:
    ranked = ranking("step_time", ROWS, RESULTS, CAPACITY)
    assert places(ranked, RESULTS, 10) == [Place(1, 0), Place(2, 0), Place(7, 0), Place(0, 1)]
    assert places(ranked, RESULTS, 2) == [Place(1, 0), Place(2, 0)]


def test_the_front_is_beaten_by_none() -> None:
    ranked = ranking("step_time", ROWS, RESULTS, CAPACITY)
    assert front(RESULTS, ranked).tolist() == [1, 2, 0]


def test_the_roomiest_near_tie() -> None:
    ranked = ranking("step_time", ROWS, RESULTS, CAPACITY)
    assert roomiest(RESULTS, ranked).tolist() == [2]


def test_near_misses_are_faster_and_a_little_too_large() -> None:
    assert near_misses(RESULTS, 1.0, CAPACITY, 3).tolist() == [4]


@pytest.mark.parametrize(
    ("seconds", "word"),
    [(1.0, "equal"), (1.0 + 1e-12, "equal"), (1.009, "near"), (1.02, "slower"), (0.9, "faster")],
)
def test_standings(seconds: float, word: str) -> None:
    assert standing(seconds, 1.0, first=False) == word
    assert standing(seconds, seconds, first=True) == "best"


def test_differences_are_shares_of_the_best_step() -> None:
    parts = {"compute": 1.0, "bubble": 0.531, "other": 0.0001}
    best = {"compute": 1.2, "bubble": 0.5, "other": 0.0}
    lost = differences(parts, best, 2.0)
    assert list(lost) == ["compute", "bubble"]
    assert lost == pytest.approx({"compute": -0.1, "bubble": 0.0155})


def test_unknown_objectives_are_refused() -> None:
    with pytest.raises(SimulatorError, match="--by speed: layouts are ranked by step_time, memory"):
        require_objective("speed", scenario())


def test_cost_needs_a_price() -> None:
    with pytest.raises(SimulatorError, match="has no rent per accelerator hour"):
        require_objective("cost", scenario())
