"""A search finds the layouts that were measured to be the best (arXiv 2311.05610).

The table is every run of the study's sweeps, those that ran out of memory included. For each model
and sequence length the search goes through the measured grid (degrees, micro-batch, recomputation)
with the stack of the fastest run; the layout that it recommends is the one, of those within the
model's resolution of the fastest (`NEAR`), that needs least memory. Its measured time is compared
with the best of all runs of that model and length.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from simulator.catalog import Catalog
from simulator.parallel.blocks import Recomputation
from simulator.scenario.space import Space
from simulator.search.candidates import MODES, Candidate
from simulator.search.ranking import roomiest
from simulator.search.search import search_layouts
from simulator.validation.cases import case_of
from simulator.validation.sources import source_of

if TYPE_CHECKING:
    from simulator.scenario import Scenario
    from simulator.search.search import Search

TABLE = Path(__file__).parents[3] / "shared" / "data" / "published_runs.csv"
TOLERANCE = 0.02
"""By how much the measured time of the layout found may exceed the best measured one."""
GROUPS = (
    ("llama-13B-128kvocab", 2048),
    ("llama-30B-128kvocab", 8192),
    ("llama-65B-128kvocab", 2048),
)
"""Models and sequence lengths [tokens] that the table holds of the study's five."""
STACKS = {
    ("llama-13B-128kvocab", "flash_attention2 + RMS kernel"): 0.0,
    ("llama-13B-128kvocab", "flash_attention2"): 0.0,
    ("llama-13B-128kvocab", "flash_attentionv1.0.8"): 0.0,
    ("llama-13B-128kvocab", "torch"): 0.065,
    ("llama-13B-128kvocab", "fused"): 0.0605,
    ("llama-30B-128kvocab", "flash_attention2 + RMS kernel"): 0.0,
    ("llama-30B-128kvocab", "flash_attention2"): 0.0024,
    ("llama-30B-128kvocab", "flash_attentionv1.0.8"): 0.0,
    ("llama-65B-128kvocab", "flash_attention2 + RMS kernel"): 0.0,
    ("llama-65B-128kvocab", "flash_attention2"): 0.0,
}
"""Excess over the best run with the same attention kernel. One more group is missed outright:
FlashAttention 1 on 65B, where the layout found ran out of memory."""

pytestmark = pytest.mark.skipif(
    not TABLE.is_file(), reason="the table of measured layouts is not part of the repository"
)


class Key(NamedTuple):
    """What the study varied."""

    tensor: int
    pipeline: int
    micro_batch: int
    recompute: str


class Run(NamedTuple):
    """A measured run; no time if it ran out of memory."""

    key: Key
    seconds: float | None
    row: dict[str, str]


def runs(model: str, kernel: str | None = None) -> list[Run]:
    with TABLE.open(encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["source"] == "aleph_alpha_layouts"
            and row["model"] == model
            and kernel in {None, row["attention_kernel"]}
        ]
    keys = [
        Key(*(int(float(row[name])) for name in ("tp", "pp", "mbs")), row["recompute"])
        for row in rows
    ]
    times = [float(row["step_time_s"]) if row["step_time_s"] else None for row in rows]
    return [Run(*parts) for parts in zip(keys, times, rows, strict=True)]


def fastest(measured: list[Run]) -> Run:
    return min((run for run in measured if run.seconds), key=lambda run: run.seconds or 0.0)


def searched(measured: list[Run]) -> Search:
    """Search the measured grid, all else as in the fastest run."""
    row = fastest(measured).row
    base: Scenario = case_of(row, source_of(row["source"]), Catalog()).scenario
    keys = [run.key for run in measured]
    space = Space(
        tensor=tuple(sorted({key.tensor for key in keys})),
        pipeline=tuple(sorted({key.pipeline for key in keys})),
        micro_batch=tuple(sorted({key.micro_batch for key in keys})),
        recompute=tuple(sorted({Recomputation(key.recompute) for key in keys})),
        context=(1,),
        virtual_stages=(1,),
        schedule=(base.schedule,),
        sequence_parallel=(base.layout.sequence_parallel,),
        sharding=(base.layout.sharding,),
        order=(base.layout.order,),
    )
    return search_layouts(replace(base, space=space), workers=1)


def recommended(found: Search, measured: list[Run]) -> Key:
    """Return the roomiest near tie among the layouts that were measured."""
    keys = {run.key for run in measured}
    named = {
        number: Key(row.tensor, row.pipeline, row.micro_batch, MODES[row.recompute].value)
        for number in found.ranked.tolist()
        for row in [Candidate(*found.rows[number].tolist())]
    }
    ranked = found.ranked[[named[number] in keys for number in found.ranked.tolist()]]
    return named[int(roomiest(found.results, ranked)[0])]


def excess(key: Key, measured: list[Run]) -> float:
    """Return by how much a layout took longer than the best, infinite if it did not fit."""
    times = [run.seconds for run in measured if run.key == key and run.seconds]
    best = fastest(measured).seconds
    return min(times) / best - 1 if times and best else float("inf")


@pytest.mark.parametrize(("model", "length"), GROUPS)
def test_the_layout_found_is_within_two_percent_of_the_best(model: str, length: int) -> None:
    measured = runs(model)
    assert {int(float(run.row["seq_len"])) for run in measured} == {length}
    same_stack = runs(model, fastest(measured).row["attention_kernel"])
    key = recommended(searched(same_stack), same_stack)
    assert excess(key, same_stack) <= TOLERANCE
    assert fastest(same_stack).seconds == fastest(measured).seconds


@pytest.mark.parametrize(("model", "kernel"), STACKS)
def test_other_kernels_of_the_study(model: str, kernel: str) -> None:
    """What is reached, misses included: a change for the worse shows."""
    measured = runs(model, kernel)
    reached = excess(recommended(searched(measured), measured), measured)
    assert reached <= STACKS[model, kernel] + 0.0005


def test_the_unrestricted_best_is_no_slower_than_the_grid() -> None:
    """Predicted: interleaving, sequence parallelism and other stages can only help."""
    measured = runs("llama-65B-128kvocab", "flash_attention2 + RMS kernel")
    grid = searched(measured)
    wide = search_layouts(
        replace(grid.scenario, space=Space(context=(1,), tensor=(2, 4), micro_batch=(1,))),
        workers=1,
    )
    assert wide.summary["best"][0]["step_time_s"] <= grid.summary["best"][0]["step_time_s"]
