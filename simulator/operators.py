"""Operators: the vocabulary in which a workload is described and hardware is priced.

A workload turns layers into operators; hardware turns operators into seconds. Neither knows
the other. Sizes are those of one rank's shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from simulator.fields import Flag, record
from simulator.precision import Precision


class Axis(StrEnum):
    """A dimension of the rank grid; a process group is the ranks that differ in one axis only."""

    TENSOR = "tensor"
    CONTEXT = "context"
    EXPERT = "expert"
    PIPELINE = "pipeline"
    DATA = "data"


class Collective(StrEnum):
    """What a group of ranks does together."""

    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    ALL_TO_ALL = "all_to_all"
    BROADCAST = "broadcast"
    SEND_RECV = "send_recv"


class Role(StrEnum):
    """Which of the three products of a linear layer a GEMM is."""

    FORWARD = "fprop"
    INPUT_GRADIENT = "dgrad"
    WEIGHT_GRADIENT = "wgrad"


class AttentionKernel(StrEnum):
    """Generation of the attention implementation: decides its speed and what it stores."""

    UNFUSED = "unfused"
    """Scores, mask, softmax in fp32 and dropout as separate kernels over s x s scores."""
    UNFUSED_BF16 = "unfused_bf16"
    """The same with the softmax in the scores' own format."""
    FUSED_SOFTMAX = "fused_softmax"
    """Megatron's fused scale-mask-softmax; scores still in memory."""
    FLASH1 = "flash1"
    FLASH2 = "flash2"
    FLASH3 = "flash3"
    CUDNN = "cudnn"

    @property
    def stores_scores(self) -> bool:
        """Whether the s x s scores are written to memory and saved for the backward pass."""
        return self in (
            AttentionKernel.UNFUSED,
            AttentionKernel.UNFUSED_BF16,
            AttentionKernel.FUSED_SOFTMAX,
        )


class LossKernel(StrEnum):
    """How the cross-entropy over the vocabulary is computed: its traffic, messages and memory."""

    FUSED = "fused"
    """One kernel over bf16 logits, split over the tensor group; the gradient overwrites them."""
    VOCABULARY_PARALLEL = "vocabulary_parallel"
    """Megatron's: an fp32 copy of this rank's part of the logits, three small all-reduces."""
    GATHERED = "gathered"
    """``torch.nn.functional.cross_entropy`` on fp32 logits of the whole vocabulary: with tensor
    parallelism every rank gathers all logits first."""


class PointwiseKind(StrEnum):
    """How a memory-bound kernel reaches its data: decides which share of the bandwidth it gets."""

    ELEMENTWISE = "elementwise"
    """Contiguous, vectorised: sums, activations, casts, fused rotary, look-ups."""
    DROPOUT = "dropout"
    """The same with random numbers drawn on the way."""
    NORM = "norm"
    """RMS norm in one kernel, also with a residual addition."""
    LAYER_NORM = "layer_norm"
    """LayerNorm in one kernel: mean and variance."""
    NORM_BACKWARD = "norm_backward"
    """Gradients of a fused norm: along rows for its input, along columns for its weight."""
    SOFTMAX = "softmax"
    """Softmax or loss along rows: exponentials, long rows are read more than once."""
    SOFTMAX_BACKWARD = "softmax_backward"
    UNFUSED = "unfused"
    """A chain of an eager framework's kernels, some with fp32 copies or broadcast operands."""
    STRIDED = "strided"
    """Broadcast or permuted operands in every kernel: eager rotary embedding, bias, heads moved."""
    MIXED = "mixed"
    """Operands of two formats, which PyTorch does not vectorise: bf16 added to fp32."""
    TRANSPOSED = "transposed"
    """Writes columns of what it reads in rows, through tiles on the chip."""


