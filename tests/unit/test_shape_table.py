"""Tables of shapes: interpolation in logarithms, and rows that fast copies can reach."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import TOY

from simulator.errors import SimulatorError
from simulator.hardware.gemm_costs import aligned, gemm_time
from simulator.hardware.shape_table import LoadedTable, ShapeTable
from simulator.operators import Gemm, Role
from simulator.precision import Precision

CORNERS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
TABLE = ShapeTable(first=(16, 64), second=(16, 64), third=(16, 64), percent=CORNERS)
PART = TOY.cluster.accelerator


def percent(table: ShapeTable, *sizes: int) -> float:
    first, second, third = sizes
    return 100 * math.log(LoadedTable(table).factor(first, second, third))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((16, 16, 16), 1),
        ((16, 16, 64), 2),
        ((16, 64, 16), 4),
        ((64, 16, 16), 16),
        ((64, 64, 64), 128),
        ((16, 16, 32), 1.5),  # 32 is half the way from 16 to 64 in logarithms
        ((16, 32, 16), 2.5),
        ((32, 16, 16), 8.5),
        ((32, 32, 32), sum(CORNERS) / 8),
        ((1, 8, 15), 1),  # constant beyond the points
        ((4096, 65, 1024), 128),
        ((1, 1024, 32), 6),
    ],
)
def test_points_between_and_beyond(sizes: tuple[int, int, int], expected: float) -> None:
    assert percent(TABLE, *sizes) == pytest.approx(expected)


@settings(derandomize=True, deadline=None)
@given(
    st.tuples(*[st.integers(1, 1000)] * 3),
    st.lists(st.floats(-20, 20), min_size=12, max_size=12),
)
def test_no_value_leaves_the_range_of_its_table(
    sizes: tuple[int, int, int], values: list[float]
) -> None:
    table = ShapeTable(first=(8, 32), second=(8, 64, 256), third=(16, 128), percent=tuple(values))
    assert min(values) - 1e-9 <= percent(table, *sizes) <= max(values) + 1e-9


def test_an_axis_of_one_point_decides_nothing() -> None:
    flat = ShapeTable(first=(16,), second=(16, 64), third=(16,), percent=(1.0, 3.0))
    assert percent(flat, 1, 32, 999) == percent(flat, 999, 32, 1) == pytest.approx(2.0)


def test_a_table_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(SimulatorError, match="7 values for 8 points"):
        LoadedTable(dataclasses.replace(TABLE, percent=CORNERS[:7]))


@pytest.mark.parametrize("points", [(64, 16), (16, 16), ()])
def test_points_must_ascend(points: tuple[int, ...]) -> None:
    with pytest.raises(SimulatorError, match="must ascend"):
        LoadedTable(dataclasses.replace(TABLE, second=points))


@pytest.mark.parametrize(
    ("precision", "elements"),
    [
        (Precision.FP32, 4),
        (Precision.BF16, 8),
        (Precision.FP8, 16),
        (Precision.MXFP8, 16),
        (Precision.NVFP4, 32),
    ],
)
def test_rows_start_at_sixteen_bytes(precision: Precision, elements: int) -> None:
    def product(n: int, k: int) -> bool:
        return aligned(Gemm("gemm", m=7, n=n, k=k, precision=precision))

    assert product(3 * elements, 5 * elements)
    assert not product(3 * elements + elements // 2, 5 * elements)
    assert not product(3 * elements, 5 * elements + elements // 2)


def test_a_weight_gradient_is_contiguous_in_m_and_n() -> None:
    weight = Gemm("weight", m=64, n=64, k=7, role=Role.WEIGHT_GRADIENT)
    assert aligned(weight)
    assert not aligned(dataclasses.replace(weight, m=63))
    assert not aligned(dataclasses.replace(weight, n=63))


@pytest.mark.parametrize("role", list(Role))
def test_an_unpadded_vocabulary_is_slower_than_a_padded_one(role: Role) -> None:
    """Less work, but loads that cannot use the wide copies (50,257 columns against 50,304)."""
    unpadded = Gemm("logits", m=8192, n=50_257, k=4096, role=role)
    padded = dataclasses.replace(unpadded, n=50_304)
    share = PART.kernels.gemm.misaligned_rate
    ratio = gemm_time(unpadded, PART) / gemm_time(padded, PART)
    assert 1.5 < ratio <= 1 / share
