from __future__ import annotations

import dataclasses
import importlib
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.attention_costs import interpolated, score_products
from simulator.hardware.gemm_costs import gemm_time
from simulator.hardware.kernels import KernelModel
from simulator.hardware.operator_costs import operator_time
from simulator.operators import (
    Attention,
    AttentionKernel,
    Compute,
    Gemm,
    OptimizerUpdate,
    Pointwise,
    PointwiseKind,
    Role,
)
from simulator.precision import Precision

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TABLES = BENCHMARKS / "measurements" / "h200"

needs_tables = pytest.mark.skipif(
    not TABLES.is_dir(), reason="the measured tables ship with a checkout, not with the wheel"
)
repeatable = settings(derandomize=True, max_examples=60, deadline=None)


def accelerator(name: str) -> Accelerator:
    return validate(Accelerator, Catalog(()).document("accelerator", name))


H200 = accelerator("h200-sxm")
MODERN = [accelerator(name) for name in ("a100-80gb-sxm", "h200-sxm", "b200-sxm", "mi300x")]
PARTS = [*MODERN, accelerator("tpu-v5p")]

sizes = st.integers(1, 256).map(lambda blocks: 64 * blocks)
gemms = st.builds(
    Gemm,
    name=st.just("gemm"),
    m=sizes,
    n=sizes,
    k=sizes,
    role=st.sampled_from(Role),
    groups=st.sampled_from([1, 1, 8]),
)
attentions = st.builds(
    Attention,
    name=st.just("attention"),
    batch=st.integers(1, 8),
    heads=st.sampled_from([8, 16, 32]),
    kv_heads=st.sampled_from([1, 8]),
    queries=sizes,
    keys=sizes.filter(lambda keys: keys >= 256),
    head_dim=st.sampled_from([64, 96, 128, 192]),
    causal=st.booleans(),
    window=st.sampled_from([0, 128, 4096]),
    backward=st.booleans(),
    kernel=st.sampled_from(
        [AttentionKernel.FLASH2, AttentionKernel.UNFUSED, AttentionKernel.FUSED_SOFTMAX]
    ),
)
passes = st.builds(
    Pointwise, name=st.just("pass"), n_bytes=st.floats(1e3, 1e10), kernels=st.integers(1, 8)
)
updates = st.builds(
    OptimizerUpdate,
    name=st.just("update"),
    parameters=st.floats(1e3, 1e10),
    bytes_per_parameter=st.floats(8, 34),
)
operators = st.one_of(gemms, attentions, passes, updates)


def roofline(operator: Compute, part: Accelerator) -> float:
    match operator:
        case Gemm() | Attention():
            arithmetic = operator.flops / part.peak(Precision.BF16)
            return max(arithmetic, operator.n_bytes / part.memory_bandwidth)
        case Pointwise():
            return operator.n_bytes / part.memory_bandwidth
        case OptimizerUpdate():
            return operator.parameters * operator.bytes_per_parameter / part.memory_bandwidth


def without_power_limit(part: Accelerator) -> Accelerator:
    rates = dict.fromkeys(Precision, 1.0)
    gemm = dataclasses.replace(part.kernels.gemm, sustained_rate=rates, burst_rate=1.0, shapes={})
    return part.with_kernels(gemm=gemm)


# Properties


@repeatable
@given(operators, st.sampled_from(PARTS))
def test_no_operator_beats_the_roofline_of_its_part(operator: Compute, part: Accelerator) -> None:
    assert operator_time(operator, part) >= roofline(operator, part) * (1 - 1e-9)


@repeatable
@given(operators, st.floats(1, 4), st.sampled_from(PARTS))
def test_more_bandwidth_is_never_slower(
    operator: Compute, factor: float, part: Accelerator
) -> None:
    faster = dataclasses.replace(
        part, achievable_memory_bandwidth=factor * part.achievable_memory_bandwidth
    )
    assert operator_time(operator, faster) <= operator_time(operator, part) * (1 + 1e-9)


@repeatable
@given(gemms, st.sampled_from(["m", "n", "k"]), st.integers(1, 4096), st.sampled_from(PARTS))
def test_a_larger_gemm_is_never_faster(
    gemm: Gemm, dimension: str, more: int, part: Accelerator
) -> None:
    """Wave steps are flat or up: a ragged wave costs a full one, but never less."""
    larger = dataclasses.replace(gemm, **{dimension: getattr(gemm, dimension) + more})
    assert gemm_time(larger, part) >= gemm_time(gemm, part) * (1 - 1e-9)


