"""Memory-bound operations as training stacks write them, for `pointwise` to time.

`FUSED` are compiled: what a fused kernel of Triton, Apex or Transformer Engine does in one pass.
`EAGER` run as written, kernel by kernel. `NATIVE` are single kernels of PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch.nn import functional

from gpu.timing import normal

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD: Final = 128
"""Width of a head in rotary and permutation."""
VOCABULARY: Final = 51200
"""Rows of the embedding table."""
FP8_MAX: Final = 448.0
DROPOUT: Final = 0.1


class Operation(NamedTuple):
    """One operation on ``rows x cols`` elements."""

    name: str
    run: Callable[..., Any]
    inputs: Callable[[int, int], tuple[Any, ...]]
    forward_bytes: float
    """Least traffic per element [B]: each input read once, each output written once."""
    backward_bytes: float = 0.0
    """The same of the backward pass; none is run where this is 0."""
    shapes: str = "stream"


def rms_norm(x: Any, weight: Any) -> Any:
    """Return the norm of the LLaMA code: statistics in fp32, weight in bf16."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)
    return weight * wide.to(x.dtype)


def add_rms_norm(x: Any, residual: Any, weight: Any) -> tuple[Any, Any]:
    """Return the new residual stream and its norm."""
    stream = x + residual
    return stream, rms_norm(stream, weight)


def swiglu(gate: Any, up: Any) -> Any:
    """Return the gated activation."""
    return functional.silu(gate) * up


def bias_gelu(x: Any, bias: Any) -> Any:
    """Return Megatron's bias and tanh-GELU."""
    return functional.gelu(x + bias, approximate="tanh")


def rotary(x: Any, cosine: Any, sine: Any) -> Any:
    """Return rotated halves, as GPT-NeoX and LLaMA write it."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


def bias_dropout_add(x: Any, bias: Any, residual: Any) -> Any:
    """Return the residual stream after a projection with bias and dropout."""
    return residual + functional.dropout(x + bias, DROPOUT)


def dropout_add(x: Any, residual: Any) -> Any:
    """Return the residual stream after dropout."""
    return residual + functional.dropout(x, DROPOUT)


def cross_entropy(logits: Any, targets: Any) -> Any:
    """Return the mean loss of bf16 logits with an fp32 softmax."""
    return functional.cross_entropy(logits.float(), targets)


def megatron_loss(logits: Any, targets: Any) -> Any:
    """Return the softmax that Megatron's vocabulary-parallel loss keeps (one shard)."""
    wide = logits.float()
    wide.sub_(wide.amax(dim=-1, keepdim=True))
    picked = wide.gather(1, targets.unsqueeze(1))
    torch.exp(wide, out=wide)
    total = wide.sum(dim=-1, keepdim=True)
    wide.div_(total)
    return wide, total.log() - picked


def megatron_loss_gradient(softmax: Any, targets: Any, scale: Any) -> Any:
    """Return the gradient that Megatron's loss makes from its softmax, in bf16."""
    rows = torch.arange(softmax.shape[0], device=softmax.device)
    softmax[rows, targets] -= 1.0
    softmax.mul_(scale)
    return softmax.to(torch.bfloat16)


def masked_softmax(scores: Any) -> Any:
    """Return the scaled, causally masked softmax; fused: Megatron's kernel."""
    queries, keys = scores.shape[-2:]
    rows = torch.arange(queries, device=scores.device).unsqueeze(1)
    hidden = torch.arange(keys, device=scores.device) > rows
    return torch.softmax((scores.float() * 0.088).masked_fill(hidden, -1e4), -1).to(scores.dtype)


def score_chain(scores: Any, hidden: Any) -> Any:
    """Return attention weights as eager code makes them: scale, mask, softmax, dropout."""
    masked = (scores * 0.088).masked_fill_(hidden, -1e4)
    return functional.dropout(torch.softmax(masked, dim=-1), DROPOUT)


