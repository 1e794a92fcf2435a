"""The members of a collective: which slots take part, node by node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from simulator.hardware.routes import Integers


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Slots of a process group, the same number in every node that it touches."""

    slots: Integers
    """Slots in the order of ranks, shape ``(nodes, ranks per node)``."""
    node: int
    """Accelerators of a node."""

    @property
    def nodes(self) -> int:
        """Nodes that the group touches."""
        return len(self.slots)

    @property
    def each(self) -> int:
        """Members in every node."""
        return len(self.slots[0])

    @property
    def ranks(self) -> int:
        """Members."""
        return self.slots.size

    @property
    def aligned(self) -> bool:
        """Whether the members use the same places in all nodes."""
        places = self.slots % self.node
        return bool(np.all(places == places[0]))


def members_of(slots: ArrayLike, node: int) -> Members:
    """Return the members in ``slots``, of which a node has ``node``, in the order of their ranks.

    Raises
    ------
    SimulatorError
        If a slot is named twice, or nodes hold different numbers of members.
    """
    flat = np.asarray(slots, dtype=np.int64).reshape(-1)
    if not flat.size or len(np.unique(flat)) != flat.size:
        raise SimulatorError("a group has at least one member, and each in a slot of its own")
    _, counts = np.unique(flat // node, return_counts=True)
    if np.any(counts != counts[0]):
        raise SimulatorError(
            f"nodes hold {counts.min()} to {counts.max()} members of the group; which bytes go "
            "where is known for the same number in every node"
        )
    by_node = flat[np.argsort(flat // node, kind="stable")]
    return Members(by_node.reshape(len(counts), -1), node)
