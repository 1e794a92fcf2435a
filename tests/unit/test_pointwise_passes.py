"""Memory-bound passes by hand: casts, merges, accumulations and losses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from strategies import TOY

from simulator.hardware.operator_costs import operator_time
from simulator.operators import Gemm, LossKernel, Pointwise, PointwiseKind, Role
from simulator.precision import Precision
from simulator.workload.pointwise import (
    cross_entropy,
    fused_accumulation,
    gradient_accumulation,
    quantisation,
    ring_merge,
)

KERNELS = TOY.software.kernels
DELAYED = replace(KERNELS, current_scaling=False)
CURRENT = replace(KERNELS, current_scaling=True)
WEIGHT = Gemm("up_weight_gradient", m=300, n=200, k=4096, role=Role.WEIGHT_GRADIENT)


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16, Precision.FP32])
def test_sixteen_bits_are_not_quantised(precision: Precision) -> None:
    assert quantisation(1000.0, precision, CURRENT, "cast") == ()


@pytest.mark.parametrize(
    ("precision", "n_bytes"),
    [
        (Precision.FP8, 4000.0),  # bf16 in, two copies of one byte out
        (Precision.FP8_BLOCK, 4062.5),  # and a scale of four bytes for each 128
        (Precision.MXFP8, 4062.5),  # and a scale of one byte for each 32
        (Precision.MXFP4, 3062.5),  # 2 + 2 x 17/32
    ],
)
def test_a_known_or_block_scale_takes_one_pass(precision: Precision, n_bytes: float) -> None:
    assert quantisation(1000.0, precision, DELAYED, "cast") == (Pointwise("cast", n_bytes),)


def test_current_scaling_reads_the_operand_for_its_maximum_first() -> None:
    assert quantisation(1000.0, Precision.FP8, CURRENT, "cast") == (
        Pointwise("cast_maximum", 2000.0),
        Pointwise("cast", 4000.0),
    )


def test_nvfp4_needs_the_maximum_under_either_scaling() -> None:
    """2 + 2 x 9/16 bytes per element: 4 bits and an 8-bit scale for each 16, twice."""
    for kernels in (DELAYED, CURRENT):
        assert quantisation(1000.0, Precision.NVFP4, kernels, "cast") == (
            Pointwise("cast_maximum", 2000.0),
            Pointwise("cast", 3125.0),
        )


def test_merging_a_block_of_a_ring() -> None:
    """Forward fp32 read and written, bf16 read; backward three times bf16, of two gradients."""
    assert ring_merge(1000.0, backward=False).n_bytes == 1000 * (4 + 2 + 4)
    assert ring_merge(1000.0, backward=True).n_bytes == 2 * 1000 * (2 + 2 + 2)
    assert ring_merge(1.0, backward=False).kernels == ring_merge(1.0, backward=True).kernels == 2


def test_a_gemm_that_accumulates_in_fp32_reads_and_writes_the_buffer() -> None:
    (addition,) = fused_accumulation(WEIGHT, Precision.FP32)
    assert addition.n_bytes == 8 * 300 * 200
    assert addition.kernels == 0
    assert fused_accumulation(WEIGHT, Precision.BF16) == ()


def test_what_is_not_launched_has_no_fixed_cost() -> None:
    part = TOY.cluster.accelerator
    (addition,) = fused_accumulation(WEIGHT, Precision.FP32)
    double = replace(addition, n_bytes=2 * addition.n_bytes)
    assert operator_time(double, part) == pytest.approx(2 * operator_time(addition, part))
    launched = replace(addition, kernels=1)
    assert operator_time(launched, part) > operator_time(addition, part) > 0


@pytest.mark.parametrize(
    ("gradients", "n_bytes", "kind"),
    [
        (Precision.FP32, 2 + 4 + 4, PointwiseKind.MIXED),
        (Precision.BF16, 2 + 2 + 2, PointwiseKind.ELEMENTWISE),
    ],
)
def test_a_separate_accumulation_reads_both_and_writes_one(
    gradients: Precision, n_bytes: float, kind: PointwiseKind
) -> None:
    addition = gradient_accumulation(1000.0, gradients)
    assert (addition.n_bytes, addition.kind) == (1000 * n_bytes, kind)
    assert addition.kernels == 1


@pytest.mark.parametrize(
    ("loss", "forward", "backward"),
    [
        (LossKernel.FUSED, 2, 2 + 2),
        (LossKernel.VOCABULARY_PARALLEL, 6 + 4 + 8 + 8 + 4 + 8, 8 + 6),
        (LossKernel.GATHERED, 6 + 12 + 4, 4 + 12 + 6),
    ],
)
def test_traffic_of_the_losses_per_logit(loss: LossKernel, forward: int, backward: int) -> None:
    there, back = cross_entropy(1000.0, replace(KERNELS, loss=loss))
    assert (there.n_bytes, back.n_bytes) == (1000 * forward, 1000 * backward)
    assert (there.name, back.name) == ("cross_entropy", "cross_entropy_backward")
