"""Small models, kernels, shards and prices that the tests of layers, prices and patterns share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from strategies import TOY

from simulator.hardware.collectives import GroupSpan
from simulator.hardware.software import Launch
from simulator.operators import (
    Attention,
    AttentionKernel,
    Axis,
    Collective,
    Communication,
    Gemm,
    Kernels,
    LossKernel,
)
from simulator.precision import Precision
from simulator.program.prices import Prices
from simulator.workload.steps import Shard, Step
from simulator.workload.transformer import Norm, Positions, Transformer

GPT = Transformer(
    name="gpt",
    layers=2,
    hidden=1024,
    heads=16,
    kv_heads=16,
    head_dim=64,
    ffn_hidden=4096,
    vocabulary=51200,
    gated_mlp=False,
    tied_embeddings=True,
    norm=Norm.LAYER,
    positions=Positions.LEARNED,
    linear_bias=True,
    qkv_bias=True,
    max_positions=2048,
)
LLAMA = replace(
    GPT,
    kv_heads=4,
    ffn_hidden=2816,
    gated_mlp=True,
    norm=Norm.RMS,
    positions=Positions.ROTARY,
    linear_bias=False,
    qkv_bias=False,
    max_positions=0,
)
FUSED = Kernels(
    attention=AttentionKernel.FLASH2,
    fused_norm=True,
    fused_activation=True,
    fused_rope=True,
    fused_residual=True,
    loss=LossKernel.FUSED,
    merged_gate=True,
    ring_attention=False,
    fused_quantisation=True,
    current_scaling=False,
    fused_gradient_accumulation=True,
    deferred_accumulation=False,
    dropout=False,
    attention_dropout=False,
)
SEQUENCE, BATCH = 2048, 2
TOKENS = SEQUENCE * BATCH

TENSOR = GroupSpan(ranks=4, ranks_per_node=4, nodes=1, tier=0)
WITHOUT_OVERLAP = replace(
    TOY.software,
    arrival_jitter=0.0,
    tensor_overlap=0.0,
    context_overlap=0.0,
    asynchronous_tensor_gradients=False,
    communication_multiprocessors=0,
    launch=Launch.GRAPH,
)
GEMM = Gemm("gemm", 4096, 4096, 4096)
SUM = Communication("sum", Collective.ALL_REDUCE, Axis.TENSOR, 2.0**25)
KV = Communication("kv", Collective.ALL_GATHER, Axis.CONTEXT, 2.0**25)


def shard(
    tensor: int = 1,
    *,
    context: int = 1,
    sequence_parallel: bool = False,
    precision: Precision = Precision.BF16,
    gradients: Precision = Precision.FP32,
) -> Shard:
    """Return what one rank holds of two sequences of 2,048 tokens."""
    return Shard(
        micro_batch=BATCH,
        sequence_length=SEQUENCE,
        tensor=tensor,
        context=context,
        sequence_parallel=sequence_parallel,
        precision=precision,
        gradient_precision=gradients,
    )


def operators(steps: tuple[Step, ...]) -> list[object]:
    """Return the operators of ``steps``, those under a communication after it."""
    return [item for step in steps for item in (step.operator, *step.under)]


def messages(steps: tuple[Step, ...]) -> list[Communication]:
    """Return the communications among the operators of ``steps``."""
    return [item for item in operators(steps) if isinstance(item, Communication)]


def matmul_flops(steps: tuple[Step, ...]) -> float:
    """Return the FLOPs of GEMMs and attention kernels in ``steps``."""
    return sum(item.flops for item in operators(steps) if isinstance(item, (Gemm, Attention)))


def prices(ranks: int = 4, **software: Any) -> Prices:  # noqa: ANN401 - fields of the software
    """Return prices of the toy's cluster; ``ranks`` of one node share the tensors."""
    tensor = replace(TENSOR, ranks=ranks, ranks_per_node=ranks)
    groups = {Axis.TENSOR: tensor, Axis.CONTEXT: TENSOR}
    return Prices(TOY.cluster, replace(WITHOUT_OVERLAP, **software), groups)
