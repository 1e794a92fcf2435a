"""Readers of Hugging Face configurations, one for each known architecture.

Sizes are read from the file or refused: a key that the transformers library would fill with the
size of one particular model is required here. Only switches (biases, tying, parallel blocks) and
rules (``num_key_value_heads`` = heads, ``head_dim`` = hidden / heads) that an architecture's
documentation gives as its default may be left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from simulator.errors import Problem
from simulator.fields import LARGEST_COUNT
from simulator.workload.transformer import Norm, Positions, Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXPERT_KEYS: Final = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
"""Keys by which configurations of mixtures of experts are known."""

OPT_POSITION_OFFSET: Final = 2
"""OPT's position table starts at index 2 (``OPTLearnedPositionalEmbedding``)."""


@dataclass(frozen=True, slots=True)
class ConfigReader:
    """Reads typed values and notes what is wrong; a value returned after that is never used."""

    config: Mapping[str, object]
    name: str
    where: str
    """File of the document, for messages."""
    prefix: str = ""
    """Path of ``config`` inside the document."""
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, key: str, message: str) -> None:
        """Note a problem, once."""
        problem = Problem(where=self.where, path=self.prefix + key, message=message)
        if problem not in self.problems:
            self.problems.append(problem)

    def count(self, *keys: str, default: int | None = None) -> int:
        """Return the positive integer under the first of ``keys`` that is present."""
        key = next((key for key in keys if self.config.get(key) is not None), keys[0])
        value = self.config.get(key)
        if value is None and default is not None:
            return default
        if value is None:
            self.refuse(key, "is missing")
        elif not isinstance(value, int) or isinstance(value, bool):
            self.refuse(key, f"should be an integer, not {_shown(value)}")
        elif not 1 <= value <= LARGEST_COUNT:
            self.refuse(key, f"should be from 1 to {LARGEST_COUNT}, not {_shown(value)}")
        else:
            return value
        return 1

    def flag(self, key: str, *, default: bool) -> bool:
        """Return the boolean under ``key``; null or absent: ``default``."""
        value = self.config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(key, f"should be true or false, not {_shown(value)}")
        return value is True

    def require(self, key: str, *, value: bool, default: bool, otherwise: str = "") -> None:
        """Note a switch that is not in its one supported position."""
        if self.flag(key, default=default) is not value:
            self.refuse(key, otherwise or f"only {str(value).lower()} is supported")

    def share(self, key: str, whole: int, parts: int) -> int:
        """Return ``whole / parts``, noting under ``key`` where it is not an integer."""
        if whole % parts and not self.problems:  # a size that could not be read is 1
            self.refuse(key, f"{whole} is not a multiple of {parts}")
        return max(1, whole // parts)

    def require_text(self, key: str, *allowed: str) -> None:
        """Note a text that is present and not one of the supported ones."""
        value = self.config.get(key)
        if value is not None and value not in allowed:
            self.refuse(key, f"only {' or '.join(allowed)} is supported, not {_shown(value)}")

    def inside(self, key: str) -> ConfigReader:
        """Return a reader of the object under ``key`` (an empty one if absent)."""
        value = self.config.get(key)
        if value is not None and not isinstance(value, dict):
            self.refuse(key, f"should be an object, not {_shown(value)}")
        config = value if isinstance(value, dict) else {}
        return ConfigReader(config, self.name, self.where, f"{self.prefix}{key}.", self.problems)

    def refuse_mixtures(self) -> None:
        """Note experts, and layers that are not all of one kind."""
        for key in EXPERT_KEYS:
            if self.config.get(key) not in (None, 0, 1):
                self.refuse(key, "mixtures of experts are not supported")
        kinds = self.config.get("layer_types")
        if isinstance(kinds, list) and any(kind != kinds[0] for kind in kinds):
            self.refuse("layer_types", "layers that attend differently are not supported")


def _llama(read: ConfigReader) -> Transformer:
    bias = read.flag("attention_bias", default=False)
    if read.flag("mlp_bias", default=False) is not bias:
        read.refuse("mlp_bias", "biases only on attention or only on the MLP are not supported")
    return _gated(read, grouped=False, qkv_bias=bias, linear_bias=bias)


def _mistral(read: ConfigReader) -> Transformer:
    if "sliding_window" not in read.config:
        read.refuse("sliding_window", "is missing; null means full attention")
    return _gated(read, window=read.count("sliding_window", default=0))


def _phi3(read: ConfigReader) -> Transformer:
    return _gated(read, grouped=False, window=read.count("sliding_window", default=0))


def _qwen2(read: ConfigReader) -> Transformer:
    return _gated(read, qkv_bias=True, window=_qwen_window(read))


def _qwen3(read: ConfigReader) -> Transformer:
    _without_attention_bias(read)
    head_dim = read.count("head_dim")
    return _gated(read, head_dim=head_dim, qk_norm=True, window=_qwen_window(read))


def _gemma(read: ConfigReader) -> Transformer:
    _without_attention_bias(read)
    return _gated(read, head_dim=read.count("head_dim"), tied=True)


def _qwen_window(read: ConfigReader) -> int:
    """Return the window of all layers: the first ``max_window_layers`` have none."""
    if not read.flag("use_sliding_window", default=False):
        return 0
    window, layers = read.count("sliding_window"), read.count("num_hidden_layers")
    if read.config.get("max_window_layers") == 0:
        return window
    if read.count("max_window_layers") < layers:
        read.refuse("max_window_layers", "a window in some layers only is not supported")
    return 0


def _without_attention_bias(read: ConfigReader) -> None:
    otherwise = "biases only on attention are not supported"
    read.require("attention_bias", value=False, default=False, otherwise=otherwise)


def _gated(
    read: ConfigReader,
    *,
    grouped: bool = True,
    head_dim: int | None = None,
    tied: bool = False,
    qkv_bias: bool = False,
    linear_bias: bool = False,
    qk_norm: bool = False,
    window: int = 0,
) -> Transformer:
    """Return a model of the Llama kind: rotary, RMS norms, gated MLP.

    ``grouped`` architectures have no rule for absent key/value heads, so these are required.
    """
    hidden, heads = read.count("hidden_size"), read.count("num_attention_heads")
    kv_heads = read.count("num_key_value_heads", default=None if grouped else heads)
    read.share("num_attention_heads", heads, kv_heads)
    if head_dim is None:
        given = read.config.get("head_dim") is not None
        head_dim = read.count("head_dim") if given else read.share("hidden_size", hidden, heads)
    return Transformer(
        name=read.name,
        layers=read.count("num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn_hidden=read.count("intermediate_size"),
        vocabulary=read.count("vocab_size"),
        gated_mlp=True,
        tied_embeddings=read.flag("tie_word_embeddings", default=tied),
        norm=Norm.RMS,
        positions=Positions.ROTARY,
        linear_bias=linear_bias,
        qkv_bias=qkv_bias,
        qk_norm=qk_norm,
        window=window,
    )


def _gpt2(read: ConfigReader) -> Transformer:
    hidden, heads = read.count("n_embd", "hidden_size"), read.count("n_head", "num_attention_heads")
    return _plain(
        read,
        layers=read.count("n_layer", "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        ffn_hidden=read.count("n_inner", default=4 * hidden),
        positions=Positions.LEARNED,
        max_positions=read.count("n_positions", "max_position_embeddings"),
    )


def _gpt_neox(read: ConfigReader) -> Transformer:
    otherwise = "attention without biases beside an MLP with them is not supported"
    read.require("attention_bias", value=True, default=True, otherwise=otherwise)
    parallel = read.flag("use_parallel_residual", default=True)
    return _plain(
        read,
        layers=read.count("num_hidden_layers"),
        hidden=read.count("hidden_size"),
        heads=read.count("num_attention_heads"),
        ffn_hidden=read.count("intermediate_size"),
        positions=Positions.ROTARY,
        tied=False,
        parallel_block=parallel,
        parallel_norms=parallel,
    )


def _opt(read: ConfigReader) -> Transformer:
    hidden = read.count("hidden_size")
    if read.count("word_embed_proj_dim", default=hidden) != hidden:
        read.refuse("word_embed_proj_dim", "projected embeddings are not supported")
    for key, value in (
        ("do_layer_norm_before", True),
        ("layer_norm_elementwise_affine", True),
        ("_remove_final_layer_norm", False),
    ):
        read.require(key, value=value, default=value)
    return _plain(
        read,
        layers=read.count("num_hidden_layers"),
        hidden=hidden,
        heads=read.count("num_attention_heads"),
        ffn_hidden=read.count("ffn_dim"),
        positions=Positions.LEARNED,
        max_positions=read.count("max_position_embeddings") + OPT_POSITION_OFFSET,
        bias=read.flag("enable_bias", default=True),
    )


def _bloom(read: ConfigReader) -> Transformer:
    hidden = read.count("hidden_size", "n_embed")
    return _plain(
        read,
        layers=read.count("n_layer", "num_hidden_layers"),
        hidden=hidden,
        heads=read.count("n_head", "num_attention_heads"),
        ffn_hidden=4 * hidden,
        positions=Positions.ALIBI,
        embedding_norm=True,
    )


def _mpt(read: ConfigReader) -> Transformer:
    """Return the released MPT kind: ALiBi and no biases at all."""
    attention, mlp = read.inside("attn_config"), read.inside("ffn_config")
    attention.require("alibi", value=True, default=False)
    attention.require("qk_ln", value=False, default=False)
    attention.require_text("attn_type", "multihead_attention")
    mlp.require_text("ffn_type", "mptmlp")
    read.require_text("norm_type", "low_precision_layernorm", "layernorm")
    read.require("no_bias", value=True, default=False)
    hidden = read.count("d_model")
    return _plain(
        read,
        layers=read.count("n_layers"),
        hidden=hidden,
        heads=read.count("n_heads"),
        ffn_hidden=read.count("expansion_ratio", default=4) * hidden,
        positions=Positions.ALIBI,
        norm=Norm.LAYER_WITHOUT_BIAS,
        bias=False,
    )


def _falcon(read: ConfigReader) -> Transformer:
    hidden = read.count("hidden_size")
    heads = read.count("num_attention_heads", "n_head")
    grouped = read.flag("new_decoder_architecture", default=False)
    single = read.flag("multi_query", default=True) and not grouped
    kv_heads = 1 if single else read.count("num_kv_heads", "n_head_kv", default=heads)
    norms = read.count("num_ln_in_parallel_attn", default=2) if grouped else 1
    alibi = read.flag("alibi", default=False)
    return _plain(
        read,
        layers=read.count("num_hidden_layers", "n_layer"),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        ffn_hidden=read.count("ffn_hidden_size", default=4 * hidden),
        positions=Positions.ALIBI if alibi else Positions.ROTARY,
        bias=read.flag("bias", default=False),
        parallel_block=grouped or read.flag("parallel_attn", default=True),
        parallel_norms=norms > 1,
    )


def _plain(
    read: ConfigReader,
    *,
    layers: int,
    hidden: int,
    heads: int,
    ffn_hidden: int,
    positions: Positions,
    kv_heads: int | None = None,
    max_positions: int = 0,
    norm: Norm = Norm.LAYER,
    bias: bool = True,
    tied: bool = True,
    parallel_block: bool = False,
    parallel_norms: bool = False,
    embedding_norm: bool = False,
) -> Transformer:
    """Return a model of the GPT kind: layer norms, two-matrix MLP."""
    kv_heads = heads if kv_heads is None else kv_heads
    read.share("num_attention_heads", heads, kv_heads)
    return Transformer(
        name=read.name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=read.share("hidden_size", hidden, heads),
        ffn_hidden=ffn_hidden,
        vocabulary=read.count("vocab_size"),
        gated_mlp=False,
        tied_embeddings=read.flag("tie_word_embeddings", default=tied),
        norm=norm,
        positions=positions,
        max_positions=max_positions,
        linear_bias=bias,
        qkv_bias=bias,
        parallel_block=parallel_block,
        parallel_norms=parallel_norms,
        embedding_norm=embedding_norm,
    )


def _shown(value: object) -> str:
    """Return a value as a message shows it: whole if short."""
    return repr(value)[:40] if not isinstance(value, (dict, list)) else f"a {type(value).__name__}"


ARCHITECTURES: Final[Mapping[str, Callable[[ConfigReader], Transformer]]] = MappingProxyType(
    {
        "BloomForCausalLM": _bloom,
        "FalconForCausalLM": _falcon,
        "GPT2LMHeadModel": _gpt2,
        "GPTNeoXForCausalLM": _gpt_neox,
        "GemmaForCausalLM": _gemma,
        "LlamaForCausalLM": _llama,
        "MPTForCausalLM": _mpt,
        "MistralForCausalLM": _mistral,
        "MptForCausalLM": _mpt,
        "OPTForCausalLM": _opt,
        "Phi3ForCausalLM": _phi3,
        "Qwen2ForCausalLM": _qwen2,
        "Qwen3ForCausalLM": _qwen3,
    }
)
"""Reader by architecture."""

_ALTERNATING: Final = "layers that alternate window and full attention are not supported"
_EXPERTS: Final = "mixtures of experts are not supported"
REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "DeepseekV2ForCausalLM": _EXPERTS,
        "DeepseekV3ForCausalLM": _EXPERTS,
        "Gemma2ForCausalLM": _ALTERNATING,
        "Gemma3ForCausalLM": _ALTERNATING,
        "GptOssForCausalLM": _EXPERTS,
        "MixtralForCausalLM": _EXPERTS,
        "Qwen2MoeForCausalLM": _EXPERTS,
        "Qwen3MoeForCausalLM": _EXPERTS,
    }
)
"""Why a well-known architecture is not read."""
