"""Device times: graphs of calls, events around one call, kernels as the profiler sees them.

All work runs on one stream that is not the default one, because graphs cannot be captured on
that, and autograd runs a backward pass on the stream of its forward pass.
"""

from __future__ import annotations

import functools
import gc
import itertools
import statistics
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import torch
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MICRO: Final = 1e-6
GIB: Final = 2**30
CACHES: Final = 4
"""Calls in turn touch at least so many times the level-2 cache, so that none finds its data."""
MOST_CALLS: Final = 256
MOST_RESERVED: Final = 30 * GIB
"""Memory from which what graphs keep is given back between calls."""


class Kernel(NamedTuple):
    """One kernel, copy or fill on the device."""

    name: str
    time: float
    """Busy time [s], the gap before it excluded."""


def start() -> str:
    """Make a capturable stream the current one and return the name of the device."""
    torch.cuda.set_stream(torch.cuda.Stream())
    torch.manual_seed(0)
    return str(torch.cuda.get_device_name())


def cache_bytes() -> int:
    """Return the size of the level-2 cache [B]."""
    return int(torch.cuda.get_device_properties(0).L2_cache_size)


def calls_for(n_bytes: float) -> int:
    """Return how many disjoint sets of ``n_bytes`` outgrow the cache."""
    return int(min(MOST_CALLS, max(2, -(-CACHES * cache_bytes() // max(1.0, n_bytes)))))


def graph_time(calls: Sequence[Callable[[], object]], repeats: int = 7, *, keep: bool) -> float:
    """Return the time [s] of one of ``calls``, played one after the other from one graph.

    The gap between two kernels of a graph is part of it. ``keep`` keeps all results until the
    end, so that no call writes where the one before it wrote.
    """
    for call in itertools.islice(calls, 2):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    results: list[object] = []
    graph.capture_begin()
    try:
        for call in calls:
            result = call()
            if keep:
                results.append(result)
            del result
    finally:
        graph.capture_end()
    graph.replay()
    times = [_between_events(graph.replay) for _ in range(repeats)]
    del results, graph
    return statistics.median(times) / len(calls)


def single_graph_time(call: Callable[[], object], repeats: int = 7) -> float:
    """Return the median device time [s] of one call, the cache flushed before each.

    A graph of the call keeps the host's pauses between its kernels out; what a pair of events adds
    to a graph is taken off: the time of a graph of one tiny kernel, less half of what two more add.
    """
    return _replayed(call, repeats) - _pair_overhead()


@functools.cache
def _pair_overhead() -> float:
    tiny = torch.ones(32, device="cuda")
    one = _replayed(lambda: tiny.add_(1), 21)
    three = _replayed(lambda: [tiny.add_(1) for _ in range(3)], 21)
    return one - (three - one) / 2


def _replayed(call: Callable[[], object], repeats: int) -> float:
    for _ in range(2):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin()
    try:
        result = call()
    finally:
        graph.capture_end()
    seconds = event_time(graph.replay, repeats)
    del result, graph
    if torch.cuda.memory_reserved() > MOST_RESERVED:
        release()
    return seconds


def event_time(call: Callable[[], object], repeats: int = 11, *, flush: bool = True) -> float:
    """Return the median time [s] between events around a call, the cache flushed before each."""
    scratch = torch.empty(CACHES * cache_bytes(), dtype=torch.int8, device="cuda")
    times = []
    for turn in range(repeats + 3):
        if flush:
            scratch.zero_()
        elapsed = _between_events(call)
        if turn >= 3:
            times.append(elapsed)
    return statistics.median(times)


def _between_events(call: Callable[[], object]) -> float:
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    call()
    after.record()
    torch.cuda.synchronize()
    return float(before.elapsed_time(after)) * 1e-3


def kernels_of(calls: Sequence[Callable[[], object]]) -> list[Kernel]:
    """Return the kernels of one of the alike ``calls`` in order, with their median times.

    A list that does not divide by the calls (a kernel was not recorded) comes back empty.
    """
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as recorded:
        for call in calls:
            call()
        torch.cuda.synchronize()
    events = [event for event in recorded.events() if "CUDA" in str(event.device_type)]
    events.sort(key=lambda event: event.time_range.start)
    each, rest = divmod(len(events), len(calls))
    if rest:
        return []
    return [
        Kernel(
            str(events[index].name),
            statistics.median(
                events[index + turn * each].time_range.elapsed_us() for turn in range(len(calls))
            )
            * MICRO,
        )
        for index in range(each)
    ]


def host_time(call: Callable[[], object], calls: int = 30, repeats: int = 5) -> float:
    """Return the wall-clock time [s] of one call when many are issued before any wait."""
    for _ in range(5):
        call()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) / calls)
    return statistics.median(times)


def release() -> None:
    """Give cached memory back before the next case."""
    gc.collect()
    torch.cuda.empty_cache()


class PowerLog:
    """Samples of power [W] and clock [MHz] from nvidia-smi while a block runs; else empty."""

    def __init__(self, period_ms: int = 100) -> None:
        """Prepare to sample every ``period_ms``."""
        self._period = period_ms
        self._process: subprocess.Popen[str] | None = None
        self.power = ""
        self.clock = ""

    def __enter__(self) -> Self:
        """Start sampling."""
        query = "--query-gpu=power.draw,clocks.sm"
        command = ["nvidia-smi", query, "--format=csv,noheader,nounits", f"-lms={self._period}"]
        with suppress(FileNotFoundError):
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling and keep the medians of the later half."""
        if self._process is None:
            return
        self._process.terminate()
        text = self._process.communicate()[0]
        samples = [line.split(",") for line in text.splitlines() if line.count(",") == 1]
        later = samples[len(samples) // 2 :]
        with suppress(ValueError, statistics.StatisticsError):
            self.power = f"{statistics.median(float(sample[0]) for sample in later):.1f}"
            self.clock = f"{statistics.median(float(sample[1]) for sample in later):.0f}"


def normal(*shape: int, dtype: Any = None) -> Any:
    """Return standard normal bf16 numbers on the device."""
    return torch.randn(*shape, dtype=dtype or torch.bfloat16, device="cuda")
