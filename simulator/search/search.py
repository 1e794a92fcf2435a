"""The search: candidates in, a ranked table with its reasons out."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simulator.errors import SimulatorError
from simulator.processes import Crew
from simulator.search.candidates import Candidate, candidates
from simulator.search.evaluate import RESULT
from simulator.search.ranking import (
    NEAR,
    front,
    near_misses,
    near_ties,
    places,
    ranking,
    require_objective,
    roomiest,
)
from simulator.search.replay import SHARED, replayed, shares_links, told_of, unshared
from simulator.search.store import Store
from simulator.search.table import columns_of, rent_of
from simulator.search.workers import CHUNK, evaluated, obstacle
from simulator.units import GIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from simulator.scenario import Scenario
    from simulator.search.candidates import Rows
    from simulator.search.workers import Chunks, Finished

SHOWN: Final = 10
"""Places that are explained."""
MISSES: Final = 3
"""Layouts that would be faster with more memory and are named."""


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """Every layout of a space with its step time and memory, and the best of them explained."""

    scenario: Scenario
    by: str
    rows: Rows
    results: NDArray[np.void]
    ranked: NDArray[np.int64]
    """Rows of the layouts that fit, the best first; where transfers share links, by their times
    without."""
    front: NDArray[np.int64]
    """Those that no other beats in both time and memory, the fastest first."""
    best: Candidate
    """The best layout."""
    summary: Mapping[str, Any]
    """Counts, the best places with their reasons, the front: plain values (docs/search.md)."""

    def frame(self) -> pd.DataFrame:
        """Return all layouts as a table, ranked; those that do not fit last, without a rank.

        Columns: ``rank``, ``on_front``, and those of `simulator.search.table.columns_of`.
        """
        import pandas as pd  # noqa: PLC0415 - costs half a second, and few callers need it

        others = np.setdiff1d(np.arange(len(self.rows)), self.ranked, assume_unique=True)
        memory = self.results["peak_memory"][others]
        order = np.concatenate([self.ranked, others[np.argsort(memory, kind="stable")]])
        columns = columns_of(self.scenario, self.rows[order], self.results[order])
        rank = np.arange(1, len(order) + 1)
        return pd.DataFrame(
            {
                "rank": pd.array(np.where(rank <= len(self.ranked), rank, 0), dtype="int64"),
                "on_front": np.isin(order, self.front),
                **columns,
            }
        )


def search_layouts(
    scenario: Scenario,
    *,
    by: str = "step_time",
    out: Path | None = None,
    workers: int | None = None,
    dask: str | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Search:
    """Return the layouts of the scenario's space, ranked.

    Parameters
    ----------
    scenario
        What to lay out; its ``space`` narrows or widens the axes (docs/search.md).
    by
        ``step_time``, ``memory_headroom`` or ``cost``.
    out
        Directory that keeps finished results; a search that was interrupted goes on from there.
    workers
        Processes; all cores if None.
    dask
        Address of a Dask scheduler, or ``local`` for a cluster on this machine.
    on_progress
        Called with the number of layouts done and of all, after every chunk.

    Raises
    ------
    SimulatorError
        If the space holds no legal layout or none that fits, layouts cannot be ranked so, workers
        cannot be reached, or results cannot be kept.
    """
    require_objective(by, scenario)
    rows = candidates(scenario)
    store = None if out is None else Store(out, scenario, rows)
    results = np.zeros(len(rows), dtype=RESULT)
    done = 0
    with closing(Crew()) as crew:
        played = partial(evaluated, unshared(scenario), crew=crew, workers=workers, dask=dask)
        for number, found in _finished(rows, store, played):
            results[number * CHUNK : number * CHUNK + len(found)] = found
            done += len(found)
            on_progress(done, len(rows))
        return _ranked(scenario, by, rows, results, crew)


def _finished(
    rows: Rows, store: Store | None, played: Callable[[Chunks], Iterator[Finished]]
) -> Iterator[Finished]:
    """Yield the results of all chunks: kept ones, then new ones as they are done and kept."""
    chunks = {at // CHUNK: rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK)}
    if store:
        for number in list(chunks):
            kept = store.read(number, chunks[number])
            if kept is not None:
                del chunks[number]
                yield number, kept
    for number, found in played(chunks):
        if store:
            store.write(number, chunks[number], found)
        yield number, found


def _ranked(
    scenario: Scenario, by: str, rows: Rows, results: NDArray[np.void], crew: Crew
) -> Search:
    capacity = scenario.cluster.accelerator.memory
    ranked = ranking(by, rows, results, capacity)
    if not len(ranked):
        least = float(results["peak_memory"].min())
        raise SimulatorError(
            f"none of {len(rows):,} layouts fits: the smallest needs {least / GIB:.1f} GiB, but "
            f"{scenario.cluster.accelerator.name} has {capacity / GIB:.1f} GiB; use more "
            f"accelerators or widen the space"
        )
    chosen = front(results, ranked)
    played = replayed(scenario, by, rows, results, places(ranked, results, SHOWN), crew=crew)
    fastest = float(results["step_time"][chosen[0]])

    def told(found: NDArray[np.int64]) -> list[dict[str, Any]]:
        return [told_of(scenario, rows, results, number) for number in found.tolist()]

    summary = {
        "scenario": scenario.name,
        "model": scenario.model.name,
        "cluster": scenario.cluster.name,
        "by": by,
        "layouts": len(rows),
        "played": int(np.count_nonzero(np.isfinite(results["step_time"]))),
        "fit": len(ranked),
        "capacity_gib": capacity / GIB,
        "near_tie": NEAR,
        "best": [place.told for place in played],
        "near_ties": len(near_ties(results, ranked)),
        "roomiest_near_tie": told(roomiest(results, ranked))[0],
        "front": told(chosen),
        "near_misses": told(near_misses(results, fastest, capacity, MISSES)),
        "notes": _notes(scenario),
    }
    rent = rent_of(scenario)
    if rent is not None and scenario.cluster.price is not None:
        summary["rent_per_accelerator_hour"] = rent
        summary["currency"] = scenario.cluster.price.currency
    best = Candidate(*rows[played[0].candidate].tolist())
    return Search(scenario, by, rows, results, ranked, chosen, best, summary)


def _notes(scenario: Scenario) -> list[str]:
    """Return what a reader must know of how the layouts were played."""
    notes = [SHARED] if shares_links(scenario) else []
    found = obstacle(scenario)
    if found:
        notes.append(f"Every layout was played by the engine, one by one: {found}.")
    return notes
