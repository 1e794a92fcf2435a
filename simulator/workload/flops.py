"""Model FLOPs per token, by the convention of whoever reports the MFU.

Forward and backward, a multiply-add counted as two, the backward pass as twice the forward
pass; recomputation, norms, activations and the optimizer are not model FLOPs. The conventions
differ by up to a tenth, so a FLOP count or an MFU is only ever printed with its convention.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from simulator.operators import Attention
from simulator.workload.parameters import (
    active_parameters,
    embedding_parameters,
    matmul_parameters_per_layer,
)

if TYPE_CHECKING:
    from simulator.workload.transformer import Transformer

TRAINING_PASSES: Final = 3
"""One forward pass and a backward pass of twice its FLOPs (input and weight gradients)."""


class Convention(StrEnum):
    """Whose rule counts the model FLOPs."""

    PALM = "palm"
    """6 N + 12 L a d s, with N all parameters that a token meets."""
    MEGATRON = "megatron"
    """Every GEMM and full attention, the head included."""
    CAUSAL = "causal"
    """As Megatron, but attention only where the causal mask and the window let it be."""


@dataclass(frozen=True, slots=True)
class ForwardFlops:
    """FLOPs of one token's forward pass, by part of the model."""

    layer_linear: float
    """Matrices of one layer."""
    layer_attention: float
    """Scores and context of one layer."""
    head: float
    """Output projection."""

    def whole(self, layers: int) -> float:
        """Return the FLOPs of a forward pass through ``layers`` layers and the head."""
        return layers * (self.layer_linear + self.layer_attention) + self.head


def forward_flops_per_token(
    model: Transformer, sequence_length: int, *, causal: bool
) -> ForwardFlops:
    """Return the forward FLOPs of one token, averaged over a sequence.

    Parameters
    ----------
    model : Transformer
        The model; its vocabulary counts as given, so pad it to count padding.
    sequence_length : int
        Tokens that attend to one another.
    causal : bool
        Count only the query-key pairs that the causal mask and the sliding window leave;
        otherwise all ``sequence_length`` squared, whatever the window.
    """
    return ForwardFlops(
        layer_linear=2.0 * matmul_parameters_per_layer(model),
        layer_attention=_attention_flops(model, sequence_length, causal=causal) / sequence_length,
        head=2.0 * embedding_parameters(model),
    )


def model_flops_per_token(
    model: Transformer, sequence_length: int, convention: Convention
) -> float:
    """Return the model FLOPs of training on one token, by ``convention``.

    References
    ----------
    PaLM (Chowdhery et al. 2022), appendix B: ``6 N + 12 L H Q T``. ``N`` is the parameter total:
    embeddings, learned positions, norms and biases included, a tied head once, of experts
    those that a token is routed to; attention is full, without the causal saving and without a
    window.

    Megatron (Narayanan et al. 2021, section 5.1; Korthikanti et al. 2022, appendix A):
    ``72 L h^2 (1 + s / 6h + V / 12 L h)`` per token. Here every GEMM is counted by its own
    shape, which is the same number for a GPT (``4 h`` wide MLP, as many key/value heads as
    heads) and carries over to gated and grouped-query models.
    """
    if convention is Convention.PALM:
        attention = _attention_flops(model, sequence_length, causal=False) / sequence_length
        return 6.0 * active_parameters(model) + TRAINING_PASSES * model.layers * attention
    causal = convention is Convention.CAUSAL
    forward = forward_flops_per_token(model, sequence_length, causal=causal)
    return TRAINING_PASSES * forward.whole(model.layers)


def _attention_flops(model: Transformer, sequence_length: int, *, causal: bool) -> float:
    return Attention(
        name="attention",
        batch=1,
        heads=model.heads,
        kv_heads=model.kv_heads,
        queries=sequence_length,
        keys=sequence_length,
        head_dim=model.head_dim,
        causal=causal,
        window=model.window,
    ).flops
