"""The order of every schedule, as text that a reader can compare with the papers' figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator.schedule import build_schedule, format_schedule, parse_schedule

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEDULES = Path(__file__).with_name("schedules")

CASES = [
    ("gpipe", 4, 8, 1),  # Narayanan et al. 2021, figure 3
    ("1f1b", 4, 8, 1),  # figure 4, top
    ("1f1b", 4, 2, 1),
    ("interleaved_1f1b", 4, 8, 2),  # figure 4, bottom
    ("interleaved_1f1b", 4, 4, 2),
    ("interleaved_1f1b", 1, 2, 3),
    ("interleaved_1f1b", 2, 6, 3),
]


@pytest.mark.parametrize(("name", "stages", "micro_batches", "chunks"), CASES)
def test_schedule_is_as_recorded(
    check_golden: Callable[[Path, str], None],
    name: str,
    stages: int,
    micro_batches: int,
    chunks: int,
) -> None:
    schedule = build_schedule(name, stages, micro_batches, chunks)
    path = SCHEDULES / f"{name}-p{stages}-m{micro_batches}-v{chunks}.txt"
    check_golden(path, format_schedule(schedule) + "\n")
    assert parse_schedule(path.read_text(encoding="utf-8")) == schedule
