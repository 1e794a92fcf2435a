"""Parameter counts of a transformer: exact, by tensor, and per tensor-parallel rank.

A layer is a list of weights, each with its shape and the way tensor parallelism cuts it
(Shoeybi et al. 2019, section 3): query, key, value and MLP-up matrices by column with their
biases, output and MLP-down matrices by row; the biases of row-parallel matrices are added after
the reduction and, like the norms, held by every rank. Counts are elements, not bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import TYPE_CHECKING

from simulator.errors import LayoutError
from simulator.workload.transformer import Norm, Positions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulator.workload.transformer import Experts, Transformer


class Cut(StrEnum):
    """What tensor parallelism does with a weight."""

    SPLIT = "split"
    """Every rank holds an equal, distinct part."""
    KV_HEADS = "kv_heads"
    """Split by key/value head; more ranks than heads share heads."""
    REPLICATED = "replicated"
    """Every rank holds all of it."""


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor of a layer."""

    name: str
    shape: tuple[int, ...]
    """``(in, out)`` of a matrix, ``(width,)`` of a bias or norm."""
    cut: Cut
    copies: int = 1
    """Tensors of this kind: one for each expert."""
    used: int = 1
    """How many of them a token meets."""

    @property
    def parameters(self) -> int:
        """Elements of all of them."""
        return self.copies * prod(self.shape)

    @property
    def active(self) -> int:
        """Elements of those that a token meets."""
        return self.used * prod(self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether a GEMM multiplies by it (biases and norms are vectors)."""
        return len(self.shape) == 2  # noqa: PLR2004 - a matrix has two dimensions


@dataclass(frozen=True, slots=True)
class RankParameters:
    """What one tensor-parallel rank holds."""

    split: int
    """This rank's part of the tensors that are cut."""
    replicated: int
    """Tensors that every rank of the group holds in full."""

    @property
    def total(self) -> int:
        """Elements held by the rank."""
        return self.split + self.replicated


def total_parameters(model: Transformer) -> int:
    """Return all parameters of the model, its vocabulary as published (not padded)."""
    return (
        embedding_parameters(model)
        + position_parameters(model)
        + embedding_norm_parameters(model)
        + model.layers * layer_parameters(model)
        + final_norm_parameters(model)
        + head_parameters(model)
    )


def active_parameters(model: Transformer) -> int:
    """Return the parameters that a token meets: all, less the experts that it is not routed to."""
    idle = sum(weight.parameters - weight.active for weight in layer_weights(model))
    return total_parameters(model) - model.layers * idle


def embedding_parameters(model: Transformer) -> int:
    """Return the parameters of the token embedding."""
    return model.vocabulary * model.hidden


def position_parameters(model: Transformer) -> int:
    """Return the parameters of learned position embeddings (0 for other positions)."""
    return model.max_positions * model.hidden if model.positions is Positions.LEARNED else 0


def embedding_norm_parameters(model: Transformer) -> int:
    """Return the parameters of the norm after the embedding (0 without one)."""
    return norm_width(model, model.hidden) if model.embedding_norm else 0


def final_norm_parameters(model: Transformer) -> int:
    """Return the parameters of the norm before the output head."""
    return norm_width(model, model.hidden)


def head_parameters(model: Transformer) -> int:
    """Return the output head's own parameters: 0 where it is tied to the embedding."""
    return 0 if model.tied_embeddings else embedding_parameters(model)


def layer_parameters(model: Transformer) -> int:
    """Return the parameters of one layer."""
    return _sum(layer_weights(model))


def attention_parameters(model: Transformer) -> int:
    """Return the parameters of one attention block, query and key norms included."""
    return _sum(attention_weights(model))


def mlp_parameters(model: Transformer) -> int:
    """Return the parameters of one MLP block."""
    return _sum(mlp_weights(model))


def norm_parameters(model: Transformer) -> int:
    """Return the parameters of one layer's norms over the hidden dimension."""
    return _sum(norm_weights(model))


def matmul_parameters_per_layer(model: Transformer) -> int:
    """Return the parameters of one layer that a GEMM multiplies each token by."""
    return sum(weight.active for weight in layer_weights(model) if weight.is_matrix)


def layer_weights(model: Transformer) -> tuple[Weight, ...]:
    """Return the tensors of one layer."""
    return (*attention_weights(model), *mlp_weights(model), *norm_weights(model))


def attention_weights(model: Transformer) -> tuple[Weight, ...]:
    """Return the tensors of one attention block."""
    query = model.heads * model.head_dim
    key_value = 2 * model.kv_heads * model.head_dim
    weights = [
        Weight("query", (model.hidden, query), Cut.SPLIT),
        Weight("key_value", (model.hidden, key_value), Cut.KV_HEADS),
        Weight("attention_out", (query, model.hidden), Cut.SPLIT),
    ]
    if model.qkv_bias:
        weights.append(Weight("query_bias", (query,), Cut.SPLIT))
        weights.append(Weight("key_value_bias", (key_value,), Cut.KV_HEADS))
    if model.linear_bias:
        weights.append(Weight("attention_out_bias", (model.hidden,), Cut.REPLICATED))
    if model.qk_norm:
        weights += [_norm(model, name, model.head_dim) for name in ("query_norm", "key_norm")]
    return tuple(weights)


def mlp_weights(model: Transformer) -> tuple[Weight, ...]:
    """Return the tensors of one MLP block; a gated one has gate and up side by side.

    Those of a mixture come once for each expert, and its router's besides.
    """
    columns = (2 if model.gated_mlp else 1) * model.ffn_hidden
    held = (model.experts.count, model.experts.per_token) if model.experts else (1, 1)
    weights = [
        Weight("mlp_up", (model.hidden, columns), Cut.SPLIT, *held),
        Weight("mlp_down", (model.ffn_hidden, model.hidden), Cut.SPLIT, *held),
    ]
    if model.linear_bias:
        weights.append(Weight("mlp_up_bias", (columns,), Cut.SPLIT, *held))
        weights.append(Weight("mlp_down_bias", (model.hidden,), Cut.REPLICATED, *held))
    if model.experts:
        weights += [
            Weight(name, (inputs, outputs), Cut.REPLICATED)
            for name, inputs, outputs in router_layers(model.hidden, model.experts)
        ]
    return tuple(weights)


def router_layers(hidden: int, experts: Experts) -> tuple[tuple[str, int, int], ...]:
    """Return name, inputs and outputs of every linear layer of a router."""
    width = experts.router_hidden
    if not width:
        return (("router", hidden, experts.count),)
    return (
        ("router_down", hidden, width),
        ("router_first", width, width),
        ("router_second", width, width),
        ("router", width, experts.count),
    )


def norm_weights(model: Transformer) -> tuple[Weight, ...]:
    """Return the norms of one layer over the hidden dimension."""
    names = ["attention_norm"]
    if not model.parallel_block or model.parallel_norms:
        names.append("mlp_norm")
    if model.post_norms:
        names += ["attention_post_norm", "mlp_post_norm"]
    return tuple(_norm(model, name, model.hidden) for name in names)


def norm_width(model: Transformer, width: int) -> int:
    """Return the parameters of one norm over ``width``: scales, and shifts if it has them."""
    return 2 * width if model.norm is Norm.LAYER else width


def padded_vocabulary(model: Transformer, tensor: int) -> int:
    """Return the vocabulary rounded up to a multiple of the model's for each of ``tensor`` ranks.

    Megatron's multiple of 128 gives every rank a whole number of 128-row tiles: GPT-3's 50,257
    becomes 51,200 for a tensor degree of 8.
    """
    multiple = model.vocabulary_multiple * tensor
    return -(-model.vocabulary // multiple) * multiple


def layer_parameters_per_rank(model: Transformer, tensor: int) -> RankParameters:
    """Return what one rank holds of one layer when ``tensor`` ranks share it.

    With fewer key/value heads than ranks each rank holds one head, which ``tensor / kv_heads``
    ranks have in common; it counts as split.

    Raises
    ------
    LayoutError
        If heads, key/value heads or the MLP width cannot be divided so.
    """
    _check_divisible(model, tensor)
    weights = layer_weights(model)
    return RankParameters(
        split=sum(
            weight.parameters // pieces(weight, model, tensor)
            for weight in weights
            if weight.cut is not Cut.REPLICATED
        ),
        replicated=_sum(weight for weight in weights if weight.cut is Cut.REPLICATED),
    )


def embedding_parameters_per_rank(model: Transformer, tensor: int) -> RankParameters:
    """Return what one rank holds of the first stage's embeddings, the vocabulary padded.

    Learned positions and the embedding norm are replicated.
    """
    return RankParameters(
        split=_vocabulary_rows(model, tensor) * model.hidden,
        replicated=position_parameters(model) + embedding_norm_parameters(model),
    )


def head_parameters_per_rank(model: Transformer, tensor: int, *, own_copy: bool) -> RankParameters:
    """Return what one rank holds of the final norm and the output head, the vocabulary padded.

    Parameters
    ----------
    model : Transformer
        The model.
    tensor : int
        Tensor-parallel degree.
    own_copy : bool
        Whether the head sits on another pipeline stage than the embedding. A tied head is then a
        second copy of the embedding, kept equal by an all-reduce of both gradients (Megatron);
        on the same stage it costs nothing. An untied head is held either way.
    """
    held = own_copy or not model.tied_embeddings
    return RankParameters(
        split=_vocabulary_rows(model, tensor) * model.hidden if held else 0,
        replicated=final_norm_parameters(model),
    )


def pieces(weight: Weight, model: Transformer, tensor: int) -> int:
    """Return into how many distinct parts ``tensor`` ranks cut a weight."""
    if weight.cut is Cut.REPLICATED:
        return 1
    return min(tensor, model.kv_heads) if weight.cut is Cut.KV_HEADS else tensor


def _check_divisible(model: Transformer, tensor: int) -> None:
    for what, size in (("heads", model.heads), ("ffn_hidden", model.ffn_hidden)):
        if size % tensor:
            raise LayoutError(
                f"tensor = {tensor} does not divide the {what} = {size} of {model.name}"
            )
    if model.kv_heads % tensor and tensor % model.kv_heads:
        raise LayoutError(
            f"tensor = {tensor} is neither a divisor nor a multiple of the"
            f" kv_heads = {model.kv_heads} of {model.name}"
        )


def _vocabulary_rows(model: Transformer, tensor: int) -> int:
    return padded_vocabulary(model, tensor) // tensor


def _norm(model: Transformer, name: str, width: int) -> Weight:
    return Weight(name, (norm_width(model, width),), Cut.REPLICATED)


def _sum(weights: Iterable[Weight]) -> int:
    return sum(weight.parameters for weight in weights)
