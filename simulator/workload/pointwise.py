"""Memory-bound operators: bytes and kernels of norms, activations, residuals and the loss.

Traffic is counted per element in bf16 (2 bytes), with fp32 intermediates (4 bytes) where an
eager implementation writes them. Kernels and their operands are those that PyTorch 2.11's profiler
lists for the eager and for the compiled form (``benchmarks/measurements/h100``), without fills of
memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from simulator.operators import Kernels, LossKernel, Pointwise, PointwiseKind
from simulator.precision import Precision
from simulator.workload.transformer import Norm, Positions

if TYPE_CHECKING:
    from simulator.operators import Product
    from simulator.workload.transformer import Transformer


class Traffic(NamedTuple):
    """Bytes per element and kernels, forward and backward, and how the kernels reach them."""

    forward_bytes: float
    forward_kernels: int
    backward_bytes: float
    backward_kernels: int
    forward_kind: PointwiseKind = PointwiseKind.ELEMENTWISE
    backward_kind: PointwiseKind = PointwiseKind.ELEMENTWISE


FUSED_RMS_NORM = Traffic(4, 1, 10, 3, PointwiseKind.NORM, PointwiseKind.NORM_BACKWARD)
"""Forward: x in, y out. Backward: dy and x in and dx out; dy and x again for the weight gradient,
whose parts a third kernel adds up."""
FUSED_LAYER_NORM = Traffic(4, 1, 10, 2, PointwiseKind.LAYER_NORM, PointwiseKind.NORM_BACKWARD)
"""The same, with PyTorch's or Apex's kernels; it has no eager form."""
UNFUSED_RMS_NORM = Traffic(36, 8, 92, 17, PointwiseKind.UNFUSED, PointwiseKind.UNFUSED)
"""Cast to fp32 (6), square (8), mean (4), scale (8), cast back (6), weight (4), two on rows.
Backward: weight and its gradient (4+6+2), cast (6), scale and its gradient (12+8+4), the square's
gradient (4+8+8+12), sum of both ways (12), cast back (6), four on rows."""
FUSED_GATED = Traffic(6, 1, 10, 1)
"""Forward: gate and up in, product out. Backward: product gradient, gate, up in; two out."""
UNFUSED_GATED = Traffic(10, 2, 18, 3)
"""SiLU (2+2), product (4+2); backward both factors of the product (6+6) and SiLU (6)."""
FUSED_PLAIN = Traffic(4, 1, 8, 2)
"""Bias and GELU in one pass; backward reads the gradient and the input, writes one (6); the bias
gradient reads it again (2)."""
UNFUSED_PLAIN = Traffic(8, 2, 8, 2, PointwiseKind.STRIDED)
"""Bias (2+2) and GELU (2+2); backward GELU (4+2) and the bias reduction (2)."""
FUSED_ROTARY = Traffic(4, 2, 4, 2)
"""Queries and keys apart."""
UNFUSED_ROTARY = Traffic(20, 10, 20, 10, PointwiseKind.STRIDED, PointwiseKind.STRIDED)
"""Rotate halves (negate half of them 2, concatenate 4), two products (4+4), their sum (6); queries
and keys apart."""
PLAIN_RESIDUAL = Traffic(6, 1, 6, 1)
"""Two inputs, one sum; backward adds the two branches' gradients."""
FUSED_RESIDUAL = Traffic(7, 1, 13, 3, PointwiseKind.DROPOUT)
"""Two inputs, sum and mask out; backward dropout (5), bias gradient (2), sum of the branches'
gradients (6)."""
UNFUSED_RESIDUAL = Traffic(15, 3, 13, 3, PointwiseKind.DROPOUT)
"""Bias (2+2), dropout (2+2+1), sum (4+2)."""
FUSED_LOSS = Traffic(2, 2, 4, 1, PointwiseKind.SOFTMAX, PointwiseKind.SOFTMAX_BACKWARD)
"""Maximum and sum of exponentials in one pass over bf16 logits; the gradient overwrites them."""
UNFUSED_LOSS = Traffic(38, 9, 14, 6, PointwiseKind.UNFUSED, PointwiseKind.UNFUSED)
"""Megatron's: fp32 copy (2+4), maximum (4), shift (8), exponential (8), sum (4), softmax (8), three
on rows; backward scale (8), cast to bf16 (6), four on rows."""
GATHERED_LOSS = Traffic(22, 5, 22, 4, PointwiseKind.UNFUSED, PointwiseKind.UNFUSED)
"""fp32 copy (2+4), log-softmax (4+4+4, long rows are read twice), accuracy's argmax (4); backward:
the loss's gradient as zeros (4), log-softmax (4+4+4), back to bf16 (4+2)."""
LOSSES = {
    LossKernel.FUSED: FUSED_LOSS,
    LossKernel.VOCABULARY_PARALLEL: UNFUSED_LOSS,
    LossKernel.GATHERED: GATHERED_LOSS,
}


def _passes(name: str, elements: float, traffic: Traffic) -> tuple[Pointwise, Pointwise]:
    forward = Pointwise(
        name, traffic.forward_bytes * elements, traffic.forward_kernels, traffic.forward_kind
    )
    backward = Pointwise(
        f"{name}_backward",
        traffic.backward_bytes * elements,
        traffic.backward_kernels,
        traffic.backward_kind,
    )
    return forward, backward


