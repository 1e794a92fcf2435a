"""The scenario: a model, a cluster, a stack and a layout, resolved and frozen."""

from __future__ import annotations

from simulator.fields import Count, Text, record
from simulator.hardware.cluster import Cluster
from simulator.hardware.software import Software
from simulator.parallel.blocks import Recompute
from simulator.parallel.islands import Islands
from simulator.parallel.layout import Batch, Layout
from simulator.parallel.network import Network
from simulator.parallel.slots import CONTIGUOUS, Allocation
from simulator.precision import Precision
from simulator.scenario.space import Space
from simulator.schedule.pipelines import ScheduleName
from simulator.workload.models import Model
from simulator.workload.steps import Shard
from simulator.workload.transformer import Transformer


@record
class Scenario:
    """One training step to simulate; every reference to a profile is resolved."""

    name: Text
    model: Model
    cluster: Cluster
    accelerators: Count
    """Accelerators of the job: the product of the layout's degrees."""
    software: Software
    layout: Layout
    batch: Batch
    schedule: ScheduleName
    precision: Precision
    """Format of the linear layers' GEMMs; MFU is of this format's dense peak."""
    recompute: Recompute
    network: Network = Network()
    """What the job's traffic meets on the network."""
    placement: Allocation = CONTIGUOUS
    """Nodes that the job is given."""
    islands: Islands | None = None
    """Replicas of this whole job in other places, over a thin link; none: it stands alone."""
    space: Space | None = None
    """What ``simulator search`` tries; a single step does not read it."""

    @property
    def micro_batches(self) -> int:
        """Micro-batches of each data-parallel rank per step."""
        return self.batch.micro_batches(self.layout.data)

    @property
    def stream_width(self) -> int:
        """Values of a token that pass from layer to layer; 0 for networks, which are never cut."""
        return self.model.hidden if isinstance(self.model, Transformer) else 0

    @property
    def shard(self) -> Shard:
        """One rank's share of one micro-batch."""
        return Shard(
            micro_batch=self.batch.micro_batch,
            sequence_length=self.batch.sequence_length,
            tensor=self.layout.tensor,
            context=self.layout.context,
            sequence_parallel=self.layout.sequence_parallel,
            precision=self.precision,
            gradient_precision=self.software.gradient_precision,
        )