@record
class Kernels:
    """Implementations that decide traffic, launches and saved activations."""

    attention: AttentionKernel
    fused_norm: Flag
    """One pass over the input and only the input saved; unfused: several kernels, fp32 copies."""
    fused_activation: Flag
    """Activation (and gate product, bias) in one pass."""
    fused_rope: Flag
    fused_residual: Flag
    """Bias, dropout and residual addition in one pass."""
    loss: LossKernel
    merged_gate: Flag
    """Gate and up projections are one GEMM; apart, each gradient is summed over the tensor group
    by a collective of its own."""
    ring_attention: Flag
    """With context parallelism, keys and values go from rank to rank and each block of them has an
    attention kernel of its own, whose results are merged; else one kernel after an all-gather."""
    fused_quantisation: Flag
    """Low precision: norms and activations write their output quantised; apart, every operand of
    a GEMM takes a pass of its own."""
    current_scaling: Flag
    """Low precision: a cast first reads its operand for the largest value (per-tensor current
    scaling); otherwise the scale is known (delayed) or found within the pass (blocks)."""
    fused_gradient_accumulation: Flag
    """Weight-gradient GEMMs add into the gradient buffer; unfused: one more pass over it."""
    deferred_accumulation: Flag
    """bf16 weight gradients of a whole pass are held and added to the gradient buffer at its end
    (a plain PyTorch loop); otherwise each layer's as it comes."""
    dropout: Flag
    """Dropout active on embeddings and branches: masks are saved (one byte per element)."""
    attention_dropout: Flag
    """Dropout active on attention weights: where these are stored, so are their mask and what is
    left of them. A flash-type kernel drops on the way; its time for that is neglected."""


@dataclass(frozen=True, slots=True)
class Gemm:
    """``groups`` products of an ``m x k`` by a ``k x n`` matrix, as one kernel."""

    name: str
    m: int
    n: int
    k: int
    precision: Precision = Precision.BF16
    role: Role = Role.FORWARD
    groups: int = 1

    @property
    def flops(self) -> float:
        """FLOPs, a multiply-add counted as two."""
        return 2.0 * self.groups * self.m * self.n * self.k

    @property
    def elements(self) -> int:
        """Elements of the result."""
        return self.groups * self.m * self.n

    @property
    def n_bytes(self) -> float:
        """Least memory traffic [B]: each operand read once, the result written once in bf16."""
        operands = self.precision.n_bytes * (self.m * self.k + self.k * self.n)
        return self.groups * (operands + max(2.0, self.precision.n_bytes) * self.m * self.n)


@dataclass(frozen=True, slots=True)
class GroupedGemm:
    """Products of several groups of rows, each with a ``k x n`` matrix of its own, as one kernel.

    Forward and input gradient: ``rows`` of a group times ``k x n``. Weight gradient: the
    ``k x n`` gradient of each group, summed over its rows.
    """

    name: str
    rows: tuple[int, ...]
    """Rows of each group (tokens of each expert); a group may be empty."""
    n: int
    k: int
    precision: Precision = Precision.BF16
    role: Role = Role.FORWARD

    @property
    def flops(self) -> float:
        """FLOPs, a multiply-add counted as two."""
        return 2.0 * sum(self.rows) * self.n * self.k

    @property
    def elements(self) -> int:
        """Elements of the result: of a weight gradient, the matrices of all groups."""
        if self.role is Role.WEIGHT_GRADIENT:
            return len(self.rows) * self.n * self.k
        return sum(self.rows) * self.n

    @property
    def n_bytes(self) -> float:
        """Least memory traffic [B]: the rows and the matrices of the groups that have rows."""
        rows, filled = sum(self.rows), sum(1 for group in self.rows if group)
        matrices = float(filled) * self.n * self.k
        wide = max(2.0, self.precision.n_bytes)
        if self.role is Role.WEIGHT_GRADIENT:
            return self.precision.n_bytes * rows * (self.n + self.k) + wide * matrices
        return self.precision.n_bytes * (rows * self.k + matrices) + wide * rows * self.n


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution, or one of its gradients, as the matrix product that its kernel tiles."""

    name: str
    product: Gemm
    """Rows are output positions of all images, columns output channels, k the window's values
    (gradients: the product with these permuted); ``groups`` are the convolution's."""
    n_bytes: float
    """Memory traffic [B]: images, weights and result once each. Windows overlap in the cache."""

    @property
    def flops(self) -> float:
        """FLOPs, a multiply-add counted as two."""
        return self.product.flops


