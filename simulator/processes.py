"""Work on all cores: pools of processes, and one function on many items."""

from __future__ import annotations

import atexit
import gc
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_items(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None,
    here: bool,
    chunk: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Result]:
    """Return what ``function`` makes of each item, in order.

    Parameters
    ----------
    function
        A function of a module, or a partial of one: processes find it by name.
    items
        Its arguments.
    workers
        Processes; all cores if None.
    here
        Whether the work is done sooner than processes for it start.
    chunk
        Items that a process takes at once: small enough that the last does not keep others waiting.
    advance
        Called with the number of items that were done since the last call.
    """
    workers = min(workers or os.cpu_count() or 1, len(items))
    if workers <= 1 or here:
        return [_counted(function(item), advance) for item in items]
    pool = new_pool(workers)
    try:
        return [_counted(done, advance) for done in pool.map(function, items, chunksize=chunk)]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def new_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of so many processes; Ctrl-C is left to this one, which has to stop them."""
    # Spawned, not forked: a progress bar is a thread, and forks of threads may hang.
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_get_ready)


def _counted(done: Result, advance: Callable[[int], None]) -> Result:
    advance(1)
    return done


def _get_ready() -> None:
    """Leave Ctrl-C to the parent, which then stops its processes: no traceback from each.

    Nor is there garbage to look for when they exit, a fifth of a second of work.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    atexit.register(gc.freeze)
