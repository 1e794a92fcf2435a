"""A decoder transformer as its published configuration describes it."""

from __future__ import annotations

from enum import StrEnum

from simulator.fields import Count, CountOrZero, Flag, Text, record


class Norm(StrEnum):
    """Normalisation layer."""

    RMS = "rmsnorm"
    LAYER = "layernorm"
    LAYER_WITHOUT_BIAS = "layernorm_without_bias"
    """A layer norm that scales but does not shift (PaLM, MPT)."""


class Positions(StrEnum):
    """How positions enter."""

    ROTARY = "rotary"
    LEARNED = "learned"
    ALIBI = "alibi"
    NONE = "none"


@record
class Experts:
    """Routed experts in place of the MLP of every layer; each rank holds all of them."""

    count: Count
    per_token: Count
    """Experts that each token passes through (top-k)."""
    router_hidden: CountOrZero = 0
    """Width of a router that projects down and has two layers there (ZAYA1); 0 for a linear one."""


@record
class Transformer:
    """A model (``scenarios/models/*.yaml``, a Hugging Face ``config.json``, or inline)."""

    name: Text
    layers: Count
    hidden: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    ffn_hidden: Count
    """Width of the MLP, or of one expert."""
    vocabulary: Count
    gated_mlp: Flag
    """SwiGLU or GeGLU: three matrices instead of two."""
    tied_embeddings: Flag
    norm: Norm
    positions: Positions
    linear_bias: Flag
    """Biases on attention output and MLP matrices."""
    qkv_bias: Flag
    parallel_block: Flag = False
    """Attention and MLP side by side on one normalised input (PaLM, MegaScale)."""
    parallel_norms: Flag = False
    """In a parallel block, a norm each for attention and MLP (GPT-NeoX, Falcon 40B)."""
    window: CountOrZero = 0
    """Sliding-window attention: positions each query sees; 0 for full attention."""
    max_positions: CountOrZero = 0
    """Learned position embeddings; 0 without them."""
    embedding_norm: Flag = False
    """A norm right after the embedding (BLOOM)."""
    qk_norm: Flag = False
    """A norm on each query and key head (Qwen3)."""
    vocabulary_multiple: Count = 128
    """The embedding's rows on each tensor-parallel rank are padded to a multiple of this
    (Megatron's ``--make-vocab-size-divisible-by``)."""
    experts: Experts | None = None
    """Mixture of experts; none for a dense model."""
    post_norms: Flag = False
    """A second norm after attention and after MLP (Gemma 2 and 3)."""
