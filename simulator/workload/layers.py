"""Layers as operators: what one rank computes, sends and keeps for one micro-batch.

Shapes are those of the rank's shard: ``T`` tokens in tensor-parallel regions, ``T/t`` between
them with sequence parallelism. Messages follow Megatron: an all-reduce after each row-parallel
GEMM, or with sequence parallelism an all-gather before each column-parallel GEMM and a
reduce-scatter after each row-parallel one (Korthikanti et al. 2022, section 4.2). The saved
activations without recomputation reproduce their ``s b h (10 + 24/t + 5 a s / (h t))``, and with
sequence parallelism ``s b h / t (34 + 5 a s / h)``, for a GPT layer with stored scores and
dropout.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from simulator.operators import (
    Attention,
    AttentionKernel,
    Axis,
    Collective,
    Communication,
    Gemm,
    Kernels,
    LossKernel,
    Pointwise,
    Role,
)
from simulator.precision import Precision
from simulator.workload import pointwise
from simulator.workload.parameters import padded_vocabulary
from simulator.workload.steps import Block, Saved, Shard, Step
from simulator.workload.transformer import Norm, Positions

if TYPE_CHECKING:
    from simulator.workload.transformer import Transformer

BF16 = Precision.BF16.n_bytes
FP32 = Precision.FP32.n_bytes
DROPOUT_MASK = 1.0
"""Bytes per element of a saved dropout mask."""


class Linear(NamedTuple):
    """The three GEMMs of a linear layer, each with the m, n and k of its own product."""

    forward: Gemm
    """Tokens x inputs by inputs x outputs."""
    input_gradient: Gemm
    """Tokens x outputs by outputs x inputs."""
    weight_gradient: Gemm
    """Outputs x tokens by tokens x inputs."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Attention or MLP between its column-parallel entry and its row-parallel exit."""

    name: str
    entries: tuple[Linear, ...]
    """Column-parallel layers that share the branch's input."""
    exit: Linear
    fused: bool
    """The kernel before the exit, and in the backward pass the one before the entries, is an
    activation that can write its output quantised."""
    forward: tuple[Step, ...]
    backward: tuple[Step, ...]
    core: tuple[Step, ...]
    saved: tuple[Saved, ...]

    @property
    def columns(self) -> int:
        """Outputs of all column-parallel layers together."""
        return sum(entry.forward.n for entry in self.entries)


def transformer_layer(model: Transformer, shard: Shard, kernels: Kernels) -> Block:
    """Return one transformer layer as one rank runs it.

    Neglected: the weight gradients of norms and biases (their traffic is below 0.1 % of the
    layer's), and copies that some kernels make of strided inputs.
    """
    builder = _Builder(model, shard, kernels)
    attention, mlp = builder.attention(), builder.mlp()
    if model.parallel_block:
        parts = [builder.residual_part((attention, mlp))]
    else:
        parts = [builder.residual_part((attention,)), builder.residual_part((mlp,))]
    return Block(
        name="layer",
        forward=tuple(step for part in parts for step in part.forward),
        backward=tuple(step for part in reversed(parts) for step in part.backward),
        core_attention=attention.core,
        saved=tuple(saved for part in parts for saved in part.saved),
        input_bytes=builder.stream_bytes,
        working_bytes=max(
            2 * BF16 * shard.tokens * max(mlp.columns, attention.columns), builder.score_gradients
        ),
    )


def embedding(model: Transformer, shard: Shard, kernels: Kernels) -> Block:
    """Return the token embedding of the first stage.

    The vocabulary is split over the tensor group; partial rows are summed by one collective.
    The gradient is dense: zeroed, scattered into, and added to the gradient buffer by a pass of its
    own in every stack. Ids are neglected as activations, learned positions as traffic.
    """
    builder = _Builder(model, shard, kernels)
    elements = float(shard.tokens * model.hidden)
    rows = padded_vocabulary(model, shard.tensor) // shard.tensor
    table = float(rows * model.hidden)
    lookup = Pointwise("embedding", 2 * BF16 * elements, kernels=3)
    scatter = Pointwise("embedding_gradient", BF16 * (3 * elements + table), kernels=2)
    accumulation = pointwise.gradient_accumulation(table, shard.gradient_precision)
    mask = (Saved("embedding_dropout", DROPOUT_MASK * shard.norm_tokens * model.hidden),)
    return Block(
        name="embedding",
        forward=(Step(lookup), *builder.leave(None)),
        backward=(
            *builder.leave_backward(None),
            Step(scatter, weight=True),
            Step(accumulation, weight=True),
        ),
        core_attention=(),
        saved=mask if kernels.dropout else (),
        input_bytes=0.0,
        working_bytes=BF16 * (elements + table),
    )