def score_chain_fp32(scores: Any, hidden: Any) -> Any:
    """Return the same with the softmax in fp32."""
    masked = (scores.float() * 0.088).masked_fill_(hidden, -1e4)
    return functional.dropout(torch.softmax(masked, dim=-1).to(scores.dtype), DROPOUT)


def scaled_cast(x: Any, scale: Any) -> Any:
    """Return fp8 numbers and the largest magnitude for the next step's scale (delayed scaling)."""
    quantized = (x * scale).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)
    return quantized, x.abs().amax()


def current_cast(x: Any) -> Any:
    """Return fp8 numbers scaled by their own largest magnitude (current scaling)."""
    scale = FP8_MAX / x.abs().amax().float()
    return (x.float() * scale).to(torch.float8_e4m3fn), scale


def cast_transpose(x: Any, scale: Any) -> Any:
    """Return fp8 numbers in both layouts."""
    quantized = (x * scale).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)
    return quantized, quantized.t().contiguous()


def accumulate(total: Any, gradient: Any) -> Any:
    """Add a bf16 gradient to an fp32 one."""
    return total.add_(gradient)


def accumulate_widened(total: Any, gradient: Any) -> Any:
    """Add a bf16 gradient to an fp32 one through an fp32 copy."""
    return total.add_(gradient.float())


def _leaf(tensor: Any) -> Any:
    return tensor.requires_grad_()


def _one(rows: int, cols: int) -> tuple[Any, ...]:
    return (_leaf(normal(rows, cols)),)


def _two(rows: int, cols: int) -> tuple[Any, ...]:
    return _leaf(normal(rows, cols)), _leaf(normal(rows, cols))


def _weighted(rows: int, cols: int) -> tuple[Any, ...]:
    return _leaf(normal(rows, cols)), _leaf(normal(cols))


def _biased(rows: int, cols: int) -> tuple[Any, ...]:
    return _leaf(normal(rows, cols)), _leaf(normal(cols)), _leaf(normal(cols))


def _residual_weighted(rows: int, cols: int) -> tuple[Any, ...]:
    return _leaf(normal(rows, cols)), _leaf(normal(rows, cols)), _leaf(normal(cols))


def _residual_biased(rows: int, cols: int) -> tuple[Any, ...]:
    return _leaf(normal(rows, cols)), _leaf(normal(cols)), _leaf(normal(rows, cols))


