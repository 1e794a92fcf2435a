"""Which layouts are best, which are as good, and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.errors import SimulatorError
from simulator.search.evaluate import MARGIN
from simulator.search.table import rent_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from simulator.scenario import Scenario
    from simulator.search.candidates import Rows

    Indices = NDArray[np.int64]

OBJECTIVES: Final = ("step_time", "memory_headroom", "cost")
NEAR: Final = 0.01
"""Relative difference in step time below which layouts count as alike (assumed: below the error of
the model's step times; how much of that error two layouts share is not measured)."""
EQUAL: Final = 1e-9
"""Relative difference below which two step times are the same number."""
TELLING: Final = 0.0005
"""Share of the best step time from which a part's difference is worth a word."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the ranking: a layout, and those that play the same step in as much memory."""

    candidate: int
    """Its row."""
    alike: int
    """Other layouts with the same time and memory."""


def require_objective(by: str, scenario: Scenario) -> None:
    """Refuse what layouts cannot be ranked by.

    Raises
    ------
    SimulatorError
        If there is no such objective, or no price for it.
    """
    if by not in OBJECTIVES:
        raise SimulatorError(f"--by {by}: layouts are ranked by {', '.join(OBJECTIVES)}")
    if by == "cost" and rent_of(scenario) is None:
        raise SimulatorError(
            f"--by cost: {scenario.cluster.name} has no rent per accelerator hour "
            f"(cluster.price.rent_per_accelerator_hour)"
        )


def ranking(by: str, rows: Rows, results: NDArray[np.void], capacity: float) -> Indices:
    """Return the layouts that fit from the best to the worst.

    Layouts that are equal stand in the order of the candidates.

    Parameters
    ----------
    by
        One of `OBJECTIVES`.
    rows, results
        Candidates and their results.
    capacity
        Memory of an accelerator [B].
    """
    fits = np.flatnonzero(results["peak_memory"] <= capacity)
    time, memory = results["step_time"][fits], results["peak_memory"][fits]
    keys = {
        "step_time": (memory, time),
        "memory_headroom": (time, memory),
        "cost": (memory, time * rows["accelerators"][fits]),
    }[by]
    order: Indices = fits[np.lexsort(keys)]
    return order


def places(ranked: Indices, results: NDArray[np.void], most: int) -> list[Place]:
    """Return the first places, layouts with the same time and memory together."""
    found: dict[tuple[float, float], Place] = {}
    for candidate in ranked.tolist():
        key = float(results["step_time"][candidate]), float(results["peak_memory"][candidate])
        if key in found:
            found[key] = replace(found[key], alike=found[key].alike + 1)
        elif len(found) < most:
            found[key] = Place(candidate, 0)
        else:
            break  # layouts alike stand together, but for jobs of other sizes at the same cost
    return list(found.values())


def front(results: NDArray[np.void], ranked: Indices) -> Indices:
    """Return the layouts that no other beats in both time and memory, the fastest first."""
    order = ranked[np.lexsort((results["peak_memory"][ranked], results["step_time"][ranked]))]
    memory = results["peak_memory"][order]
    better = np.ones(len(order), dtype=bool)
    better[1:] = memory[1:] < np.minimum.accumulate(memory)[:-1]
    chosen: Indices = order[better]
    return chosen


def near_misses(results: NDArray[np.void], best: float, capacity: float, most: int) -> Indices:
    """Return layouts that would be faster than ``best`` [s] with at most `MARGIN` more memory.

    Only those that no other beats in both; the one that needs least memory first.
    """
    time, memory = results["step_time"], results["peak_memory"]
    missing = (memory > capacity) & (memory <= (1 + MARGIN) * capacity) & (time < best * (1 - NEAR))
    return front(results, np.flatnonzero(missing))[::-1][:most]


def near_ties(results: NDArray[np.void], ranked: Indices) -> Indices:
    """Return the layouts within `NEAR` of the fastest, itself among them, as they are ranked."""
    time = results["step_time"][ranked]
    near: Indices = ranked[time <= (1 + NEAR) * time.min()]
    return near


def roomiest(results: NDArray[np.void], ranked: Indices) -> Indices:
    """Return the near tie that needs least memory, shape ``(1,)``.

    The model cannot tell near ties apart in time; it can in memory.
    """
    near = near_ties(results, ranked)
    chosen: Indices = near[[np.argmin(results["peak_memory"][near])]]
    return chosen


def standing(step_time: float, best: float, *, first: bool) -> str:
    """Return ``best``, ``equal``, ``near`` or ``slower``: how a step time compares to the first.

    In a ranking by anything but time, places after the first may be ``faster``.
    """
    excess = step_time / best - 1
    if first:
        return "best"
    if abs(excess) <= EQUAL:
        return "equal"
    if abs(excess) <= NEAR:
        return "near"
    return "slower" if excess > 0 else "faster"


def differences(
    parts: Mapping[str, float], best: Mapping[str, float], step_time: float
) -> dict[str, float]:
    """Return what each part of a step takes more than in the best, as shares of the best's step.

    The largest first; parts that differ by less than `TELLING` are left out.
    """
    shares = {name: (seconds - best.get(name, 0.0)) / step_time for name, seconds in parts.items()}
    telling = {name: share for name, share in shares.items() if abs(share) >= TELLING}
    return dict(sorted(telling.items(), key=lambda item: -abs(item[1])))
