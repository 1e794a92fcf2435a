"""Spans as a trace that opens in ui.perfetto.dev or chrome://tracing.

A process is a rank class, a thread is a lane. On the compute lane the operators of a layer lie
inside the action that they belong to (``F12``); an arrow leads from each send to what it releases.
The format is Chrome's JSON trace-event format, in which times are microseconds.
"""

from __future__ import annotations

import json
from itertools import repeat
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from simulator import units
from simulator.report.spans import COMPUTE, LANES, actions, rank_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

Nanoseconds: TypeAlias = npt.NDArray[np.int64]

THREADS: Final = {lane: index for index, lane in enumerate(LANES)}

_TIME: Final = "%d.%03d"
_ACTION: Final = (
    '{"ph":"X","name":"%s%d","cat":"action","pid":%d,'
    f'"tid":{THREADS[COMPUTE]},"ts":{_TIME},"dur":{_TIME},'
    '"args":{"micro_batch":%d,"chunk":%d}}'
).__mod__
_SPAN: Final = (
    '{"ph":"X","name":%s,"cat":%s,"pid":%d,"tid":%d,'
    f'"ts":{_TIME},"dur":{_TIME},'
    '"args":{"micro_batch":%d,"chunk":%d,"layer":%d,"bytes":%.0f}}'
).__mod__
_ARROW_END: Final = (
    f'{{"ph":"%s","bp":"e","name":"send","cat":"flow","id":%d,"pid":%d,"tid":%d,"ts":{_TIME}}}'
).__mod__
"""Events as text from a row of their columns: there are as many as spans."""


def write_perfetto(spans: pd.DataFrame, stream: IO[str], metadata: Mapping[str, Any]) -> None:
    """Write a trace as JSON, event by event.

    Parameters
    ----------
    spans
        Span table (`simulator.report.spans.COLUMNS`).
    stream
        Text stream to write to.
    metadata
        What the viewer shows beside the trace: scenario, versions and the like.

    Notes
    -----
    Times are whole nanoseconds, the resolution of the viewer: spans that touch still touch, and
    none overlaps its neighbour by rounding.
    """
    stream.write('{"displayTimeUnit":"ms","otherData":')
    stream.write(json.dumps(dict(metadata)))
    stream.write(',"traceEvents":[\n')
    events = _events(spans)
    stream.write(next(events, ""))
    stream.writelines(map(",\n".__add__, events))
    stream.write("\n]}\n")


def _events(spans: pd.DataFrame) -> Iterator[str]:
    """Yield encoded events; of two that start together the outer comes first, as viewers expect."""
    yield from _names(spans)
    yield from _actions(actions(spans))
    yield from _spans(spans)
    yield from _flows(spans)


def _names(spans: pd.DataFrame) -> Iterator[str]:
    rows = rank_rows(spans)
    for order, (process, label) in enumerate(zip(rows["rank_class"], rows["label"], strict=True)):
        yield _metadata_event("process_name", process, 0, name=label)
        yield _metadata_event("process_sort_index", process, 0, sort_index=order)
    for process, lane in spans[["rank_class", "lane"]].drop_duplicates().itertuples(index=False):
        yield _metadata_event("thread_name", process, THREADS[lane], name=lane.replace("_", " "))
        yield _metadata_event("thread_sort_index", process, THREADS[lane], sort_index=THREADS[lane])


def _metadata_event(event_name: str, process: int, thread: int, **arguments: str | int) -> str:
    event = {"ph": "M", "name": event_name, "pid": int(process), "tid": thread, "args": arguments}
    return json.dumps(event)


def _actions(runs: pd.DataFrame) -> Iterator[str]:
    names = ("action", "micro_batch", "rank_class", "chunk")
    action, micro_batch, process, chunk = (runs[name].tolist() for name in names)
    times = _start_and_length(runs)
    return map(_ACTION, zip(action, micro_batch, process, *times, micro_batch, chunk, strict=True))


def _spans(spans: pd.DataFrame) -> Iterator[str]:
    names, kinds = (spans[name].map(json.dumps) for name in ("name", "kind"))
    threads = spans["lane"].map(THREADS)
    what = (column.tolist() for column in (names, kinds, spans["rank_class"], threads))
    details = (spans[name].tolist() for name in ("micro_batch", "chunk", "layer", "n_bytes"))
    return map(_SPAN, zip(*what, *_start_and_length(spans), *details, strict=True))


def _flows(spans: pd.DataFrame) -> Iterator[str]:
    """Yield both ends of every arrow whose two spans exist.

    An arrow cannot point back in time: where the released span starts before the send (a receive
    posted early) the arrow ends inside it, no earlier than the send starts.
    """
    paired = spans[spans["flow"] >= 0].sort_values("start_s", kind="stable")
    sends = paired["peer"] >= 0
    ends = [part.drop_duplicates("flow") for part in (paired[sends], paired[~sends])]
    arrows = ends[0].merge(ends[1], on="flow", suffixes=("_from", "_to"))
    leave = _nanoseconds(arrows["start_s_from"])
    arrive = np.maximum(leave, _nanoseconds(arrows["start_s_to"]))
    arrive = np.maximum(leave, np.minimum(arrive, _nanoseconds(arrows["end_s_to"])))
    for phase, side, times in (("s", "from", leave), ("f", "to", arrive)):
        threads = arrows[f"lane_{side}"].map(THREADS)
        plain = (arrows["flow"], arrows[f"rank_class_{side}"], threads)
        columns = (column.tolist() for column in plain)
        yield from map(_ARROW_END, zip(repeat(phase), *columns, *_microseconds(times)))


def _start_and_length(frame: pd.DataFrame) -> tuple[list[int], list[int], list[int], list[int]]:
    start, end = (_nanoseconds(frame[name]) for name in ("start_s", "end_s"))
    return *_microseconds(start), *_microseconds(end - start)


def _nanoseconds(seconds: pd.Series[float]) -> Nanoseconds:
    return np.asarray(np.rint(seconds.to_numpy() * units.GIGA), np.int64)


def _microseconds(nanoseconds: Nanoseconds) -> tuple[list[int], list[int]]:
    """Return the whole microseconds and the nanoseconds beyond them, as `_TIME` writes both."""
    whole, beyond = np.divmod(nanoseconds, 1000)
    return whole.tolist(), beyond.tolist()
