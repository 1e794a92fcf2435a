"""The Perfetto trace is valid JSON; names, times, nesting and arrows say what the spans say."""

from __future__ import annotations

import io
import json
import time
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from report_samples import Pipeline, sample_spans

from simulator.report.perfetto import write_perfetto

SMALL = Pipeline(stages=4, micro_batches=8, layers=2)


def trace_of(spans: pd.DataFrame) -> dict[str, Any]:
    stream = io.StringIO()
    write_perfetto(spans, stream, {"scenario": 'a "quoted" name'})
    return dict(json.loads(stream.getvalue()))


@pytest.fixture(scope="module")
def spans() -> pd.DataFrame:
    return sample_spans(SMALL)


@pytest.fixture(scope="module")
def events(spans: pd.DataFrame) -> list[dict[str, Any]]:
    return list(trace_of(spans)["traceEvents"])


def test_metadata_stands_beside_the_events(spans: pd.DataFrame) -> None:
    trace = trace_of(spans.head(1))
    assert trace["otherData"] == {"scenario": 'a "quoted" name'}
    assert trace["displayTimeUnit"] == "ms"


def test_an_empty_trace_is_valid(spans: pd.DataFrame) -> None:
    assert trace_of(spans.head(0))["traceEvents"] == []


def test_processes_are_stages_and_threads_are_lanes(events: list[dict[str, Any]]) -> None:
    named = {
        (event["name"], event["pid"], event["tid"]): event["args"]
        for event in events
        if event["ph"] == "M"
    }
    assert named["process_name", 2, 0] == {"name": "stage 2"}
    assert named["process_sort_index", 2, 0] == {"sort_index": 2}
    assert named["thread_name", 2, 4] == {"name": "pipeline send"}
    assert named["thread_sort_index", 2, 4] == {"sort_index": 4}


def test_every_span_is_an_event_in_microseconds(
    spans: pd.DataFrame, events: list[dict[str, Any]]
) -> None:
    complete = [event for event in events if event["ph"] == "X" and event["cat"] != "action"]
    assert len(complete) == len(spans)
    assert [event["ts"] for event in complete] == pytest.approx(
        (spans["start_s"] * 1e6).tolist(), abs=1e-3
    )
    durations = (spans["end_s"] - spans["start_s"]) * 1e6
    assert [event["dur"] for event in complete] == pytest.approx(durations.tolist(), abs=2e-3)
    sends = [event for event in complete if event["cat"] == "pipeline"]
    assert sends[0]["args"]["bytes"] == 2**26


def test_operators_lie_inside_their_action_and_no_two_actions_overlap(
    events: list[dict[str, Any]],
) -> None:
    compute = [
        event for event in events if event["ph"] == "X" and event["tid"] == 0 and event["pid"] == 1
    ]
    outer = sorted(
        (event for event in compute if event["cat"] == "action"), key=lambda event: event["ts"]
    )
    assert [event["name"] for event in outer[:4]] == ["F0", "F1", "F2", "B0"]
    for before, after in pairwise(outer):
        assert round(1000 * (before["ts"] + before["dur"])) <= round(1000 * after["ts"])
    for event in compute:
        if event["cat"] in {"forward", "backward"}:
            assert any(
                round(1000 * action["ts"]) <= round(1000 * event["ts"])
                and round(1000 * (event["ts"] + event["dur"]))
                <= round(1000 * (action["ts"] + action["dur"]))
                for action in outer
            )


def test_an_arrow_leads_from_every_send_to_its_peer(
    spans: pd.DataFrame, events: list[dict[str, Any]]
) -> None:
    leave = {event["id"]: event for event in events if event["ph"] == "s"}
    arrive = {event["id"]: event for event in events if event["ph"] == "f"}
    assert leave.keys() == arrive.keys()
    sends = spans[spans["peer"] >= 0].set_index("flow")
    assert set(leave) == set(sends.index)
    for flow, event in arrive.items():
        assert event["bp"] == "e"
        assert event["pid"] == sends["peer"][flow]
        assert event["ts"] >= leave[flow]["ts"]


def test_an_arrow_without_a_peer_is_not_drawn(spans: pd.DataFrame) -> None:
    sends = spans[spans["peer"] >= 0]
    assert not [event for event in trace_of(sends)["traceEvents"] if event["ph"] in "sf"]


def test_a_receive_posted_early_is_reached_when_the_send_starts(spans: pd.DataFrame) -> None:
    receives = spans["lane"] == "pipeline_receive"
    early = spans.assign(start_s=spans["start_s"].where(~receives, spans["start_s"] - 1e-4))
    events = trace_of(early)["traceEvents"]
    leave = {event["id"]: event["ts"] for event in events if event["ph"] == "s"}
    assert {event["id"]: event["ts"] for event in events if event["ph"] == "f"} == leave


def test_a_hundred_thousand_spans_are_written_quickly(spans: pd.DataFrame) -> None:
    many = pd.concat([spans] * (100_000 // len(spans) + 1), ignore_index=True)
    start = time.perf_counter()
    write_perfetto(many, io.StringIO(), {})
    assert time.perf_counter() - start < 5.0  # 0.4 s on an idle core; slow machines are not bugs