def _rotated(rows: int, cols: int) -> tuple[Any, ...]:
    heads = _leaf(normal(rows, cols // HEAD, HEAD))
    return heads, normal(rows, 1, HEAD), normal(rows, 1, HEAD)


def _classified(rows: int, cols: int) -> tuple[Any, ...]:
    return _leaf(normal(rows, cols)), torch.randint(0, cols, (rows,), device="cuda")


def _softmax_kept(rows: int, cols: int) -> tuple[Any, ...]:
    targets = torch.randint(0, cols, (rows,), device="cuda")
    return normal(rows, cols, dtype=torch.float32), targets, normal(rows, 1, dtype=torch.float32)


def _scores(rows: int, cols: int) -> tuple[Any, ...]:
    return (_leaf(normal(rows // cols, cols, cols)),)


def _scores_masked(rows: int, cols: int) -> tuple[Any, ...]:
    mask = torch.ones(cols, cols, dtype=torch.bool, device="cuda").triu(1)
    return _leaf(normal(rows // cols, cols, cols)), mask


def _scaled(rows: int, cols: int) -> tuple[Any, ...]:
    return normal(rows, cols), torch.full((), 2.0, dtype=torch.bfloat16, device="cuda")


def _gradients(rows: int, cols: int) -> tuple[Any, ...]:
    return normal(rows, cols, dtype=torch.float32), normal(rows, cols)


def _wide(rows: int, cols: int) -> tuple[Any, ...]:
    return (normal(rows, cols, dtype=torch.float32),)


def _plain(rows: int, cols: int) -> tuple[Any, ...]:
    return (normal(rows, cols),)


def _headed(rows: int, cols: int) -> tuple[Any, ...]:
    return (normal(rows, cols // HEAD, HEAD),)


def _rms_norm_native(x: Any, weight: Any) -> Any:
    return functional.rms_norm(x, x.shape[-1:], weight, 1e-5)


def _layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    return functional.layer_norm(x, x.shape[-1:], weight, bias)


_RMS_NORM: Final = Operation("rms_norm", rms_norm, _weighted, 4, 6)
_LAYER_NORM: Final = Operation("layer_norm", _layer_norm, _biased, 4, 6)
_SWIGLU: Final = Operation("swiglu", swiglu, _two, 6, 10)
_BIAS_GELU: Final = Operation("bias_gelu", bias_gelu, _weighted, 4, 6)
_ROTARY: Final = Operation("rotary", rotary, _rotated, 4, 4)
_BIAS_DROPOUT_ADD: Final = Operation("bias_dropout_add", bias_dropout_add, _residual_biased, 7, 5)
_CROSS_ENTROPY: Final = Operation("cross_entropy", cross_entropy, _classified, 2, 4, "logits")
_CURRENT_CAST: Final = Operation("current_cast_fp8", current_cast, _plain, 5)
_ACCUMULATE: Final = Operation("accumulate", accumulate, _gradients, 10)

FUSED: Final = (
    _RMS_NORM,
    _LAYER_NORM,
    Operation("add_rms_norm", add_rms_norm, _residual_weighted, 8, 8),
    _SWIGLU,
    _BIAS_GELU,
    _ROTARY,
    _BIAS_DROPOUT_ADD,
    _CROSS_ENTROPY,
    Operation("masked_softmax", masked_softmax, _scores, 4, 6, "scores"),
    Operation("scaled_cast_fp8", scaled_cast, _scaled, 3),
    _CURRENT_CAST,
    Operation("cast_transpose_fp8", cast_transpose, _scaled, 4),
    _ACCUMULATE,
)
EAGER: Final = (
    _RMS_NORM,
    _SWIGLU,
    _BIAS_GELU,
    _ROTARY,
    _BIAS_DROPOUT_ADD,
    Operation("dropout_add", dropout_add, _two, 7, 5),
    _CROSS_ENTROPY,
    Operation("megatron_loss", megatron_loss, _classified, 6, 0, "logits"),
    Operation("megatron_loss_gradient", megatron_loss_gradient, _softmax_kept, 6, 0, "logits"),
    Operation("score_chain", score_chain, _scores_masked, 5, 7, "scores"),
    Operation("score_chain_fp32", score_chain_fp32, _scores_masked, 5, 7, "scores"),
    _CURRENT_CAST,
    Operation("accumulate_widened", accumulate_widened, _gradients, 10),
)
NATIVE: Final = (
    Operation("copy", lambda x: x.clone(), _plain, 4),
    Operation("add", lambda x, y: x + y, _two, 6),
    Operation("multiply", lambda x, y: x * y, _two, 6, 10),
    Operation("gelu", functional.gelu, _one, 4, 6),
    Operation("silu", functional.silu, _one, 4, 6),
    Operation("rms_norm", _rms_norm_native, _weighted, 4, 6),
    _LAYER_NORM,
    Operation("dropout", lambda x: functional.dropout(x, DROPOUT), _one, 5, 5),
    Operation("softmax", lambda x: torch.softmax(x, -1), _scores, 4, 6, "scores"),
    Operation("cast_fp8", lambda x: x.to(torch.float8_e4m3fn), _plain, 3),
    Operation("cast_fp32", lambda x: x.float(), _plain, 6),
    Operation("cast_bf16", lambda x: x.to(torch.bfloat16), _wide, 6),
    Operation("sum_rows", lambda x: x.sum(0), _plain, 2),
    Operation("largest", lambda x: x.abs().amax(), _plain, 2),
    Operation("transpose", lambda x: x.t().contiguous(), _plain, 4),
    Operation("permute_heads", lambda x: x.transpose(0, 1).contiguous(), _headed, 4),
    _ACCUMULATE,
)
