"""The blocks that each virtual stage runs, with what is recomputed and what is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, cached_property
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from simulator.fields import Count, Flag, record
from simulator.parallel.stages import Chunk, chunks_of, split_layers
from simulator.workload.convolutional import ConvolutionalNetwork
from simulator.workload.convolutions import network_blocks
from simulator.workload.layers import embedding, head, transformer_layer
from simulator.workload.parameters import (
    embedding_parameters_per_rank,
    head_parameters_per_rank,
    layer_parameters_per_rank,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulator.operators import Kernels
    from simulator.parallel.layout import Layout
    from simulator.workload.steps import Block, Shard, Step
    from simulator.workload.transformer import Transformer


class Recomputation(StrEnum):
    """What the backward pass computes again instead of keeping it."""

    NONE = "none"
    SELECTIVE = "selective"
    """The attention core (Korthikanti et al. 2022, section 5)."""
    FULL = "full"
    """Whole layers from their inputs."""


@record
class Recompute:
    """Which layers recompute what (``recompute:`` in a scenario)."""

    mode: Recomputation = Recomputation.NONE
    every: Count = 1
    """Apply the mode to every n-th layer only."""
    head: Flag = False
    """Full recomputation covers the output projection, too (a stack that checkpoints every
    module, not only the transformer layers)."""

    def of_layer(self, layer: int) -> Recomputation:
        """Return what the given layer of the model recomputes."""
        return self.mode if layer % self.every == 0 else Recomputation.NONE

    @property
    def of_head(self) -> Recomputation:
        """What the head recomputes."""
        return self.mode if self.head else Recomputation.NONE


@dataclass(frozen=True)
class PlacedBlock:
    """A block on its virtual stage."""

    block: Block
    recomputation: Recomputation
    parameters: int
    """Parameters that this rank holds of it."""
    layer: int | None = None
    """Layer of the model; none for embedding and head."""

    @property
    def recomputed(self) -> tuple[Step, ...]:
        """Steps that the backward pass repeats first."""
        if self.recomputation is Recomputation.FULL:
            return tuple(step for step in self.block.forward if not step.final)
        if self.recomputation is Recomputation.SELECTIVE:
            return self.block.core_attention
        return ()

    @cached_property
    def kept_bytes(self) -> float:
        """Activations held from forward to backward [B], logits included."""
        if self.recomputation is Recomputation.FULL:
            return self.block.input_bytes + sum(s.n_bytes for s in self.block.saved if s.final)
        dropped = self.recomputation is Recomputation.SELECTIVE
        return sum(s.n_bytes for s in self.block.saved if not (dropped and s.core_attention))

    @cached_property
    def transient_bytes(self) -> float:
        """Memory of the backward pass alone [B]: gradients in flight and recomputed activations."""
        return self.block.working_bytes + self.block.saved_bytes - self.kept_bytes


@dataclass(frozen=True, slots=True)
class VirtualStage:
    """A part of the model in model order, as one rank runs it."""

    chunk: Chunk
    blocks: tuple[PlacedBlock, ...]

    @property
    def parameters(self) -> int:
        """Parameters that one rank holds."""
        return sum(block.parameters for block in self.blocks)

    @property
    def kept_bytes(self) -> float:
        """Activations kept per micro-batch [B]."""
        return sum(block.kept_bytes for block in self.blocks)

    def transient_bytes(self, deferred: float = 0.0) -> float:
        """Return the most memory that the backward pass needs beside what is kept [B].

        The pass goes through the blocks from the last to the first and frees what each has kept.
        ``deferred`` bytes per parameter stay until its end: gradients that are accumulated then.
        """
        return backward_peak(
            (block.kept_bytes, block.transient_bytes, deferred * block.parameters)
            for block in reversed(self.blocks)
        )


def backward_peak(blocks: Iterable[tuple[float, float, float]]) -> float:
    """Return the most memory that a backward pass needs beside what is kept [B].

    ``blocks`` are what each has kept, needs for itself, and leaves until the end of the pass [B],
    in the order of the pass.

    Examples
    --------
    >>> backward_peak([(10.0, 4.0, 1.0), (10.0, 15.0, 1.0)])
    6.0
    """
    level = most = 0.0
    for kept, transient, left in blocks:
        most = max(most, level + max(transient, left))
        level += left - kept
    return most


def virtual_stages(
    model: Transformer | ConvolutionalNetwork,
    layout: Layout,
    shard: Shard,
    kernels: Kernels,
    recompute: Recompute,
) -> tuple[VirtualStage, ...]:
    """Return the model cut into its virtual stages, in model order.

    Raises
    ------
    LayoutError
        If the layers or heads do not divide as asked.
    """
    if isinstance(model, ConvolutionalNetwork):
        return (_whole_network(model, shard),)
    return _transformer_stages(model, layout, shard, kernels, recompute)


def _whole_network(network: ConvolutionalNetwork, shard: Shard) -> VirtualStage:
    """Return a network as the one virtual stage that it is: its blocks are its layers."""
    blocks = network_blocks(network, shard)
    placed = (
        PlacedBlock(block, Recomputation.NONE, parameters, number)
        for number, (block, parameters) in enumerate(blocks)
    )
    chunk = Chunk(first_layer=0, layers=len(blocks), embedding=True, head=True)
    return VirtualStage(chunk, tuple(placed))


class Part(StrEnum):
    """What a transformer is made of."""

    EMBEDDING = "embedding"
    LAYER = "layer"
    HEAD = "head"


class BlockKind(NamedTuple):
    """What tells the blocks of a transformer apart: those of one kind cost the same."""

    part: Part
    recomputation: Recomputation


def block_kinds(chunk: Chunk, recompute: Recompute) -> list[BlockKind]:
    """Return the blocks of a transformer's virtual stage in model order."""
    kinds = [BlockKind(Part.EMBEDDING, Recomputation.NONE)] if chunk.embedding else []
    numbers = range(chunk.first_layer, chunk.first_layer + chunk.layers)
    kinds += [BlockKind(Part.LAYER, recompute.of_layer(number)) for number in numbers]
    if chunk.head:
        kinds.append(BlockKind(Part.HEAD, recompute.of_head))
    return kinds


