"""A fixed piece of work that every time is divided by: noise of the machine cancels."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from _pytest.terminal import TerminalReporter

    Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

PLAYS = 3


class Row(NamedTuple):
    """One measurement: the best of several plays."""

    name: str
    tasks: int
    """Tasks played; 0 where that says nothing."""
    wall: float
    """[s]"""
    processor: float
    """Of all threads, and of child processes [s]."""
    reference: float
    """Wall time of the reference beside it [s]."""
    largest_child: float
    """Most memory of any child process so far [B]."""


ROWS: list[Row] = []


def reference_seconds() -> float:
    """Return the time of work that never changes: half in Python's loop, half in numpy [s]."""
    start = time.perf_counter()
    total = 0.0
    for number in range(400_000):
        total = max(total, number * 0.5) + 1e-9
    numbers: Floats = np.arange(400_000, dtype=np.float64) + total
    for _ in range(4):
        np.sort(numbers[(np.arange(len(numbers)) * 7919) % len(numbers)])
    return time.perf_counter() - start


def processor_seconds() -> float:
    """Return the processor time of this process and its children so far [s]."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@pytest.fixture
def measure() -> Callable[..., None]:
    """Return a function that times work beside the reference and keeps the best of each."""

    def best(name: str, work: Callable[[], object], *, tasks: int = 0, plays: int = PLAYS) -> None:
        walls, processors, references = [], [], []
        for _ in range(plays):
            references.append(reference_seconds())
            start, used = time.perf_counter(), processor_seconds()
            work()
            walls.append(time.perf_counter() - start)
            processors.append(processor_seconds() - used)
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024.0
        ROWS.append(Row(name, tasks, min(walls), min(processors), min(references), largest))

    return best


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print what was measured, by name."""
    if not ROWS:
        return
    headings = ("wall s", "processor s", "tasks", "tasks/s", "x reference")
    write = terminalreporter.write_line
    widths = (13, 13, 15, 13, 13)
    write(f"{'':58}" + "".join(map(str.rjust, headings, widths)))
    for row in sorted(ROWS):
        rate = f"{row.tasks / row.wall:,.0f}" if row.tasks else ""
        tasks = f"{row.tasks:,}" if row.tasks else ""
        times = f"{row.wall:>13.4f}{row.processor:>13.4f}"
        write(f"{row.name:58}{times}{tasks:>15}{rate:>13}{row.wall / row.reference:>13.3f}")
    children = max(row.largest_child for row in ROWS)
    write(f"reference: {min(row.reference for row in ROWS):.4f} s at its best")
    write(f"largest child process: {children / 1e9:.2f} GB")
