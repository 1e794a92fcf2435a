"""What data parallelism costs: reductions of gradients, gathers of parameters, the update."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

from simulator.hardware.collective_costs import collective_cost
from simulator.hardware.operator_costs import operator_time
from simulator.hardware.software import GradientReduction
from simulator.operators import Collective, OptimizerUpdate
from simulator.parallel.layout import Sharding
from simulator.precision import Precision

if TYPE_CHECKING:
    from simulator.hardware.collective_costs import CollectiveCost
    from simulator.parallel.placement import Placement
    from simulator.scenario.scenario import Scenario


GRADIENT_NORM: Final = "gradient_norm"
TIED_EMBEDDING: Final = "embedding_all_reduce"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One communication of the data-parallel group."""

    name: str
    cost: CollectiveCost
    n_bytes: float

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

    def reduction(self, parameters: int) -> Transfer:
        """Return the reduction of the gradients of ``parameters``, bucket by bucket."""
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

    def update(self, parameters: int) -> float:
        """Return the time of the optimizer update of a rank that holds ``parameters`` [s]."""
        share = parameters / (self.scenario.layout.gradient_ranks if self.gathers else 1)
        traffic = self.scenario.software.optimizer_traffic_bytes_per_parameter
        update = OptimizerUpdate("optimizer", share, traffic)
        return operator_time(update, self.scenario.cluster.accelerator)

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
        return max(1, ceil(n_bytes / self.scenario.software.bucket))

    def _bucketed(self, name: str, kind: Collective, n_bytes: float) -> Transfer:
        buckets = self._buckets(n_bytes)
        span, cluster = self.placement.gradient.span, self.scenario.cluster
        cost = collective_cost(kind, n_bytes / buckets, span, cluster).repeated(buckets)
        return Transfer(name, cost, n_bytes)
