"""Attention and MLP: what lies between a column-parallel entry and a row-parallel exit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.operators import Attention, AttentionKernel, Axis, Collective, Communication
from simulator.precision import Precision
from simulator.workload import pointwise
from simulator.workload.linears import (
    Linear,
    accumulation,
    cast,
    grouped_linear,
    linear,
    operand_bytes,
)
from simulator.workload.routing import even_rows, routing
from simulator.workload.steps import Saved, Step
from simulator.workload.transformer import Positions

if TYPE_CHECKING:
    from simulator.operators import Kernels
    from simulator.workload.steps import Shard
    from simulator.workload.transformer import Experts, Transformer

BF16 = Precision.BF16.n_bytes
FP32 = Precision.FP32.n_bytes
DROPOUT_MASK = 1.0
"""Bytes per element of a saved dropout mask."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Attention, MLP or experts between its column-parallel entry and its row-parallel exit."""

    name: str
    entries: tuple[Linear, ...]
    """Column-parallel layers that share the branch's input."""
    exit: Linear
    forward: tuple[Step, ...]
    """From the entries to the exit, casts included."""
    backward: tuple[Step, ...]
    """From the exit's gradients to those of the entries, which are not part of it."""
    core: tuple[Step, ...]
    saved: tuple[Saved, ...]
    input_backward: tuple[Step, ...] = ()
    """After the entries' gradients: what lies between the branch's input and its entries."""

    @property
    def outputs(self) -> int:
        """Elements that all column-parallel layers together put out."""
        return sum(entry.forward.elements for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Branches:
    """The attention and the MLP of a model's layers on one rank."""

    model: Transformer
    shard: Shard
    kernels: Kernels

    def attention(self) -> Branch:
        """Return the attention branch: QKV, positions, scores, output projection."""
        model, shard = self.model, self.shard
        heads, kv_heads = model.heads // shard.tensor, max(1, model.kv_heads // shard.tensor)
        width, kv_width = heads * model.head_dim, kv_heads * model.head_dim
        columns = width + 2 * kv_width
        prepare, prepare_backward = pointwise.head_preparation(
            model, float(shard.tokens * (width + kv_width)), self.kernels
        )
        core = self._core_attention(heads, kv_heads, backward=False)
        core_backward = self._core_attention(heads, kv_heads, backward=True)
        return self.branch(
            name="attention",
            entries=(linear("qkv", shard.tokens, columns, model.hidden, shard.precision),),
            exit=linear("attention_out", shard.tokens, model.hidden, width, shard.precision),
            fused=False,
            forward=(*map(Step, prepare), *core),
            backward=(*core_backward, *map(Step, prepare_backward)),
            core=core,
            saved=(
                Saved("qkv", BF16 * shard.tokens * columns),
                *self._saved_rotated(width + kv_width),
                *self._saved_scores(heads),
                Saved("attention_output", BF16 * shard.tokens * width),
            ),
        )

    def mlp(self) -> Branch:
        """Return the MLP branch: up (and gate), activation, down; of experts, those routed to."""
        if self.model.experts is not None:
            return self._experts(self.model.experts)
        model, shard = self.model, self.shard
        width = model.ffn_hidden // shard.tensor
        columns = 2 * width if model.gated_mlp else width
        apart = model.gated_mlp and not self.kernels.merged_gate
        names = ["mlp_gate", "mlp_up"] if apart else ["mlp_up"]
        forward, backward = pointwise.activation(model, float(shard.tokens * width), self.kernels)
        # An eager gated activation keeps its own output for the product's gradient, too.
        products = 2 if model.gated_mlp and not self.kernels.fused_activation else 1
        return self.branch(
            name="mlp",
            entries=tuple(
                linear(name, shard.tokens, columns // len(names), model.hidden, shard.precision)
                for name in names
            ),
            exit=linear("mlp_down", shard.tokens, model.hidden, width, shard.precision),
            fused=True,
            forward=(Step(forward),),
            backward=(Step(backward),),
            core=(),
            saved=(
                Saved("mlp_up", BF16 * shard.tokens * columns),
                Saved(
                    "activation", operand_bytes(shard.precision) * products * shard.tokens * width
                ),
            ),
        )

    def _experts(self, experts: Experts) -> Branch:
        """Return the experts of a layer: router, tokens sorted, grouped products, tokens back.

        Every expert gets as many tokens as every other, and this rank holds all of them.
        """
        model = self.model
        # A token counts once for each of its experts.
        routed = dataclasses.replace(
            self.shard, micro_batch=self.shard.micro_batch * experts.per_token
        )
        rows = even_rows(routed.tokens, experts.count)
        width, columns = model.ffn_hidden, (2 if model.gated_mlp else 1) * model.ffn_hidden
        forward, backward = pointwise.activation(model, float(routed.tokens * width), self.kernels)
        kept = operand_bytes(routed.precision) * routed.tokens
        branch = Branches(model, routed, self.kernels).branch(
            name="experts",
            entries=(grouped_linear("experts_up", rows, columns, model.hidden, routed.precision),),
            exit=grouped_linear("experts_down", rows, model.hidden, width, routed.precision),
            fused=True,
            forward=(Step(forward),),
            backward=(Step(backward),),
            core=(),
            saved=(
                Saved("routed_input", kept * model.hidden),
                Saved("experts_up", BF16 * routed.tokens * columns),
                Saved("activation", kept * width),
                Saved("experts_output", BF16 * routed.tokens * model.hidden),
                Saved("router", FP32 * self.shard.tokens * experts.count),
            ),
        )
        router = routing(model, experts, self.shard, self.kernels)
        return dataclasses.replace(
            branch,
            forward=(*router.forward, *branch.forward, *router.combine),
            backward=(*router.combine_backward, *branch.backward),
            input_backward=router.backward,
        )

    def _core_attention(self, heads: int, kv_heads: int, *, backward: bool) -> tuple[Step, ...]:
        """Return scores to context; with context parallelism keys and values are gathered first.

        The gather moves all keys and values at once, as Llama 3 does (section 3.3.2); a ring moves
        the same bytes in pieces.
        """
        model, shard = self.model, self.shard
        kernel = Attention(
            name="attention_backward" if backward else "attention",
            batch=shard.micro_batch,
            heads=heads,
            kv_heads=kv_heads,
            queries=shard.sequence_length // shard.context,
            keys=shard.sequence_length,
            head_dim=model.head_dim,
            window=model.window,
            backward=backward,
            kernel=self.kernels.attention,
            dropout=self.kernels.attention_dropout,
        )
        if shard.context == 1:
            return (Step(kernel),)
        positions = shard.micro_batch * shard.sequence_length
        n_bytes = 2 * BF16 * positions * kv_heads * model.head_dim

        def exchange(name: str, kind: Collective) -> Step:
            return Step(Communication(name, kind, Axis.CONTEXT, n_bytes))

        gather = exchange("kv_all_gather", Collective.ALL_GATHER)
        blocks = self._ring(kernel) if self.kernels.ring_attention else (Step(kernel),)
        if not backward:
            return gather, *blocks
        return gather, *blocks, exchange("kv_reduce_scatter", Collective.REDUCE_SCATTER)

    def _ring(self, whole: Attention) -> tuple[Step, ...]:
        """Return attention as a ring of blocks: a causal one, then half-masked ones, each merged.

        Each rank holds an early and a late piece of the sequence, so that all have the same work:
        of every other rank's keys it needs half, with all its queries, or all, with half of them.
        """
        if whole.window:
            return (Step(whole),)
        local = whole.queries
        causal = dataclasses.replace(whole, keys=local)
        other = dataclasses.replace(whole, keys=max(1, local // 2), causal=False)
        merge = pointwise.ring_merge(
            float(whole.batch * local * whole.heads * whole.head_dim), backward=whole.backward
        )
        return Step(causal), *(self.shard.context - 1) * (Step(other), Step(merge))

    def _saved_rotated(self, width: int) -> tuple[Saved, ...]:
        """Return rotated queries and keys: an eager rotary embedding writes them apart."""
        if self.kernels.fused_rope or self.model.positions is not Positions.ROTARY:
            return ()
        return (Saved("rotated", BF16 * self.shard.tokens * width),)

    def _saved_scores(self, heads: int) -> tuple[Saved, ...]:
        """Return what the attention core keeps: the scores, or a flash kernel's row statistics."""
        shard = self.shard
        if not self.kernels.attention.stores_scores:
            return (Saved("attention_statistics", FP32 * shard.tokens * heads, True),)  # noqa: FBT003 - the field's name is in the class
        pairs = shard.tokens * heads * shard.sequence_length
        # Separate kernels compute the softmax in fp32, and keep that beside the bf16 copy.
        eager = self.kernels.attention is AttentionKernel.UNFUSED
        softmax = Saved("softmax", (BF16 + FP32 * eager) * pairs, core_attention=True)
        if not self.kernels.attention_dropout:
            return (softmax,)
        dropped = Saved("attention_dropout", (DROPOUT_MASK + BF16) * pairs, core_attention=True)
        return softmax, dropped

    @property
    def score_gradients(self) -> float:
        """Bytes of the score gradients that an attention backward with stored scores holds."""
        if not self.kernels.attention.stores_scores:
            return 0.0
        width = 2 * FP32 if self.kernels.attention is AttentionKernel.UNFUSED else 2 * BF16
        heads = self.model.heads // self.shard.tensor
        return width * self.shard.tokens * heads * self.shard.sequence_length

    def branch(
        self,
        *,
        name: str,
        entries: tuple[Linear, ...],
        exit: Linear,  # noqa: A002 - the field's name
        fused: bool,
        forward: tuple[Step, ...],
        backward: tuple[Step, ...],
        core: tuple[Step, ...],
        saved: tuple[Saved, ...],
    ) -> Branch:
        """Return a branch with its linear layers around what it does between them.

        ``fused``: the kernel before the exit, and in the backward pass the one before the entries,
        is an activation that can write its output quantised.
        """
        columns = sum(entry.forward.n for entry in entries)
        weight = exit.weight_gradient
        return Branch(
            name=name,
            entries=entries,
            exit=exit,
            forward=(
                *self._cast(entries[0].forward.k, "input", fused=True),
                *(Step(entry.forward) for entry in entries),
                *forward,
                *self._cast(exit.forward.k, f"{name}_output", fused=fused),
                Step(exit.forward),
            ),
            backward=(
                *self._cast(exit.forward.n, f"{name}_gradient", fused=False),
                Step(exit.input_gradient),
                Step(weight, weight=True),
                *accumulation(weight, self.shard, self.kernels),
                *backward,
                *self._cast(columns, f"{name}_input_gradient", fused=fused),
            ),
            core=core,
            saved=saved,
        )

    def _cast(self, width: int, what: str, *, fused: bool) -> tuple[Step, ...]:
        return cast(width, what, self.shard, self.kernels, fused=fused)