@dataclass(frozen=True, slots=True)
class Attention:
    """Softmax attention of ``queries`` on ``keys`` positions, forward or backward.

    ``window`` limits each query to that many preceding positions (0: no limit).
    """

    name: str
    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    head_dim: int
    causal: bool = True
    window: int = 0
    backward: bool = False
    kernel: AttentionKernel = AttentionKernel.FLASH2
    dropout: bool = False
    """Of the weights; costs time only where they are stored."""
    value_dim: int = 0
    """Width of a head's values, where it is another than `head_dim`; 0: the same. Latent attention
    (MLA), once its keys and values are expanded, has 128 beside 192."""

    @property
    def values(self) -> int:
        """Width of a head's values."""
        return self.value_dim or self.head_dim

    @property
    def latent(self) -> bool:
        """Whether values have another width than queries and keys."""
        return self.values != self.head_dim

    @property
    def mean_dim(self) -> float:
        """Mean width of the products of one head."""
        return (self.head_dim + self.values) / 2

    @property
    def pairs(self) -> float:
        """Query-key pairs that a causal, windowed kernel evaluates, per batch and head.

        The queries are taken to be spread evenly over the keys (a balanced context-parallel
        shard of a causal sequence does half its rectangle, as the whole does).
        """
        if not self.causal:
            return float(self.queries) * self.keys
        if 0 < self.window < self.keys:
            full = self.window * (self.keys - self.window) + self.window * self.window / 2
            return self.queries * full / self.keys
        return self.queries * self.keys / 2

    @property
    def flops(self) -> float:
        """FLOPs executed: 2 products forward; 5 backward with a recomputing (flash) kernel, else 4.

        References
        ----------
        Dao, FlashAttention-2, section 4.1 (backward = 2.5 x forward).
        """
        width = self.head_dim + self.values
        if self.backward:
            recomputed = 0 if self.kernel.stores_scores else self.head_dim
            width = 2 * width + recomputed
        return 2.0 * self.batch * self.heads * width * self.pairs

    @property
    def n_bytes(self) -> float:
        """Least memory traffic [B] in bf16: Q, K, V and O (with gradients when backward)."""
        elements = self.queries * self.heads + self.keys * self.kv_heads
        elements *= self.batch * (self.head_dim + self.values)
        return (2 if self.backward else 1) * 2.0 * elements

    @property
    def launches(self) -> int:
        """Kernels launched: products, and with stored scores softmax and dropout passes."""
        if self.kernel is AttentionKernel.UNFUSED:
            return (10 if self.backward else 6) + self.dropout
        if self.kernel is AttentionKernel.UNFUSED_BF16:
            return (7 if self.backward else 5) + self.dropout
        if self.kernel is AttentionKernel.FUSED_SOFTMAX:
            return (5 if self.backward else 3) + self.dropout
        return 3 if self.backward else 1

    @property
    def score_bytes(self) -> float:
        """Memory [B] of the bf16 scores that an unfused kernel writes (no causal saving)."""
        return 2.0 * self.batch * self.heads * self.queries * self.keys


@dataclass(frozen=True, slots=True)
class Pointwise:
    """A memory-bound pass (norm, activation, residual, cast, cross-entropy, …)."""

    name: str
    n_bytes: float
    """Memory traffic [B], reads and writes."""
    kernels: int = 1
    """Kernels launched; unfused implementations launch several."""
    kind: PointwiseKind = PointwiseKind.ELEMENTWISE


@dataclass(frozen=True, slots=True)
class OptimizerUpdate:
    """One optimizer step over ``parameters`` elements held by this rank."""

    name: str
    parameters: float
    bytes_per_parameter: float
    """Memory traffic [B] per parameter, reads and writes."""


@dataclass(frozen=True, slots=True)
class Communication:
    """A collective of this rank's group along ``axis``.

    ``n_bytes`` follows nccl-tests: the buffer of one rank for all_reduce, broadcast and
    send_recv; the full (gathered or scattered) buffer for the others.
    """

    name: str
    kind: Collective
    axis: Axis
    n_bytes: float


Product = Gemm | GroupedGemm
Compute = Product | Convolution | Attention | Pointwise | OptimizerUpdate
Operator = Compute | Communication
