"""Memory-bound operators: bytes and kernels of norms, activations, residuals and the loss.

Traffic is counted per element in bf16 (2 bytes), with fp32 intermediates (4 bytes) where an
eager implementation writes them. A fused kernel reads each input and writes each output once;
the unfused figures count the kernels of the eager PyTorch implementations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from simulator.operators import Kernels, LossKernel, Pointwise
from simulator.precision import Precision
from simulator.workload.transformer import Norm, Positions

if TYPE_CHECKING:
    from simulator.workload.transformer import Transformer


class Traffic(NamedTuple):
    """Bytes per element and kernels, forward and backward."""

    forward_bytes: float
    forward_kernels: int
    backward_bytes: float
    backward_kernels: int


FUSED_NORM = Traffic(4, 1, 6, 2)
"""Forward: x in, y out. Backward: dy and x in, dx out, and one reduction of the weight gradient."""
UNFUSED_RMS_NORM = Traffic(34, 6, 68, 12)
"""Cast to fp32, square, mean, scale, cast back, weight: 6+8+4+8+6+... B; twice that backward."""
UNFUSED_LAYER_NORM = Traffic(8, 2, 14, 3)
"""PyTorch's native layer_norm: statistics and normalisation as two passes; it has no eager form."""
FUSED_GATED = Traffic(6, 1, 10, 1)
"""Forward: gate and up in, product out. Backward: product gradient, gate, up in; two out."""
UNFUSED_GATED = Traffic(10, 2, 18, 3)
"""SiLU (2+2), product (4+2); backward product (6+4) and SiLU (6+2)."""
FUSED_PLAIN = Traffic(4, 1, 6, 1)
"""Bias and GELU in one pass; backward reads the gradient and the input, writes one."""
UNFUSED_PLAIN = Traffic(8, 2, 10, 2)
"""Bias (2+2) and GELU (2+2); backward GELU (4+2) and the bias reduction (2) with a copy (2)."""
FUSED_ROTARY = Traffic(4, 1, 4, 1)
UNFUSED_ROTARY = Traffic(20, 5, 20, 5)
"""Rotate halves (negate, concatenate: 4+4), two products (4+4) and their sum (4+...)."""
FUSED_RESIDUAL = Traffic(6, 1, 6, 1)
"""Two inputs, one sum; backward adds the two branches' gradients."""
UNFUSED_RESIDUAL = Traffic(14, 3, 12, 2)
"""Bias (2+2), dropout (2+2), sum (4+2)."""
FUSED_LOSS = Traffic(4, 2, 4, 1)
"""Maximum and exponentials from bf16 logits (2+2); the gradient overwrites them (2+2)."""
UNFUSED_LOSS = Traffic(30, 5, 14, 3)
"""fp32 copy (2+4), maximum (4), shift (4+4), exponential and sum (4+4+4); backward scale, cast."""
GATHERED_LOSS = Traffic(18, 5, 22, 4)
"""fp32 copy (2+4), log-softmax (4+4), accuracy's argmax (4); backward: the loss's gradient as zeros
(4), log-softmax (4+4+4), back to bf16 (4+2)."""
LOSSES = {
    LossKernel.FUSED: FUSED_LOSS,
    LossKernel.VOCABULARY_PARALLEL: UNFUSED_LOSS,
    LossKernel.GATHERED: GATHERED_LOSS,
}


def _passes(name: str, elements: float, traffic: Traffic) -> tuple[Pointwise, Pointwise]:
    forward = Pointwise(name, traffic.forward_bytes * elements, traffic.forward_kernels)
    backward = Pointwise(
        f"{name}_backward", traffic.backward_bytes * elements, traffic.backward_kernels
    )
    return forward, backward


def normalisation(
    model: Transformer, elements: float, kernels: Kernels
) -> tuple[Pointwise, Pointwise]:
    """Return one norm over ``elements`` activations, forward and backward."""
    if kernels.fused_norm:
        return _passes("norm", elements, FUSED_NORM)
    unfused = UNFUSED_RMS_NORM if model.norm is Norm.RMS else UNFUSED_LAYER_NORM
    return _passes("norm", elements, unfused)


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
    """Return the residual addition (with bias and dropout), forward and backward."""
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
        forward, backward = normalisation(model, elements, kernels)
        pairs.append((forward, backward))
    if model.positions is Positions.ROTARY:
        traffic = FUSED_ROTARY if kernels.fused_rope else UNFUSED_ROTARY
        pairs.append(_passes("rotary", elements, traffic))
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in reversed(pairs))


def cross_entropy(elements: float, kernels: Kernels) -> tuple[Pointwise, Pointwise]:
    """Return the loss over ``elements`` logits, forward and backward."""
    return _passes("cross_entropy", elements, LOSSES[kernels.loss])


def gradient_accumulation(parameters: float, gradients: Precision, kernels: Kernels) -> Pointwise:
    """Return the pass that adds bf16 weight gradients into a buffer of ``gradients``.

    Deferred to the end of the backward pass it goes through an fp32 copy (written and read).
    """
    copy = 2 * Precision.FP32.n_bytes if kernels.deferred_accumulation else 0.0
    traffic = Precision.BF16.n_bytes + 2 * gradients.n_bytes + copy
    return Pointwise("gradient_accumulation", traffic * parameters)


def quantisation(
    elements: float, precision: Precision, kernels: Kernels, name: str
) -> tuple[Pointwise, ...]:
    """Return the passes that turn ``elements`` bf16 values into a GEMM operand of ``precision``.

    Two copies are written, one for each direction in which products run over the operand (fp8
    needs its transpose; the blocks of MXFP8 follow the direction). None above 16 bits.

    References
    ----------
    NVIDIA Transformer Engine documentation, "MXFP8": row- and column-wise copies.
    """
    if precision.n_bytes >= Precision.BF16.n_bytes:
        return ()
    cast = Pointwise(name, (Precision.BF16.n_bytes + 2 * precision.n_bytes) * elements)
    if not kernels.current_scaling:
        return (cast,)
    return Pointwise(f"{name}_maximum", Precision.BF16.n_bytes * elements), cast
