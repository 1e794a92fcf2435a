"""The links of a step: each stage's share of the interfaces, and its port into the node.

A rank class stands for ranks that all do the same at the same time, each with an accelerator's
share of its node's interfaces and a port of its own. So one rank's links are the class's, one for
each direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulator.hardware.scale_up import port_bandwidth
from simulator.parallel.network import Sharing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from simulator.hardware.collective_costs import CollectiveCost
    from simulator.program.builder import ProgramBuilder
    from simulator.scenario.scenario import Scenario

    Indices = NDArray[np.int64]

OUT: Final = ("nic_out", "port_out")
IN: Final = ("nic_in", "port_in")
"""Links by direction: over the network, inside the node."""


class Wires:
    """Puts the bytes of transfers on the links of their stages."""

    def __init__(self, tasks: ProgramBuilder, scenario: Scenario) -> None:
        """Add the links of every stage to ``tasks``."""
        cluster, network = scenario.cluster, scenario.network
        reached = cluster.nic_bandwidth * cluster.fabric.efficiency
        nic, port = reached * (1.0 - network.background), port_bandwidth(cluster.node)
        self._tasks = tasks
        self._capacity = dict(zip(OUT + IN, (nic, port, nic, port), strict=True))
        self._links = {
            name: [tasks.link(name, stage, capacity) for stage in range(scenario.layout.pipeline)]
            for name, capacity in self._capacity.items()
        }

    @classmethod
    def of(cls, tasks: ProgramBuilder, scenario: Scenario) -> Wires | None:
        """Return the wires of a scenario, None if every transfer has its links to itself."""
        return cls(tasks, scenario) if scenario.network.sharing is Sharing.FAIR else None

    def exchange(self, task: int, stage: int, cost: CollectiveCost) -> None:
        """Put a collective on its stage's links, as much out as in."""
        self._occupy(task, OUT, stage, cost)
        self._occupy(task, IN, stage, cost)

    def send(self, tasks: Indices, sender: int, receiver: int, cost: CollectiveCost) -> None:
        """Put transfers on the sender's links out and the receiver's links in."""
        self._occupy(tasks, OUT, sender, cost)
        self._occupy(tasks, IN, receiver, cost)

    def _occupy(
        self, tasks: Indices | int, links: tuple[str, str], stage: int, cost: CollectiveCost
    ) -> None:
        """Put no more on a link than it carries while the bytes move.

        An all_reduce in the switch moves fewer bytes than its bus volume, a measured curve may be
        faster than the profile's bandwidth: both then fill the link.
        """
        for name, n_bytes in zip(links, (cost.wire_bytes, cost.port_bytes), strict=True):
            carried = self._capacity[name] * (cost.time - cost.latency)
            self._tasks.occupy(tasks, self._links[name][stage], min(n_bytes, carried))
