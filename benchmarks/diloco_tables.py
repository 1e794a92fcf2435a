"""Bandwidths of training across islands as two papers tabulate them, and as the engine finds them.

``python benchmarks/diloco_tables.py [BITS_PER_PARAMETER]`` plays every cell of
``published/diloco.csv``, prints both numbers and how many lie within one step of the grid; then the
hours and data of ``published/diloco_hours.csv``. With the default number of bits it draws
docs/images/islands.png: utilisation over bandwidth for one model, with the published cells.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from simulator.metrics.islands import GRID, PUBLISHED_GRID
from simulator.report.palette import MUTED, picture_style, write_figure
from simulator.units import GBIT_PER_S, HOUR, TERA
from simulator.validation.islands import (
    CALIBRATED_BITS,
    HOURS_BITS,
    PERCENTS,
    Row,
    bandwidth_text,
    grid_steps_apart,
    inner_steps,
    read_rows,
    simulated_hours,
    training_at_1_gbit,
)

PUBLISHED = Path(__file__).parent / "published"
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "islands.png"
DRAWN = ("streaming_4", "10B")
CURVE_COLOURS = ("#D55E00", "#E69F00", "#56B4E9", "#0072B2", "#332288")
GRID_GBIT_PER_S = (GRID[:PUBLISHED_GRID] / GBIT_PER_S).tolist()


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
    """Print hours and data of training at 1 Gbit/s, simulated over published."""
    other = f"error with {CALIBRATED_BITS:g} bits"
    headings = ("tokens", "exchange", "hours at 1 Gbit/s", "error", other, "TB of an island")
    table = Table(*headings, box=SIMPLE_HEAD)
    with (PUBLISHED / "diloco_hours.csv").open(encoding="utf-8", newline="") as stream:
        for cells in csv.DictReader(stream):
            training = training_at_1_gbit(cells)
            published = float(cells["hours_1_gbit_per_s"])
            steps = inner_steps(cells, training)
            sent = steps * training.exchanged_bytes / TERA
            simulated = simulated_hours(cells)
            # Without latency, fewer bits are a faster link.
            as_fewer_bits = GBIT_PER_S * HOURS_BITS / CALIBRATED_BITS
            fewer_bits = steps * training.step_time(as_fewer_bits) / HOUR
            table.add_row(
                cells["tokens"],
                cells["method"],
                f"{simulated:,.4g} | {published:g}",
                f"{simulated / published - 1:+.1%}",
                f"{fewer_bits / published - 1:+.1%}",
                f"{sent:.3g} | {cells['exchanged_tb']}",
            )
    table.title = f"Simulated | published ({HOURS_BITS:g} bits per parameter at full size)"
    console.print(table)


def draw() -> None:
    """Draw utilisation over bandwidth for the rows of `DRAWN`, with the published cells."""
    rows = [r for r in read_rows(PUBLISHED / "diloco.csv") if (r.table, r.model) == DRAWN]
    with picture_style():
        figure = Figure(figsize=(12.8, 4.8), layout="constrained")
        axes = figure.subplots()
        for row, colour in zip(rows, CURVE_COLOURS, strict=True):
            axes.plot(GRID_GBIT_PER_S, utilisations(row), color=colour, label=label(row))
            at = [GRID_GBIT_PER_S[index] for index in row.published if index < PUBLISHED_GRID]
            shares = [percent / 100 for percent in PERCENTS[: len(at)]]
            axes.plot(at, shares, "o", color=colour)
        axes.plot([], [], "o", color=MUTED, label="published")
        axes.set_title("10 B parameters in two data centres, 0.8 s of computing a step")
        axes.set_xlabel("Gbit/s between the data centres")
        axes.set_ylabel("compute utilisation")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(0, 1.03)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        figure.legend(loc="outside right center")
    write_figure(figure, PICTURE)


def utilisations(row: Row) -> list[float]:
    """Return the simulated utilisation of a row at each bandwidth of the published grid."""
    training = row.training()
    return [training.utilisation(rate * GBIT_PER_S) for rate in GRID_GBIT_PER_S]


def label(row: Row) -> str:
    """Return what a curve shows."""
    words = row.exchange.replace("diloco", "DiLoCo").replace(", overlap", ",\noverlap")
    return f"{words}, {row.synchronisation.bits_per_parameter:.3g} bits"


if __name__ == "__main__":
    output = Console(width=130)
    bandwidths(output, float(sys.argv[1]) if len(sys.argv) > 1 else CALIBRATED_BITS)
    hours(output)
    if len(sys.argv) == 1:
        draw()
