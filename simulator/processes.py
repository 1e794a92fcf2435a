"""Work on all cores: this process and others beside it, which outlive one another."""

from __future__ import annotations

import atexit
import gc
import os
import signal
from collections import deque
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final, TypeVar

from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD: Final = 2
"""Items handed to a process at once, so that it need not wait for the next."""
MOST_LOST: Final = 8
"""Items lost with processes before the crew gives up."""


class Crew:
    """Processes that stay, with what they remember, from one work to the next.

    ::

        with closing(Crew()) as crew:
            crew.grow(4, items=100)  # this process and three others
            for number, result in crew.finished(function, items): ...
    """

    def __init__(self) -> None:
        """Begin with this process alone."""
        self._others: list[_Process] = []

    def close(self) -> None:
        """End the others once they have done what they are doing."""
        for process in self._others:
            process.pool.shutdown(wait=True, cancel_futures=True)

    def grow(self, workers: int | None, items: int) -> None:
        """Start processes until there are so many, this one among them, and none without an item.

        All cores are used if ``workers`` is None.
        """
        size = min(workers or os.cpu_count() or 1, items)
        while len(self._others) < size - 1:
            self._others.append(_Process())

    def finished(
        self, function: Callable[[Item], Result], items: Mapping[int, Item]
    ) -> Iterator[tuple[int, Result]]:
        """Yield what ``function`` makes of each item, with its number, as they are done.

        This process starts at once, while the others load. Each keeps to a run of neighbours,
        which share what is remembered; one that is done takes over from the end of the longest
        run. What a process takes to its grave is done by another one.

        Parameters
        ----------
        function
            A function of a module, or a partial of one: processes find it by name.
        items
            Its arguments; the last that are begun should be short.

        Raises
        ------
        SimulatorError
            If processes keep dying.
        """
        here, *runs = _runs(list(items), 1 + len(self._others))
        left = [here, *runs]
        running: dict[Future[Result], tuple[_Process, int]] = {}
        lost = 0
        for process, run in zip(self._others, runs, strict=True):
            process.left = run
        while True:
            for process in self._others:
                while process.busy < AHEAD and (number := _next(process.left, left)) is not None:
                    running[process.submit(function, items[number])] = process, number
            own = _next(here, left)
            if own is not None:
                yield own, function(items[own])
            elif not running:
                return
            for done in wait(running, None if own is None else 0, FIRST_COMPLETED).done:
                process, number = running.pop(done)
                process.busy -= 1
                try:
                    result = done.result()
                except BrokenProcessPool:
                    lost += 1
                    _require_few(lost)
                    process.left.appendleft(number)
                    continue
                yield number, result


def map_items(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None,
    here: bool,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Result]:
    """Return what ``function`` makes of each item, in order.

    Parameters
    ----------
    function, items
        As `Crew.finished`.
    workers
        Processes; all cores if None.
    here
        Whether the work is done sooner than processes for it start.
    advance
        Called with the number of items that were done since the last call.

    Raises
    ------
    SimulatorError
        If processes keep dying.
    """
    done: dict[int, Result] = {}
    with closing(Crew()) as crew:
        if not here:
            crew.grow(workers, len(items))
        for number, result in crew.finished(function, dict(enumerate(items))):
            done[number] = result
            advance(1)
    return [done[number] for number in range(len(items))]


def _one_process() -> ProcessPoolExecutor:
    """Return another process; Ctrl-C is left to this one, which has to stop it."""
    # Spawned, not forked: a progress bar is a thread, and forks of threads may hang.
    return ProcessPoolExecutor(1, get_context("spawn"), initializer=_get_ready)


@dataclass(slots=True, eq=False)
class _Process:
    """Another process and the items that lie before it."""

    pool: ProcessPoolExecutor = field(default_factory=_one_process)
    left: deque[int] = field(default_factory=deque)
    busy: int = 0
    """Items handed to it."""

    def submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        """Hand it an item; a process that died is replaced."""
        try:
            future = self.pool.submit(function, item)
        except BrokenProcessPool:
            self.pool.shutdown(wait=False)
            self.pool = _one_process()
            future = self.pool.submit(function, item)
        self.busy += 1
        return future


def _runs(numbers: list[int], count: int) -> list[deque[int]]:
    """Return the numbers in so many runs of about the same length."""
    ends = [len(numbers) * run // count for run in range(count + 1)]
    return [deque(numbers[begin:end]) for begin, end in pairwise(ends)]


def _next(own: deque[int], runs: list[deque[int]]) -> int | None:
    """Return the next of a run, or the last of the longest; None if all are empty."""
    if own:
        return own.popleft()
    longest = max(runs, key=len)
    return longest.pop() if longest else None


def _require_few(lost: int) -> None:
    """Refuse to go on when processes keep dying."""
    if lost > MOST_LOST:
        raise SimulatorError(
            f"{lost} pieces of work were lost with the processes that did them, perhaps for want "
            f"of memory; try fewer --workers"
        )


def _get_ready() -> None:
    """Leave Ctrl-C to the parent, which then stops its processes: no traceback from each.

    Nor is there garbage to look for when they exit, a fifth of a second of work.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    atexit.register(gc.freeze)
