"""Published bandwidth tables of training across islands, beside what is simulated.

The papers' simulator is a graph of 4 L - 1 tasks a step, tried at the bandwidths of a grid. So is
this: see `simulator.program.inner_step.equal_layers` and `simulator.metrics.islands.GRID`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.errors import DocumentError
from simulator.metrics.islands import GRID, PUBLISHED_GRID, IslandTraining
from simulator.parallel.islands import Islands, Method, Synchronisation
from simulator.program.inner_step import equal_layers
from simulator.units import GBIT_PER_S, HOUR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

CALIBRATED_BITS: Final = 12.5
"""Bits that a parameter takes on the link at full size.

Fitted, not derived: the one number that was chosen for both published tables, on all 165 cells of
``benchmarks/published/diloco.csv``. Why it is not 16, as the papers' bf16 would have it, their text
does not explain; their table of training hours agrees with 16.
"""
ISLANDS: Final = 2
"""Data centres of the published tables: a ring of two sends every parameter once."""
LAYERS, PARAMETERS, STEP_TIME = 24, 1e9, 0.1
"""The model of the table of hours (arXiv 2501.18512, table 1), as its table 4 has it [s]."""
HOURS_BITS: Final = 16.0
"""Bits per parameter with which the table of hours agrees: bf16."""
PERCENTS: Final = (50, 80, 90, 95, 99)
BEYOND: Final = "1000+"
"""What the tables print where none of their bandwidths suffices."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a published table: a model, an exchange, the bandwidth for each utilisation."""

    table: str
    model: str
    layers: int
    parameters: float
    step_time: float
    synchronisation: Synchronisation
    published: tuple[int, ...]
    """Index into `GRID` for each of `PERCENTS`; `PUBLISHED_GRID` where none suffices."""

    @property
    def exchange(self) -> str:
        """What is exchanged how, in a few words."""
        sync = self.synchronisation
        parts = [sync.method.value.replace("_", " ")]
        if sync.method is not Method.DATA_PARALLEL:
            parts.append(f"H {sync.inner_steps}")
        if sync.overlap_steps:
            parts.append(f"overlap {sync.overlap_steps}")
        return ", ".join(parts)

    def training(self) -> IslandTraining:
        """Return the training that is simulated, whose bandwidth is yet to be told."""
        islands = Islands(
            count=ISLANDS, link=1.0, latency=0.0, synchronisation=self.synchronisation
        )
        return IslandTraining(equal_layers(self.layers, self.parameters, self.step_time), islands)

    def simulated(self) -> tuple[int, ...]:
        """Return what is simulated, in the same form."""
        training = self.training()
        found = (training.bandwidth_index(p / 100, grid=PUBLISHED_GRID) for p in PERCENTS)
        return tuple(PUBLISHED_GRID if index is None else index for index in found)


def read_rows(path: Path, bits: float = CALIBRATED_BITS) -> list[Row]:
    """Return the rows of a table of published bandwidths.

    Parameters
    ----------
    path
        A CSV file with the columns of ``benchmarks/published/diloco.csv``.
    bits
        Bits that a parameter takes on the link at full size.

    Raises
    ------
    DocumentError
        If the file cannot be read, or a column is missing.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [_row(cells, bits) for cells in csv.DictReader(stream)]
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror}") from None
    except (KeyError, ValueError) as error:
        raise DocumentError(f"{path}: no table of published bandwidths: {error}") from None


def synchronisation_of(cells: Mapping[str, str], bits: float) -> Synchronisation:
    """Return the exchange that a row of a published table describes."""
    fragment = cells["layers_per_fragment"]
    return Synchronisation(
        method=Method(cells["method"]),
        bits_per_parameter=bits * float(cells["bits_share"]),
        inner_steps=int(cells["inner_steps"]),
        layers_per_fragment=int(fragment) if fragment else None,
        overlap_steps=int(cells["overlap_steps"]),
    )


def training_at_1_gbit(cells: Mapping[str, str]) -> IslandTraining:
    """Return the training that a row of the table of hours describes, at 1 Gbit/s."""
    islands = Islands(
        count=ISLANDS,
        link=GBIT_PER_S,
        latency=0.0,
        synchronisation=synchronisation_of(cells, HOURS_BITS),
    )
    return IslandTraining(equal_layers(LAYERS, PARAMETERS, STEP_TIME), islands)


def inner_steps(cells: Mapping[str, str], training: IslandTraining) -> float:
    """Return the steps of a row of the table of hours, as its hours without a limit tell them."""
    return float(cells["hours_infinite_bandwidth"]) * HOUR / training.inner_step_time


def simulated_hours(cells: Mapping[str, str]) -> float:
    """Return the hours at 1 Gbit/s of a row of the table of hours."""
    training = training_at_1_gbit(cells)
    return inner_steps(cells, training) * training.step_time() / HOUR


def grid_steps_apart(rows: Iterable[Row]) -> Iterator[tuple[Row, tuple[int, ...], tuple[int, ...]]]:
    """Yield each row, what was simulated, and by how many grid steps that is too high."""
    for row in rows:
        simulated = row.simulated()
        apart = tuple(ours - theirs for ours, theirs in zip(simulated, row.published, strict=True))
        yield row, simulated, apart


def bandwidth_text(index: int) -> str:
    """Return a bandwidth of the grid as the papers print it [Gbit/s]."""
    if index >= PUBLISHED_GRID:
        return BEYOND
    return f"{GRID[index] / GBIT_PER_S:.1f}"


def _row(cells: Mapping[str, str], bits: float) -> Row:
    return Row(
        table=cells["table"],
        model=cells["model"],
        layers=int(cells["layers"]),
        parameters=float(cells["parameters"]),
        step_time=float(cells["step_time_s"]),
        synchronisation=synchronisation_of(cells, bits),
        published=tuple(_index(cells[f"gbit_per_s_{percent}"]) for percent in PERCENTS),
    )


def _index(text: str) -> int:
    if text == BEYOND:
        return PUBLISHED_GRID
    return int(np.argmin(np.abs(np.log(GRID / GBIT_PER_S / float(text)))))
