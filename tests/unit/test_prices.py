"""Prices: ranks that arrive late, and kernels beside a collective."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from step_samples import GEMM, KV, SUM, prices
from strategies import TOY

from simulator.operators import Attention, Axis, Collective, Communication, Compute, Gemm, Pointwise
from simulator.program.prices import Prices, expected_maximum
from simulator.program.tasks import Lane, SpanKind
from simulator.workload.steps import Step

repeatable = settings(derandomize=True, deadline=None)

sizes = st.integers(1, 64).map(lambda blocks: 128 * blocks)
computes = st.one_of(
    st.builds(Gemm, name=st.just("gemm"), m=sizes, n=sizes, k=sizes),
    st.builds(Pointwise, name=st.just("pass"), n_bytes=st.floats(1e3, 1e10)),
    st.builds(
        Attention,
        name=st.just("attention"),
        batch=st.just(1),
        heads=st.sampled_from([8, 32]),
        kv_heads=st.just(8),
        queries=sizes,
        keys=sizes,
        head_dim=st.just(128),
        backward=st.booleans(),
        kernel=st.just(TOY.software.kernels.attention),
    ),
)
collectives = st.builds(
    Communication,
    name=st.just("collective"),
    kind=st.sampled_from([Collective.ALL_REDUCE, Collective.ALL_GATHER, Collective.REDUCE_SCATTER]),
    axis=st.just(Axis.TENSOR),
    n_bytes=st.floats(1.0, 2.0**32),
)


def overlapping(ranks: int = 4, *, arrival_jitter: float = 0.0) -> Prices:
    """Return prices of a stack whose GEMMs run beside its sums."""
    return prices(
        ranks,
        arrival_jitter=arrival_jitter,
        asynchronous_tensor_gradients=True,
        communication_multiprocessors=16,
    )


PRICED = overlapping()


# Late ranks


def test_one_rank_is_never_late() -> None:
    assert expected_maximum(1) == 0.0
    assert overlapping(ranks=1, arrival_jitter=0.1).arrival_spread == 0.0
    assert Prices(TOY.cluster, replace(TOY.software, arrival_jitter=0.1), {}).arrival_spread == 0.0


@pytest.mark.parametrize(
    ("count", "exact", "error"),
    [
        (2, 1 / math.sqrt(math.pi), 0.05),
        (3, 3 / (2 * math.sqrt(math.pi)), 0.03),
        (4, 1.02938, 0.02),
        (8, 1.42360, 0.01),
        (16, 1.76599, 0.01),
    ],
)
def test_the_largest_of_a_few_normal_values(count: int, exact: float, error: float) -> None:
    """Against order statistics: 1/sqrt(pi), 3/2sqrt(pi), and Teichroew 1956, table I."""
    assert expected_maximum(count) == pytest.approx(exact, rel=error)


def test_more_ranks_wait_longer() -> None:
    values = [expected_maximum(count) for count in range(1, 257)]
    assert all(low < high for low, high in pairwise(values))


def test_ranks_arrive_later_the_longer_they_were_apart() -> None:
    """4 % of two GEMMs times the largest of four; the second sum follows at once."""
    jittered = overlapping(arrival_jitter=0.04)
    steps = [Step(GEMM), Step(GEMM), Step(SUM), Step(SUM)]
    pattern = jittered.pattern(steps, SpanKind.FORWARD)
    late = [item for item in pattern.segments if item.name == "late_ranks"]
    expected = 0.04 * expected_maximum(4) * 2 * jittered.seconds(GEMM)
    assert [item.duration for item in late] == [pytest.approx(expected)]
    assert (late[0].lane, late[0].kind) == (Lane.TENSOR, SpanKind.TENSOR)
    assert late[0].offset == pytest.approx(2 * jittered.seconds(GEMM))
    punctual = PRICED.pattern(steps, SpanKind.FORWARD)
    assert pattern.duration == pytest.approx(punctual.duration + expected)


def test_only_the_tensor_group_meets() -> None:
    steps = [Step(GEMM), Step(KV)]
    jittered = overlapping(arrival_jitter=0.04)
    assert jittered.pattern(steps, SpanKind.FORWARD) == PRICED.pattern(steps, SpanKind.FORWARD)


# Beside a collective


@repeatable
@given(computes, collectives, st.floats(0.0, 3.0))
def test_a_stretch_lies_between_one_and_the_slowdown(
    operator: Compute, beside: Communication, share: float
) -> None:
    factor = PRICED.slowdown(operator, beside)
    assert factor >= 1.0
    stretch = PRICED.stretch(operator, beside, share * PRICED.seconds(operator))
    assert 1.0 <= stretch <= factor * (1 + 1e-12)


@repeatable
@given(computes, collectives, st.lists(st.floats(0.0, 4.0), min_size=2, max_size=5))
def test_a_collective_that_stays_longer_never_makes_a_kernel_faster(
    operator: Compute, beside: Communication, shares: list[float]
) -> None:
    alone = PRICED.seconds(operator)
    stretches = [PRICED.stretch(operator, beside, share * alone) for share in sorted(shares)]
    assert all(low <= high * (1 + 1e-12) for low, high in pairwise(stretches))


def test_a_stretch_by_hand() -> None:
    """At a slowdown f a time t beside the collective does t/f of the work: t - t/f are lost."""
    factor, alone = PRICED.slowdown(GEMM, SUM), PRICED.seconds(GEMM)
    assert factor > 1.0
    assert PRICED.stretch(GEMM, SUM, 0.0) == 1.0
    assert PRICED.stretch(GEMM, SUM, alone) == pytest.approx(2 - 1 / factor)
    assert PRICED.stretch(GEMM, SUM, factor * alone) == pytest.approx(factor)
    assert PRICED.stretch(GEMM, SUM, 9 * factor * alone) == factor


def test_a_collective_of_one_rank_slows_nothing() -> None:
    alone = overlapping(ranks=1)
    assert alone.seconds(SUM) == 0.0
    assert alone.slowdown(GEMM, SUM) == 1.0


@repeatable
@given(st.lists(st.builds(Gemm, st.just("gemm"), sizes, sizes, sizes), min_size=1), collectives)
def test_overlap_takes_neither_less_than_each_nor_more_than_the_slowed_sum(
    under: list[Gemm], collective: Communication
) -> None:
    pattern = PRICED.pattern([Step(collective, under=tuple(under))], SpanKind.BACKWARD)
    alone = sum(PRICED.seconds(gemm) for gemm in under)
    slowed = sum(PRICED.seconds(gemm) * PRICED.slowdown(gemm, collective) for gemm in under)
    communication = PRICED.seconds(collective)
    assert pattern.duration >= max(alone, communication) * (1 - 1e-12)
    assert pattern.duration <= max(slowed, communication) * (1 + 1e-12)
