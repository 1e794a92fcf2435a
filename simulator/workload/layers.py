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

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from simulator.operators import (
    Axis,
    Collective,
    Communication,
    Kernels,
    LossKernel,
    Pointwise,
    Product,
)
from simulator.precision import Precision
from simulator.workload import pointwise
from simulator.workload.branches import DROPOUT_MASK, Branch, Branches
from simulator.workload.linears import Linear, accumulation, linear, operand_bytes
from simulator.workload.parameters import padded_vocabulary
from simulator.workload.steps import Block, Saved, Shard, Step
from simulator.workload.transformer import Norm

if TYPE_CHECKING:
    from simulator.workload.transformer import Transformer

BF16 = Precision.BF16.n_bytes
FP32 = Precision.FP32.n_bytes


def transformer_layer(model: Transformer, shard: Shard, kernels: Kernels) -> Block:
    """Return one transformer layer as one rank runs it.

    Neglected: the weight gradients of norms and biases (their traffic is below 0.1 % of the
    layer's), and copies that some kernels make of strided inputs.
    """
    builder, branches = _Builder(model, shard, kernels), Branches(model, shard, kernels)
    attention, mlp = branches.attention(), branches.mlp()
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
        working_bytes=max(2 * BF16 * max(mlp.outputs, attention.outputs), branches.score_gradients),
    )


def embedding(model: Transformer, shard: Shard, kernels: Kernels) -> Block:
    """Return the token embedding of the first stage.

    The vocabulary is split over the tensor group; partial rows are summed by one collective.
    The gradient is dense: zeroed, scattered into, and added to the gradient buffer by a pass of its
    own in every stack. Neglected: ids as activations, learned positions and the embedding's own
    norm as traffic.
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
            *builder.gather(None),
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
    logits = linear("logits", shard.tokens, vocabulary, model.hidden, Precision.BF16)
    norm_forward, norm_backward = builder.norm()
    gathered = kernels.loss is LossKernel.GATHERED
    elements = float(shard.tokens * vocabulary * (shard.tensor if gathered else 1))
    loss_forward, loss_backward = pointwise.cross_entropy(elements, kernels)
    kept, passing = LOSS_BYTES[kernels.loss]
    return Block(
        name="head",
        forward=(
            Step(norm_forward),
            *builder.gather(logits.forward),
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

    def residual_part(self, branches: tuple[Branch, ...]) -> _Part:
        """Return branches that share one norm, one residual addition and their collectives."""
        # GPT-NeoX's parallel branches have a norm each; others share one.
        norms = [self.norm()] * (len(branches) if self.model.parallel_norms else 1)
        add_forward, add_backward = pointwise.residual(self.stream_elements, self.kernels)
        post = [self.norm()] if self.model.post_norms else []
        first, last = branches[0], branches[-1]
        forward = (
            *(Step(norm[0]) for norm in norms),
            *self.gather(first.entries[0].forward),
            *(step for branch in branches for step in branch.forward),
            *self.leave(last.exit.forward),
            *(Step(norm[0]) for norm in post),
            Step(add_forward),
        )
        backward = (
            Step(add_backward),
            *(Step(norm[1]) for norm in post),
            *self.gather(last.exit.input_gradient),
            *(step for branch in reversed(branches) for step in branch.backward),
            *self.entry_backward(tuple(e for branch in branches for e in branch.entries)),
            *(step for branch in reversed(branches) for step in branch.input_backward),
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
        output = Saved(
            f"{name}_norm_output", operand_bytes(self.shard.precision) * self.stream_elements
        )
        kept = Saved(f"{name}_norm_input", self.stream_bytes), output
        if self.kernels.fused_norm or self.model.norm is not Norm.RMS:
            return kept
        return *kept, Saved(f"{name}_norm_fp32", 2 * FP32 * self.stream_elements)

    def gather(self, gemm: Product | None) -> tuple[Step, ...]:
        """Return what precedes a GEMM whose input sequence parallelism has split: a gather.

        That is a column-parallel one forward, a row-parallel one's input gradient backward.
        """
        if not self.shard.sequence_parallel:
            return ()
        return self._exchange("tensor_all_gather", Collective.ALL_GATHER, beside=gemm)

    def leave(self, gemm: Product | None) -> tuple[Step, ...]:
        """Return what follows a row-parallel GEMM: the sum over the tensor group."""
        if self.shard.sequence_parallel:
            return self._exchange("tensor_reduce_scatter", Collective.REDUCE_SCATTER, beside=gemm)
        return self._exchange("tensor_all_reduce", Collective.ALL_REDUCE, beside=gemm)

    def entry_backward(self, entries: tuple[Linear, ...]) -> tuple[Step, ...]:
        """Return the gradients of column-parallel layers that share one input.

        The input is gathered again (it was saved split) under the input gradient; the input
        gradient is summed over the tensor group under the weight gradient.
        """
        gemms = tuple(entry.input_gradient for entry in reversed(entries))
        weights = tuple(entry.weight_gradient for entry in reversed(entries))
        accumulations = tuple(
            step for weight in weights for step in accumulation(weight, self.shard, self.kernels)
        )
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

    def _communication(self, name: str, kind: Collective) -> Communication:
        n_bytes = BF16 * self.shard.tokens * self.model.hidden
        return Communication(name, kind, Axis.TENSOR, n_bytes)

    def _exchange(self, name: str, kind: Collective, *, beside: Product | None) -> tuple[Step, ...]:
        if self.shard.tensor == 1:
            return ()
        return (Step(self._communication(name, kind), beside=beside),)
