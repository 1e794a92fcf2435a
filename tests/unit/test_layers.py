"""Layers by hand: GEMM shapes, FLOPs, messages, and what is kept for the backward pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from step_samples import (
    FUSED,
    GPT,
    LLAMA,
    SEQUENCE,
    TOKENS,
    matmul_flops,
    messages,
    operators,
    shard,
)

from simulator.operators import (
    Attention,
    AttentionKernel,
    Axis,
    Collective,
    Communication,
    Gemm,
    Role,
)
from simulator.workload.flops import forward_flops_per_token
from simulator.workload.layers import embedding, head, transformer_layer
from simulator.workload.steps import Block, Step, input_gradient, weight_gradient

if TYPE_CHECKING:
    from simulator.workload.transformer import Transformer

STORED_SCORES = replace(
    FUSED, attention=AttentionKernel.FUSED_SOFTMAX, dropout=True, attention_dropout=True
)
STATISTICS = "attention_statistics"


def shapes(block: Block) -> dict[str, tuple[int, int, int]]:
    gemms = [item for item in operators(block.forward) if isinstance(item, Gemm)]
    return {gemm.name: (gemm.m, gemm.n, gemm.k) for gemm in gemms}


def kinds(steps: tuple[Step, ...]) -> Counter[Collective]:
    return Counter(item.kind for item in messages(steps))


def test_gemm_shapes_of_a_grouped_query_layer_on_four_tensor_ranks() -> None:
    """16 + 2 x 4 heads of 64, and a gate beside 2,816 columns, each over 4 ranks."""
    assert shapes(transformer_layer(LLAMA, shard(4), FUSED)) == {
        "qkv": (4096, 384, 1024),
        "attention_out": (4096, 1024, 256),
        "mlp_up": (4096, 1408, 1024),
        "mlp_down": (4096, 1024, 704),
    }


def test_gemm_shapes_of_a_gpt_layer() -> None:
    assert shapes(transformer_layer(GPT, shard(), FUSED)) == {
        "qkv": (4096, 3072, 1024),
        "attention_out": (4096, 1024, 1024),
        "mlp_up": (4096, 4096, 1024),
        "mlp_down": (4096, 1024, 4096),
    }


def test_context_parallelism_cuts_queries_but_not_keys() -> None:
    block = transformer_layer(LLAMA, shard(context=4), FUSED)
    (kernel,) = (item for item in operators(block.forward) if isinstance(item, Attention))
    assert (kernel.queries, kernel.keys) == (512, 2048)
    assert shapes(block)["qkv"][0] == TOKENS // 4
    gather, scatter = (
        next(item for item in operators(steps) if getattr(item, "kind", None) is kind)
        for steps, kind in (
            (block.forward, Collective.ALL_GATHER),
            (block.backward, Collective.REDUCE_SCATTER),
        )
    )
    for exchange in (gather, scatter):
        assert isinstance(exchange, Communication)
        assert exchange.axis is Axis.CONTEXT
        # Keys and values of 4 heads of 64 in bf16 for every token of the sequences.
        assert exchange.n_bytes == 2 * 2 * TOKENS * 4 * 64


@pytest.mark.parametrize("model", [GPT, LLAMA, replace(GPT, parallel_block=True)])
@pytest.mark.parametrize("tensor", [1, 2, 4])
def test_flops_of_a_layer_are_the_model_flops(model: Transformer, tensor: int) -> None:
    """All ranks together execute what the MFU's numerator counts; twice that backward.

    A flash kernel computes the scores again: 5 products backward for 2 forward.
    """
    block = transformer_layer(model, shard(tensor), FUSED)
    flops = forward_flops_per_token(model, SEQUENCE, causal=True)
    forward = matmul_flops(block.forward) * tensor / TOKENS
    assert forward == pytest.approx(flops.layer_linear + flops.layer_attention)
    backward = matmul_flops(block.backward) * tensor / TOKENS
    assert backward == pytest.approx(2 * flops.layer_linear + 2.5 * flops.layer_attention)


def test_flops_of_the_head_are_the_model_flops() -> None:
    block = head(GPT, shard(4), FUSED)
    flops = forward_flops_per_token(GPT, SEQUENCE, causal=True)
    assert matmul_flops(block.forward) * 4 / TOKENS == pytest.approx(flops.head)


@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_split_backward_runs_every_operator_once(sequence_parallel: bool) -> None:  # noqa: FBT001 - a parametrised case
    steps = transformer_layer(LLAMA, shard(4, sequence_parallel=sequence_parallel), FUSED).backward
    apart = [*operators(input_gradient(steps)), *operators(weight_gradient(steps))]
    assert Counter(apart) == Counter(operators(steps))
    weights = [item for item in operators(weight_gradient(steps)) if isinstance(item, Gemm)]
    assert all(gemm.role is Role.WEIGHT_GRADIENT for gemm in weights)
    assert len(weights) == 4


def test_messages_of_a_layer_without_sequence_parallelism() -> None:
    """Two all-reduces of the hidden states in each direction (Shoeybi et al. 2019, figure 4)."""
    block = transformer_layer(GPT, shard(4), FUSED)
    assert kinds(block.forward) == {Collective.ALL_REDUCE: 2}
    assert kinds(block.backward) == {Collective.ALL_REDUCE: 2}
    sizes = {item.n_bytes for item in messages(block.forward)}
    assert sizes == {2 * TOKENS * 1024}


def test_messages_of_a_layer_with_sequence_parallelism() -> None:
    """Korthikanti et al. 2022, section 4.2: g and its conjugate twice in each direction.

    Backward gathers the saved inputs of the column-parallel layers once more.
    """
    block = transformer_layer(GPT, shard(4, sequence_parallel=True), FUSED)
    assert kinds(block.forward) == {Collective.ALL_GATHER: 2, Collective.REDUCE_SCATTER: 2}
    assert kinds(block.backward) == {Collective.ALL_GATHER: 4, Collective.REDUCE_SCATTER: 2}


def test_a_parallel_block_halves_the_messages() -> None:
    block = transformer_layer(replace(GPT, parallel_block=True), shard(4), FUSED)
    assert kinds(block.forward) == kinds(block.backward) == {Collective.ALL_REDUCE: 1}


def test_a_rank_alone_sends_nothing() -> None:
    for block in (build(GPT, shard(), FUSED) for build in (embedding, transformer_layer, head)):
        assert not kinds(block.forward) + kinds(block.backward)


@pytest.mark.parametrize("tensor", [1, 2, 8])
def test_saved_activations_with_tensor_parallelism(tensor: int) -> None:
    """s b h (10 + 24/t + 5as/ht): Korthikanti et al. 2022, equation 2 (equation 1 for t = 1)."""
    block = transformer_layer(GPT, shard(tensor), STORED_SCORES)
    scores = 5 * GPT.heads * SEQUENCE / (GPT.hidden * tensor)
    expected = TOKENS * GPT.hidden * (10 + 24 / tensor + scores)
    assert block.saved_bytes == pytest.approx(expected)


@pytest.mark.parametrize("tensor", [2, 8])
def test_saved_activations_with_sequence_parallelism(tensor: int) -> None:
    """s b h / t (34 + 5as/h): Korthikanti et al. 2022, equation 4."""
    sharded = shard(tensor, sequence_parallel=True)
    block = transformer_layer(GPT, sharded, STORED_SCORES)
    scores = 5 * GPT.heads * SEQUENCE / GPT.hidden
    assert block.saved_bytes == pytest.approx(TOKENS * GPT.hidden * (34 + scores) / tensor)


@pytest.mark.parametrize(
    ("kernel", "dropped", "expected"),
    [
        (AttentionKernel.UNFUSED, False, 6),  # the fp32 softmax and its bf16 copy
        (AttentionKernel.UNFUSED_BF16, False, 2),
        (AttentionKernel.FUSED_SOFTMAX, False, 2),
        (AttentionKernel.UNFUSED_BF16, True, 5),  # the mask, and what is left
        (AttentionKernel.FLASH2, True, 0),
    ],
)
def test_bytes_kept_per_score(kernel: AttentionKernel, expected: int, *, dropped: bool) -> None:
    kernels = replace(FUSED, attention=kernel, attention_dropout=dropped)
    saved = transformer_layer(GPT, shard(1), kernels).saved
    scores = sum(item.n_bytes for item in saved if item.core_attention and item.name != STATISTICS)
    assert scores == expected * TOKENS * GPT.heads * SEQUENCE


def test_selective_recomputation_drops_the_scores() -> None:
    """What is left is 34 s b h / t: Korthikanti et al. 2022, equation 5."""
    block = transformer_layer(GPT, shard(8, sequence_parallel=True), STORED_SCORES)
    kept = sum(saved.n_bytes for saved in block.saved if not saved.core_attention)
    assert kept == pytest.approx(34 * TOKENS * GPT.hidden / 8)


def test_full_recomputation_keeps_the_input() -> None:
    """2 s b h, split by sequence parallelism."""
    assert transformer_layer(GPT, shard(), FUSED).input_bytes == 2 * TOKENS * 1024
    split = shard(8, sequence_parallel=True)
    assert transformer_layer(GPT, split, FUSED).input_bytes == 2 * TOKENS * 1024 / 8