@repeatable
@given(attentions, st.sampled_from(PARTS))
def test_longer_sequences_take_longer(attention: Attention, part: Accelerator) -> None:
    """Both sequences doubled: neither block rounding nor a window can make it faster."""
    longer = dataclasses.replace(attention, queries=2 * attention.queries, keys=2 * attention.keys)
    assert operator_time(longer, part) >= operator_time(attention, part)


# Hand-computed cases


def test_a_gemm_of_one_full_wave_by_hand() -> None:
    """128 x 256 tiles of 1536 x 2816 are 12 x 11 = 132, one for each multiprocessor."""
    gemm = Gemm(name="one wave", m=1536, n=2816, k=8192)
    part = without_power_limit(H200)
    loop = 2 * 128 * 256 * 8192 / (part.achievable(Precision.BF16) / 132)
    fixed = part.kernels.gemm.tile_overhead + part.kernels.gemm.kernel_overhead + part.launch_gap
    assert gemm_time(gemm, part) == pytest.approx(loop + fixed)


def test_one_tile_beyond_a_wave_costs_a_second_wave() -> None:
    """With one tile shape, row 1537 needs 13 x 11 = 143 tiles: two waves instead of one."""
    only = dataclasses.replace(
        without_power_limit(H200).kernels.gemm, tiles=H200.kernels.gemm.tiles[:1]
    )
    part = H200.with_kernels(gemm=only)
    fixed = part.kernels.gemm.kernel_overhead + part.launch_gap
    full = gemm_time(Gemm(name="full", m=1536, n=2816, k=8192), part) - fixed
    ragged = gemm_time(Gemm(name="ragged", m=1537, n=2816, k=8192), part) - fixed
    assert ragged == pytest.approx(2 * full)


def test_a_long_gemm_runs_at_the_measured_sustained_rate() -> None:
    gemm = Gemm(name="long", m=65536, n=65536, k=65536)
    assert gemm.flops / gemm_time(gemm, H200) == pytest.approx(662e12, rel=0.01)


def test_a_thin_gemm_is_bound_by_memory() -> None:
    gemm = Gemm(name="thin", m=16, n=16384, k=16384)
    model = dataclasses.replace(H200.kernels.gemm, shapes={})
    part = H200.with_kernels(gemm=model)
    moving = gemm.n_bytes / (model.bandwidth * part.achievable_memory_bandwidth)
    assert gemm_time(gemm, part) == pytest.approx(moving + model.kernel_overhead + part.launch_gap)


def test_a_gemm_with_few_tiles_is_split_in_k() -> None:
    gemm = Gemm(name="deep", m=256, n=512, k=65536)
    unsplit = H200.with_kernels(gemm=dataclasses.replace(H200.kernels.gemm, split_k=()))
    assert gemm_time(gemm, H200) < 0.5 * gemm_time(gemm, unsplit)


def passes_on_h200(*passes: tuple[float, PointwiseKind]) -> float:
    return sum(
        operator_time(Pointwise("pass", n_bytes, kind=kind), H200) for n_bytes, kind in passes
    )


def test_an_unfused_softmax_in_bf16_copies_masks_and_normalises() -> None:
    forward = Attention(
        name="a",
        batch=2,
        heads=8,
        kv_heads=8,
        queries=1024,
        keys=1024,
        head_dim=128,
        kernel=AttentionKernel.UNFUSED_BF16,
    )
    backward = dataclasses.replace(forward, backward=True)
    score_bytes = 2 * 2 * 8 * 1024 * 1024
    between = {
        forward: passes_on_h200(
            (2 * score_bytes, PointwiseKind.ELEMENTWISE),
            (2 * score_bytes, PointwiseKind.STRIDED),
            (2 * score_bytes, PointwiseKind.SOFTMAX),
        ),
        # The weights and their gradient in, the scores' gradient out; copied and masked.
        backward: passes_on_h200(
            (3 * score_bytes, PointwiseKind.SOFTMAX_BACKWARD),
            (2 * score_bytes, PointwiseKind.ELEMENTWISE),
            (2 * score_bytes, PointwiseKind.STRIDED),
        ),
    }
    for attention, expected in between.items():
        products = [operator_time(gemm, H200) for gemm in score_products(attention)]
        assert operator_time(attention, H200) == pytest.approx(sum(products) + expected)
        assert attention.launches == len(products) + 3
        eager = dataclasses.replace(attention, kernel=AttentionKernel.UNFUSED)
        assert operator_time(attention, H200) < operator_time(eager, H200)


