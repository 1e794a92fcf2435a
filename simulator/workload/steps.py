"""Steps: the operators of a block's passes in order, and what may run at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.operators import Communication, Compute, Product, Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulator.precision import Precision


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of a pass."""

    operator: Compute | Communication
    weight: bool = False
    """Belongs to the weight gradient: a split backward pass (I, W) runs it in W."""
    under: tuple[Product, ...] = ()
    """Independent GEMMs that an asynchronous stack runs while this communication is under way."""
    final: bool = False
    """Never recomputed: what follows the model (the loss)."""
    beside: Product | None = None
    """The GEMM that feeds or consumes this communication: chunked overlap can hide behind it."""


@dataclass(frozen=True, slots=True)
class Saved:
    """An activation kept from forward to backward."""

    name: str
    n_bytes: float
    core_attention: bool = False
    """Dropped by selective recomputation."""
    final: bool = False
    """Kept even if its block is recomputed in full (the logits that the loss works on)."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the model as one rank runs it: a layer, the embedding or the head."""

    name: str
    forward: tuple[Step, ...]
    backward: tuple[Step, ...]
    """Input and weight gradients in the order in which a fused backward pass runs them."""
    core_attention: tuple[Step, ...]
    """The part of ``forward`` that selective recomputation repeats before the backward pass."""
    saved: tuple[Saved, ...]
    input_bytes: float
    """The block's input [B]: all that full recomputation keeps."""
    working_bytes: float
    """Transient memory [B] of the widest moment of the backward pass."""

    @property
    def saved_bytes(self) -> float:
        """Activations kept without recomputation [B]."""
        return sum(saved.n_bytes for saved in self.saved)


@dataclass(frozen=True, slots=True)
class Shard:
    """One rank's share of one micro-batch, and the formats it is computed in."""

    micro_batch: int
    sequence_length: int
    tensor: int
    context: int
    sequence_parallel: bool
    precision: Precision
    gradient_precision: Precision

    @property
    def tokens(self) -> int:
        """Tokens in a tensor-parallel region."""
        return self.micro_batch * self.sequence_length // self.context

    @property
    def norm_tokens(self) -> float:
        """Tokens in the regions between (norms, residuals): split by sequence parallelism."""
        return self.tokens / self.tensor if self.sequence_parallel else float(self.tokens)


def input_gradient(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps of a backward pass that the previous stage waits for (``I``)."""
    return tuple(step for step in _flattened(steps) if not step.weight)


def weight_gradient(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps of a backward pass that can be put off (``W``)."""
    return tuple(step for step in _flattened(steps) if step.weight)


def _flattened(steps: Iterable[Step]) -> Iterable[Step]:
    """Yield every operator as a step of its own: a split pass overlaps nothing inside."""
    for step in steps:
        yield Step(step.operator, weight=step.weight, beside=step.beside)
        for gemm in step.under:
            yield Step(gemm, weight=gemm.role is Role.WEIGHT_GRADIENT)
