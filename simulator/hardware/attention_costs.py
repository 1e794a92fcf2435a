"""Seconds of attention: blocks over the multiprocessors, or products and passes over scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from simulator.errors import SimulatorError
from simulator.hardware.gemm_costs import gemm_time
from simulator.hardware.kernels import entry
from simulator.hardware.pointwise_costs import pointwise_time
from simulator.hardware.power import power_limited
from simulator.operators import Attention, AttentionKernel, Gemm, Pointwise, PointwiseKind
from simulator.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.hardware.accelerator import Accelerator
    from simulator.hardware.kernels import AttentionPass


class ScorePass(NamedTuple):
    """Kernels of one kind between the products of attention with stored scores."""

    traffic: float
    """Times that the bf16 scores' bytes are read or written."""
    kernels: int = 1
    kind: PointwiseKind = PointwiseKind.UNFUSED


SCORE_PASSES: Final[Mapping[tuple[AttentionKernel, bool], tuple[ScorePass, ...]]] = {
    (AttentionKernel.UNFUSED, False): (ScorePass(14.0, 4),),
    (AttentionKernel.UNFUSED, True): (ScorePass(26.0, 6),),
    (AttentionKernel.UNFUSED_BF16, False): (
        ScorePass(2.0, kind=PointwiseKind.ELEMENTWISE),
        ScorePass(2.0, kind=PointwiseKind.STRIDED),
        ScorePass(2.0, kind=PointwiseKind.SOFTMAX),
    ),
    (AttentionKernel.UNFUSED_BF16, True): (
        ScorePass(3.0, kind=PointwiseKind.SOFTMAX_BACKWARD),
        ScorePass(2.0, kind=PointwiseKind.ELEMENTWISE),
        ScorePass(2.0, kind=PointwiseKind.STRIDED),
    ),
    (AttentionKernel.FUSED_SOFTMAX, False): (ScorePass(1.5),),
    (AttentionKernel.FUSED_SOFTMAX, True): (ScorePass(2.0),),
}
"""By kernel and direction, True for backward; dropout apart.

Unfused, in fp32: to fp32, mask, softmax, back to bf16, as PyTorch 2.11's profiler lists them on one
H100 (benchmarks/measurements/h100/pointwise_kernels.csv), without the scaling, which the product
does (``baddbmm``). In bf16: a copy, the mask (broadcast over the heads) and the softmax; backward
its gradient, and a copy and the mask again (Aleph-Alpha/scaling, masked_softmax.py). Megatron's
fused causal softmax (scaled_upper_triang_masked_softmax) reads what lies below the diagonal,
backward gradients and weights, and writes everything.
"""
DROPOUT: Final[Mapping[bool, ScorePass]] = {
    False: ScorePass(2.5, kind=PointwiseKind.DROPOUT),
    True: ScorePass(2.5, kind=PointwiseKind.ELEMENTWISE),
}
"""Dropout on the weights, True for backward: in, out and a mask of one byte, whose random numbers
are drawn forward."""


def attention_time(attention: Attention, accelerator: Accelerator) -> float:
    """Return the device time [s] of softmax attention in one direction, with its kernel."""
    if attention.kernel.stores_scores:
        return _stored_scores_time(attention, accelerator)
    known = accelerator.kernels.fused_attention
    fused = entry(known, attention.kernel, "attention kernel", accelerator.name)
    model = fused.pass_of(backward=attention.backward, latent=attention.latent)
    achievable = accelerator.achievable(Precision.BF16)
    arithmetic = _blocked_time(attention, model.block or fused.block, model, accelerator)
    memory = attention.n_bytes / accelerator.achievable_memory_bandwidth
    sustained = attention.flops / (model.sustained_rate * achievable)
    busy = power_limited(max(arithmetic, memory), sustained, accelerator.kernels.boost_time)
    return accelerator.launch_gap + model.kernel_overhead + busy


def _blocked_time(
    attention: Attention, block: int, model: AttentionPass, accelerator: Accelerator
) -> float:
    """Return the arithmetic time [s]: the mean load of a multiprocessor and a share of the tail.

    A causal or windowed kernel evaluates whole blocks: half a block per position more at each
    edge of the mask. The longest block sees all keys (backward: queries) that the mask leaves.
    """
    heads = attention.batch * attention.heads
    edges = attention.causal * (2 if 0 < attention.window < attention.keys else 1)
    rectangle = float(attention.queries) * attention.keys
    pairs = min(rectangle, attention.pairs + edges * attention.queries * block / 2)
    rate = interpolated(model.rate, attention.mean_dim) * accelerator.achievable(Precision.BF16)
    rate = min(rate, accelerator.peak(Precision.BF16)) / accelerator.multiprocessors
    pair_time = attention.flops / (heads * attention.pairs) / rate
    own, other = attention.queries, attention.keys
    if attention.backward:
        own, other = other, own
    blocks = heads * -(-own // block)
    load = heads * pairs * pair_time + blocks * model.block_overhead
    seen = min(other, attention.window + block) if edges > 1 else other
    longest = min(block, own) * seen * pair_time + model.block_overhead
    mean = load / accelerator.multiprocessors
    return max(longest, mean + model.imbalance * longest)


def _stored_scores_time(attention: Attention, accelerator: Accelerator) -> float:
    """Return the time [s] of attention as batched GEMMs and passes over the scores in memory.

    The products are full rectangles: such kernels save nothing on a causal mask.
    """
    passes = SCORE_PASSES[attention.kernel, attention.backward]
    if attention.dropout:
        passes = (*passes, DROPOUT[attention.backward])
    between = sum(
        pointwise_time(
            Pointwise("scores", each.traffic * attention.score_bytes, each.kernels, each.kind),
            accelerator,
        )
        for each in passes
    )
    return sum(gemm_time(gemm, accelerator) for gemm in score_products(attention)) + between


def score_products(attention: Attention) -> list[Gemm]:
    """Return the batched GEMMs of attention with stored scores: two forward, four backward."""
    queries, keys, width = attention.queries, attention.keys, attention.head_dim
    shapes = {"scores": (queries, keys, width), "context": (queries, attention.values, keys)}
    if attention.backward:
        shapes = {
            "scores gradient": (queries, keys, attention.values),
            "value gradient": (keys, attention.values, queries),
            "query gradient": (queries, width, keys),
            "key gradient": (keys, width, queries),
        }
    groups = attention.batch * attention.heads
    return [
        Gemm(name=f"{attention.name} {what}", m=m, n=n, k=k, groups=groups)
        for what, (m, n, k) in shapes.items()
    ]


def interpolated(values: Mapping[int, float], at: float) -> float:
    """Return the value at ``at``: linear between the given points, constant beyond them."""
    if at in values:
        return values[int(at)]
    if not values:
        raise SimulatorError(f"an attention kernel lists no rate for any head dimension, {at} say")
    below = max((point for point in values if point < at), default=None)
    above = min((point for point in values if point > at), default=None)
    if below is None or above is None:
        return values[min(values) if below is None else max(values)]
    share = (at - below) / (above - below)
    return values[below] * (1 - share) + values[above] * share