def test_scores_in_memory_cost_their_products_and_passes() -> None:
    attention = Attention(
        name="attention",
        batch=2,
        heads=16,
        kv_heads=16,
        queries=2048,
        keys=2048,
        head_dim=128,
        kernel=AttentionKernel.FUSED_SOFTMAX,
        dropout=True,
    )
    score_bytes = 2 * 2 * 16 * 2048 * 2048
    # Below the diagonal in, all out; dropout in, out and a mask of one byte.
    passes_time = passes_on_h200(
        (1.5 * score_bytes, PointwiseKind.UNFUSED), (2.5 * score_bytes, PointwiseKind.DROPOUT)
    )
    products = [operator_time(gemm, H200) for gemm in score_products(attention)]
    assert operator_time(attention, H200) == pytest.approx(sum(products) + passes_time)
    assert [gemm.groups for gemm in score_products(attention)] == [32, 32]
    without = dataclasses.replace(attention, dropout=False)
    assert operator_time(without, H200) < operator_time(attention, H200)
    assert attention.launches == without.launches + 1


def test_backward_score_products_do_twice_the_work_of_forward() -> None:
    forward = Attention(
        name="a", batch=1, heads=8, kv_heads=8, queries=1024, keys=2048, head_dim=64
    )
    backward = dataclasses.replace(forward, backward=True)
    work = [sum(gemm.flops for gemm in score_products(a)) for a in (forward, backward)]
    assert work[1] == 2 * work[0]


def test_generations_of_attention_kernels_get_faster_on_hopper() -> None:
    generations = [
        AttentionKernel.UNFUSED,
        AttentionKernel.FUSED_SOFTMAX,
        AttentionKernel.FLASH1,
        AttentionKernel.FLASH2,
        AttentionKernel.FLASH3,
    ]
    attention = Attention(
        name="a", batch=1, heads=32, kv_heads=8, queries=8192, keys=8192, head_dim=128
    )
    times = [
        operator_time(dataclasses.replace(attention, kernel=kernel), H200) for kernel in generations
    ]
    assert times == sorted(times, reverse=True)


def test_a_window_saves_time() -> None:
    full = Attention(
        name="a", batch=1, heads=32, kv_heads=8, queries=16384, keys=16384, head_dim=128
    )
    windowed = dataclasses.replace(full, window=1024)
    assert operator_time(windowed, H200) < 0.25 * operator_time(full, H200)


@pytest.mark.parametrize(
    ("head_dim", "rate"), [(32, 0.4), (64, 0.4), (96, 0.6), (128, 0.8), (256, 0.8)]
)
def test_rates_are_interpolated_in_head_dimension(head_dim: int, rate: float) -> None:
    assert interpolated({64: 0.4, 128: 0.8}, head_dim) == pytest.approx(rate)


def test_a_direction_may_have_blocks_of_its_own() -> None:
    """Causal, 1,024 positions: 524,288 pairs, and half a block more for each query."""
    latent = Attention(
        "a", batch=8, heads=132, kv_heads=132, queries=1024, keys=1024, head_dim=192, value_dim=128
    )
    plain = dataclasses.replace(
        H200.kernels.fused_attention[AttentionKernel.CUDNN].forward,
        rate={160: 0.1},
        block_overhead=0.0,
        imbalance=0.0,
        kernel_overhead=0.0,
    )
    times = []
    for block in (None, 256):
        fused = dataclasses.replace(
            H200.kernels.fused_attention[AttentionKernel.CUDNN],
            latent_forward=dataclasses.replace(plain, block=block),
        )
        part = H200.with_kernels(fused_attention={AttentionKernel.CUDNN: fused})
        call = dataclasses.replace(latent, kernel=AttentionKernel.CUDNN)
        times.append(operator_time(call, part) - part.launch_gap)
    assert times[1] / times[0] == pytest.approx((524_288 + 128 * 1024) / (524_288 + 64 * 1024))


