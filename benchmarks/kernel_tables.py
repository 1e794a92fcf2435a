"""Measured kernel tables (`measurements/*/*.csv`) as operators with the times they took."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulator.calibration.held_out import is_held_out
from simulator.hardware.operator_tables import TIMING_OVERHEAD, added_time, attention_of, gemm_of
from simulator.operators import OptimizerUpdate
from simulator.units import MICRO, TERA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulator.operators import Compute

HOST_BOUND: Final = 200e-6
"""Backward attention below this measured time [s] shows the host, not the device: not used."""
ADAMW_BYTES_PER_PARAMETER: Final = 28.0
"""fp32: reads parameter, gradient and both moments, writes parameter and moments."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured row: an operator and its device time [s], what the timer added removed."""

    group: str
    operator: Compute
    time: float
    held_out: bool


def gemm_measurements(path: Path) -> list[Measurement]:
    """Return the rows of a GEMM table; gradients are turned into the products that they are.

    All rows of a layer (n, k) are held out together, as in the fit of the tables of shapes.
    """
    return _measurements(path, gemm_of, "gemm {dtype} {pass}", "{n}x{k}")


def attention_measurements(path: Path) -> list[Measurement]:
    """Return the rows of an attention table whose time is the device's."""
    shape = "{batch}x{heads}x{kv_heads}x{seq}x{head_dim}"
    return [
        row
        for row in _measurements(path, attention_of, "attention {backend} {pass}", shape)
        if row.group.endswith("fwd") or row.time + added_time(row.operator) > HOST_BOUND
    ]


def optimizer_measurements(path: Path) -> list[Measurement]:
    """Return the fused AdamW rows of a table of single facts (none is held out)."""
    facts = [row for row in _rows(path) if row["what"] == "adamw_fused_fp32"]
    sizes = [float(row["setting"].removeprefix("params=")) for row in facts]
    times = [float(row["value"]) * MICRO - TIMING_OVERHEAD for row in facts]
    updates = [
        OptimizerUpdate(
            name="adamw", parameters=size, bytes_per_parameter=ADAMW_BYTES_PER_PARAMETER
        )
        for size in sizes
    ]
    return [
        Measurement("adamw", update, time, held_out=False)
        for update, time in zip(updates, times, strict=True)
    ]


def sustained_rates(path: Path) -> list[float]:
    """Return the rates [FLOP/s] of the sustained bf16 GEMMs in a table of single facts."""
    return [
        float(row["value"]) * TERA for row in _rows(path) if row["what"] == "sustained_gemm_bf16"
    ]


def _measurements(
    path: Path, build: Callable[[dict[str, str]], Compute], group: str, shape: str
) -> list[Measurement]:
    """Return the rows of a table; ``group`` and ``shape`` say how to name them."""
    measurements = []
    for row in _rows(path):
        operator = build(row)
        time = float(row["time_us"]) * MICRO - added_time(operator)
        held_out = is_held_out(shape.format_map(row))
        measurements.append(Measurement(group.format_map(row), operator, time, held_out))
    return measurements


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