def placed_block(
    kind: BlockKind, model: Transformer, shard: Shard, kernels: Kernels, *, pipelined: bool
) -> PlacedBlock:
    """Return a block as a rank runs it; one of a layer is any layer's of its kind.

    Raises
    ------
    LayoutError
        If the heads do not divide.
    """
    if kind.part is Part.LAYER:
        block = transformer_layer(model, shard, kernels)
        held = layer_parameters_per_rank(model, shard.tensor)
    elif kind.part is Part.EMBEDDING:
        block = embedding(model, shard, kernels)
        held = embedding_parameters_per_rank(model, shard.tensor)
    else:
        block = head(model, shard, kernels)
        held = head_parameters_per_rank(model, shard.tensor, own_copy=pipelined)
    return PlacedBlock(block, kind.recomputation, held.total)


def _transformer_stages(
    model: Transformer, layout: Layout, shard: Shard, kernels: Kernels, recompute: Recompute
) -> tuple[VirtualStage, ...]:
    @cache
    def planned(kind: BlockKind) -> PlacedBlock:
        return placed_block(kind, model, shard, kernels, pipelined=layout.pipeline > 1)

    def place(chunk: Chunk) -> VirtualStage:
        numbers = count(chunk.first_layer)
        blocks = [
            replace(planned(kind), layer=next(numbers))
            if kind.part is Part.LAYER
            else planned(kind)
            for kind in block_kinds(chunk, recompute)
        ]
        return VirtualStage(chunk, tuple(blocks))

    split = layout.layers or split_layers(model.layers, layout.chunks)
    return tuple(map(place, chunks_of(split)))
