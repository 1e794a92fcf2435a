"""Rows of measured tables of memory-bound operations: what their kernels really move.

A table's ``bytes_moved`` is the least traffic of an operation. An eager implementation moves more:
here is the traffic per element, counted kernel by kernel in the profiler's lists
(``benchmarks/measurements/h100/pointwise_kernels.csv``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simulator.operators import Pointwise, PointwiseKind

if TYPE_CHECKING:
    from collections.abc import Mapping


class Passes(NamedTuple):
    """Traffic per element [B], kernels and their kind of one operation."""

    n_bytes: float
    kernels: int
    kind: PointwiseKind = PointwiseKind.ELEMENTWISE
    rest: Passes | None = None
    """What follows, where its kernels are of another kind."""


_DROPOUT, _NORM, _LAYER_NORM = PointwiseKind.DROPOUT, PointwiseKind.NORM, PointwiseKind.LAYER_NORM
_NORM_BACKWARD, _SOFTMAX = PointwiseKind.NORM_BACKWARD, PointwiseKind.SOFTMAX
_SOFTMAX_BACKWARD, _UNFUSED = PointwiseKind.SOFTMAX_BACKWARD, PointwiseKind.UNFUSED
_STRIDED, _TRANSPOSED = PointwiseKind.STRIDED, PointwiseKind.TRANSPOSED
_MIXED, _WIDENED = PointwiseKind.MIXED, PointwiseKind.WIDENED

OPERATIONS: Final[Mapping[str, Passes]] = {
    "copy": Passes(4, 1),
    "add": Passes(6, 1),
    "multiply": Passes(6, 1),
    "multiply_backward": Passes(12, 2),
    "gelu": Passes(4, 1),
    "gelu_backward": Passes(6, 1),
    "silu": Passes(4, 1),
    "silu_backward": Passes(6, 1),
    "cast_fp8": Passes(3, 1),
    "cast_bf16": Passes(6, 1),
    "embedding": Passes(4, 1),
    "sum_rows": Passes(2, 2, _NORM_BACKWARD),  # along columns, as the gradient of a norm's weight
    "largest": Passes(6, 3),
    "dropout": Passes(5, 1, _DROPOUT),
    "dropout_backward": Passes(5, 1),
    "rms_norm": Passes(4, 1, _LAYER_NORM),  # PyTorch's own runs on LayerNorm's kernel
    "rms_norm_backward": Passes(10, 2, _NORM_BACKWARD),
    "layer_norm": Passes(4, 1, _LAYER_NORM),
    "layer_norm_backward": Passes(10, 2, _NORM_BACKWARD),
    "softmax": Passes(4, 1, _SOFTMAX),
    "cast_fp32": Passes(6, 1, _WIDENED),
    "permute_heads": Passes(4, 1, _STRIDED),
    "accumulate": Passes(10, 1, _MIXED),
    # fused: compiled, each pass one Triton kernel
    "rms_norm_fused": Passes(4, 1, _NORM),
    "rms_norm_fused_backward": Passes(10, 3, _NORM_BACKWARD),
    "layer_norm_fused": Passes(4, 1, _LAYER_NORM),
    "layer_norm_fused_backward": Passes(10, 4, _NORM_BACKWARD),
    "add_rms_norm_fused": Passes(8, 1, _NORM),
    "add_rms_norm_fused_backward": Passes(12, 3, _NORM_BACKWARD),
    "swiglu_fused": Passes(6, 1),
    "swiglu_fused_backward": Passes(10, 1),
    "bias_gelu_fused": Passes(4, 1),
    "bias_gelu_fused_backward": Passes(8, 3),
    "rotary_fused": Passes(4, 1),
    "rotary_fused_backward": Passes(4, 1),
    "bias_dropout_add_fused": Passes(7, 2, _DROPOUT),
    "bias_dropout_add_fused_backward": Passes(7, 3),
    "cross_entropy_fused": Passes(2, 2, _SOFTMAX),
    "cross_entropy_fused_backward": Passes(4, 1, _SOFTMAX_BACKWARD),
    "masked_softmax_fused": Passes(4, 1, _SOFTMAX),
    "masked_softmax_fused_backward": Passes(6, 1, _SOFTMAX_BACKWARD),
    "scaled_cast_fp8_fused": Passes(5, 3),
    "current_cast_fp8_fused": Passes(5, 3),
    "cast_transpose_fp8_fused": Passes(4, 1, _TRANSPOSED),
    "accumulate_fused": Passes(10, 1),
    # eager: as written, kernel by kernel
    "swiglu_eager": Passes(10, 2),
    "swiglu_eager_backward": Passes(18, 3),
    "rms_norm_eager": Passes(36, 8, _UNFUSED),
    "rms_norm_eager_backward": Passes(92, 17, _UNFUSED),
    "bias_gelu_eager": Passes(4, 1, _STRIDED, rest=Passes(4, 1)),
    "bias_gelu_eager_backward": Passes(8, 3),
    "rotary_eager": Passes(20, 5, _STRIDED),
    "rotary_eager_backward": Passes(20, 5, _STRIDED),
    "bias_dropout_add_eager": Passes(
        4, 1, _STRIDED, rest=Passes(5, 1, _DROPOUT, rest=Passes(6, 1))
    ),
    "bias_dropout_add_eager_backward": Passes(7, 3),
    "dropout_add_eager": Passes(5, 1, _DROPOUT, rest=Passes(6, 1)),
    "dropout_add_eager_backward": Passes(5, 1),
    "cross_entropy_eager": Passes(18, 3, _UNFUSED),
    "cross_entropy_eager_backward": Passes(22, 4, _UNFUSED),
    "megatron_loss_eager": Passes(38, 9, _UNFUSED),
    "megatron_loss_gradient_eager": Passes(14, 6, _UNFUSED),
    "score_chain_eager": Passes(17, 4, _STRIDED),
    "score_chain_eager_backward": Passes(29, 6, _UNFUSED),
    "score_chain_fp32_eager": Passes(41, 6, _UNFUSED),
    "score_chain_fp32_eager_backward": Passes(65, 8, _UNFUSED),
    "accumulate_widened_eager": Passes(18, 2, _UNFUSED),
    # rows of the first table that were not fused, whatever their name says: they take as long as
    # the eager chains of the later one
    "rms_norm_compiled": Passes(36, 8, _UNFUSED),
    "swiglu_compiled": Passes(10, 2),
    "softmax_fp32out": Passes(14, 2, _SOFTMAX),
}


def pointwise_of(row: Mapping[Any, Any]) -> tuple[Pointwise, ...]:
    """Return the passes over memory of a row, one for each kind of kernel.

    Of an unknown operation, its least traffic at once.
    """
    name = str(row["op"])
    if name not in OPERATIONS:
        return (Pointwise(name=name, n_bytes=float(row["bytes_moved"])),)
    elements = float(row["rows"]) * float(row["cols"])
    chain = []
    passes: Passes | None = OPERATIONS[name]
    while passes:
        n_bytes = passes.n_bytes * elements
        chain.append(Pointwise(name, n_bytes, kernels=passes.kernels, kind=passes.kind))
        passes = passes.rest
    return tuple(chain)
