"""Model FLOPs per token against formulas, hand counts and published MFUs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.workload.flops import Convention, forward_flops_per_token, model_flops_per_token
from simulator.workload.transformer import Transformer


def preset(name: str) -> Transformer:
    return validate(Transformer, Catalog().document("model", name))


@pytest.mark.parametrize("name", ["gpt3-125m", "megatron-22b", "megatron-1008b", "megascale-530b"])
@pytest.mark.parametrize("sequence_length", [512, 2048, 8192])
def test_megatron_is_the_papers_formula_for_a_gpt(name: str, sequence_length: int) -> None:
    """72 L h^2 (1 + s/6h + V/12Lh), Korthikanti et al. 2022, appendix A."""
    model = preset(name)
    layers, h, v = model.layers, model.hidden, model.vocabulary
    formula = 72 * layers * h * h * (1 + sequence_length / (6 * h) + v / (12 * layers * h))
    counted = model_flops_per_token(model, sequence_length, Convention.MEGATRON)
    assert counted == pytest.approx(formula, rel=1e-12)


def test_megascale_baseline() -> None:
    """The FLOPs with which MegaScale's table 2 turns seconds into MFU for Megatron-LM."""
    flops = model_flops_per_token(preset("megascale-175b"), 2048, Convention.MEGATRON)
    assert flops == pytest.approx(1.0764e12, rel=5e-5)


def test_llama_405b_by_hand() -> None:
    model = preset("llama-3-405b")
    attention = 2 * 16_384 * 16_384 + 2 * 16_384 * 1_024
    layers = 126 * (attention + 3 * 16_384 * 53_248)
    head = 128_256 * 16_384
    causal = model_flops_per_token(model, 8192, Convention.CAUSAL)
    full = model_flops_per_token(model, 8192, Convention.MEGATRON)
    assert causal == 6 * (layers + head) + 6 * 126 * 16_384 * 8192
    assert full - causal == 6 * 126 * 16_384 * 8192


def test_palm_540b_mfu() -> None:
    """238.3k tokens/s on 6,144 TPU v4 of 275 TFLOP/s are 46.2 % (PaLM, appendix B)."""
    flops = model_flops_per_token(preset("palm-540b"), 2048, Convention.PALM)
    assert flops * 238.3e3 / (6144 * 275e12) == pytest.approx(0.462, abs=5e-4)


def test_llm_foundry_mfu() -> None:
    """MPT-7B on 512 H100: 4,951,479 tokens/s are 42.2 % (llm-foundry, training benchmarks)."""
    flops = model_flops_per_token(preset("mpt-7b"), 2048, Convention.PALM)
    assert flops * 4_951_479 / (512 * 989.4e12) == pytest.approx(0.422, abs=5e-5)


def test_a_window_leaves_the_full_conventions_alone() -> None:
    windowed, plain = preset("mistral-7b"), replace(preset("mistral-7b"), window=0)
    for convention in (Convention.PALM, Convention.MEGATRON):
        assert model_flops_per_token(windowed, 32_768, convention) == model_flops_per_token(
            plain, 32_768, convention
        )


def test_a_window_limits_causal_attention() -> None:
    """A query late in the sequence sees w positions: w (s - w) + w^2 / 2 pairs of s^2 / 2."""
    windowed, plain = preset("mistral-7b"), replace(preset("mistral-7b"), window=0)
    s, w = 32_768, 4_096
    part = forward_flops_per_token(windowed, s, causal=True).layer_attention
    whole = forward_flops_per_token(plain, s, causal=True).layer_attention
    assert part / whole == pytest.approx((w * (s - w) + w * w / 2) / (s * s / 2))
    assert forward_flops_per_token(windowed, w, causal=True) == forward_flops_per_token(
        plain, w, causal=True
    )


def test_forward_parts_of_a_gpt() -> None:
    forward = forward_flops_per_token(preset("megatron-175b"), 2048, causal=False)
    h = 12_288
    assert forward.layer_linear == 24 * h * h
    assert forward.layer_attention == 4 * 2048 * h
    assert forward.head == 2 * 51_200 * h
    assert forward.whole(96) == 96 * (24 * h * h + 4 * 2048 * h) + 2 * 51_200 * h


@given(st.sampled_from(["llama-3-8b", "gpt3-175b", "palm-540b"]), st.integers(1, 10**6))
def test_conventions_are_ordered(name: str, sequence_length: int) -> None:
    """Causal counts least; PaLM adds vectors and, where it is untied, the embedding lookup."""
    model = preset(name)
    causal, megatron, palm = (
        model_flops_per_token(model, sequence_length, convention)
        for convention in (Convention.CAUSAL, Convention.MEGATRON, Convention.PALM)
    )
    assert causal < megatron < palm
