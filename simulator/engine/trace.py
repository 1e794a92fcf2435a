"""The trace: when every task of a program started and ended, and the spans inside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.program.tasks import NONE, Lane, SpanKind
from simulator.schedule.actions import KINDS

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from simulator.program.tasks import Program


@dataclass(frozen=True, eq=False)
class Trace:
    """A played program; columns have shape ``(tasks,)`` and are in seconds."""

    program: Program
    start: NDArray[np.float64]
    end: NDArray[np.float64]

    @cached_property
    def step_time(self) -> float:
        """Time from the start of the step to the end of its last task [s]."""
        return float(self.end.max(initial=0.0))

    @cached_property
    def duration(self) -> NDArray[np.float64]:
        """Time that each task took [s]: of a flow from start to end, of others the program's."""
        flows = np.diff(self.program.links.offsets) > 0
        return np.where(flows, self.end - self.start, self.program.duration)

    @cached_property
    def link_use(self) -> NDArray[np.float64]:
        """Share of what each link could carry in the step that it did, shape ``(links,)``."""
        links = self.program.links
        moved = np.bincount(links.used, weights=links.n_bytes, minlength=len(links))
        return moved / (links.capacity * self.step_time)

    @cached_property
    def binding(self) -> NDArray[np.int64]:
        """The task whose end each task waited for last, `NONE` at the start of the step.

        Among predecessors and the task before on the lane, the one that ended last; the lane's
        own where they end together.
        """
        program = self.program
        binding = program.lane_predecessor()
        latest = np.where(binding == NONE, -np.inf, self.end[binding])
        waits = np.flatnonzero(np.diff(program.predecessor_offsets))
        if not len(waits):
            return binding
        counts = np.diff(program.predecessor_offsets)[waits]
        first = program.predecessor_offsets[waits]
        ends = self.end[program.predecessors]
        is_last = ends == np.repeat(np.maximum.reduceat(ends, first), counts)
        edge = np.where(is_last, np.arange(len(ends)), NONE)
        candidate = program.predecessors[np.maximum.reduceat(edge, first)]
        later = self.end[candidate] > latest[waits]
        binding[waits[later]] = candidate[later]
        return binding

    def spans(self) -> dict[str, NDArray[Any]]:
        """Return every span of the step in columns, patterns unfolded, in a stable order.

        Keys: rank_class, stage, lane, kind, action, name (codes into `names`), micro_batch,
        chunk, layer, start, end [s], n_bytes, peer, task. Gates and empty spans are left out.
        """
        program = self.program
        segments = _SegmentTable(program)
        pieces = np.where(program.pattern == NONE, 1, segments.count[program.pattern])
        pieces[program.lane == Lane.GATE] = 0
        task = np.repeat(np.arange(len(program)), pieces)
        within = np.arange(len(task)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        pattern = program.pattern[task]
        plain = pattern == NONE
        row = np.where(plain, 0, segments.first[pattern] + within)
        # A task that shares its accelerator with communication is longer than its pattern.
        length = segments.duration[pattern]
        scale = np.divide(
            self.duration[task], length, out=np.ones(len(task)), where=~plain & (length > 0)
        )
        start = self.start[task] + np.where(plain, 0.0, segments.offset[row] * scale)
        span = np.where(plain, self.duration[task], segments.span[row] * scale)
        layer = np.where(
            segments.layer[row] == NONE, NONE, program.layer[task] + segments.layer[row]
        )
        columns = {
            "rank_class": program.rank_class[task],
            "stage": program.stage[program.rank_class[task]],
            "lane": np.where(plain, program.lane[task], segments.lane[row]),
            "kind": np.where(plain, program.kind[task], segments.kind[row]),
            "action": program.action[task],
            "name": np.where(plain, program.name[task], segments.name[row]),
            "micro_batch": program.micro_batch[task],
            "chunk": program.chunk[task],
            "layer": np.where(plain, program.layer[task], layer),
            "start": start,
            "end": start + span,
            "n_bytes": np.where(plain, program.n_bytes[task], segments.n_bytes[row]),
            "peer": program.peer[task],
            "task": task,
        }
        kept = np.flatnonzero(span > 0)
        columns = {key: column[kept] for key, column in columns.items()}
        order = np.lexsort(
            (columns["task"], columns["start"], columns["lane"], columns["rank_class"])
        )
        return {key: column[order] for key, column in columns.items()} | {
            "names": np.array(segments.names)
        }

    def frame(self) -> pd.DataFrame:
        """Return the spans as a table with units in the column names.

        Columns: rank_class, stage, lane, kind, action, name, micro_batch, chunk, layer, start_s,
        end_s, n_bytes, peer (rank class that a transfer goes to, -1 for none), flow (the same
        number on a transfer and on the first span that it releases, -1 for none).
        """
        import pandas as pd  # noqa: PLC0415 - costs half a second, and few callers need it

        spans = self.spans()
        letters = np.array([*(kind.letter for kind in KINDS), ""])

        def words(codes: NDArray[Any], values: NDArray[np.str_]) -> pd.Categorical:
            used, inverse = np.unique(codes, return_inverse=True)
            return pd.Categorical.from_codes(inverse, categories=values[used])

        lanes = np.array([lane.name.lower() for lane in Lane if lane >= 0])
        kinds = np.array([kind.name.lower() for kind in SpanKind])
        return pd.DataFrame(
            {
                "rank_class": spans["rank_class"],
                "stage": spans["stage"],
                "lane": words(spans["lane"], lanes),
                "kind": words(spans["kind"], kinds),
                "action": words(np.where(spans["action"] == NONE, 4, spans["action"]), letters),
                "name": words(spans["name"], spans["names"]),
                "micro_batch": spans["micro_batch"],
                "chunk": spans["chunk"],
                "layer": spans["layer"],
                "start_s": spans["start"],
                "end_s": spans["end"],
                "n_bytes": spans["n_bytes"],
                "peer": spans["peer"],
                "flow": self._flows(spans["task"]),
            }
        )

    def _flows(self, task: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the transfer for each transfer span and the span it releases."""
        program = self.program
        flow = np.full(len(program), NONE, dtype=np.int64)
        sends = np.flatnonzero(program.peer != NONE)
        flow[sends] = sends
        counts = np.diff(program.predecessor_offsets)
        receivers = np.repeat(np.arange(len(program)), counts)
        from_send = program.peer[program.predecessors] != NONE
        flow[receivers[from_send]] = program.predecessors[from_send]
        first = np.zeros(len(task), dtype=bool)
        first[np.unique(task, return_index=True)[1]] = True
        return np.where(first, flow[task], NONE)


class _SegmentTable:
    """All patterns' segments in columns, and where each pattern's begin."""

    def __init__(self, program: Program) -> None:
        segments = [item for pattern in program.patterns for item in pattern.segments]
        counts = [len(pattern.segments) for pattern in program.patterns]
        names = {name: number for number, name in enumerate(program.names)}
        for item in segments:
            names.setdefault(item.name, len(names))
        self.names = tuple(names)
        # One entry more than needed, so that an index of NONE reads something harmless.
        self.count = np.array([*counts, 0], dtype=np.int64)
        self.first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self.duration = np.array([*(pattern.duration for pattern in program.patterns), 0.0])
        self.offset = np.array([*(item.offset for item in segments), 0.0])
        self.span = np.array([*(item.duration for item in segments), 0.0])
        self.lane = np.array([*(item.lane for item in segments), NONE], dtype=np.int8)
        self.kind = np.array([*(item.kind for item in segments), 0], dtype=np.int8)
        self.layer = np.array([*(item.layer for item in segments), NONE], dtype=np.int32)
        self.n_bytes = np.array([*(item.n_bytes for item in segments), 0.0])
        self.name = np.array([*(names[item.name] for item in segments), 0], dtype=np.int32)
