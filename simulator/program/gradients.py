"""What data parallelism costs: reductions of gradients, gathers of parameters, the update."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

from simulator.hardware.collective_costs import CollectiveCost, collective_cost, elapsed
from simulator.hardware.operator_costs import operator_time
from simulator.hardware.patterns import Pattern
from simulator.hardware.software import GradientAllReduce, GradientReduction
from simulator.hardware.three_phase import SMALLEST_NCCL_BUFFER, three_phases
from simulator.operators import Collective, OptimizerUpdate, Pointwise
from simulator.parallel.layout import Sharding
from simulator.precision import Precision
from simulator.program.prices import expected_maximum
from simulator.program.tasks import Lane

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.parallel.placement import Placement
    from simulator.scenario.scenario import Scenario


GRADIENT_NORM: Final = "gradient_norm"
TIED_EMBEDDING: Final = "embedding_all_reduce"
INTER_NODE: Final[Mapping[GradientAllReduce, Pattern]] = {
    GradientAllReduce.THREE_PHASE_HALVING_DOUBLING: Pattern.HALVING_DOUBLING,
    GradientAllReduce.THREE_PHASE_RING: Pattern.RING,
}
"""How nodes sum gradients where an all-reduce has three phases."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One communication of the data-parallel group."""

    name: str
    cost: CollectiveCost
    n_bytes: float
    lane: Lane = Lane.DATA

    @property
    def duration(self) -> float:
        """Time with the links to itself [s]."""
        return self.cost.time


@dataclass(frozen=True, slots=True)
class GradientCosts:
    """Prices of the data-parallel part of a step."""

    scenario: Scenario
    placement: Placement

    @property
    def reduces(self) -> bool:
        """Whether gradients are reduced at all."""
        return self.scenario.layout.gradient_ranks > 1

    @property
    def gathers(self) -> bool:
        """Whether updated parameters are gathered (they were updated in shares)."""
        return self.reduces and self.scenario.layout.sharding is Sharding.OPTIMIZER

    def reduction(self, parameters: int) -> tuple[tuple[Transfer, ...], ...]:
        """Return the reduction of the gradients of ``parameters``: messages, each in its phases.

        The phases of a message follow one another on lanes of their own, so that those of several
        messages overlap. A collective of the library is one message of one phase for all buckets.
        """
        if self._three_phase is None:
            return ((self._library_reduction(parameters),),)
        n_bytes = parameters * self.scenario.software.gradient_reduce_precision.n_bytes
        buckets = self._buckets(n_bytes)
        span, cluster = self.placement.gradient.span, self.scenario.cluster
        phases = three_phases(n_bytes / buckets, self._three_phase, span, cluster)
        message = (
            Transfer("gradient_reduce", phases.reduce, n_bytes / buckets, Lane.DATA_REDUCE),
            Transfer("gradient_exchange", phases.exchange, n_bytes / buckets),
            Transfer(
                "gradient_broadcast", phases.broadcast, n_bytes / buckets, Lane.DATA_BROADCAST
            ),
        )
        return buckets * (message,)

    def late_ranks(self, compute: float) -> Transfer:
        """Return the wait for the last data-parallel rank after ``compute`` seconds of a step.

        It takes no resource; its lane is otherwise idle when the last backward pass ends.
        """
        ranks = self.scenario.layout.gradient_ranks
        late = self.scenario.software.step_jitter * expected_maximum(ranks) * compute
        return Transfer("late_ranks", elapsed(late), 0.0, Lane.DATA_REDUCE)

    def device_time(self, parameters: int) -> float:
        """Return for how long the reduction of ``parameters`` takes multiprocessors [s].

        Of three phases those inside the node, if kernels do them.
        """
        transfers = [transfer for message in self.reduction(parameters) for transfer in message]
        if self._three_phase is not None:
            inside = (t for t in transfers if t.lane is not Lane.DATA)
            transfers = [t for t in inside if t.n_bytes >= SMALLEST_NCCL_BUFFER]
        return sum(transfer.duration for transfer in transfers)

    @property
    def _three_phase(self) -> Pattern | None:
        """How nodes sum gradients in the second of three phases; none if the library does it."""
        if self.gathers or self.placement.gradient.span.nodes == 1:
            return None
        return INTER_NODE.get(self.scenario.software.gradient_all_reduce)

    def _library_reduction(self, parameters: int) -> Transfer:
        n_bytes = parameters * self.scenario.software.gradient_reduce_precision.n_bytes
        kind = self._reduction_kind
        return self._bucketed(f"gradient_{kind}", kind, n_bytes)

    def largest_reduction(self, parameters: int) -> tuple[Collective, float]:
        """Return the collective, and the bytes of a bucket, that reduce ``parameters``."""
        n_bytes = parameters * self.scenario.software.gradient_reduce_precision.n_bytes
        return self._reduction_kind, n_bytes / self._buckets(n_bytes)

    def gather(self, parameters: int) -> Transfer:
        """Return the all-gather of ``parameters`` after the update, bucket by bucket."""
        n_bytes = parameters * self.scenario.software.parameter_gather_precision.n_bytes
        return self._bucketed("parameter_all_gather", Collective.ALL_GATHER, n_bytes)

    def update(self, parameters: int, blocks: int) -> float:
        """Return the time of the optimizer update of a rank that holds ``parameters`` [s].

        Layer-wise norms read weights and gradients of each of ``blocks`` before it, by two kernels.
        """
        software, part = self.scenario.software, self.scenario.cluster.accelerator
        share = parameters / (self.scenario.layout.gradient_ranks if self.gathers else 1)
        traffic = software.optimizer_traffic_bytes_per_parameter
        time = operator_time(OptimizerUpdate("optimizer", share, traffic), part)
        if software.layerwise_norms:
            read = Precision.FP32.n_bytes + software.gradient_precision.n_bytes
            time += operator_time(Pointwise("layer_norms", read * share, kernels=2 * blocks), part)
        return time

    def norm(self) -> Transfer:
        """Return the sum of the squared gradient norm over the ranks of a replica."""
        n_bytes = Precision.FP32.n_bytes
        span = self.placement.model.span
        cost = collective_cost(Collective.ALL_REDUCE, n_bytes, span, self.scenario.cluster)
        return Transfer(GRADIENT_NORM, cost, n_bytes)

    def tied_embedding(self, parameters: int) -> Transfer:
        """Return the all-reduce of a tied embedding's gradient between first and last stage."""
        n_bytes = parameters * self.scenario.software.gradient_reduce_precision.n_bytes
        span = self.placement.stage_links[-1]
        cost = collective_cost(Collective.ALL_REDUCE, n_bytes, span, self.scenario.cluster)
        return Transfer(TIED_EMBEDDING, cost, n_bytes)

    @property
    def _reduction_kind(self) -> Collective:
        scatters = self.scenario.software.gradient_reduction is GradientReduction.REDUCE_SCATTER
        return Collective.REDUCE_SCATTER if self.gathers and scatters else Collective.ALL_REDUCE

    def _buckets(self, n_bytes: float) -> int:
        software, ranks = self.scenario.software, self.scenario.layout.gradient_ranks
        return max(1, ceil(n_bytes / max(software.bucket, ranks * software.bucket_per_rank)))

    def _bucketed(self, name: str, kind: Collective, n_bytes: float) -> Transfer:
        buckets = self._buckets(n_bytes)
        span, cluster = self.placement.gradient.span, self.scenario.cluster
        cost = collective_cost(kind, n_bytes / buckets, span, cluster).repeated(buckets)
        return Transfer(name, cost, n_bytes)
