"""Who evaluates the candidates: this process, all cores, or the workers of a Dask cluster.

Candidates are dealt out in chunks; whoever evaluates one gives the same results, so a chunk that a
worker took to its grave is given to another.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from simulator import __version__
from simulator.errors import SimulatorError
from simulator.processes import new_pool
from simulator.search import kernels
from simulator.search.evaluate import Evaluator, hindrance
from simulator.search.replay import evaluate_by_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from simulator.scenario import Scenario
    from simulator.search.candidates import Rows

    Chunks = Mapping[int, Rows]
    Finished = tuple[int, NDArray[np.void]]

CHUNK: Final = 1024
"""Candidates of a chunk: a second of work at most, a thousandth of a search's memory."""
FEW: Final = 2 * CHUNK
"""Candidates below which starting processes costs more than they save."""
AHEAD: Final = 2
"""Chunks handed to a process at once, so that it need not wait for the next."""
ATTEMPTS: Final = 3
"""Times that a chunk lost with a worker of a Dask cluster is given out again."""
MOST_LOST: Final = 8
"""Chunks lost with processes of this machine before the search gives up."""
DASK_TIMEOUT: Final = 5.0
"""How long a scheduler may take to answer [s]."""
LOCAL: Final = "local"
"""Address that starts a Dask cluster on this machine."""


def evaluated(
    scenario: Scenario, chunks: Chunks, *, workers: int | None = None, dask: str | None = None
) -> Iterator[Finished]:
    """Yield the results of every chunk with its number, as they are done.

    Parameters
    ----------
    scenario
        The scenario whose layouts are tried.
    chunks
        Candidates by number of chunk.
    workers
        Processes; all cores if None. Few candidates are evaluated in this process.
    dask
        Address of a Dask scheduler such as ``tcp://host:8786``, or `LOCAL`.

    Raises
    ------
    SimulatorError
        If processes keep dying, or there is no such scheduler.
    """
    if dask is not None:
        yield from _on_dask(scenario, chunks, dask, workers)
        return
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    if workers <= 1 or sum(map(len, chunks.values())) <= FEW:
        yield from _here(scenario, chunks)
        return
    yield from _on_cores(scenario, chunks, workers)


def evaluate_chunk(scenario: bytes, rows: Rows) -> NDArray[np.void]:
    """Return the results of a chunk for a pickled scenario; prices stay for the next."""
    return evaluator_of(scenario)(rows)


@cache
def evaluator_of(pickled: bytes) -> Callable[[Rows], NDArray[np.void]]:
    """Return what evaluates candidates of a pickled scenario: side by side, or one by one."""
    scenario: Scenario = pickle.loads(pickled)  # noqa: S301 - our own
    machine = kernels.compiled()
    if machine is None or hindrance(scenario):
        return partial(evaluate_by_engine, scenario)
    return Evaluator(scenario, machine).evaluate


def _here(scenario: Scenario, chunks: Chunks) -> Iterator[Finished]:
    pickled = pickle.dumps(scenario)
    for number, rows in chunks.items():
        yield number, evaluate_chunk(pickled, rows)


# ---- processes ---------------------------------------------------------------------------------


def _on_cores(scenario: Scenario, chunks: Chunks, workers: int) -> Iterator[Finished]:
    """Yield chunks from processes, each with a part of the candidates that lie together.

    Neighbours share prices, so a process that keeps to its part prices little twice; one that is
    done takes over from the end of the longest part. What a process takes to its grave is given to
    another one.
    """
    pickled, lost = pickle.dumps(scenario), 0
    desks = [_Desk(part) for part in _parts(list(chunks), workers)]
    running: dict[Future[NDArray[np.void]], tuple[_Desk, int]] = {}
    try:
        while True:
            for desk in desks:
                while desk.busy < AHEAD and (number := _next(desk, desks)) is not None:
                    running[desk.submit(pickled, chunks[number])] = desk, number
            if not running:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                desk, number = running.pop(done)
                desk.busy -= 1
                try:
                    results = done.result()
                except BrokenProcessPool:
                    lost += 1
                    _require_few(lost)
                    desk.restart(number)
                    continue
                yield number, results
    finally:
        for desk in desks:
            desk.pool.shutdown(wait=True, cancel_futures=True)


