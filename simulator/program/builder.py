"""Collects blocks of tasks, column by column, into a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.program.links import Links
from simulator.program.tasks import NONE, Program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from simulator.program.patterns import Pattern

    Indices = NDArray[np.int64]

COLUMNS: Mapping[str, tuple[type[np.generic], float]] = {
    "rank_class": (np.int32, NONE),
    "lane": (np.int8, NONE),
    "kind": (np.int8, 0),
    "duration": (np.float64, 0.0),
    "latency": (np.float64, 0.0),
    "action": (np.int8, NONE),
    "micro_batch": (np.int32, NONE),
    "chunk": (np.int32, NONE),
    "peer": (np.int32, NONE),
    "n_bytes": (np.float64, 0.0),
    "layer": (np.int32, NONE),
    "pattern": (np.int32, NONE),
    "name": (np.int32, NONE),
    "collective": (np.bool_, False),
}
"""Type and default of every column of a task."""


class ProgramBuilder:
    """Collects tasks; on each lane they play in the order in which they were added."""

    def __init__(self, stage: Sequence[int], weight: Sequence[float]) -> None:
        """Start a program with one rank class for each entry of ``stage``."""
        self._stage = np.asarray(stage, dtype=np.int32)
        self._weight = np.asarray(weight, dtype=np.float64)
        self._blocks: list[tuple[slice, dict[str, Any]]] = []
        """Where tasks that were added together stand, and their columns."""
        self._edges: list[tuple[Indices, Indices]] = []
        self._links: list[tuple[float, int, int]] = []
        self._uses: list[tuple[Indices, Indices, NDArray[np.float64]]] = []
        self._names: dict[str, int] = {}
        self._patterns: list[Pattern] = []
        self._tasks = 0

    @property
    def rank_classes(self) -> int:
        """Rank classes of the program."""
        return len(self._stage)

    def name(self, text: str) -> int:
        """Return the number of a task name."""
        return self._names.setdefault(text, len(self._names))

    def pattern(self, pattern: Pattern) -> int:
        """Return the number of a new pattern."""
        self._patterns.append(pattern)
        return len(self._patterns) - 1

    def add(self, count: int = 1, **columns: Any) -> Indices:  # noqa: ANN401 - scalars or arrays
        """Append ``count`` tasks and return their indices, shape ``(count,)``.

        Columns that are not given take the default of `COLUMNS`; scalars fill the block.
        """
        unknown = columns.keys() - COLUMNS.keys()
        if unknown:
            raise TypeError(f"unknown task columns: {sorted(unknown)}")
        first, self._tasks = self._tasks, self._tasks + count
        self._blocks.append((slice(first, self._tasks), columns))
        return np.arange(first, self._tasks, dtype=np.int64)

    def after(self, tasks: Indices | int, predecessors: Indices | int) -> None:
        """Let each of ``tasks`` wait for the predecessor beside it (both broadcast)."""
        pair = np.broadcast_arrays(np.atleast_1d(tasks), np.atleast_1d(predecessors))
        self._edges.append((pair[0].astype(np.int64), pair[1].astype(np.int64)))

    def link(self, name: str, rank_class: int, capacity: float) -> int:
        """Return the number of a new link of ``rank_class`` that carries ``capacity`` [B/s]."""
        self._links.append((capacity, rank_class, self.name(name)))
        return len(self._links) - 1

    def occupy(
        self, tasks: Indices | int, links: Indices | int, n_bytes: NDArray[np.float64] | float
    ) -> None:
        """Let each of ``tasks`` put the bytes beside it on the link beside it (all broadcast)."""
        uses = np.broadcast_arrays(np.atleast_1d(tasks), np.atleast_1d(links), n_bytes)
        self._uses.append(
            (uses[0].astype(np.int64), uses[1].astype(np.int64), uses[2].astype(np.float64))
        )

    def gate(self, predecessors: Indices, name: str) -> int:
        """Return a task without lane or duration that ends when all ``predecessors`` have."""
        gate = int(self.add(name=self.name(name))[0])
        self.after(gate, predecessors)
        return gate

    def build(self) -> Program:
        """Return the program in columns.

        Raises
        ------
        SimulatorError
            If a flow puts more bytes on a link than this carries in the flow's duration.
        """
        columns = {
            key: np.full(self._tasks, default, kind) for key, (kind, default) in COLUMNS.items()
        }
        for block, given in self._blocks:
            for key, values in given.items():
                columns[key][block] = values
        tasks = np.concatenate([edge[0] for edge in self._edges] or [np.zeros(0, np.int64)])
        before = np.concatenate([edge[1] for edge in self._edges] or [np.zeros(0, np.int64)])
        counts = np.bincount(tasks, minlength=self._tasks)
        links = self._link_table()
        links.check(columns["duration"] - columns["latency"])
        # One number for each edge; blocks are mostly in order, which a stable sort merges as runs.
        edges = np.sort(tasks * self._tasks + before, kind="stable")
        return Program(
            rank_classes=self.rank_classes,
            stage=self._stage,
            weight=self._weight,
            predecessor_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            predecessors=edges - np.repeat(np.arange(self._tasks) * self._tasks, counts),
            links=links,
            patterns=tuple(self._patterns),
            names=tuple(self._names),
            **columns,
        )

    def _link_table(self) -> Links:
        """Return the links, and their uses by ascending task and link; empty uses left out."""
        nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        columns = zip(*(self._uses or [nothing]), strict=True)
        tasks, used, n_bytes = (np.concatenate(column) for column in columns)
        filled = n_bytes > 0
        links = max(1, len(self._links))
        pairs, entry = np.unique(tasks[filled] * links + used[filled], return_inverse=True)
        counts = np.bincount(pairs // links, minlength=self._tasks)
        table = np.array(self._links, dtype=np.float64).reshape(-1, 3)
        return Links(
            capacity=table[:, 0],
            rank_class=table[:, 1].astype(np.int32),
            name=table[:, 2].astype(np.int32),
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            used=pairs % links,
            n_bytes=np.bincount(entry, weights=n_bytes[filled]).astype(np.float64),
            names=tuple(self._names),
        )
