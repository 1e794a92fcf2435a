"""The layouts that a search goes through, axis by axis (``space:`` in a scenario)."""

from __future__ import annotations

from simulator.fields import Count, Flag, record
from simulator.operators import Axis
from simulator.parallel.blocks import Recomputation
from simulator.parallel.layout import Sharding
from simulator.schedule.pipelines import ScheduleName


@record
class Space:
    """Values to try on each axis; an axis that is not given takes its default (docs/search.md).

    ``simulator run`` plays the scenario's own layout and leaves the space alone.
    """

    accelerators: tuple[Count, ...] | None = None
    """Sizes of the job; the global batch stays."""
    tensor: tuple[Count, ...] | None = None
    context: tuple[Count, ...] | None = None
    pipeline: tuple[Count, ...] | None = None
    data: tuple[Count, ...] | None = None
    virtual_stages: tuple[Count, ...] | None = None
    """Model chunks per pipeline stage."""
    micro_batch: tuple[Count, ...] | None = None
    schedule: tuple[ScheduleName, ...] | None = None
    recompute: tuple[Recomputation, ...] | None = None
    recompute_every: tuple[Count, ...] | None = None
    sequence_parallel: tuple[Flag, ...] | None = None
    sharding: tuple[Sharding, ...] | None = None
    order: tuple[tuple[Axis, ...], ...] | None = None
    """Orders of the axes on the ranks, each from the innermost to the outermost."""
