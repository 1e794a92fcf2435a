"""A training stack: what it overlaps, fuses, launches and keeps in memory."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from simulator.fields import (
    GIB,
    MIB,
    MICROSECONDS,
    CountOrZero,
    Flag,
    NonNegative,
    Positive,
    Share,
    Text,
    record,
)
from simulator.operators import Kernels
from simulator.precision import Precision


class PipelineTransfer(StrEnum):
    """Whether a stage computes while it sends and receives."""

    BLOCKING = "blocking"
    """The sending stage's compute lane waits for the transfer (Megatron without overlap)."""
    OVERLAPPED = "overlapped"


class Launch(StrEnum):
    """How kernels reach the device."""

    EAGER = "eager"
    GRAPH = "graph"


class GradientReduction(StrEnum):
    """How the data-parallel ranks of a sharded optimizer sum gradients."""

    REDUCE_SCATTER = "reduce_scatter"
    """Every rank gets the sum of its share."""
    ALL_REDUCE = "all_reduce"
    """Every rank gets all sums and uses its share (DeepSpeed's pipeline engine)."""


class GradientAllReduce(StrEnum):
    """By which algorithm the data-parallel ranks sum gradients."""

    LIBRARY = "library"
    """One collective of the communication library over all ranks."""
    THREE_PHASE_HALVING_DOUBLING = "three_phase_halving_doubling"
    """Sum inside the node, halving and doubling between nodes, broadcast inside the node."""
    THREE_PHASE_RING = "three_phase_ring"
    """The same with a ring between nodes."""


@record
class Software:
    """A software profile (``hardware_profiles/software/*.yaml``), in SI."""

    name: Text
    kernels: Kernels
    launch: Launch
    kernel_launch: Annotated[NonNegative, MICROSECONDS]
    """Host time per kernel of a forward pass or a recomputation [s]; a layer is never faster than
    its kernels can be launched."""
    backward_launch: Annotated[NonNegative, MICROSECONDS]
    """The same of a backward pass, whose kernels autograd launches without Python [s]."""
    asynchronous_tensor_gradients: Flag
    """The input gradient's tensor-parallel collective runs under the weight-gradient GEMM."""
    arrival_jitter: Share
    """Spread (standard deviation) of the time in which the ranks of a tensor group reach their next
    collective, relative to it; each collective waits for the last."""
    tensor_overlap: Share
    """Share of each tensor-parallel collective's time that hides behind its neighbouring GEMMs."""
    context_overlap: Share
    """Share of context-parallel communication that hides behind attention."""
    pipeline_transfer: PipelineTransfer
    pass_overhead: Annotated[NonNegative, MICROSECONDS]
    """Idle device time at the start of each pass of a pipeline's stage [s]: the host returns from
    the transfer, or has issued it, and starts to launch again."""
    recompute_overhead: Annotated[NonNegative, MICROSECONDS]
    """The same, once more, where a backward pass begins with recomputing layers [s]."""
    pipeline_scatter_gather: Flag
    """Without sequence parallelism each tensor rank sends its share of a stage's output, and the
    receivers gather it inside the node (Narayanan et al. 2021, section 4.1)."""
    gradient_reduction: GradientReduction
    """With a sharded optimizer, how gradients are summed."""
    gradient_all_reduce: GradientAllReduce = GradientAllReduce.LIBRARY
    """Without a sharded optimizer, by which algorithm gradients are summed."""
    gradient_reduce_overlap: Flag
    """Data-parallel gradient buckets are reduced while the last backward goes on."""
    parameter_gather_overlap: Flag
    """Sharded parameters are gathered chunk by chunk under the first forward."""
    bucket: Annotated[Positive, MIB]
    """Bytes of one data-parallel bucket."""
    bucket_per_rank: Annotated[NonNegative, MIB] = 0.0
    """Bytes that a bucket has for each data-parallel rank, if that is more: rings cut it into as
    many parts, which would else be too small."""
    step_jitter: Share = 0.0
    """Spread (standard deviation) of the compute time of a step among data-parallel ranks, relative
    to it; the last reduction of gradients waits for the last rank."""
    gradient_precision: Precision
    """Format in which gradients are accumulated and kept."""
    gradient_reduce_precision: Precision
    """Format in which gradients travel."""
    parameter_gather_precision: Precision
    """Format in which updated parameters travel."""
    master_weights: Flag
    """Whether the optimizer keeps an fp32 copy of the weights."""
    optimizer_traffic_bytes_per_parameter: Positive
    """Memory traffic of one fused optimizer update [B per parameter]."""
    optimizer_state_bytes_per_parameter: NonNegative = 8.0
    """What the optimizer keeps beside the weights [B per parameter]: Adam's two fp32 moments."""
    layerwise_norms: Flag = False
    """The update scales each layer by the norms of its weights and gradients (LARS, LAMB): a pass
    over both before it, two scalars for each layer."""
    gradient_norm: Flag
    """Global norm clipping: every stage waits for every other before the update."""
    deallocate_pipeline_outputs: Flag
    """Stage outputs are freed once sent (Megatron's pseudo-deallocation)."""
    communication_multiprocessors: CountOrZero
    """Multiprocessors that a running collective takes from overlapped kernels."""
    step_overhead: Annotated[NonNegative, MICROSECONDS]
    """Host work once per step [s]: data loading hand-over, logging, scheduler, zeroing."""
    context_memory: Annotated[NonNegative, GIB]
    """CUDA/ROCm context, kernels and communicator buffers outside the allocator [B]."""
    fragmentation: Share
    """Share of dynamic memory lost between allocated and reserved."""
