"""Memory-bound kernels: their prices by hand, what tables say of them, and measured times."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.operator_costs import operator_time
from simulator.hardware.pointwise_tables import OPERATIONS, pointwise_of
from simulator.operators import Pointwise, PointwiseKind

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TABLES = BENCHMARKS / "measurements"
needs_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="measured tables are not shipped")


def accelerator(name: str) -> Accelerator:
    return validate(Accelerator, Catalog(()).document("accelerator", name))


H100 = accelerator("h100-sxm")


def simple_part() -> Accelerator:
    """Return a part of 4 TB/s where norms get half of it and sums three quarters."""
    model = dataclasses.replace(
        H100.kernels.pointwise,
        kernel_overhead={PointwiseKind.ELEMENTWISE: 1e-6, PointwiseKind.NORM: 3e-6},
        bandwidth={PointwiseKind.ELEMENTWISE: 0.75, PointwiseKind.NORM: 0.5},
    )
    part = H100.with_kernels(pointwise=model)
    return dataclasses.replace(part, launch_gap=1e-6, achievable_memory_bandwidth=4e12)


def test_kinds_have_their_own_bandwidth_and_overhead() -> None:
    part = simple_part()
    sums = Pointwise("sums", 3e9, kernels=2)
    norm = Pointwise("norm", 2e9, kind=PointwiseKind.NORM)
    assert operator_time(sums, part) == pytest.approx(2 * 2e-6 + 1e-3)
    assert operator_time(norm, part) == pytest.approx(4e-6 + 1e-3)


def test_instructions_bound_a_kernel_whatever_the_memory() -> None:
    """2 TB/s of instructions hold sums at 3 of 4 TB/s back, and do not at 1.5 of 2 TB/s."""
    part = simple_part()
    model = dataclasses.replace(
        part.kernels.pointwise, instruction_rate={PointwiseKind.ELEMENTWISE: 2e12}
    )
    bound = part.with_kernels(pointwise=model)
    slow = dataclasses.replace(bound, achievable_memory_bandwidth=2e12)
    sums = Pointwise("sums", 3e9)
    assert operator_time(sums, bound) == pytest.approx(2e-6 + 1.5e-3)
    assert operator_time(sums, slow) == pytest.approx(2e-6 + 2e-3)


@pytest.mark.parametrize("kind", [PointwiseKind.MIXED, PointwiseKind.WIDENED])
def test_two_formats_take_as_long_on_both_memories_of_a_die(kind: PointwiseKind) -> None:
    mixed = Pointwise("accumulate", 1e9, kind=kind)
    copy = Pointwise("copy", 1e9)
    h200 = accelerator("h200-sxm")
    assert operator_time(mixed, H100) == pytest.approx(operator_time(mixed, h200))
    assert operator_time(copy, H100) > 1.3 * operator_time(copy, h200)


def test_a_kind_without_numbers_is_named() -> None:
    dropout = Pointwise("dropout", 1e6, kind=PointwiseKind.DROPOUT)
    with pytest.raises(SimulatorError, match=r"no dropout kernels.*elementwise, norm"):
        operator_time(dropout, simple_part())


@pytest.mark.parametrize("name", Catalog(()).names("accelerator"))
def test_every_part_prices_every_kind(name: str) -> None:
    part = accelerator(name)
    for kind in PointwiseKind:
        operator = Pointwise("pass", 1e9, kind=kind)
        rate = operator.n_bytes / operator_time(operator, part)
        assert 0.3 * part.achievable_memory_bandwidth < rate < part.achievable_memory_bandwidth


def test_rows_of_tables_say_what_their_kernels_move() -> None:
    row = {"op": "rms_norm_eager", "rows": 1000, "cols": 500, "bytes_moved": 2e6}
    eager = Pointwise("rms_norm_eager", 36 * 5e5, 8, PointwiseKind.UNFUSED)
    assert pointwise_of(row) == (eager,)
    assert pointwise_of({"op": "new", "bytes_moved": 2e6}) == (Pointwise("new", 2e6),)


def test_a_chain_has_a_pass_for_each_kind_of_kernel() -> None:
    """Bias (2 in, 2 out), dropout (2, 2 and a mask of one), sum (4, 2)."""
    name = "bias_dropout_add_eager"
    row = {"op": name, "rows": 10, "cols": 10, "bytes_moved": 700}
    assert pointwise_of(row) == (
        Pointwise(name, 400.0, kind=PointwiseKind.STRIDED),
        Pointwise(name, 500.0, kind=PointwiseKind.DROPOUT),
        Pointwise(name, 600.0),
    )


@needs_tables
def test_kernels_are_counted_as_the_profiler_does() -> None:
    tables = table_rows("h100")
    listed = {row["op"]: int(row["kernels"]) for row in tables if row["kernels"] != "0"}
    # Reductions of few rows take one kernel less, those with a partial last block one more.
    counted = {row["op"]: sum(part.kernels for part in pointwise_of(row)) for row in tables}
    differ = {op for op, count in listed.items() if abs(counted[op] - count) > 1}
    assert differ == set()


@needs_tables
@pytest.mark.parametrize(
    ("directory", "part", "held_out", "limits"),
    [
        ("h100", "h100-sxm", True, (0.05, 0.16)),
        # A part that the fit has not seen, timed with results that stay in the cache.
        ("h200", "h200-sxm", False, (0.14, 0.45)),
    ],
)
def test_measured_kernels_are_predicted_within_the_stated_error(
    monkeypatch: pytest.MonkeyPatch,
    directory: str,
    part: str,
    held_out: bool,  # noqa: FBT001 - a column of the table above
    limits: tuple[float, float],
) -> None:
    rows = fit_pointwise(monkeypatch).measurements(TABLES / directory / "pointwise.csv")
    device = accelerator(part)
    errors = sorted(
        abs(sum(operator_time(kernel, device) for kernel in row.chain) / row.time - 1)
        for row in rows
        if row.held_out or not held_out
    )
    assert len(errors) > 100
    assert statistics.median(errors) <= limits[0]
    assert errors[int(0.9 * len(errors))] <= limits[1]


def fit_pointwise(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("scipy")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("fit_pointwise")


def table_rows(directory: str) -> list[dict[str, str]]:
    path = TABLES / directory / "pointwise.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["op"] in OPERATIONS]
