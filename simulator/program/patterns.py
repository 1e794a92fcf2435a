"""Patterns: what happens inside a task, as segments at fixed offsets."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from simulator.program.tasks import NONE, Lane, SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterable


class Segment(NamedTuple):
    """Some time on some lane, from an offset after the task's start."""

    name: str
    kind: SpanKind
    lane: Lane
    offset: float
    duration: float
    n_bytes: float = 0.0
    layer: int = NONE
    """Counted from the task's first layer; `NONE` outside layers."""

    @property
    def end(self) -> float:
        """Offset of the segment's end from the task's start [s]."""
        return self.offset + self.duration

    def moved(self, offset: float, layer: int) -> Segment:
        """Return the same segment at another offset and layer."""
        # A step has tens of thousands of them; `_replace` takes three times as long.
        return Segment(self.name, self.kind, self.lane, offset, self.duration, self.n_bytes, layer)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Segments, and the wall time that the compute lane is held."""

    segments: tuple[Segment, ...]
    duration: float

    def pieces(self) -> tuple[Segment, ...]:
        """Return what the compute lane does or waits for, back to back over the pattern.

        Compute segments as they are and, between them, waits: while no compute segment runs, the
        lane waits for the communication under way, and a wait has its kind and name. Communication
        behind compute takes no time of the lane and is left out.
        """
        pieces: list[Segment] = []
        begun: list[Segment] = []  # communication that may reach into the next wait
        clock = 0.0
        # A reduction that hides behind the GEMM before it is laid out after that GEMM.
        for segment in sorted(self.segments, key=attrgetter("offset")):
            if segment.lane is not Lane.COMPUTE:
                begun.append(segment)
                continue
            if segment.offset > clock:
                pieces.append(_wait(begun, clock, segment.offset))
                begun = [other for other in begun if other.end > segment.offset]
            pieces.append(segment)
            clock = segment.end
        if self.duration > clock or not pieces:
            pieces.append(_wait(begun, clock, self.duration))
        return tuple(pieces)

    def lane_time(self) -> dict[SpanKind, float]:
        """Return how the compute lane spends the pattern [s], by kind, adding up to its duration.

        Waits for communication count as that communication's kind: they are exposed.
        """
        spent: dict[SpanKind, float] = {}
        for piece in self.pieces():
            spent[piece.kind] = spent.get(piece.kind, 0.0) + piece.duration
        return spent


def joined(patterns: Iterable[Pattern]) -> Pattern:
    """Return one pattern that plays ``patterns`` one after another."""
    segments: list[Segment] = []
    clock = 0.0
    for pattern in patterns:
        segments += (item.moved(item.offset + clock, item.layer) for item in pattern.segments)
        clock += pattern.duration
    return Pattern(tuple(segments), clock)


def on_layer(pattern: Pattern, layer: int) -> Pattern:
    """Return ``pattern`` with its segments on ``layer`` (counted from the task's first)."""
    segments = tuple(item.moved(item.offset, layer) for item in pattern.segments)
    return Pattern(segments, pattern.duration)


def _wait(communication: Iterable[Segment], start: float, end: float) -> Segment:
    """Return the wait for the communication that fills most of the time from start to end."""

    def overlap(item: Segment) -> float:
        return min(item.end, end) - max(item.offset, start)

    awaited = max(communication, key=overlap, default=None)
    if awaited is None or overlap(awaited) <= 0:
        return Segment("wait", SpanKind.OTHER, Lane.COMPUTE, start, end - start)
    return awaited._replace(lane=Lane.COMPUTE, offset=start, duration=end - start)
