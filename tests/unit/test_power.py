"""Power limits: bursts of single kernels, and kernels that follow one another in training."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.gemm_costs import gemm_time
from simulator.hardware.operator_costs import operator_time
from simulator.hardware.power import in_training, power_limited
from simulator.operators import Attention, AttentionKernel, Compute, Gemm, Pointwise, Role
from simulator.precision import Precision

repeatable = settings(derandomize=True, deadline=None)


def accelerator(name: str) -> Accelerator:
    return validate(Accelerator, Catalog(()).document("accelerator", name))


H100 = accelerator("h100-sxm")
PARTS = [H100, *map(accelerator, ("a100-80gb-sxm", "b200-sxm", "mi300x", "tpu-v5p"))]

seconds = st.floats(1e-7, 1.0)
sizes = st.integers(1, 256).map(lambda blocks: 64 * blocks)
operators = st.one_of(
    st.builds(Gemm, st.just("gemm"), sizes, sizes, sizes, role=st.sampled_from(Role)),
    st.builds(Pointwise, st.just("pass"), st.floats(1e3, 1e10)),
    st.builds(
        Attention,
        name=st.just("attention"),
        batch=st.integers(1, 4),
        heads=st.sampled_from([8, 32]),
        kv_heads=st.just(8),
        queries=sizes,
        keys=sizes,
        head_dim=st.sampled_from([64, 128]),
        backward=st.booleans(),
        kernel=st.sampled_from([AttentionKernel.FLASH2, AttentionKernel.UNFUSED]),
    ),
)


@repeatable
@given(seconds, seconds, seconds)
def test_a_limited_time_lies_between_burst_and_sustained(
    burst: float, sustained: float, boost: float
) -> None:
    time = power_limited(burst, sustained, boost)
    assert burst <= time <= max(burst, sustained) * (1 + 1e-12)


@repeatable
@given(seconds, seconds, seconds, st.floats(1.0, 10.0))
def test_a_longer_boost_is_never_slower(
    burst: float, sustained: float, boost: float, factor: float
) -> None:
    assert power_limited(burst, sustained, factor * boost) <= power_limited(burst, sustained, boost)


def test_power_limits_by_hand() -> None:
    assert power_limited(1.0, 3.0, 1.0) == 2.0  # as long as the boost: half the way
    assert power_limited(1.0, 3.0, 3.0) == 1.5
    assert power_limited(1.0, 3.0, 0.0) == 3.0  # no reserve
    assert power_limited(3.0, 1.0, 0.0) == 3.0  # slower than the limit anyway


@repeatable
@given(operators, st.sampled_from(PARTS))
def test_no_operator_is_faster_in_training_than_alone(operator: Compute, part: Accelerator) -> None:
    alone, held = operator_time(operator, part), operator_time(operator, in_training(part))
    assert held >= alone * (1 - 1e-12)


@repeatable
@given(sizes, sizes, sizes, st.sampled_from(Role), st.sampled_from(PARTS))
def test_no_gemm_outruns_the_sustained_rate_in_training(
    m: int, n: int, k: int, role: Role, part: Accelerator
) -> None:
    gemm = Gemm("gemm", m, n, k, role=role)
    sustained = part.kernels.gemm.sustained_rate[Precision.BF16] * part.achievable(Precision.BF16)
    assert gemm_time(gemm, in_training(part)) >= gemm.flops / sustained * (1 - 1e-12)


def test_a_short_gemm_outruns_the_sustained_rate_alone() -> None:
    """0.15 ms on an H100, half of the boost time."""
    gemm = Gemm("gemm", 4096, 4096, 4096)
    sustained = gemm.flops / (
        H100.kernels.gemm.sustained_rate[Precision.BF16] * H100.achievable(Precision.BF16)
    )
    assert gemm_time(gemm, H100) < H100.kernels.boost_time
    assert gemm_time(gemm, in_training(H100)) / gemm_time(gemm, H100) > 1.02
    assert gemm_time(gemm, in_training(H100)) >= sustained


def test_only_the_reserve_is_taken_away() -> None:
    held = in_training(H100)
    assert held is in_training(H100)
    assert held.kernels.boost_time == 0.0
    assert held.kernels.gemm == H100.kernels.gemm
    assert held.peak_flop_rate == H100.peak_flop_rate
    copy = Pointwise("copy", 1e9)
    assert operator_time(copy, held) == operator_time(copy, H100)
    assert H100.kernels.boost_time > 0.0
