"""Grouped matrix products: their price by hand, what the library's kernel makes of groups."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.grouped_costs import grouped_gemm_time, taken_tile
from simulator.hardware.grouped_model import GroupedModel, GroupedTile
from simulator.hardware.operator_tables import grouped_gemm_of, rows_of_groups, timed_by_events
from simulator.operators import GroupedGemm, Role
from simulator.precision import Precision

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TABLES = BENCHMARKS / "measurements"
needs_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="measured tables are not shipped")
H100 = validate(Accelerator, Catalog(()).document("accelerator", "h100-sxm"))
H200 = validate(Accelerator, Catalog(()).document("accelerator", "h200-sxm"))
PARTS = [H100, validate(Accelerator, Catalog(()).document("accelerator", "b200-sxm"))]
RATE = 1e15


def simple_part() -> Accelerator:
    """Return a part of 10 clusters of two that runs at 1 PFLOP/s without any overlap or limit."""
    model = GroupedModel(
        tile=GroupedTile(m=128, n=256, burst_rate=1.0, overhead=2e-6),
        few_rows_tile=GroupedTile(m=64, n=128, burst_rate=0.5, overhead=1e-6),
        few_rows=128,
        cluster=2,
        ragged_wave=1.0,
        kernel_overhead=5e-6,
        group_overhead=0.25e-6,
        bandwidth=1.0,
        overlap_exponent=200.0,
        role_rate=dict.fromkeys(Role, 1.0),
    )
    gemm = dataclasses.replace(
        H100.kernels.gemm, grouped=model, sustained_rate={Precision.BF16: 1.0}
    )
    return dataclasses.replace(
        H100.with_kernels(gemm=gemm),
        multiprocessors=20,
        launch_gap=1e-6,
        peak_flop_rate={Precision.BF16: RATE},
        achievable_flop_rate={Precision.BF16: RATE},
        achievable_memory_bandwidth=1e15,
        memory_bandwidth=1e15,
    )


def test_tiles_of_all_groups_share_the_waves() -> None:
    """300 and 700 rows fill 2 and 3 clusters of 256, by 4 columns of 256: 20 in two waves of 10."""
    grouped = GroupedGemm("experts", rows=(300, 700), n=1024, k=4096)
    tile = 2.0 * 256 * 256 * 4096 / (RATE / 10)
    fixed = 1e-6 + 5e-6 + 2 * 0.25e-6
    expected = fixed + 2 * (tile + 2e-6)
    assert grouped_gemm_time(grouped, simple_part()) == pytest.approx(expected)


def test_a_weight_gradient_is_as_deep_as_its_group_has_rows() -> None:
    """2 x 4 tiles of the k x n gradient for each group: 8 deep ones, 8 shallow, two waves' load."""
    grouped = GroupedGemm("experts", (4096, 2048), n=1024, k=512, role=Role.WEIGHT_GRADIENT)
    step = 2.0 * 256 * 256 / (RATE / 10)
    work = 8 * (4096 * step + 2e-6) + 8 * (2048 * step + 2e-6)
    ragged = (2 - 1.6) * (4096 * step + 2e-6)
    expected = 6.5e-6 + work / 10 + ragged
    assert grouped_gemm_time(grouped, simple_part()) == pytest.approx(expected)


def test_few_rows_cost_a_whole_cluster_of_tiles() -> None:
    part = simple_part()
    times = [
        grouped_gemm_time(GroupedGemm("experts", (rows,) * 64, n=2048, k=2048), part)
        for rows in (16, 128, 144, 256)
    ]
    assert times[0] == times[1] < times[2] == times[3]


def test_the_mean_group_alone_decides_the_tile() -> None:
    model = H100.kernels.gemm.grouped
    assert model
    skewed = GroupedGemm("experts", (1024, 16, 16, 16), n=4096, k=4096)
    even = GroupedGemm("experts", (128, 128), n=4096, k=4096)
    weights = GroupedGemm("experts", (16, 16), n=4096, k=4096, role=Role.WEIGHT_GRADIENT)
    assert taken_tile(skewed, model) is model.tile
    assert taken_tile(even, model) is model.few_rows_tile
    assert taken_tile(weights, model) is model.tile