# Published rates


def test_flash_attention_2_on_an_a100_reaches_its_published_rates() -> None:
    """Dao, arXiv 2307.08691: up to 73 % of 312 TFLOP/s forward and 63 % backward, unmasked."""
    a100 = MODERN[0]
    forward = Attention(
        name="a",
        batch=1,
        heads=16,
        kv_heads=16,
        queries=16384,
        keys=16384,
        head_dim=128,
        causal=False,
    )
    backward = dataclasses.replace(forward, backward=True)
    assert forward.flops / operator_time(forward, a100) == pytest.approx(228e12, rel=0.05)
    assert backward.flops / operator_time(backward, a100) == pytest.approx(197e12, rel=0.05)


# Mistakes


def test_an_attention_kernel_that_a_part_lacks_is_named_with_those_it_has() -> None:
    attention = Attention(
        name="a",
        batch=1,
        heads=8,
        kv_heads=8,
        queries=1024,
        keys=1024,
        head_dim=128,
        kernel=AttentionKernel.FLASH3,
    )
    with pytest.raises(SimulatorError, match=r"A100.* no attention kernel flash3.*flash1, flash2"):
        operator_time(attention, MODERN[0])


def test_a_precision_that_a_part_lacks_is_named_with_those_it_has() -> None:
    gemm = Gemm(name="g", m=64, n=64, k=64, precision=Precision.NVFP4)
    with pytest.raises(SimulatorError, match=r"nvfp4.*bf16"):
        operator_time(gemm, H200)


def test_kernels_without_tiles_or_rates_are_refused() -> None:
    bare = H200.with_kernels(gemm=dataclasses.replace(H200.kernels.gemm, tiles=()))
    with pytest.raises(SimulatorError, match="tile"):
        operator_time(Gemm(name="g", m=64, n=64, k=64), bare)
    with pytest.raises(SimulatorError, match="head dimension"):
        interpolated({}, 128)


# Profiles


@pytest.mark.parametrize("name", Catalog(()).names("kernels"))
def test_every_kernels_profile_loads_with_a_source_for_each_number(name: str) -> None:
    document = Catalog(()).document("kernels", name)
    model = validate(KernelModel, document)
    assert set(model.gemm.role_rate) == set(Role)
    numbers = [path for path in document.marks if isinstance(document.get(path), (int, float))]
    sources = document.sources
    prefixes = ([path[:end] for end in range(1, len(path) + 1)] for path in numbers)
    assert all(any(prefix in sources for prefix in found) for found in prefixes)
    assert all(source.text and source.status for source in sources.values())


@pytest.mark.parametrize("name", Catalog(()).names("accelerator"))
def test_every_precision_of_a_part_can_be_priced(name: str) -> None:
    part = accelerator(name)
    for precision in part.achievable_flop_rate:
        gemm = Gemm(name="g", m=4096, n=4096, k=4096, precision=precision)
        rate = gemm.flops / operator_time(gemm, part)
        assert 0.5 * part.achievable(precision) < rate <= part.peak(precision)


# Measurements


@needs_tables
@pytest.mark.parametrize(
    ("table", "prefix", "median", "p90"),
    [
        ("gemm", "gemm bf16", 0.05, 0.15),
        ("gemm", "gemm fp8", 0.05, 0.15),
        ("attention", "attention", 0.06, 0.20),
    ],
)
def test_held_out_shapes_are_predicted_within_the_stated_error(
    monkeypatch: pytest.MonkeyPatch, table: str, prefix: str, median: float, p90: float
) -> None:
    tables = kernel_tables(monkeypatch)
    read = getattr(tables, f"{table}_measurements")
    rows = [
        row
        for row in read(TABLES / f"{table}.csv")
        if row.held_out and row.group.startswith(prefix)
    ]
    errors = sorted(abs(operator_time(row.operator, H200) / row.time - 1) for row in rows)
    assert statistics.median(errors) <= median
    assert errors[int(0.9 * len(errors))] <= p90


@needs_tables
def test_fused_adamw_is_predicted_within_four_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in kernel_tables(monkeypatch).optimizer_measurements(TABLES / "misc.csv"):
        assert operator_time(row.operator, H200) == pytest.approx(row.time, rel=0.04)


def kernel_tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("kernel_tables")
