"""Programs of flows alone, each on a lane of its own, for the tests of sharing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.program.builder import ProgramBuilder
from simulator.program.tasks import Lane, SpanKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.program.tasks import Program


def program_of(
    capacity: Sequence[float],
    flows: Sequence[Mapping[int, float]],
    *,
    starts: Sequence[float] | None = None,
    latency: float = 0.0,
    limits: Sequence[float] | None = None,
) -> Program:
    """Return one flow for each lane.

    Parameters
    ----------
    capacity
        Of each link [B/s].
    flows
        Bytes of each flow by link.
    starts
        When each flow's lane gets to it [s].
    latency
        Of every flow [s].
    limits
        Rate of each flow alone on its fullest link [B/s]; without it a link alone bounds it.
    """
    builder = ProgramBuilder(range(len(flows)), [1.0] * len(flows))
    name = builder.name("flow")
    for number, rate in enumerate(capacity):
        builder.link(f"link {number}", 0, rate)
    for number, uses in enumerate(flows):
        moving = max(n_bytes / capacity[link] for link, n_bytes in uses.items())
        if limits is not None:
            moving = max(moving, max(uses.values()) / limits[number])
        if starts is not None and starts[number] > 0:
            builder.add(name=name, rank_class=number, lane=Lane.DATA, duration=starts[number])
        task = builder.add(
            name=name,
            rank_class=number,
            lane=Lane.DATA,
            kind=SpanKind.DATA,
            duration=latency + moving,
            latency=latency,
        )
        for link, n_bytes in uses.items():
            builder.occupy(task, link, n_bytes)
    return builder.build()
