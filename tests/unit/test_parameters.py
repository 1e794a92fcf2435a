"""Parameter counts against published checkpoints, papers and tables."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.catalog import Catalog
from simulator.documents import Status, validate
from simulator.errors import LayoutError
from simulator.validation.steps import scenario_of
from simulator.workload import parameters
from simulator.workload.parameters import padded_vocabulary, total_parameters
from simulator.workload.transformer import Norm, Positions, Transformer

ROOT = Path(__file__).parents[2]
MEASURED_STEPS = ROOT.parent / "shared" / "data" / "h200" / "steps_a.csv"


NETWORKS = ("alexnet", "resnet-50")
"""Convolutional: see test_networks.py."""


def preset(name: str) -> Transformer:
    return validate(Transformer, Catalog().document("model", name))


PRESETS = {name: preset(name) for name in Catalog().names("model") if name not in NETWORKS}

CHECKPOINTS = {  # parameters of the released weights, as their model cards count them
    "llama-7b": 6_738_415_616,
    "llama-13b": 13_015_864_320,
    "llama-30b": 32_528_943_616,
    "llama-65b": 65_285_660_672,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-3-405b": 405_853_388_800,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "mistral-7b": 7_241_732_096,
    "phi-3-mini": 3_821_079_552,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-8b": 8_190_735_360,
    "qwen3-32b": 32_762_123_264,
    "yi-34b": 34_388_917_248,
    "bloom-176b": 176_247_271_424,
}

LLM_FOUNDRY = {  # "NumParams" of the throughput tables at sequence length 2048
    "mpt-125m": 125_311_488,
    "mpt-350m": 355_985_408,
    "mpt-760m": 760_470_528,
    "mpt-1b": 1_315_950_592,
    "mpt-3b": 2_651_837_440,
    "mpt-7b": 6_658_859_008,
    "mpt-13b": 12_853_954_560,
    "mpt-30b": 29_975_214_080,
    "mpt-70b": 64_862_437_376,
}

NARAYANAN_BILLIONS = {  # table 1 of the paper
    "megatron-1.7b": 1.7,
    "megatron-3.6b": 3.6,
    "megatron-7.5b": 7.5,
    "megatron-18.4b": 18.4,
    "megatron-39.1b": 39.1,
    "megatron-76.1b": 76.1,
    "megatron-145.6b": 145.6,
    "megatron-310.1b": 310.1,
    "megatron-529.6b": 529.6,
    "megatron-1008b": 1008.0,
}


@pytest.mark.parametrize(("name", "published"), [*CHECKPOINTS.items(), *LLM_FOUNDRY.items()])
def test_presets_have_the_published_parameters(name: str, published: int) -> None:
    assert total_parameters(PRESETS[name]) == published


def test_falcon_180b_checkpoint_stores_the_tied_matrix_twice() -> None:
    model = PRESETS["falcon-180b"]
    assert total_parameters(replace(model, tied_embeddings=False)) == 179_522_565_120


def test_nemotron_splits_as_its_report_says() -> None:
    """331.6B without and 9.4B in embeddings: Nemotron-4 340B report, table 1."""
    model = PRESETS["nemotron-4-340b"]
    embeddings = parameters.embedding_parameters(model) + parameters.head_parameters(model)
    assert round(embeddings / 1e9, 1) == 9.4
    assert round((total_parameters(model) - embeddings) / 1e9, 1) == 331.6


def test_palm_540b() -> None:
    assert total_parameters(PRESETS["palm-540b"]) / 1e9 == pytest.approx(540.35, abs=0.01)


@pytest.mark.parametrize(("name", "billions"), NARAYANAN_BILLIONS.items())
def test_megatron_presets_round_to_their_table(name: str, billions: float) -> None:
    assert round(total_parameters(PRESETS[name]) / 1e9, 1) == billions


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("megatron-")])
def test_gpt_follows_the_closed_form(name: str) -> None:
    """P = 12 l h^2 (1 + 13/12h + (V + s)/12lh), Narayanan et al. 2021; and the final norm."""
    model = PRESETS[name]
    layers, h = model.layers, model.hidden
    closed_form = layers * (12 * h * h + 13 * h) + (model.vocabulary + model.max_positions) * h
    assert total_parameters(model) == closed_form + 2 * h


def test_gpt3_175b_within_the_papers_rounding() -> None:
    assert total_parameters(PRESETS["gpt3-175b"]) == pytest.approx(175.0e9, rel=3e-3)


def test_post_norms_count_as_in_gemma_2() -> None:
    """google/gemma-2-9b, 9,241,705,984: four norms in each of 42 layers."""
    gemma = Transformer(
        name="gemma-2-9b",
        layers=42,
        hidden=3584,
        heads=16,
        kv_heads=8,
        head_dim=256,
        ffn_hidden=14336,
        vocabulary=256_000,
        gated_mlp=True,
        tied_embeddings=True,
        norm=Norm.RMS,
        positions=Positions.ROTARY,
        linear_bias=False,
        qkv_bias=False,
        post_norms=True,
    )
    assert total_parameters(gemma) == 9_241_705_984


def test_a_parallel_block_has_one_norm_or_two() -> None:
    model = PRESETS["gpt3-125m"]
    one = replace(model, parallel_block=True)
    assert parameters.norm_parameters(model) == 4 * 768
    assert parameters.norm_parameters(one) == 2 * 768
    assert parameters.norm_parameters(replace(one, parallel_norms=True)) == 4 * 768


def test_learned_positions_only_where_positions_are_learned() -> None:
    assert parameters.position_parameters(PRESETS["gpt3-125m"]) == 2048 * 768
    assert parameters.position_parameters(PRESETS["bloom-176b"]) == 0


def test_measured_models_have_their_parameters() -> None:
    """Custom models of measured steps: untied, RMS norms, no biases."""
    if not MEASURED_STEPS.exists():
        pytest.skip("the table of measured steps is not beside this checkout")
    with MEASURED_STEPS.open() as table:
        rows = list(csv.DictReader(table))
    for row in rows:
        model = scenario_of(row, Catalog()).model
        assert total_parameters(model) == int(row["n_params"]), model.name


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_named_after_their_file_and_consistent(name: str) -> None:
    model = PRESETS[name]
    assert model.name == name
    assert model.heads % model.kv_heads == 0
    assert (model.positions is Positions.LEARNED) == (model.max_positions > 0)
    assert not model.parallel_norms or model.parallel_block
    assert Catalog().path("model", name).read_text().startswith("# ")


def test_megascale_says_which_values_are_assumed() -> None:
    sources = Catalog().document("model", "megascale-175b-ptb-swa").sources
    assumed = {path[0] for path, source in sources.items() if source.status is Status.ASSUMED}
    assert assumed == {"vocabulary", "positions", "window"}


@pytest.mark.parametrize(
    ("vocabulary", "tensor", "padded"),
    [(50_257, 1, 50_304), (50_257, 8, 51_200), (51_200, 8, 51_200), (128_256, 8, 129_024)],
)
def test_megatron_vocabulary_padding(vocabulary: int, tensor: int, padded: int) -> None:
    model = replace(PRESETS["gpt3-175b"], vocabulary=vocabulary)
    assert padded_vocabulary(model, tensor) == padded


def test_gpt3_layer_shard_by_hand() -> None:
    """12 h^2 + 7 h are cut (QKV and MLP-up biases), 6 h replicated (two norms, two biases)."""
    h = 12_288
    shard = parameters.layer_parameters_per_rank(PRESETS["gpt3-175b"], 8)
    assert shard.split == (12 * h * h + 7 * h) // 8
    assert shard.replicated == 6 * h
    assert shard.total == shard.split + shard.replicated


def test_one_key_value_head_is_held_by_every_rank() -> None:
    model = PRESETS["palm-540b"]
    shard = parameters.layer_parameters_per_rank(model, 12)
    shared = 2 * model.hidden * model.head_dim
    cut = parameters.matmul_parameters_per_layer(model) - shared
    assert shard.split == cut // 12 + shared
    assert shard.replicated == model.hidden


def test_embedding_and_head_shards() -> None:
    model = PRESETS["gpt3-175b"]
    rows = 51_200 // 8
    embedding = parameters.embedding_parameters_per_rank(model, 8)
    assert embedding.split == rows * model.hidden
    assert embedding.replicated == 2048 * model.hidden
    same_stage = parameters.head_parameters_per_rank(model, 8, own_copy=False)
    other_stage = parameters.head_parameters_per_rank(model, 8, own_copy=True)
    assert (same_stage.split, other_stage.split) == (0, rows * model.hidden)
    assert same_stage.replicated == other_stage.replicated == 2 * model.hidden
    untied = replace(model, tied_embeddings=False)
    assert parameters.head_parameters_per_rank(untied, 8, own_copy=False) == other_stage


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("llama-2-7b", 3, "tensor = 3 does not divide the heads = 32 of llama-2-7b"),
        ("llama-2-7b", 64, "does not divide the heads"),
        ("llama-3.2-3b", 3, "tensor = 3 does not divide the ffn_hidden = 8192"),
        ("llama-3.2-3b", 12, "neither a divisor nor a multiple of the kv_heads = 8"),
    ],
)
def test_a_degree_that_does_not_fit_is_refused(name: str, tensor: int, message: str) -> None:
    model = PRESETS[name]
    if "kv_heads" in message:
        model = replace(model, ffn_hidden=12 * 512)
    with pytest.raises(LayoutError, match=message):
        parameters.layer_parameters_per_rank(model, tensor)


@st.composite
def sharded_models(draw: st.DrawFn) -> tuple[Transformer, int]:
    """Return a model and a tensor degree that divides it."""
    tensor = draw(st.sampled_from([1, 2, 4, 8]))
    kv_heads = draw(st.sampled_from([1, 2, 4, 8, 16]))
    flag = st.booleans()
    return Transformer(
        name="drawn",
        layers=draw(st.integers(1, 100)),
        hidden=draw(st.integers(1, 20_000)),
        heads=max(kv_heads, tensor) * draw(st.integers(1, 8)),
        kv_heads=kv_heads,
        head_dim=draw(st.sampled_from([64, 96, 128, 256])),
        ffn_hidden=tensor * draw(st.integers(1, 10_000)),
        vocabulary=draw(st.integers(1, 300_000)),
        gated_mlp=draw(flag),
        tied_embeddings=draw(flag),
        norm=draw(st.sampled_from(Norm)),
        positions=Positions.ROTARY,
        linear_bias=draw(flag),
        qkv_bias=draw(flag),
        qk_norm=draw(flag),
        post_norms=draw(flag),
        parallel_block=draw(flag),
    ), tensor


@given(sharded_models())
def test_shards_add_up_to_the_layer(drawn: tuple[Transformer, int]) -> None:
    """Distinct parts over all ranks and one copy of what is replicated are the whole layer."""
    model, tensor = drawn
    weights = parameters.layer_weights(model)
    assert sum(weight.parameters for weight in weights) == parameters.layer_parameters(model)
    for weight in weights:
        assert weight.parameters % parameters.pieces(weight, model, tensor) == 0
    shard = parameters.layer_parameters_per_rank(model, tensor)
    shared = sum(
        (tensor // parameters.pieces(weight, model, tensor) - 1) * weight.parameters
        for weight in weights
        if weight.cut is parameters.Cut.KV_HEADS
    )
    assert tensor * shard.split - shared + shard.replicated == parameters.layer_parameters(model)


@given(sharded_models())
def test_a_layer_is_its_blocks(drawn: tuple[Transformer, int]) -> None:
    model, _ = drawn
    blocks = (
        parameters.attention_parameters(model)
        + parameters.mlp_parameters(model)
        + parameters.norm_parameters(model)
    )
    assert parameters.layer_parameters(model) == blocks
    assert parameters.matmul_parameters_per_layer(model) <= blocks


@given(st.integers(1, 10**6), st.sampled_from([1, 2, 4, 8, 16, 64]), st.sampled_from([1, 8, 128]))
def test_padding_is_the_least_multiple(vocabulary: int, tensor: int, multiple: int) -> None:
    model = replace(PRESETS["gpt3-175b"], vocabulary=vocabulary, vocabulary_multiple=multiple)
    padded = padded_vocabulary(model, tensor)
    assert padded % (multiple * tensor) == 0
    assert 0 <= padded - vocabulary < multiple * tensor