def head(model: Transformer, shard: Shard, kernels: Kernels) -> Block:
    """Return the final norm, the output projection and the loss of the last stage.

    Where the loss is split over the tensor group, three all-reduces of one fp32 per token (the
    maximum, the target's logit, the sum of exponentials) join the shards; a gathered loss moves
    all logits to every rank instead.
    """
    builder = _Builder(model, shard, kernels)
    vocabulary = padded_vocabulary(model, shard.tensor) // shard.tensor
    logits = _linear("logits", shard.tokens, vocabulary, model.hidden, Precision.BF16)
    norm_forward, norm_backward = builder.norm()
    gathered = kernels.loss is LossKernel.GATHERED
    elements = float(shard.tokens * vocabulary * (shard.tensor if gathered else 1))
    loss_forward, loss_backward = pointwise.cross_entropy(elements, kernels)
    kept, passing = LOSS_BYTES[kernels.loss]
    return Block(
        name="head",
        forward=(
            Step(norm_forward),
            *builder.enter(logits.forward),
            Step(logits.forward),
            *(builder.gathered_logits(elements) if gathered else builder.loss_sums()),
            Step(loss_forward, final=True),
        ),
        backward=(
            Step(loss_backward),
            *builder.entry_backward((logits,)),
            Step(norm_backward),
        ),
        core_attention=(),
        saved=(*builder.norm_saved("head"), Saved("logits", kept * elements, final=True)),
        input_bytes=builder.stream_bytes,
        working_bytes=passing * elements,
    )


LOSS_BYTES = {
    LossKernel.FUSED: (BF16, 0.0),
    LossKernel.VOCABULARY_PARALLEL: (BF16 + FP32, FP32 + BF16),
    LossKernel.GATHERED: (BF16 + 2 * FP32, 2 * FP32),
}
"""Bytes per logit kept from forward to backward, and passing at the widest moment.

Fused: the bf16 logits, their gradient in place.
Vocabulary-parallel: the bf16 logits and the fp32 softmax (in place of their fp32 copy); in passing,
the shifted copy and the bf16 gradient. Gathered: bf16 logits, their fp32 copy (which the accuracy
reads again) and the fp32 log-probabilities; in passing, the fp32 gradients of both.
"""


class _Part(NamedTuple):
    """A residual branch with its norm, collectives and residual addition."""

    forward: tuple[Step, ...]
    backward: tuple[Step, ...]
    saved: tuple[Saved, ...]


def _linear(name: str, tokens: int, outputs: int, inputs: int, precision: Precision) -> Linear:
    def gemm(suffix: str, role: Role, m: int, n: int, k: int) -> Gemm:
        return Gemm(name + suffix, m, n, k, precision=precision, role=role)

    return Linear(
        gemm("", Role.FORWARD, tokens, outputs, inputs),
        gemm("_input_gradient", Role.INPUT_GRADIENT, tokens, inputs, outputs),
        gemm("_weight_gradient", Role.WEIGHT_GRADIENT, outputs, inputs, tokens),
    )


