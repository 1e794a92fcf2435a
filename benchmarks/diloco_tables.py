"""Bandwidths of training across islands as two papers tabulate them, and as the engine finds them.

``python benchmarks/diloco_tables.py [BITS_PER_PARAMETER]`` plays every cell of
``published/diloco.csv``, prints both numbers and how many lie within one step of the grid; then the
hours of ``published/diloco_hours.csv``.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from simulator.metrics.islands import IslandTraining
from simulator.parallel.islands import Islands
from simulator.program.inner_step import equal_layers
from simulator.units import GBIT_PER_S, HOUR
from simulator.validation.islands import (
    CALIBRATED_BITS,
    ISLANDS,
    PERCENTS,
    bandwidth_text,
    grid_steps_apart,
    read_rows,
    synchronisation_of,
)

PUBLISHED = Path(__file__).parent / "published"
HOURS_BITS = 16.0
"""Bits per parameter with which the table of hours agrees: bf16."""
LAYERS, PARAMETERS, STEP_TIME = 24, 1e9, 0.1
"""The model of the table of hours, as table 4 has it [s]."""


def bandwidths(console: Console, bits: float) -> None:
    """Print every row of both tables, simulated over published, and the shares that agree."""
    headings = ("model", "exchange", *(f"{percent} %" for percent in PERCENTS))
    table = Table(*headings, box=SIMPLE_HEAD)
    apart_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, simulated, apart in grid_steps_apart(read_rows(PUBLISHED / "diloco.csv", bits)):
        apart_of[row.table].extend(apart)
        pairs = zip(simulated, row.published, strict=True)
        exchange = f"{row.exchange}, {row.synchronisation.bits_per_parameter:.4g} bit"
        cells = (f"{bandwidth_text(s)} | {bandwidth_text(p)}" for s, p in pairs)
        table.add_row(row.model, exchange, *cells)
    table.title = f"Gbit/s, simulated | published ({bits:g} bits per parameter at full size)"
    console.print(table)
    for name, steps in apart_of.items():
        exact = sum(step == 0 for step in steps)
        near = sum(abs(step) <= 1 for step in steps)
        console.print(
            f"{name}: {near} of {len(steps)} cells within one grid step ({near / len(steps):.1%}), "
            f"{exact} exact"
        )


def hours(console: Console) -> None:
    """Print the hours of training at 1 Gbit/s, simulated over published."""
    table = Table("tokens", "exchange", "hours at 1 Gbit/s", "error", box=SIMPLE_HEAD)
    with (PUBLISHED / "diloco_hours.csv").open(encoding="utf-8", newline="") as stream:
        for cells in csv.DictReader(stream):
            sync = synchronisation_of(cells, HOURS_BITS)
            islands = Islands(count=ISLANDS, link=GBIT_PER_S, latency=0.0, synchronisation=sync)
            training = IslandTraining(equal_layers(LAYERS, PARAMETERS, STEP_TIME), islands)
            steps = float(cells["hours_infinite_bandwidth"]) * HOUR / training.inner_step_time
            simulated = steps * training.step_time() / HOUR
            published = float(cells["hours_1_gbit_per_s"])
            table.add_row(
                cells["tokens"],
                sync.method.value,
                f"{simulated:,.4g} | {published:g}",
                f"{simulated / published - 1:+.1%}",
            )
    table.title = f"Hours, simulated | published ({HOURS_BITS:g} bits per parameter at full size)"
    console.print(table)


if __name__ == "__main__":
    output = Console(width=130)
    bandwidths(output, float(sys.argv[1]) if len(sys.argv) > 1 else CALIBRATED_BITS)
    hours(output)