def normalisation(
    model: Transformer, elements: float, kernels: Kernels
) -> tuple[Pointwise, Pointwise]:
    """Return one norm over ``elements`` activations, forward and backward."""
    if model.norm is not Norm.RMS:
        return _passes("norm", elements, FUSED_LAYER_NORM)
    traffic = FUSED_RMS_NORM if kernels.fused_norm else UNFUSED_RMS_NORM
    return _passes("norm", elements, traffic)


def activation(
    model: Transformer, elements: float, kernels: Kernels
) -> tuple[Pointwise, Pointwise]:
    """Return the MLP's activation producing ``elements`` values, forward and backward."""
    if model.gated_mlp:
        traffic = FUSED_GATED if kernels.fused_activation else UNFUSED_GATED
    else:
        traffic = FUSED_PLAIN if kernels.fused_activation else UNFUSED_PLAIN
    return _passes("activation", elements, traffic)


def residual(elements: float, kernels: Kernels) -> tuple[Pointwise, Pointwise]:
    """Return the residual addition (with bias and dropout), forward and backward.

    Without dropout it is one sum either way: a projection's bias is added by its GEMM.
    """
    if not kernels.dropout:
        return _passes("residual", elements, PLAIN_RESIDUAL)
    traffic = FUSED_RESIDUAL if kernels.fused_residual else UNFUSED_RESIDUAL
    return _passes("residual", elements, traffic)


def head_preparation(
    model: Transformer, elements: float, kernels: Kernels
) -> tuple[tuple[Pointwise, ...], tuple[Pointwise, ...]]:
    """Return what happens to ``elements`` of queries and keys before attention.

    Rotary embedding and, where the model has them, norms on each head.
    """
    pairs = []
    if model.qk_norm:
        pairs.append(normalisation(model, elements, kernels))
    if model.positions is Positions.ROTARY:
        traffic = FUSED_ROTARY if kernels.fused_rope else UNFUSED_ROTARY
        pairs.append(_passes("rotary", elements, traffic))
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in reversed(pairs))


def cross_entropy(elements: float, kernels: Kernels) -> tuple[Pointwise, Pointwise]:
    """Return the loss over ``elements`` logits, forward and backward."""
    return _passes("cross_entropy", elements, LOSSES[kernels.loss])


def gradient_accumulation(parameters: float, gradients: Precision) -> Pointwise:
    """Return the pass that adds bf16 weight gradients into a buffer of ``gradients``.

    One kernel for each weight, whose operands of two formats PyTorch does not vectorise.
    """
    traffic = Precision.BF16.n_bytes + 2 * gradients.n_bytes
    kind = PointwiseKind.ELEMENTWISE if gradients is Precision.BF16 else PointwiseKind.MIXED
    return Pointwise("gradient_accumulation", traffic * parameters, kind=kind)


def ring_merge(elements: float, *, backward: bool) -> Pointwise:
    """Return the pass that merges one block of ring attention into what came before.

    Forward: the outputs in fp32 are rescaled and added (read 4 and 2, write 4 B per element).
    Backward: the gradients of queries, and of keys and values, are added in bf16 (6 B each, taken
    as large as the queries').
    """
    traffic = 12.0 if backward else 10.0
    return Pointwise("attention_merge", traffic * elements, kernels=2)


def fused_accumulation(weight: Product, gradients: Precision) -> tuple[Pointwise, ...]:
    """Return what a weight-gradient GEMM that adds into an fp32 buffer takes beyond a plain one.

    The buffer is read and written (8 B per parameter), and little of that hides behind the
    products: on one H100 such GEMMs take about 3.2 ps per parameter longer than those with a bf16
    result, with 2,048, 4,096 and 8,192 rows alike (benchmarks/measurements/h100/accumulation.csv).
    Adding into bf16 takes 2 % longer in the median there, which is neglected.
    """
    if gradients is not Precision.FP32:
        return ()
    traffic = 2.0 * gradients.n_bytes * weight.elements
    return (Pointwise(f"{weight.name}_sum", traffic, kernels=0, kind=PointwiseKind.UNFUSED),)


def scaled_first(precision: Precision, kernels: Kernels) -> bool:
    """Return whether a tensor's maximum must be known before it can be quantised.

    So it is for NVFP4, the second level of whose scales it is, and for fp8 under current scaling;
    delayed scaling takes an earlier one, blocks find theirs within the pass.
    """
    if precision is Precision.NVFP4:
        return True
    return precision is Precision.FP8 and kernels.current_scaling


def quantisation(
    elements: float, precision: Precision, kernels: Kernels, name: str
) -> tuple[Pointwise, ...]:
    """Return the passes that turn ``elements`` bf16 values into a GEMM operand of ``precision``.

    Two copies are written, one for each direction in which products run over the operand (fp8
    needs its transpose; blocks follow the direction). None above 16 bits.

    References
    ----------
    NVIDIA Transformer Engine documentation, "MXFP8": row- and column-wise copies.
    """
    if precision.n_bytes >= Precision.BF16.n_bytes:
        return ()
    cast = Pointwise(name, (Precision.BF16.n_bytes + 2 * precision.n_bytes) * elements)
    if not scaled_first(precision, kernels):
        return (cast,)
    return Pointwise(f"{name}_maximum", Precision.BF16.n_bytes * elements), cast