@dataclass(frozen=True, slots=True)
class _Builder:
    """The model, the shard and the kernels that every part of a layer is made from."""

    model: Transformer
    shard: Shard
    kernels: Kernels

    @property
    def stream_elements(self) -> float:
        """Elements of the residual stream on this rank."""
        return self.shard.norm_tokens * self.model.hidden

    @property
    def stream_bytes(self) -> float:
        """Bytes of the residual stream on this rank."""
        return BF16 * self.stream_elements

    @property
    def score_gradients(self) -> float:
        """Bytes of the score gradients that an attention backward with stored scores holds."""
        if not self.kernels.attention.stores_scores:
            return 0.0
        width = 2 * FP32 if self.kernels.attention is AttentionKernel.UNFUSED else 2 * BF16
        heads = self.model.heads // self.shard.tensor
        return width * self.shard.tokens * heads * self.shard.sequence_length

    @property
    def operand_bytes(self) -> float:
        """Bytes per element of a linear layer's saved input: one quantised copy, or bf16."""
        return min(BF16, self.shard.precision.n_bytes)

    # ---- branches -------------------------------------------------------------------------

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
        return Branch(
            name="attention",
            entries=(_linear("qkv", shard.tokens, columns, model.hidden, shard.precision),),
            exit=_linear("attention_out", shard.tokens, model.hidden, width, shard.precision),
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
        """Return the MLP branch: up (and gate), activation, down."""
        model, shard = self.model, self.shard
        width = model.ffn_hidden // shard.tensor
        columns = 2 * width if model.gated_mlp else width
        apart = model.gated_mlp and not self.kernels.merged_gate
        names = ["mlp_gate", "mlp_up"] if apart else ["mlp_up"]
        forward, backward = pointwise.activation(model, float(shard.tokens * width), self.kernels)
        # An eager gated activation keeps its own output for the product's gradient, too.
        products = 2 if model.gated_mlp and not self.kernels.fused_activation else 1
        return Branch(
            name="mlp",
            entries=tuple(
                _linear(name, shard.tokens, columns // len(names), model.hidden, shard.precision)
                for name in names
            ),
            exit=_linear("mlp_down", shard.tokens, model.hidden, width, shard.precision),
            fused=True,
            forward=(Step(forward),),
            backward=(Step(backward),),
            core=(),
            saved=(
                Saved("mlp_up", BF16 * shard.tokens * columns),
                Saved("activation", self.operand_bytes * products * shard.tokens * width),
            ),
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
        if not self.kernels.dropout:
            return (softmax,)
        dropped = Saved("attention_dropout", (DROPOUT_MASK + BF16) * pairs, core_attention=True)
        return softmax, dropped

    # ---- around the branches --------------------------------------------------------------

    def residual_part(self, branches: tuple[Branch, ...]) -> _Part:
        """Return branches that share one norm, one residual addition and their collectives."""
        # GPT-NeoX's parallel branches have a norm each; others share one.
        norms = [self.norm()] * (len(branches) if self.model.parallel_norms else 1)
        add_forward, add_backward = pointwise.residual(self.stream_elements, self.kernels)
        post = [self.norm()] if self.model.post_norms else []
        first, last = branches[0], branches[-1]
        forward = (
            *(Step(norm[0]) for norm in norms),
            *self.enter(first.entries[0].forward),
            *(step for branch in branches for step in self._branch_forward(branch)),
            *self.leave(last.exit.forward),
            *(Step(norm[0]) for norm in post),
            Step(add_forward),
        )
        backward = (
            Step(add_backward),
            *(Step(norm[1]) for norm in post),
            *self.leave_backward(last.exit.input_gradient),
            *(step for branch in reversed(branches) for step in self._branch_backward(branch)),
            *self.entry_backward(tuple(e for branch in branches for e in branch.entries)),
            *(Step(norm[1]) for norm in norms),
        )
        saved = [
            *self.norm_saved(first.name),
            *(item for branch in branches for item in branch.saved),
        ]
        if len(norms) > 1:
            saved.append(Saved("second_norm_output", self.stream_bytes))
        if post:
            saved.append(Saved("post_norm_input", self.stream_bytes))
        if self.kernels.dropout:
            saved.append(Saved("residual_dropout", DROPOUT_MASK * self.stream_elements))
        return _Part(forward, backward, tuple(saved))

    def norm(self) -> tuple[Pointwise, Pointwise]:
        """Return one norm of the residual stream, forward and backward."""
        return pointwise.normalisation(self.model, self.stream_elements, self.kernels)

    def norm_saved(self, name: str) -> tuple[Saved, ...]:
        """Return what a norm keeps: input and output, or an eager RMSNorm's fp32 intermediates.

        Eager, the input and the normalised values stay in fp32, too. Of the readings of that code
        it is the one that puts the layouts study's 65B rows without recomputation (arXiv
        2311.05610) on the right side of 80 GB.
        """
        output = Saved(f"{name}_norm_output", self.operand_bytes * self.stream_elements)
        kept = Saved(f"{name}_norm_input", self.stream_bytes), output
        if self.kernels.fused_norm or self.model.norm is not Norm.RMS:
            return kept
        return *kept, Saved(f"{name}_norm_fp32", 2 * FP32 * self.stream_elements)

    def enter(self, gemm: Gemm) -> tuple[Step, ...]:
        """Return what precedes a column-parallel GEMM: with sequence parallelism, a gather."""
        if not self.shard.sequence_parallel:
            return ()
        return self._exchange("tensor_all_gather", Collective.ALL_GATHER, beside=gemm)

    def leave(self, gemm: Gemm | None) -> tuple[Step, ...]:
        """Return what follows a row-parallel GEMM: the sum over the tensor group."""
        if self.shard.sequence_parallel:
            return self._exchange("tensor_reduce_scatter", Collective.REDUCE_SCATTER, beside=gemm)
        return self._exchange("tensor_all_reduce", Collective.ALL_REDUCE, beside=gemm)

    def leave_backward(self, gemm: Gemm | None) -> tuple[Step, ...]:
        """Return what precedes a row-parallel GEMM's gradient: a gather if sequences are split."""
        if not self.shard.sequence_parallel:
            return ()
        return self._exchange("tensor_all_gather", Collective.ALL_GATHER, beside=gemm)

    def entry_backward(self, entries: tuple[Linear, ...]) -> tuple[Step, ...]:
        """Return the gradients of column-parallel layers that share one input.

        The input is gathered again (it was saved split) under the input gradient; the input
        gradient is summed over the tensor group under the weight gradient.
        """
        gemms = tuple(entry.input_gradient for entry in reversed(entries))
        weights = tuple(entry.weight_gradient for entry in reversed(entries))
        accumulations = tuple(step for weight in weights for step in self._accumulation(weight))
        if self.shard.tensor == 1:
            return (
                *map(Step, gemms),
                *(Step(gemm, weight=True) for gemm in weights),
                *accumulations,
            )
        if not self.shard.sequence_parallel:
            total = self._communication("tensor_all_reduce", Collective.ALL_REDUCE)
            *separate, last = gemms
            each = () if self.kernels.merged_gate else tuple(separate)
            summed = (step for gemm in each for step in (Step(gemm), Step(total, beside=gemm)))
            alone = separate if self.kernels.merged_gate else ()
            reduction = Step(total, under=weights, beside=last)
            return (*map(Step, alone), *summed, Step(last), reduction, *accumulations)
        gather = self._communication("tensor_all_gather", Collective.ALL_GATHER)
        scatter = self._communication("tensor_reduce_scatter", Collective.REDUCE_SCATTER)
        return (
            Step(gather, weight=True, under=gemms, beside=gemms[0]),
            Step(scatter, under=weights, beside=gemms[-1]),
            *accumulations,
        )

    def gathered_logits(self, elements: float) -> tuple[Step, ...]:
        """Return the all-gather of bf16 logits, ``elements`` of them on every rank."""
        if self.shard.tensor == 1:
            return ()
        message = BF16 * elements
        gather = Communication("logits_all_gather", Collective.ALL_GATHER, Axis.TENSOR, message)
        return (Step(gather),)

    def loss_sums(self) -> tuple[Step, ...]:
        """Return the three small all-reduces of a vocabulary-parallel cross-entropy."""
        if self.shard.tensor == 1:
            return ()
        message = FP32 * self.shard.tokens
        return tuple(
            Step(
                Communication(f"loss_{what}", Collective.ALL_REDUCE, Axis.TENSOR, message),
                final=True,
            )
            for what in ("maximum", "target", "sum")
        )

    def _branch_forward(self, branch: Branch) -> tuple[Step, ...]:
        entries = (Step(entry.forward) for entry in branch.entries)
        return (
            *self._cast(branch.entries[0].forward.k, "input", fused=True),
            *entries,
            *branch.forward,
            *self._cast(branch.exit.forward.k, f"{branch.name}_output", fused=branch.fused),
            Step(branch.exit.forward),
        )

    def _branch_backward(self, branch: Branch) -> tuple[Step, ...]:
        """Return a branch's backward pass without that of its entry."""
        weight = branch.exit.weight_gradient
        return (
            *self._cast(branch.exit.forward.n, f"{branch.name}_gradient", fused=False),
            Step(branch.exit.input_gradient),
            Step(weight, weight=True),
            *self._accumulation(weight),
            *branch.backward,
            *self._cast(branch.columns, f"{branch.name}_input_gradient", fused=branch.fused),
        )

    def _cast(self, width: int, what: str, *, fused: bool) -> tuple[Step, ...]:
        """Return the quantisation of a GEMM operand ``width`` wide; none if the kernel before can.

        Weights are quantised once per step, which is neglected.
        """
        late = pointwise.scaled_first(self.shard.precision, self.kernels)
        if fused and self.kernels.fused_quantisation and not late:
            return ()
        passes = pointwise.quantisation(
            float(self.shard.tokens * width), self.shard.precision, self.kernels, f"cast_{what}"
        )
        return tuple(map(Step, passes))

    def _accumulation(self, weight: Gemm) -> tuple[Step, ...]:
        if self.kernels.fused_gradient_accumulation:
            sums = pointwise.fused_accumulation(weight, self.shard.gradient_precision)
            return tuple(Step(addition, weight=True) for addition in sums)
        add = pointwise.gradient_accumulation(
            float(weight.m * weight.n), self.shard.gradient_precision
        )
        return (Step(add, weight=True),)

    def _communication(self, name: str, kind: Collective) -> Communication:
        n_bytes = BF16 * self.shard.tokens * self.model.hidden
        return Communication(name, kind, Axis.TENSOR, n_bytes)

    def _exchange(self, name: str, kind: Collective, *, beside: Gemm | None) -> tuple[Step, ...]:
        if self.shard.tensor == 1:
            return ()
        return (Step(self._communication(name, kind), beside=beside),)
