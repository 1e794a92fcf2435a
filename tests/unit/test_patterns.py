"""Patterns: how the compute lane spends them, and steps laid out in time."""

from __future__ import annotations

import pytest
from step_samples import GEMM, KV, SUM, prices
from strategies import TOY

from simulator.hardware.software import Launch
from simulator.operators import Axis, Collective, Communication, Gemm, Pointwise
from simulator.program.patterns import Pattern, Segment, joined, on_layer
from simulator.program.tasks import NONE, Lane, SpanKind
from simulator.workload.steps import Step

GATHER = Communication("gather", Collective.ALL_GATHER, Axis.TENSOR, 2.0**25)


def compute(offset: float, duration: float) -> Segment:
    return Segment("gemm", SpanKind.FORWARD, Lane.COMPUTE, offset, duration)


def gather(offset: float, duration: float) -> Segment:
    return Segment("gather", SpanKind.TENSOR, Lane.TENSOR, offset, duration)


def test_hidden_communication_takes_no_time_of_the_lane() -> None:
    pattern = Pattern((compute(0, 4), gather(1, 2)), 4)
    assert pattern.lane_time() == {SpanKind.FORWARD: 4}


def test_waits_go_to_the_communication_under_way() -> None:
    """Compute to 2 s, a gather from 1 to 4 s, compute to 5 s, nothing to 6 s."""
    pattern = Pattern((compute(0, 2), gather(1, 3), compute(4, 1)), 6)
    assert pattern.lane_time() == {SpanKind.FORWARD: 3, SpanKind.TENSOR: 2, SpanKind.OTHER: 1}


def test_a_wait_at_the_start() -> None:
    assert Pattern((gather(0, 2), compute(2, 1)), 3).lane_time() == {
        SpanKind.TENSOR: 2,
        SpanKind.FORWARD: 1,
    }


def test_joined_patterns_follow_one_another() -> None:
    pattern = Pattern((compute(0, 2), gather(2, 1)), 3)
    both = joined([pattern, pattern])
    assert both.duration == 6
    assert [item.offset for item in both.segments] == [0, 2, 3, 5]
    assert joined([]) == Pattern((), 0.0)


def test_layers_are_numbered_from_the_task() -> None:
    pattern = Pattern((compute(0, 2),), 2)
    assert pattern.segments[0].layer == NONE
    assert on_layer(pattern, 3).segments[0].layer == 3


def test_steps_without_overlap_take_the_sum_of_their_times() -> None:
    priced = prices()
    pattern = priced.pattern([Step(GEMM), Step(SUM, beside=GEMM)], SpanKind.FORWARD)
    assert pattern.duration == pytest.approx(priced.seconds(GEMM) + priced.seconds(SUM))
    assert pattern.lane_time()[SpanKind.TENSOR] == pytest.approx(priced.seconds(SUM))


@pytest.mark.parametrize("steps", [[Step(GEMM), Step(SUM, beside=GEMM)]])
def test_chunked_overlap_hides_its_share(steps: list[Step]) -> None:
    priced = prices(tensor_overlap=0.5)
    pattern = priced.pattern(steps, SpanKind.FORWARD)
    hidden = min(priced.seconds(SUM) / 2, priced.seconds(GEMM))
    expected = priced.seconds(GEMM) + priced.seconds(SUM) - hidden
    assert pattern.duration == pytest.approx(expected)
    reduction = pattern.segments[1]
    assert reduction.end == pytest.approx(pattern.duration)


def test_a_gather_hides_behind_the_gemm_that_consumes_it() -> None:
    priced = prices(tensor_overlap=0.5)
    pattern = priced.pattern([Step(GATHER, beside=GEMM), Step(GEMM)], SpanKind.FORWARD)
    first, second = pattern.segments
    assert first.offset == 0
    assert second.offset < first.end


def test_asynchronous_gradients_cover_the_communication() -> None:
    priced = prices(asynchronous_tensor_gradients=True)
    pattern = priced.pattern([Step(SUM, under=(GEMM,))], SpanKind.BACKWARD)
    assert pattern.duration == pytest.approx(max(priced.seconds(SUM), priced.seconds(GEMM)))
    apart = prices().pattern([Step(SUM, under=(GEMM,))], SpanKind.BACKWARD)
    assert apart.duration == pytest.approx(priced.seconds(SUM) + priced.seconds(GEMM))


def test_communication_takes_multiprocessors_from_what_runs_beside_it() -> None:
    multiprocessors = TOY.cluster.accelerator.multiprocessors
    priced = prices(asynchronous_tensor_gradients=True, communication_multiprocessors=33)
    large = Gemm("large", 8192, 8192, 8192)
    pattern = priced.pattern([Step(SUM, under=(large,))], SpanKind.BACKWARD)
    assert priced.stolen_share == 33 / multiprocessors
    # 2,048 tiles of 128 x 256: 16 waves on 132 multiprocessors; 33 taken cost 1.1 times as many,
    # and 22 waves on the 95.7 that are left.
    lost = (1 - 16 / 22) * priced.seconds(SUM)
    assert pattern.duration == pytest.approx(priced.seconds(large) + lost)


def test_context_communication_hides_its_own_share() -> None:
    priced = prices(context_overlap=0.8)
    pattern = priced.pattern([Step(KV)], SpanKind.FORWARD)
    assert pattern.duration == pytest.approx(0.2 * priced.seconds(KV))


def test_an_eager_stack_waits_for_its_launches() -> None:
    """Four tiny kernels and 1 ms of host time each: the block takes 4 ms."""
    tiny = Step(Pointwise("tiny", 1024.0, kernels=4))
    eager = prices(launch=Launch.EAGER, kernel_launch=1e-3)
    pattern = eager.pattern([tiny], SpanKind.FORWARD)
    assert pattern.duration == pytest.approx(4e-3)
    assert pattern.segments[-1].kind is SpanKind.OTHER
    assert prices(kernel_launch=1e-3).pattern([tiny], SpanKind.FORWARD).duration < 1e-3


def test_autograd_launches_the_backward_pass_and_python_the_rest() -> None:
    tiny = Step(Pointwise("tiny", 1024.0, kernels=4))
    eager = prices(launch=Launch.EAGER, kernel_launch=2e-3, backward_launch=1e-3)
    for kind, expected in (
        (SpanKind.RECOMPUTE, 8e-3),
        (SpanKind.BACKWARD, 4e-3),
        (SpanKind.INPUT_GRADIENT, 4e-3),
        (SpanKind.WEIGHT_GRADIENT, 4e-3),
    ):
        assert eager.pattern([tiny], kind).duration == pytest.approx(expected)


def test_a_wait_knows_communication_that_is_laid_out_after_what_follows_it() -> None:
    pattern = Pattern((compute(0, 2), compute(3, 2), gather(1, 3)), 5)
    assert pattern.lane_time() == {SpanKind.FORWARD: 4, SpanKind.TENSOR: 1}


def test_a_wait_is_for_what_fills_most_of_it() -> None:
    """Nothing computes from 2 to 6 s: a gather fills 0.5 s of that, a sum 2.5 s."""
    total = Segment("sum", SpanKind.TENSOR, Lane.TENSOR, 3.5, 2.5)
    segments = (gather(0, 1), gather(1, 1.5), compute(1, 1), total, compute(6, 1))
    wait = Pattern(segments, 7).pieces()[2]
    assert (wait.name, wait.offset, wait.duration) == ("sum", 2, 4)