class _Desk:
    """A process and the chunks that lie before it."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self.left = deque(numbers)
        self.busy = 0
        """Chunks handed to the process."""
        self.pool = new_pool(1)

    def submit(self, scenario: bytes, rows: Rows) -> Future[NDArray[np.void]]:
        """Hand a chunk to the process."""
        try:
            future = self.pool.submit(evaluate_chunk, scenario, rows)
        except BrokenProcessPool:
            self.pool.shutdown(wait=False)
            self.pool = new_pool(1)
            future = self.pool.submit(evaluate_chunk, scenario, rows)
        self.busy += 1
        return future

    def restart(self, number: int) -> None:
        """Put back a chunk that the process died with; another process takes its place."""
        self.left.appendleft(number)


def _parts(numbers: list[int], count: int) -> list[list[int]]:
    """Return the numbers in so many runs of about the same length."""
    ends = [len(numbers) * part // count for part in range(count + 1)]
    return [numbers[begin:end] for begin, end in pairwise(ends)]


def _next(desk: _Desk, desks: list[_Desk]) -> int | None:
    """Return the next chunk of a desk, or the last of the fullest; None if all are empty."""
    if desk.left:
        return desk.left.popleft()
    fullest = max(desks, key=lambda other: len(other.left))
    return fullest.left.pop() if fullest.left else None


def _require_few(lost: int) -> None:
    """Refuse to go on when processes keep dying."""
    if lost > MOST_LOST:
        raise SimulatorError(
            f"processes that tried layouts died with {lost} chunks of them, perhaps for want of "
            f"memory; try fewer --workers"
        )


# ---- Dask --------------------------------------------------------------------------------------


def _on_dask(
    scenario: Scenario, chunks: Chunks, address: str, workers: int | None
) -> Iterator[Finished]:
    """Yield chunks from the workers of a Dask cluster; it moves the work of one that dies."""
    pickled = pickle.dumps(scenario)
    with _client(address, workers) as client:
        _require_same_version(client)
        distributed = _distributed()
        futures = {
            client.submit(evaluate_chunk, pickled, rows, pure=False, retries=ATTEMPTS): number
            for number, rows in chunks.items()
        }
        try:
            for done in distributed.as_completed(futures):
                yield futures.pop(done), done.result()
                done.release()
        except (distributed.scheduler.KilledWorker, distributed.CancelledError) as error:
            raise SimulatorError(f"the Dask cluster at {address} gave up: {error}") from None
        finally:
            client.cancel(list(futures), force=True)


def _distributed() -> Any:  # noqa: ANN401 - an optional library
    """Return the library, or say how it is installed."""
    try:
        import distributed  # noqa: PLC0415 - an optional library, slow to import
    except ImportError:
        raise SimulatorError(
            "--dask needs the package distributed: pip install 'cluster-training-simulator[dask]'"
        ) from None
    return distributed


@contextmanager
def _client(address: str, workers: int | None) -> Iterator[Any]:
    """Yield a client of the scheduler at ``address``; one started here ends with it."""
    distributed = _distributed()
    if address == LOCAL:
        with (
            distributed.LocalCluster(
                n_workers=workers or os.cpu_count() or 1,
                threads_per_worker=1,
                dashboard_address=None,
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(address, timeout=DASK_TIMEOUT)
    except (OSError, ValueError) as error:
        raise SimulatorError(
            f"no Dask scheduler answers at {address} within {DASK_TIMEOUT:g} s ({error}); "
            f"start one with: dask scheduler"
        ) from None
    with client:
        yield client


def _require_same_version(client: Any) -> None:  # noqa: ANN401 - of an optional library
    """Refuse a cluster without workers, or whose workers compute otherwise."""
    try:
        client.wait_for_workers(1, timeout=DASK_TIMEOUT)
    except TimeoutError:
        raise SimulatorError(
            "the Dask cluster has no workers; start some with: dask worker ADDRESS"
        ) from None
    try:
        versions = client.run(_version)
    except ImportError as error:
        raise SimulatorError(f"a Dask worker cannot import the simulator: {error}") from None
    others = {where: found for where, found in versions.items() if found != __version__}
    if others:
        where, found = next(iter(others.items()))
        raise SimulatorError(
            f"the Dask worker {where} has version {found} of the simulator, this is {__version__}"
        )


def _version() -> str:
    return __version__
