"""Hugging Face configurations: known families exactly, everything else refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import DocumentError, ScenarioError
from simulator.workload.architectures import ARCHITECTURES, REFUSED
from simulator.workload.huggingface import from_config, read_config
from simulator.workload.parameters import total_parameters
from simulator.workload.transformer import Norm, Positions, Transformer


def preset(name: str) -> Transformer:
    return validate(Transformer, Catalog().document("model", name))


SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
)


def llama_like(architecture: str, *sizes: int, **more: object) -> dict[str, Any]:
    return {"architectures": [architecture], **dict(zip(SIZES, sizes, strict=True)), **more}


LLAMA_2_7B = llama_like("LlamaForCausalLM", 32, 4096, 32, 11008, 32000)

LIKE_PRESETS: dict[str, dict[str, Any]] = {  # what the published files say, in the keys that count
    "llama-2-7b": LLAMA_2_7B,
    "llama-2-70b": llama_like(
        "LlamaForCausalLM", 80, 8192, 64, 28672, 32000, num_key_value_heads=8
    ),
    "llama-3.2-1b": llama_like(
        "LlamaForCausalLM", 16, 2048, 32, 8192, 128256,
        num_key_value_heads=8, head_dim=64, tie_word_embeddings=True,
        attention_bias=False, mlp_bias=False, rope_scaling={"factor": 32.0},
    ),
    "mistral-7b": llama_like(
        "MistralForCausalLM", 32, 4096, 32, 14336, 32000,
        num_key_value_heads=8, sliding_window=4096,
    ),
    "phi-3-mini": llama_like(
        "Phi3ForCausalLM", 32, 3072, 32, 8192, 32064, num_key_value_heads=32, sliding_window=2047
    ),
    "qwen2.5-7b": llama_like(
        "Qwen2ForCausalLM", 28, 3584, 28, 18944, 152064,
        num_key_value_heads=4, use_sliding_window=False, sliding_window=131072,
        max_window_layers=28, tie_word_embeddings=False,
    ),
    "qwen3-8b": llama_like(
        "Qwen3ForCausalLM", 36, 4096, 32, 12288, 151936,
        num_key_value_heads=8, head_dim=128, use_sliding_window=False, sliding_window=None,
    ),
    "bloom-176b": {
        "architectures": ["BloomForCausalLM"], "n_layer": 70, "n_embed": 14336,
        "num_attention_heads": 112, "vocab_size": 250880,
    },
    "falcon-7b": {
        "architectures": ["FalconForCausalLM"], "num_hidden_layers": 32, "hidden_size": 4544,
        "num_attention_heads": 71, "vocab_size": 65024, "multi_query": True,
        "new_decoder_architecture": False, "parallel_attn": True, "bias": False, "alibi": False,
    },
    "falcon-40b": {
        "architectures": ["FalconForCausalLM"], "num_hidden_layers": 60, "hidden_size": 8192,
        "num_attention_heads": 128, "num_kv_heads": 8, "vocab_size": 65024, "multi_query": True,
        "new_decoder_architecture": True, "parallel_attn": True, "bias": False, "alibi": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LIKE_PRESETS)
def test_a_configuration_gives_the_preset(name: str) -> None:
    assert from_config(LIKE_PRESETS[name], name) == preset(name)


def gpt2(layers: int, hidden: int, heads: int) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"], "n_layer": layers, "n_embd": hidden,
        "n_head": heads, "n_positions": 1024, "n_inner": None, "vocab_size": 50257,
    }  # fmt: skip


def neox(layers: int, hidden: int, heads: int, vocabulary: int) -> dict[str, Any]:
    return llama_like("GPTNeoXForCausalLM", layers, hidden, heads, 4 * hidden, vocabulary)


def opt(layers: int, hidden: int, heads: int) -> dict[str, Any]:
    return {
        "architectures": ["OPTForCausalLM"], "num_hidden_layers": layers, "hidden_size": hidden,
        "num_attention_heads": heads, "ffn_dim": 4 * hidden, "max_position_embeddings": 2048,
        "word_embed_proj_dim": hidden, "do_layer_norm_before": True, "vocab_size": 50272,
    }  # fmt: skip


MPT_7B: dict[str, Any] = {
    "architectures": ["MPTForCausalLM"], "d_model": 4096, "n_heads": 32, "n_layers": 32,
    "expansion_ratio": 4, "vocab_size": 50432, "no_bias": True,
    "norm_type": "low_precision_layernorm",
    "attn_config": {"alibi": True, "attn_type": "multihead_attention", "qk_ln": False},
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (gpt2(12, 768, 12), 124_439_808),
        (gpt2(48, 1600, 25), 1_557_611_200),
        (neox(44, 6144, 64, 50432), 20_554_567_680),
        (neox(36, 5120, 40, 50688), 11_846_072_320),  # Pythia-12B
        (opt(32, 4096, 32), 6_658_473_984),
        (MPT_7B, 6_649_286_656),
        (
            llama_like(
                "GemmaForCausalLM", 28, 3072, 16, 24576, 256000,
                num_key_value_heads=16, head_dim=256,
            ),
            8_537_680_896,
        ),
    ],
)  # fmt: skip
def test_a_configuration_has_the_published_parameters(
    config: dict[str, Any], published: int
) -> None:
    assert total_parameters(from_config(config, "model")) == published


def test_pythia_without_embeddings() -> None:
    """11,327,027,200 non-embedding parameters: Biderman et al. 2023, table 1."""
    model = from_config(neox(36, 5120, 40, 50688), "pythia-12b")
    assert total_parameters(model) - 2 * 50_688 * 5_120 == 11_327_027_200
    assert model.parallel_block
    assert model.parallel_norms


def test_kinds_of_the_plain_families() -> None:
    assert from_config(MPT_7B, "mpt").norm is Norm.LAYER_WITHOUT_BIAS
    assert from_config(MPT_7B, "mpt").positions is Positions.ALIBI
    assert from_config(opt(2, 64, 2), "opt").max_positions == 2050
    plain = from_config({**opt(2, 64, 2), "enable_bias": False}, "opt")
    assert not plain.linear_bias
    assert not plain.qkv_bias
    falcon = {**LIKE_PRESETS["falcon-40b"], "num_ln_in_parallel_attn": 1, "alibi": True}
    assert not from_config(falcon, "falcon").parallel_norms
    assert from_config(falcon, "falcon").positions is Positions.ALIBI
    multi_head = {**LIKE_PRESETS["falcon-7b"], "multi_query": False, "parallel_attn": False}
    assert from_config(multi_head, "falcon").kv_heads == 71
    assert not from_config(multi_head, "falcon").parallel_block


def test_biases_of_llama() -> None:
    model = from_config({**LLAMA_2_7B, "attention_bias": True, "mlp_bias": True}, "biased")
    assert model.qkv_bias
    assert model.linear_bias


QWEN = LIKE_PRESETS["qwen2.5-7b"] | {"use_sliding_window": True, "sliding_window": 4096}


@pytest.mark.parametrize(("full_layers", "window"), [(0, 4096), (28, 0), (70, 0)])
def test_qwen_window(full_layers: int, window: int) -> None:
    config = {**QWEN, "max_window_layers": full_layers}
    assert from_config(config, "qwen").window == window


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": None}, "architectures: should be a list of one name; known: Bloom"),
        ({"architectures": []}, "should be a list of one name"),
        ({"architectures": [3]}, "should be a list of one name"),
        ({"architectures": ["MambaForCausalLM"]}, "not a known architecture; known: .*Llama"),
        ({"architectures": ["MixtralForCausalLM"]}, "mixtures of experts are not supported"),
        ({"architectures": ["Gemma2ForCausalLM"]}, "alternate window and full attention"),
        ({"num_local_experts": 8}, "num_local_experts: mixtures of experts"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types: layers that"),
        ({"hidden_size": None}, "hidden_size: is missing"),
        ({"hidden_size": "4096"}, "hidden_size: should be an integer, not '4096'"),
        ({"hidden_size": 4096.0}, "hidden_size: should be an integer, not 4096.0"),
        ({"hidden_size": True}, "hidden_size: should be an integer, not True"),
        ({"hidden_size": [4096]}, "hidden_size: should be an integer, not a list"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: should be from 1 to 1000000000, not 0"),
        ({"vocab_size": -1}, "vocab_size: should be from 1"),
        ({"vocab_size": 10**12}, "vocab_size: should be from 1"),
        ({"hidden_size": 4100}, "hidden_size: 4100 is not a multiple of 32"),
        ({"num_key_value_heads": 5}, "num_attention_heads: 32 is not a multiple of 5"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: should be true or false"),
        ({"mlp_bias": True}, "mlp_bias: biases only on attention or only on the MLP"),
    ],
)
def test_a_llama_configuration_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        from_config({**LLAMA_2_7B, **change}, "llama")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (llama_like("MistralForCausalLM", 32, 4096, 32, 14336, 32000), "null means full"),
        (llama_like("Qwen3ForCausalLM", 36, 4096, 32, 12288, 151936), "head_dim: is missing"),
        ({**LIKE_PRESETS["qwen3-8b"], "attention_bias": True}, "only on attention"),
        ({**QWEN, "max_window_layers": 14}, "max_window_layers: a window in some layers"),
        ({**neox(2, 64, 2, 99), "attention_bias": False}, "attention_bias: attention without"),
        ({**opt(2, 64, 2), "word_embed_proj_dim": 32}, "word_embed_proj_dim: projected"),
        ({**opt(2, 64, 2), "do_layer_norm_before": False}, "do_layer_norm_before: only true"),
        ({**MPT_7B, "attn_config": {"alibi": False}}, "attn_config.alibi: only true"),
        ({**MPT_7B, "attn_config": 1}, "attn_config: should be an object, not 1"),
        ({**MPT_7B, "ffn_config": {"ffn_type": "mptglu"}}, "ffn_config.ffn_type: only mptmlp"),
        ({**MPT_7B, "norm_type": "rmsnorm"}, "norm_type: only low_precision_layernorm or"),
    ],
)
def test_what_cannot_be_represented_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        from_config(config, "model")


def test_all_problems_come_at_once_with_the_file() -> None:
    with pytest.raises(ScenarioError) as caught:
        from_config({"architectures": ["LlamaForCausalLM"]}, "empty", where="a/config.json")
    lines = str(caught.value).splitlines()
    assert lines == [
        f"a/config.json: {key}: is missing"
        for key in (
            "hidden_size",
            "num_attention_heads",
            "num_hidden_layers",
            "intermediate_size",
            "vocab_size",
        )
    ]


def test_known_and_refused_architectures_are_apart() -> None:
    assert not ARCHITECTURES.keys() & REFUSED.keys()


def test_a_file_is_named_after_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "Llama-2-7b-hf" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(LLAMA_2_7B))
    assert read_config(path) == replace(preset("llama-2-7b"), name="Llama-2-7b-hf")
    other = path.rename(tmp_path / "mine.json")
    assert read_config(other).name == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"hidden_size": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "not a JSON object but a list"),
        (b" " * (2**20 + 1), "larger than 1 MiB"),
    ],
    ids=["empty", "truncated", "binary", "huge number", "deep", "list", "large"],
)
def test_junk_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=message):
        read_config(path)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.json", Path("nul\0.json")):
        with pytest.raises(DocumentError, match="cannot be read"):
            read_config(path)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
SAMPLES = (*LIKE_PRESETS.values(), MPT_7B, gpt2(2, 64, 2), opt(2, 64, 2), neox(2, 64, 2, 99))


@given(st.data())
def test_junk_values_never_crash(data: st.DataObject) -> None:
    config = dict(data.draw(st.sampled_from(SAMPLES)))
    for key in data.draw(st.sets(st.sampled_from(sorted(config)), min_size=1)):
        config[key] = data.draw(JUNK)
    try:
        model = from_config(config, "junk")
    except ScenarioError:
        return
    assert total_parameters(model) > 0
