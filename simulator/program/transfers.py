"""What a pipeline transfer costs between two stages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulator.hardware.collective_costs import collective_cost, collective_time
from simulator.operators import Collective
from simulator.precision import Precision

if TYPE_CHECKING:
    from simulator.hardware.collective_costs import CollectiveCost
    from simulator.parallel.placement import Placement
    from simulator.scenario.scenario import Scenario


@dataclass(frozen=True, slots=True)
class StageTransfer:
    """The hand-over of one micro-batch's activations or gradients between two stages.

    Every tensor-parallel rank sends to its peer at the same time through its own interface.
    """

    scenario: Scenario
    placement: Placement

    @property
    def message(self) -> float:
        """Bytes that one rank sends."""
        shard, hidden = self.scenario.shard, self.scenario.stream_width
        stream = Precision.BF16.n_bytes * shard.norm_tokens * hidden
        return stream / shard.tensor if self._scattered else stream

    def cost(self, sender: int, receiver: int) -> CollectiveCost:
        """Return the cost from send to the receiver having its input."""
        span, cluster = self.placement.link(sender, receiver), self.scenario.cluster
        sent = collective_cost(Collective.SEND_RECV, self.message, span, cluster)
        if not self._scattered:
            return sent
        whole = self.message * self.scenario.layout.tensor
        tensor = self.placement.tensor.span
        return replace(
            sent, time=sent.time + collective_time(Collective.ALL_GATHER, whole, tensor, cluster)
        )

    @property
    def _scattered(self) -> bool:
        layout = self.scenario.layout
        return (
            self.scenario.software.pipeline_scatter_gather
            and layout.tensor > 1
            and not layout.sequence_parallel
        )
