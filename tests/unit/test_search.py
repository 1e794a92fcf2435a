"""A whole search: the same table from one process, several, and after an interruption."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from search_samples import NARROW, SMALL, scenario

from simulator.api import simulate
from simulator.errors import OutputError, SimulatorError
from simulator.search import search as search_module
from simulator.search import workers as workers_module
from simulator.search.candidates import Candidate, candidates, scenario_of
from simulator.search.replay import SHARED
from simulator.search.search import Search, search_layouts
from simulator.search.store import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL_CHUNK = 100


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a size that makes several of a small search, given to processes."""
    monkeypatch.setattr(search_module, "CHUNK", SMALL_CHUNK)
    monkeypatch.setattr(workers_module, "FEW", 0)


@pytest.fixture(scope="module")
def whole() -> Search:
    return search_layouts(scenario(*SMALL, NARROW), workers=1)


def same(found: Search, expected: Search) -> bool:
    return (
        found.rows.tobytes() == expected.rows.tobytes()
        and found.results.tobytes() == expected.results.tobytes()
        and found.summary == expected.summary
    )


def test_the_best_is_the_fastest_that_fits(whole: Search) -> None:
    """Against a simulation of every twentieth layout."""
    base, best = whole.scenario, whole.summary["best"][0]
    assert best["fits"]
    assert best["step_time_s"] == simulate(scenario_of(base, whole.best)).summary["step_time_s"]
    for row in whole.rows[::20].tolist():
        summary = simulate(scenario_of(base, Candidate(*row))).summary
        assert not summary["fits"] or summary["step_time_s"] >= best["step_time_s"] * (1 - 1e-9)


def test_reasons_add_up_to_the_difference(whole: Search) -> None:
    """What the parts of a breakdown lose is what the step loses, but for parts left out."""
    first, *others = whole.summary["best"]
    assert first["loses"] == {}
    for place in others:
        excess = place["step_time_s"] / first["step_time_s"] - 1
        assert sum(place["loses"].values()) == pytest.approx(excess, abs=0.005)
        assert excess >= 0


def test_the_frame_ranks_what_fits(whole: Search) -> None:
    frame = whole.frame()
    assert len(frame) == len(whole.rows)
    fits = frame[frame["rank"] > 0]
    assert fits["fits"].all()
    assert not frame[frame["rank"] == 0]["fits"].any()
    assert fits["step_time_s"].is_monotonic_increasing
    assert frame["on_front"].sum() == len(whole.front)
    tokens = whole.scenario.batch.tokens / fits["step_time_s"] / fits["accelerators"]
    assert np.allclose(fits["tokens_per_s_per_accelerator"], tokens)


