"""Search the grids of the layouts study and look up what the layouts found took.

    python benchmarks/searched_layouts.py RUNS.csv

``RUNS.csv`` is a table of published runs as ``simulator validate`` reads it, with every run of the
study's sweeps (source ``aleph_alpha_layouts``, arXiv 2311.05610), those that ran out of memory
included. For each model, and for each of its attention kernels, the search goes through the
measured grid (degrees, micro-batch, recomputation) with the stack of the fastest run. The layout
that it recommends is the one, of those within the model's resolution of the fastest, that needs
least memory; its measured time is compared with the best of all runs.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from simulator.catalog import Catalog
from simulator.parallel.blocks import Recomputation
from simulator.scenario.space import Space
from simulator.search.ranking import NEAR
from simulator.search.search import search_layouts
from simulator.validation.cases import case_of
from simulator.validation.sources import source_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.scenario import Scenario
    from simulator.search.search import Search

SOURCE: Final = "aleph_alpha_layouts"


class Key(NamedTuple):
    """What the study varied."""

    tensor: int
    pipeline: int
    micro_batch: int
    recompute: str

    def __str__(self) -> str:
        """Return the layout in shorthand."""
        words = f"tp {self.tensor}, pp {self.pipeline}, mb {self.micro_batch}"
        return words if self.recompute == "none" else f"{words}, {self.recompute} recompute"


@dataclass(frozen=True, slots=True)
class Run:
    """A measured run [s]; no time if it ran out of memory."""

    key: Key
    time: float | None
    row: dict[str, str]


@dataclass(frozen=True, slots=True)
class Predicted:
    """A layout of the grid, its predicted step time [s] and peak memory [GiB]."""

    key: Key
    time: float
    memory: float


def main() -> None:
    """Print what is found for each model, and for each model and attention kernel."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("table", type=Path, metavar="RUNS.csv")
    rows = study_rows(parser.parse_args().table)
    if not rows:
        parser.error(f"the table has no rows of {SOURCE}")
    titles = ("model", "kernel", "best measured", "fastest predicted", "recommended", "slower")
    table = Table(*titles, box=SIMPLE_HEAD)
    for model in sorted({row["model"] for row in rows}):
        measured = runs(rows, model)
        add_row(table, model, "all", of_fastest_kernel(measured))
        for kernel in sorted({run.row["attention_kernel"] for run in measured}):
            add_row(table, model, kernel, runs(rows, model, kernel))
    Console(width=190).print(table)


def add_row(table: Table, model: str, kernel: str, measured: Sequence[Run]) -> None:
    """Add what a search of the measured grid finds to a table."""
    best = fastest(measured)
    found = search_grid(measured)
    first, named = measured_layouts(found, measured)[0], recommended(found, measured)
    slower = excess(named.key, measured)
    table.add_row(
        model,
        kernel,
        f"{best.time:.1f} s: {best.key}",
        prediction_text(first),
        prediction_text(named),
        "ran out of memory" if slower == float("inf") else f"{100 * slower:.1f} %",
    )


def prediction_text(found: Predicted) -> str:
    """Return a predicted layout with its step time and peak memory."""
    return f"{found.time:.1f} s, {found.memory:.1f} GiB: {found.key}"


# Measured


def study_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of the study in a table of runs."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["source"] == SOURCE]


def runs(rows: Sequence[dict[str, str]], model: str, kernel: str | None = None) -> list[Run]:
    """Return the runs of a model, all or with one attention kernel."""
    return [
        Run(key_of(row), float(row["step_time_s"]) if row["step_time_s"] else None, row)
        for row in rows
        if row["model"] == model and kernel in {None, row["attention_kernel"]}
    ]


def key_of(row: dict[str, str]) -> Key:
    """Return what the study varied, of one row."""
    tensor, pipeline, micro_batch = (int(float(row[name])) for name in ("tp", "pp", "mbs"))
    return Key(tensor, pipeline, micro_batch, row["recompute"])


def fastest(measured: Sequence[Run]) -> Run:
    """Return the fastest of some runs."""
    return min((run for run in measured if run.time), key=lambda run: run.time or 0.0)


def of_fastest_kernel(measured: Sequence[Run]) -> list[Run]:
    """Return the runs with the attention kernel of the fastest."""
    kernel = fastest(measured).row["attention_kernel"]
    return [run for run in measured if run.row["attention_kernel"] == kernel]


def excess(key: Key, measured: Sequence[Run]) -> float:
    """Return by how much a layout took longer than the best, infinite if it did not fit."""
    times = [run.time for run in measured if run.key == key and run.time]
    best = fastest(measured).time
    return min(times) / best - 1 if times and best else float("inf")


# Searched


def search_grid(measured: Sequence[Run]) -> Search:
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


def measured_layouts(found: Search, measured: Sequence[Run]) -> list[Predicted]:
    """Return the layouts found that fit and that were measured, fastest first."""
    keys = {run.key for run in measured}
    frame = found.frame()
    ranked = frame[frame["rank"] > 0]
    columns = [ranked[name] for name in ("tensor", "pipeline", "micro_batch", "recompute")]
    figures = ranked["step_time_s"], ranked["peak_memory_gib"]
    predicted = [
        Predicted(Key(*layout), time, memory)
        for *layout, time, memory in zip(*columns, *figures, strict=True)
    ]
    return [one for one in predicted if one.key in keys]


def recommended(found: Search, measured: Sequence[Run]) -> Predicted:
    """Return the roomiest near tie of the fastest layout."""
    known = measured_layouts(found, measured)
    near = [one for one in known if one.time <= (1 + NEAR) * known[0].time]
    return min(near, key=lambda one: one.memory)


if __name__ == "__main__":
    main()
