"""Patterns: what happens inside a task, as segments at fixed offsets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from simulator.program.tasks import NONE, Lane, SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Segment:
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


@dataclass(frozen=True, slots=True)
class Pattern:
    """Segments by offset, and the wall time that the compute lane is held."""

    segments: tuple[Segment, ...]
    duration: float

    def lane_time(self) -> dict[SpanKind, float]:
        """Return how the compute lane spends the pattern [s], by kind, adding up to its duration.

        While no compute segment runs, the lane waits for the communication under way: that time
        is exposed and goes to the communication's kind.
        """
        spent: dict[SpanKind, float] = {}
        clock = 0.0
        waiting = [item for item in self.segments if item.lane is not Lane.COMPUTE]
        for busy in (*(s for s in self.segments if s.lane is Lane.COMPUTE), None):
            start = self.duration if busy is None else busy.offset
            if start > clock:
                kind = _awaited(waiting, clock, start)
                spent[kind] = spent.get(kind, 0.0) + start - clock
            if busy is not None:
                spent[busy.kind] = spent.get(busy.kind, 0.0) + busy.duration
                clock = busy.end
        return spent


def _awaited(communications: list[Segment], start: float, end: float) -> SpanKind:
    """Return the kind of the communication that fills most of the gap from start to end."""
    overlaps = [(min(item.end, end) - max(item.offset, start), item) for item in communications]
    longest = max(overlaps, key=lambda pair: pair[0], default=None)
    return longest[1].kind if longest and longest[0] > 0 else SpanKind.OTHER


def joined(patterns: Iterable[Pattern]) -> Pattern:
    """Return one pattern that plays ``patterns`` one after another."""
    segments: list[Segment] = []
    clock = 0.0
    for pattern in patterns:
        segments += (replace(item, offset=item.offset + clock) for item in pattern.segments)
        clock += pattern.duration
    return Pattern(tuple(segments), clock)


def on_layer(pattern: Pattern, layer: int) -> Pattern:
    """Return ``pattern`` with its segments on ``layer`` (counted from the task's first)."""
    return Pattern(tuple(replace(item, layer=layer) for item in pattern.segments), pattern.duration)
