"""Who evaluates the candidates: this process, all cores, or the workers of a Dask cluster.

Candidates are dealt out in chunks; whoever evaluates one gives the same results, so a chunk that a
worker took to its grave is given to another.
"""

from __future__ import annotations

import os
import pickle
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from simulator import __version__
from simulator.errors import SimulatorError
from simulator.search import kernels
from simulator.search.evaluate import Evaluator, hindrance
from simulator.search.replay import evaluate_by_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from simulator.processes import Crew
    from simulator.scenario import Scenario
    from simulator.search.candidates import Rows

    Chunks = Mapping[int, Rows]
    Finished = tuple[int, NDArray[np.void]]

CHUNK: Final = 1024
"""Candidates of a chunk: a second of work at most, a thousandth of a search's memory."""
FEW: Final = 8 * CHUNK
"""Candidates played side by side below which starting processes costs more than they save."""
ATTEMPTS: Final = 3
"""Times that a chunk lost with a worker of a Dask cluster is given out again."""
DASK_TIMEOUT: Final = 5.0
"""How long a scheduler may take to answer [s]."""
LOCAL: Final = "local"
"""Address that starts a Dask cluster on this machine."""


def evaluated(
    scenario: Scenario,
    chunks: Chunks,
    crew: Crew,
    *,
    workers: int | None = None,
    dask: str | None = None,
) -> Iterator[Finished]:
    """Yield the results of every chunk with its number, as they are done.

    Parameters
    ----------
    scenario
        The scenario whose layouts are tried.
    chunks
        Candidates by number of chunk.
    crew
        Grows by as many processes as there is work for.
    workers
        Processes; all cores if None. `FEW` candidates are evaluated in this process.
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
    if sum(map(len, chunks.values())) > (0 if obstacle(scenario) else FEW):
        crew.grow(workers, len(chunks))
    # The last chunks have the longest pipelines: whoever is done early finds short ones left.
    longest_first = {number: chunks[number] for number in sorted(chunks, reverse=True)}
    yield from crew.finished(partial(evaluate_chunk, pickle.dumps(scenario)), longest_first)


def evaluate_chunk(scenario: bytes, rows: Rows) -> NDArray[np.void]:
    """Return the results of a chunk for a pickled scenario; prices stay for the next."""
    return evaluator_of(scenario)(rows)


@cache
def evaluator_of(pickled: bytes) -> Callable[[Rows], NDArray[np.void]]:
    """Return what evaluates candidates of a pickled scenario: side by side, or one by one."""
    scenario: Scenario = pickle.loads(pickled)  # noqa: S301 - our own
    machine = kernels.compiled()
    if machine is None or obstacle(scenario):
        return partial(evaluate_by_engine, scenario)
    return Evaluator(scenario, machine).evaluate


def obstacle(scenario: Scenario) -> str | None:
    """Return why the engine plays layouts one by one, some hundred times slower; None if not."""
    return hindrance(scenario) or ("no numba" if kernels.compiled() is None else None)


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
