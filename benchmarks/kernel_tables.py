"""Measured kernel tables (`measurements/*/*.csv`) as operators with the times they took."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from simulator.operators import (
    Attention,
    AttentionKernel,
    Compute,
    Gemm,
    OptimizerUpdate,
    Role,
)
from simulator.precision import Precision
from simulator.units import MICRO, TERA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HELD_OUT: Final = 4
"""One shape in so many is kept from the fit, chosen by the SHA-256 of its text."""
TIMING_OVERHEAD: Final = 3.5e-6
"""What a pair of events around one kernel adds to its time [s].

The same small bf16 shapes (8 to 30 us) take 3.3 to 4.0 us less, whatever their size, in a table
that was timed through CUDA graphs (ai-dynamo/aiconfigurator operator database, commit 095f58a51,
Apache-2.0, H200).
"""
BACKWARD_HOST_TIME: Final = 40e-6
"""Host time [s] before the first kernel of a backward attention call, in its measured time.

Small calls take 80 to 200 us whatever their size; a free constant fits as 48 and 73 us (the two
libraries), of which about 5 us can be the device's (two auxiliary kernels).
"""
HOST_BOUND: Final = 200e-6
"""Backward attention below this measured time [s] shows the host, not the device: not used."""
ADAMW_BYTES_PER_PARAMETER: Final = 28.0
"""fp32: reads parameter, gradient and both moments, writes parameter and moments."""
PRECISIONS: Final = {"bf16": Precision.BF16, "fp8": Precision.FP8}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured row: an operator and its device time [s], timing overhead removed."""

    group: str
    operator: Compute
    time: float
    held_out: bool


def gemm_measurements(path: Path) -> list[Measurement]:
    """Return the rows of a GEMM table; gradients are turned into the products that they are."""
    return _measurements(path, _gemm, ("m", "n", "k"))


def attention_measurements(path: Path) -> list[Measurement]:
    """Return the rows of an attention table whose time is the device's."""
    rows = _measurements(path, _attention, ("batch", "heads", "kv_heads", "seq", "head_dim"))
    forward = [row for row in rows if row.group.endswith("fwd")]
    backward = [
        replace(row, time=row.time - BACKWARD_HOST_TIME)
        for row in rows
        if row.group.endswith("bwd") and row.time + TIMING_OVERHEAD > HOST_BOUND
    ]
    return forward + backward


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
    path: Path, build: Callable[[dict[str, str]], tuple[str, Compute]], shape: tuple[str, ...]
) -> list[Measurement]:
    measurements = []
    for row in _rows(path):
        group, operator = build(row)
        text = "x".join(row[column] for column in shape)
        time = float(row["time_us"]) * MICRO - TIMING_OVERHEAD
        held_out = hashlib.sha256(text.encode()).digest()[0] % HELD_OUT == 0
        measurements.append(Measurement(group, operator, time, held_out))
    return measurements


def _gemm(row: dict[str, str]) -> tuple[str, Gemm]:
    m, n, k = (int(row[column]) for column in "mnk")
    role = Role(row["pass"])
    if role is Role.INPUT_GRADIENT:
        n, k = k, n
    elif role is Role.WEIGHT_GRADIENT:
        m, n, k = n, k, m
    precision = PRECISIONS[row["dtype"]]
    gemm = Gemm(name=role.value, m=m, n=n, k=k, precision=precision, role=role)
    return f"gemm {row['dtype']} {role}", gemm


def _attention(row: dict[str, str]) -> tuple[str, Attention]:
    backend, direction = row["backend"], row["pass"]
    attention = Attention(
        name="attention",
        batch=int(row["batch"]),
        heads=int(row["heads"]),
        kv_heads=int(row["kv_heads"]),
        queries=int(row["seq"]),
        keys=int(row["seq"]),
        head_dim=int(row["head_dim"]),
        causal=row["causal"] == "1",
        backward=direction == "bwd",
        kernel=AttentionKernel(backend),
    )
    return f"attention {backend} {direction}", attention


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
