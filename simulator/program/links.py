"""The links of a program: what they carry, and how many bytes each task puts on which.

A link is a shared resource of one direction: an accelerator's share of its node's interfaces, its
port into the node. A task with links is a **flow**. Links are known by number alone; what they
are is a name for the reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]
    Numbers = NDArray[np.float64]

ROUNDING: Final = 1e-9
"""Relative excess of a flow's own rate over a link's capacity that is rounding, not a mistake."""


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Links in columns of shape ``(links,)``, and their use by tasks in compressed rows."""

    capacity: Numbers
    """Bytes that the link carries in a second, all flows together [B/s]."""
    rank_class: NDArray[np.int32]
    """The rank class of whose links this is one."""
    name: NDArray[np.int32]
    """What the link is: index into ``names``."""
    offsets: Indices
    """Task i uses the links ``used[offsets[i]:offsets[i + 1]]``; shape ``(tasks + 1,)``."""
    used: Indices
    n_bytes: Numbers
    """Bytes [B] that the task puts on the link beside it, shape of ``used``."""
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of links."""
        return len(self.capacity)

    @property
    def tasks(self) -> Indices:
        """The task of each entry of ``used``."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def shared(self, lane: Indices) -> NDArray[np.bool_]:
        """Return whether flows can meet on each link: whether those of two lanes use it.

        Tasks of one lane play one after another and never meet.

        Parameters
        ----------
        lane
            An integer for each task, equal for tasks of one lane: `Program.lane_key`.
        """
        lanes, number = np.unique(lane[self.tasks], return_inverse=True)
        pairs = np.unique(self.used * len(lanes) + number)
        return np.bincount(pairs // max(1, len(lanes)), minlength=len(self)) > 1

    def check(self, moving: Numbers) -> None:
        """Refuse a flow that alone would put more on a link than the link carries.

        Parameters
        ----------
        moving
            Time [s] in which each task moves its bytes when it is alone, shape ``(tasks,)``.

        Raises
        ------
        SimulatorError
            Naming the first such task and link.
        """
        if np.any(self.capacity <= 0):
            raise SimulatorError("a link's capacity must be above 0 B/s")
        carried = self.capacity[self.used] * moving[self.tasks] * (1 + ROUNDING)
        over = np.flatnonzero(self.n_bytes > carried)
        if over.size:
            entry = int(over[0])
            link, task = int(self.used[entry]), int(self.tasks[entry])
            raise SimulatorError(
                f"task {task} moves {self.n_bytes[entry]:g} B in {moving[task]:g} s over link "
                f"{link} ({self.names[self.name[link]]}) of {self.capacity[link]:g} B/s"
            )
