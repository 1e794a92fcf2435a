"""A search on a Dask cluster of real processes: the same table, whoever dies."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from search_samples import NARROW, SMALL, scenario

from simulator.errors import SimulatorError
from simulator.search import search as search_module
from simulator.search.search import search_layouts

if TYPE_CHECKING:
    from collections.abc import Iterator

distributed = pytest.importorskip("distributed", reason="the extra [dask] is not installed")
# Workers that are killed leave sockets and warnings of the library's own behind.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """Return two worker processes and their scheduler."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


def test_a_killed_worker_loses_nothing(cluster: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "CHUNK", 50)
    base = scenario(*SMALL, NARROW)
    expected = search_layouts(base, workers=1)
    address: str = cluster.scheduler_address  # type: ignore[attr-defined]
    with distributed.Client(address) as client:
        victim, *_others = client.run(os.getpid).values()
    killed: list[int] = []

    def kill(_done: int, _every: int) -> None:
        if not killed:
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    found = search_layouts(base, dask=address, on_progress=kill)
    assert killed == [victim]
    assert found.rows.tobytes() == expected.rows.tobytes()
    assert found.results.tobytes() == expected.results.tobytes()
    assert found.summary == expected.summary


def test_a_scheduler_that_is_not_there_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("simulator.search.workers.DASK_TIMEOUT", 0.5)
    base = scenario(*SMALL, NARROW)
    with pytest.raises(SimulatorError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"):
        search_layouts(base, dask="tcp://127.0.0.1:9")


def test_an_address_that_is_none_is_an_error() -> None:
    base = scenario(*SMALL, NARROW)
    with pytest.raises(SimulatorError, match="no Dask scheduler answers at nowhere://x"):
        search_layouts(base, dask="nowhere://x")