def test_empty_groups_cost_their_turn_alone() -> None:
    full = GroupedGemm("experts", (512, 512), n=4096, k=4096)
    more = GroupedGemm("experts", (512, 0, 512, 0), n=4096, k=4096)
    part = simple_part()
    difference = grouped_gemm_time(more, part) - grouped_gemm_time(full, part)
    assert difference == pytest.approx(2 * 0.25e-6)
    assert grouped_gemm_time(GroupedGemm("none", (0, 0), n=64, k=64), part) > 0


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 4096), min_size=1, max_size=16),
    st.integers(1, 32),
    st.integers(1, 32),
    st.sampled_from(Role),
    st.sampled_from(PARTS),
)
def test_no_grouped_product_beats_the_roofline(
    rows: list[int], n: int, k: int, role: Role, part: Accelerator
) -> None:
    grouped = GroupedGemm("experts", tuple(rows), n=128 * n, k=128 * k, role=role)
    arithmetic = grouped.flops / part.peak(Precision.BF16)
    least = max(arithmetic, grouped.n_bytes / part.memory_bandwidth)
    assert grouped_gemm_time(grouped, part) >= least


# Tables


def test_rows_of_routings_by_hand() -> None:
    assert rows_of_groups("even", 3, 100) == (100, 100, 100)
    # 4 x 256, and (8 - 4) x 256 rows over seven groups, down to a multiple of 16
    assert rows_of_groups("skewed", 8, 256) == (1024, *(144,) * 7)
    assert rows_of_groups("skewed", 4, 256) == (1024, 16, 16, 16)
    # 200 rows in shares of 1, 1/2, 1/3 and 1/4 of 96
    assert rows_of_groups("zipf", 4, 50) == (96, 48, 32, 16)
    with pytest.raises(SimulatorError, match=r"'uneven'.*even, skewed, zipf"):
        rows_of_groups("uneven", 4, 50)


def test_the_measuring_script_deals_rows_as_the_tables_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS / "gpu"))
    dealt = importlib.import_module("routing")
    for routing in dealt.ROUTINGS:
        for groups, mean in ((4, 256), (8, 32), (64, 1024), (128, 192)):
            expected = rows_of_groups(routing, groups, mean)
            assert tuple(dealt.rows_of_groups(routing, groups, mean)) == expected


@needs_tables
def test_tables_hold_as_many_rows_as_are_read() -> None:
    """The first table says so by its rate, the second in a column."""
    for row in table("h200"):
        flops = float(row["tflops"]) * 1e6 * float(row["time_us"])
        assert grouped_gemm_of(row).flops == pytest.approx(flops, rel=1e-3)
    for row in table("h100"):
        assert sum(grouped_gemm_of(row).rows) == int(row["rows"])


@needs_tables
@pytest.mark.parametrize(("directory", "part"), [("h200", H200), ("h100", H100)])
def test_held_out_groups_are_predicted_within_the_stated_error(
    monkeypatch: pytest.MonkeyPatch, directory: str, part: Accelerator
) -> None:
    pytest.importorskip("scipy")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    fit = importlib.import_module("fit_grouped")
    held_out = [case for case in fit.read(part.name, directory) if case.held_out]
    errors = sorted(
        abs(grouped_gemm_time(case.grouped, part) / case.seconds - 1) for case in held_out
    )
    assert len(errors) > 50
    assert statistics.median(errors) <= 0.05
    assert errors[int(0.9 * len(errors))] <= 0.15


@needs_tables
def test_times_from_graphs_hold_no_overhead() -> None:
    assert timed_by_events(table("h200")[0])
    assert not timed_by_events(table("h100")[0])


def table(directory: str) -> list[dict[str, str]]:
    with (TABLES / directory / "grouped_gemm.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