@pytest.mark.usefixtures("small_chunks")
def test_an_interrupted_search_goes_on(
    whole: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: int, _every: int) -> None:
        if done > SMALL_CHUNK:  # the first chunk is the last of the list, and not full
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_layouts(whole.scenario, out=tmp_path, workers=1, on_progress=interrupt)
    parts = sorted((tmp_path / PARTS).glob("part-*.parquet"))
    assert len(parts) == 2

    evaluated = workers_module.evaluated
    given: list[int] = []

    def counted(base: object, chunks: dict[int, object], **options: object) -> Iterator[object]:
        given.extend(sorted(chunks, reverse=True))
        return evaluated(base, chunks, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(search_module, "evaluated", counted)
    found = search_layouts(whole.scenario, out=tmp_path, workers=1)
    chunks = -(-len(whole.rows) // SMALL_CHUNK)
    assert given == list(reversed(range(chunks - 2)))  # the last two, with long pipelines, are kept
    assert same(found, whole)
    assert same(search_layouts(whole.scenario, out=tmp_path, workers=1), whole)
    assert len(given) == len(set(given))


@pytest.mark.usefixtures("small_chunks")
def test_parts_can_be_read_while_a_search_runs(whole: Search, tmp_path: Path) -> None:
    search_layouts(whole.scenario, out=tmp_path, workers=1)
    part = pd.read_parquet(tmp_path / PARTS / "part-000001.parquet")
    assert len(part) == SMALL_CHUNK
    assert {"tensor", "schedule", "step_time_s", "peak_memory_gib", "fits"} <= set(part.columns)
    assert not list((tmp_path / PARTS).glob("*.half"))


def test_a_directory_of_another_search_is_refused(whole: Search, tmp_path: Path) -> None:
    search_layouts(whole.scenario, out=tmp_path, workers=1)
    other = scenario(*SMALL, NARROW, "software.tensor_overlap=0.5")
    with pytest.raises(OutputError, match="holds another search"):
        search_layouts(other, out=tmp_path, workers=1)
    (tmp_path / PARTS / "search.json").write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match="holds another search"):
        search_layouts(whole.scenario, out=tmp_path, workers=1)


def test_a_file_in_the_way_is_refused(whole: Search, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        search_layouts(whole.scenario, out=tmp_path / "taken", workers=1)


@pytest.mark.usefixtures("small_chunks")
def test_processes_give_the_same_and_survive_the_death_of_one(whole: Search) -> None:
    killed: list[int] = []

    def kill_one(_done: int, _every: int) -> None:
        if not killed:
            victim = multiprocessing.active_children()[0].pid
            assert victim is not None
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    found = search_layouts(whole.scenario, workers=2, on_progress=kill_one)
    assert killed
    assert same(found, whole)


def test_processes_that_keep_dying_are_an_error(
    whole: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> Future[object]:
        future: Future[object] = Future()
        future.set_exception(BrokenProcessPool())
        return future

    monkeypatch.setattr(ProcessPoolExecutor, "submit", broken)
    monkeypatch.setattr(workers_module, "FEW", 0)
    monkeypatch.setattr(search_module, "CHUNK", SMALL_CHUNK)
    with pytest.raises(SimulatorError, match=r"^9 pieces of work were lost.*fewer --workers"):
        search_layouts(whole.scenario, workers=2)


def test_without_numba_the_engine_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few layouts, the same first place as with numba."""
    workers_module.evaluator_of.cache_clear()
    monkeypatch.setattr(workers_module.kernels, "compiled", lambda: None)
    few = (
        "space={tensor: [2], pipeline: [2], micro_batch: [1], context: [1], recompute: [none], "
        "sharding: [optimizer], schedule: [1f1b]}"
    )
    base = scenario(*SMALL, few)
    slow = search_layouts(base, workers=1)
    monkeypatch.undo()
    workers_module.evaluator_of.cache_clear()
    fast = search_layouts(base, workers=1)
    assert slow.best == fast.best
    assert slow.summary["best"][0]["step_time_s"] == fast.summary["best"][0]["step_time_s"]


def test_shared_links_reorder_the_best(whole: Search) -> None:
    fair = scenario(*SMALL, NARROW, "network.sharing=fair")
    found = search_layouts(fair, workers=1)
    assert found.summary["notes"] == [SHARED]
    assert found.results.tobytes() == whole.results.tobytes()
    times = [place["step_time_s"] for place in found.summary["best"]]
    assert times == sorted(times)
    assert times[0] == simulate(scenario_of(fair, found.best)).summary["step_time_s"]


def test_nothing_fits() -> None:
    base = scenario(*SMALL, NARROW, "cluster.accelerator.memory_gb=2")
    with pytest.raises(SimulatorError, match=r"none of [\d,]+ layouts fits: the smallest needs"):
        search_layouts(base, workers=1)


def test_a_search_that_differs_from_the_engine_is_refused(
    whole: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = whole.results.copy()
    results["step_time"] *= 1.000001
    monkeypatch.setattr(
        search_module, "_finished", lambda *_arguments, **_options: iter([(0, results)])
    )
    with pytest.raises(SimulatorError, match="please report"):
        search_layouts(whole.scenario, workers=1)


def test_summaries_are_plain(whole: Search) -> None:
    assert json.loads(json.dumps(whole.summary, allow_nan=False)) == whole.summary


def test_the_space_of_a_scenario_is_not_its_step() -> None:
    base = scenario("llama-8b-8-h100")
    spaced = scenario("llama-8b-8-h100", "space={tensor: [1, 2]}")
    assert spaced.space is not None
    assert replace(spaced, space=None) == base
    assert simulate(spaced).summary == simulate(base).summary
    assert set(candidates(spaced)["tensor"].tolist()) == {1, 2}
