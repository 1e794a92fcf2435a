"""Layers as stacks build them: gates apart, gathered losses, rings, padding, recomputed heads."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from step_samples import BATCH, FUSED, LLAMA, TOKENS, matmul_flops, messages, operators, shard

from simulator.operators import (
    Attention,
    Axis,
    Collective,
    Gemm,
    LossKernel,
    Pointwise,
    Role,
)
from simulator.parallel.blocks import Recomputation, Recompute, virtual_stages
from simulator.parallel.layout import Layout
from simulator.precision import Precision
from simulator.workload.layers import embedding, head, transformer_layer

if TYPE_CHECKING:
    from simulator.workload.steps import Step

MODEL = replace(LLAMA, vocabulary=50257, tied_embeddings=False)
APART = replace(FUSED, merged_gate=False)
RING = replace(FUSED, ring_attention=True)


def gemms(steps: tuple[Step, ...]) -> dict[str, Gemm]:
    return {item.name: item for item in operators(steps) if isinstance(item, Gemm)}


def attentions(steps: tuple[Step, ...]) -> list[Attention]:
    return [item for item in operators(steps) if isinstance(item, Attention)]


# Gate and up


@pytest.mark.parametrize("tensor", [1, 4])
def test_gate_and_up_apart_are_two_gemms_of_half_the_columns(tensor: int) -> None:
    merged = gemms(transformer_layer(MODEL, shard(tensor), FUSED).forward)
    apart = gemms(transformer_layer(MODEL, shard(tensor), APART).forward)
    assert set(apart) - set(merged) == {"mlp_gate"}
    assert merged["mlp_up"].n == 2 * 2816 // tensor
    assert apart["mlp_gate"].n == apart["mlp_up"].n == 2816 // tensor


@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_gate_and_up_apart_do_the_same_work(*, sequence_parallel: bool) -> None:
    on = shard(4, sequence_parallel=sequence_parallel)
    merged, apart = (transformer_layer(MODEL, on, kernels) for kernels in (FUSED, APART))
    assert matmul_flops(apart.forward) == matmul_flops(merged.forward)
    assert matmul_flops(apart.backward) == matmul_flops(merged.backward)
    assert apart.saved_bytes == merged.saved_bytes


def test_gradients_of_gate_and_up_apart_are_summed_one_by_one() -> None:
    """One all-reduce for attention and one for each of the two, of the hidden states in bf16."""
    sums = messages(transformer_layer(MODEL, shard(4), APART).backward)
    assert [item.kind for item in sums] == [Collective.ALL_REDUCE] * 3
    assert {item.n_bytes for item in sums} == {2 * TOKENS * 1024}
    assert len(messages(transformer_layer(MODEL, shard(4), FUSED).backward)) == 2


def test_a_plain_mlp_has_no_gate_to_keep_apart() -> None:
    plain = replace(MODEL, gated_mlp=False)
    assert transformer_layer(plain, shard(), APART) == transformer_layer(plain, shard(), FUSED)


# Losses


def test_a_gathered_loss_moves_all_logits_to_every_rank() -> None:
    """50,257 tokens padded to 99 x 512 = 50,688 on four ranks, in bf16; no sums follow."""
    block = head(MODEL, shard(4), replace(FUSED, loss=LossKernel.GATHERED))
    (gather,) = messages(block.forward)
    assert (gather.kind, gather.axis) == (Collective.ALL_GATHER, Axis.TENSOR)
    assert gather.n_bytes == 2 * TOKENS * 50_688
    passes = {item.name: item for item in operators(block.forward) if isinstance(item, Pointwise)}
    assert passes["cross_entropy"].n_bytes == 22 * TOKENS * 50_688
    kept = next(saved.n_bytes for saved in block.saved if saved.name == "logits")
    assert kept == (2 + 4 + 4) * TOKENS * 50_688


def test_a_split_loss_sums_three_numbers_per_token() -> None:
    block = head(MODEL, shard(4), FUSED)
    assert [(item.kind, item.n_bytes) for item in messages(block.forward)] == [
        (Collective.ALL_REDUCE, 4 * TOKENS)
    ] * 3
    passes = {item.name: item for item in operators(block.forward) if isinstance(item, Pointwise)}
    assert passes["cross_entropy"].n_bytes == 2 * TOKENS * 12_672


@pytest.mark.parametrize("loss", list(LossKernel))
def test_a_rank_with_the_whole_vocabulary_sends_nothing(loss: LossKernel) -> None:
    block = head(MODEL, shard(), replace(FUSED, loss=loss))
    assert messages((*block.forward, *block.backward)) == []


# Rings


@pytest.mark.parametrize("context", [2, 4, 8])
def test_blocks_of_a_ring_add_up_to_the_kernel_after_a_gather(context: int) -> None:
    on = shard(context=context)
    ring, gathered = (transformer_layer(MODEL, on, kernels) for kernels in (RING, FUSED))
    assert len(attentions(ring.forward)) == len(attentions(ring.backward)) == context
    assert matmul_flops(ring.forward) == pytest.approx(matmul_flops(gathered.forward))
    assert matmul_flops(ring.backward) == pytest.approx(matmul_flops(gathered.backward))
    assert messages(ring.forward) == messages(gathered.forward)
    assert messages(ring.backward) == messages(gathered.backward)


def test_blocks_of_a_ring_by_hand() -> None:
    """512 local queries: a causal triangle, then three times half of 512 keys and a merge."""
    block = transformer_layer(MODEL, shard(2, context=4), RING)
    first, *others = attentions(block.forward)
    assert (first.queries, first.keys, first.causal) == (512, 512, True)
    assert {(item.queries, item.keys, item.causal) for item in others} == {(512, 256, False)}
    for steps, per_element in ((block.forward, 10), (block.backward, 12)):
        merges = [
            item for item in operators(steps) if getattr(item, "name", "") == "attention_merge"
        ]
        assert [item.n_bytes for item in merges] == [per_element * BATCH * 512 * 8 * 64] * 3  # type: ignore[attr-defined]


def test_a_window_or_a_rank_alone_has_no_ring() -> None:
    windowed = replace(MODEL, window=512)
    for model, on in ((windowed, shard(context=4)), (MODEL, shard())):
        assert transformer_layer(model, on, RING) == transformer_layer(model, on, FUSED)


def test_selective_recomputation_repeats_the_whole_ring() -> None:
    block = transformer_layer(MODEL, shard(context=4), RING)
    assert len(attentions(block.core_attention)) == 4


# Low precision


@pytest.mark.parametrize(
    ("precision", "casts"),
    [(Precision.BF16, 0), (Precision.FP8, 4), (Precision.NVFP4, 2 * 8)],
)
def test_casts_that_no_kernel_before_can_do(precision: Precision, casts: int) -> None:
    """Four GEMMs have an input and an output gradient each: eight operands.

    Norms write two of them quantised and activations two. NVFP4 takes two passes for all eight.
    """
    block = transformer_layer(MODEL, shard(precision=precision), FUSED)
    names = [getattr(item, "name", "") for item in operators((*block.forward, *block.backward))]
    assert sum(name.startswith("cast_") for name in names) == casts


@pytest.mark.parametrize(("gradients", "sums"), [(Precision.FP32, 4), (Precision.BF16, 0)])
def test_only_fp32_buffers_cost_a_fused_accumulation(gradients: Precision, sums: int) -> None:
    block = transformer_layer(MODEL, shard(gradients=gradients), FUSED)
    added = [step for step in block.backward if step.operator.name.endswith("_weight_gradient_sum")]
    assert len(added) == sums
    assert all(step.weight for step in added)
    weights = [item for item in gemms(block.backward).values() if item.role is Role.WEIGHT_GRADIENT]
    expected = sum(8 * gemm.m * gemm.n for gemm in weights) if sums else 0
    assert sum(step.operator.n_bytes for step in added) == expected  # type: ignore[union-attr, misc]


# Vocabulary


@pytest.mark.parametrize(
    ("multiple", "tensor", "rows"),
    [(128, 1, 50_304), (128, 4, 12_672), (1, 1, 50_257), (1, 4, 12_565), (64, 2, 25_152)],
)
def test_rows_of_the_vocabulary_on_a_rank(multiple: int, tensor: int, rows: int) -> None:
    model = replace(MODEL, vocabulary_multiple=multiple)
    logits = gemms(head(model, shard(tensor), FUSED).forward)["logits"]
    assert (logits.m, logits.n, logits.k) == (TOKENS, rows, 1024)
    table = embedding(model, shard(tensor), FUSED)
    (scatter,) = (step for step in table.backward if step.operator.name == "embedding_gradient")
    assert isinstance(scatter.operator, Pointwise)
    assert scatter.operator.n_bytes == 2 * (3 * TOKENS + rows) * 1024


# Recomputation


def last_block(recompute: Recompute, tensor: int = 1) -> tuple[list[str], float, float]:
    layout = Layout(tensor=tensor, data=1)
    (stage,) = virtual_stages(MODEL, layout, shard(tensor), FUSED, recompute)
    block = stage.blocks[-1]
    assert block.layer is None
    repeated = [step.operator.name for step in block.recomputed]
    return repeated, block.kept_bytes, block.transient_bytes


def test_a_recomputed_head_repeats_its_norm_and_logits_but_not_the_loss() -> None:
    full = Recompute(mode=Recomputation.FULL, head=True)
    for tensor in (1, 4):
        assert last_block(full, tensor)[0] == ["norm", "logits"]
    assert last_block(replace(full, head=False))[0] == []
    assert last_block(Recompute(head=True))[0] == []


def test_a_recomputed_head_keeps_its_input_and_the_logits() -> None:
    stream, logits = 2 * TOKENS * 1024, 2 * TOKENS * 50_304
    _, kept, transient = last_block(Recompute(mode=Recomputation.FULL, head=True))
    _, plain, passing = last_block(Recompute(mode=Recomputation.FULL))
    assert kept == stream + logits
    assert plain - kept == transient - passing == stream


def test_only_layers_recompute_where_the_head_is_left_out() -> None:
    layout = Layout(data=1)
    for with_head in (False, True):
        recompute = Recompute(mode=Recomputation.FULL, head=with_head)
        (stage,) = virtual_stages(MODEL, layout, shard(), FUSED, recompute)
        modes = Counter(block.recomputation for block in stage.blocks)
        assert modes[Recomputation.FULL] == MODEL.layers + with_head
        assert stage.blocks[0].recomputation is Recomputation.NONE


def test_gradients_are_products_of_their_own() -> None:
    """dX is tokens x inputs over outputs, dW is outputs x inputs over tokens."""
    products = gemms(transformer_layer(MODEL, shard(), FUSED).backward)
    forward = gemms(transformer_layer(MODEL, shard(), FUSED).forward)["mlp_down"]
    tokens, outputs, inputs = forward.m, forward.n, forward.k
    dx, dw = products["mlp_down_input_gradient"], products["mlp_down_weight_gradient"]
    assert (dx.m, dx.n, dx.k) == (tokens, inputs, outputs)
    assert (dw.m, dw.n, dw.k) == (outputs, inputs, tokens)
