"""A decoder transformer in plain tensors: the step that `measure_steps` times.

Two styles. ``llama``: RMS norm, rotary positions, no bias, no dropout. ``gpt``: LayerNorm, biases,
learned positions, dropout on attention weights and branches, as the stacks of 2021 to 2023.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gpu.operations import DROPOUT, rms_norm, rotary

if TYPE_CHECKING:
    from gpu.cases import Case

Weights = dict[str, Any]


class Model:
    """Weights and the forward pass; blocks and head compiled or eager."""

    def __init__(self, case: Case) -> None:
        """Make random bf16 weights on the device."""
        self._case = case
        self._recompute = case.recompute == "full"
        self.embedding = _weight(case.vocab, case.hidden)
        self.head = _weight(case.vocab, case.hidden)
        self.final_norm = _norm_weights(case)
        self.layers = [_layer_weights(case) for _ in range(case.n_layers)]
        self.positions = _weight(case.seq, case.hidden) if case.style == "gpt" else None
        self._constants = _constants(case)
        compiled = case.blocks == "compiled"
        self._block = torch.compile(block, dynamic=False) if compiled else block
        self._loss = torch.compile(loss, dynamic=False) if compiled else loss

    def parameters(self) -> list[Any]:
        """Return all weights."""
        weights = [self.embedding, self.head, *self.final_norm]
        if self.positions is not None:
            weights.append(self.positions)
        return weights + [weight for layer in self.layers for weight in layer.values()]

    def __call__(self, ids: Any, targets: Any) -> Any:
        """Return the loss of one micro-batch."""
        x = self.layer_stack(ids)
        return self._loss(x, self.final_norm, self.head, targets, self._case.style)

    def layer_stack(self, ids: Any) -> Any:
        """Return the residual stream after all layers."""
        x = functional.embedding(ids, self.embedding)
        if self.positions is not None:
            x = functional.dropout(x + self.positions, DROPOUT)
        for layer in self.layers:
            x = self._run(x, layer)
        return x

    def _run(self, x: Any, layer: Weights) -> Any:
        if self._recompute:
            return checkpoint(
                self._block, x, layer, self._constants, self._case, use_reentrant=False
            )
        return self._block(x, layer, self._constants, self._case)


def choose_attention(kind: str) -> None:
    """Make PyTorch take the kernels of ``kind`` for scaled dot product attention."""
    torch.backends.cuda.enable_cudnn_sdp(kind == "cudnn")
    torch.backends.cuda.enable_flash_sdp(kind == "flash")
    torch.backends.cuda.enable_mem_efficient_sdp(enabled=False)
    torch.backends.cuda.enable_math_sdp(enabled=True)


def block(x: Any, weights: Weights, constants: Weights, case: Case) -> Any:
    """Return the residual stream after one layer."""
    x = _leave(x, _attention(_norm(x, weights, "norm1", case), weights, constants, case), case)
    return _leave(x, _mlp(_norm(x, weights, "norm2", case), weights, case), case)


def loss(x: Any, norm: list[Any], head: Any, targets: Any, style: str) -> Any:
    """Return the mean cross entropy with an fp32 softmax."""
    x = rms_norm(x, norm[0]) if style == "llama" else _layer_norm(x, *norm)
    logits = functional.linear(x, head).flatten(0, 1)
    return functional.cross_entropy(logits.float(), targets.flatten())


def _norm(x: Any, weights: Weights, name: str, case: Case) -> Any:
    if case.style == "llama":
        return rms_norm(x, weights[name])
    return _layer_norm(x, weights[name], weights[name + "_bias"])


def _layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    return functional.layer_norm(x, x.shape[-1:], weight, bias)


def _leave(x: Any, branch: Any, case: Case) -> Any:
    return x + (functional.dropout(branch, DROPOUT) if case.style == "gpt" else branch)


def _linear(x: Any, weights: Weights, name: str) -> Any:
    return functional.linear(x, weights[name], weights.get(name + "_bias"))


def _attention(x: Any, weights: Weights, constants: Weights, case: Case) -> Any:
    width, kv_width = case.hidden, case.n_kv_heads * case.head_dim
    q, k, v = _linear(x, weights, "qkv").split((width, kv_width, kv_width), dim=-1)
    q, k, v = (part.unflatten(-1, (-1, case.head_dim)) for part in (q, k, v))
    if case.style == "llama":
        q = rotary(q, constants["cosine"], constants["sine"])
        k = rotary(k, constants["cosine"], constants["sine"])
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    if case.attention == "math":
        out = _stored_scores(q, k, v, constants["hidden"], case)
    else:
        dropout = DROPOUT if case.style == "gpt" else 0.0
        out = functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, dropout_p=dropout, enable_gqa=k.shape[1] != q.shape[1]
        )
    return _linear(out.transpose(1, 2).flatten(-2), weights, "out")


def _stored_scores(q: Any, k: Any, v: Any, hidden: Any, case: Case) -> Any:
    """Return attention through scores in memory: scale, mask, fp32 softmax, dropout."""
    scores = (q @ k.transpose(-1, -2)) * (1 / math.sqrt(case.head_dim))
    weights = torch.softmax(scores.masked_fill_(hidden, -1e4), -1, dtype=torch.float32)
    weights = weights.to(q.dtype)
    if case.style == "gpt":
        weights = functional.dropout(weights, DROPOUT)
    return weights @ v


def _mlp(x: Any, weights: Weights, case: Case) -> Any:
    up = _linear(x, weights, "up")
    if case.gated:
        gate, up = up.chunk(2, dim=-1)
        return _linear(functional.silu(gate) * up, weights, "down")
    return _linear(functional.gelu(up, approximate="tanh"), weights, "down")


def _weight(*sizes: int) -> Any:
    weight = torch.empty(*sizes, dtype=torch.bfloat16, device=_device())
    return weight.normal_(std=0.02).requires_grad_()


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _norm_weights(case: Case) -> list[Any]:
    return [_weight(case.hidden) for _ in range(2 if case.style == "gpt" else 1)]


def _layer_weights(case: Case) -> Weights:
    kv_width = case.n_kv_heads * case.head_dim
    sizes = {
        "qkv": (case.hidden + 2 * kv_width, case.hidden),
        "out": (case.hidden, case.hidden),
        "up": (case.ffn_hidden * (2 if case.gated else 1), case.hidden),
        "down": (case.hidden, case.ffn_hidden),
    }
    weights = {name: _weight(*size) for name, size in sizes.items()}
    weights |= {"norm1": _weight(case.hidden), "norm2": _weight(case.hidden)}
    if case.style == "gpt":
        weights |= {f"{name}_bias": _weight(size[0]) for name, size in sizes.items()}
        weights |= {f"{name}_bias": _weight(case.hidden) for name in ("norm1", "norm2")}
    return weights


def _constants(case: Case) -> Weights:
    constants: Weights = {}
    device = _device()
    if case.style == "llama":
        angles = torch.rand(case.seq, 1, case.head_dim, device=device)
        constants |= {"cosine": angles.cos().bfloat16(), "sine": angles.sin().bfloat16()}
    if case.attention == "math":
        mask = torch.ones(case.seq, case.seq, dtype=torch.bool, device=device)
        constants["hidden"] = mask.triu(1)
    return constants
