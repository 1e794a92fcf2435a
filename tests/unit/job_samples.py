"""Small jobs with hand-checkable sizes, for the tests of placement, memory and summary."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strategies import TOY

from simulator.parallel.layout import Batch, Layout
from simulator.scenario.checks import findings
from simulator.schedule.pipelines import ScheduleName

if TYPE_CHECKING:
    from simulator.scenario import Scenario

SEQUENCE = 1024
MODEL = replace(
    TOY.model,
    layers=8,
    hidden=512,
    heads=8,
    kv_heads=4,
    head_dim=64,
    ffn_hidden=1408,
    vocabulary=2048,
)


def job(layout: Layout, *, micro_batches: int = 4, schedule: str = "1f1b") -> Scenario:
    """Return a job of `MODEL` that a user could have written."""
    scenario = replace(
        TOY,
        model=MODEL,
        layout=layout,
        accelerators=layout.ranks,
        batch=Batch(sequence_length=SEQUENCE, global_batch=layout.data * micro_batches),
        schedule=ScheduleName(schedule),
    )
    assert not findings(scenario)
    return scenario
