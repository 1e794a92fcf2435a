"""Small searches that several test files share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simulator.scenario import load_scenario

if TYPE_CHECKING:
    from simulator.scenario import Scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"
NARROW = (
    "space={tensor: [2, 4], pipeline: [1, 2, 4], micro_batch: [1, 2], recompute: [none, full], "
    "order: [[tensor, context, pipeline, data]], context: [1]}"
)


SMALL = ("llama-13b-64-a100", "batch.global_batch=128")
"""A scenario of few micro-batches."""


def scenario(name: str = "llama-13b-64-a100", *overrides: str) -> Scenario:
    """Return a shipped scenario with overrides."""
    return load_scenario(SCENARIOS / f"{name}.yaml", overrides=overrides)
