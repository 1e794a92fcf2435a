from __future__ import annotations

import csv
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.interference import slowdown
from simulator.operators import (
    Attention,
    AttentionKernel,
    Compute,
    Gemm,
    GroupedGemm,
    Pointwise,
    Role,
)

TABLE = Path(__file__).parents[2] / "benchmarks" / "measurements" / "h200" / "overlap.csv"


def accelerator(name: str) -> Accelerator:
    return validate(Accelerator, Catalog(()).document("accelerator", name))


H200 = accelerator("h200-sxm")
EXACT = H200.with_kernels(overlap=replace(H200.kernels.overlap, tiled_multiprocessors_lost=1.0))
"""An H200 that loses one multiprocessor for each one taken."""
COPY = Pointwise("copy", 4e9)


def test_nothing_taken_slows_nothing() -> None:
    assert slowdown(COPY, H200, 0, 0.0) == 1.0


def test_product_that_filled_its_waves_needs_another() -> None:
    # 132 tiles of 128 x 256 fill the 132 multiprocessors once; 131 need two waves.
    full = Gemm("full", m=128 * 12, n=256 * 11, k=8192)
    assert slowdown(full, EXACT, 1, 0.0) == pytest.approx(2.0)
    # 100 tiles still fit beside 32 taken multiprocessors, not beside 33.
    part = Gemm("part", m=128 * 10, n=256 * 10, k=8192)
    assert slowdown(part, EXACT, 32, 0.0) == pytest.approx(1.0)
    assert slowdown(part, EXACT, 33, 0.0) == pytest.approx(2.0)


def test_grouped_product_counts_tiles_of_each_group() -> None:
    # Two groups of six row tiles (the second one ragged) and eleven columns: 132 tiles.
    forward = GroupedGemm("experts", rows=(768, 700), n=11 * 256, k=8192)
    assert slowdown(forward, EXACT, 1, 0.0) == pytest.approx(2.0)
    # Two gradients of 768 x 2816, 66 tiles each; a third expert without rows adds none.
    rows, role = (8192, 8192, 0), Role.WEIGHT_GRADIENT
    gradient = GroupedGemm("gradients", rows=rows, n=11 * 256, k=768, role=role)
    assert slowdown(gradient, EXACT, 1, 0.0) == pytest.approx(2.0)


def test_memory_bound_kernel_yields_bandwidth() -> None:
    half = H200.achievable_memory_bandwidth / 2
    expected = 1 / (1 - 0.5 * H200.kernels.overlap.bandwidth_yield)
    assert slowdown(COPY, H200, 0, half) == pytest.approx(expected, rel=0.01)


def test_slowdown_grows_with_what_is_taken() -> None:
    attention = Attention("attention", 1, 32, 8, 8192, 8192, 128, kernel=AttentionKernel.CUDNN)
    for operator in (attention, COPY, Gemm("gemm", 4096, 8192, 8192)):
        factors = [slowdown(operator, H200, taken, taken * 50e9) for taken in (0, 4, 16, 48)]
        assert factors == sorted(factors)
        assert factors[0] == 1.0


def test_taking_everything_is_an_error() -> None:
    with pytest.raises(SimulatorError, match="allowed are 0 to 131"):
        slowdown(COPY, H200, 132, 0.0)
    with pytest.raises(SimulatorError, match="no negative bandwidth"):
        slowdown(COPY, H200, 1, -1.0)


def test_part_without_tiles_is_an_error() -> None:
    bare = H200.with_kernels(gemm=replace(H200.kernels.gemm, tiles=()))
    with pytest.raises(SimulatorError, match="no GEMM tile"):
        slowdown(Gemm("gemm", 4096, 4096, 4096), bare, 8, 0.0)


@pytest.mark.skipif(not TABLE.is_file(), reason="measured tables do not ship with the wheel")
def test_slowdowns_of_the_measured_table() -> None:
    """Rows of the fit, so no validation: a guard that the profile keeps to its table."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["sms_taken"] != "0"]
    errors: dict[str, list[float]] = {}
    for row in rows:
        taken = int(row["sms_taken"])
        alone = max(float(other["mover_alone_GBps"]) for other in rows
                    if other["sms_taken"] == row["sms_taken"])  # fmt: skip
        factor = slowdown(measured_operator(row["work"]), H200, taken, alone * 1e9)
        kind = row["work"].split()[0]
        errors.setdefault(kind, []).append(abs(factor / float(row["slowdown"]) - 1))
    assert statistics.median(errors["gemm"]) < 0.05
    assert statistics.median(errors["attention"]) < 0.05
    assert max(errors["add"]) < 0.05


def measured_operator(work: str) -> Compute:
    sizes = [int(text) for text in re.findall(r"\d+", work)]
    if work.startswith("gemm"):
        m, n, k = sizes
        return Gemm("gemm", m, n, k)
    if work.startswith("attention"):
        batch, sequence, heads, kv_heads, width = sizes
        return Attention("attention", batch, heads, kv_heads, sequence, sequence, width,
                         kernel=AttentionKernel.CUDNN)  # fmt: skip
    return Pointwise("add", 6.0 * sizes[0] * sizes[1])
