"""The timeline shows each moment in the colour of what happens then, at any size of trace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from report_samples import Pipeline, sample_spans, sample_summary

from simulator.report.palette import COLOURS, write_figure
from simulator.report.pixels import COMMUNICATION_BAND, COMPUTE_BAND, occupancy, timeline_image
from simulator.report.spans import COLUMNS, actions, rank_rows
from simulator.report.timeline import PixelImage, plot_timeline, timeline_figure, warm_up_window

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Pipeline(stages=4, micro_batches=8)


def one_span(**changes: object) -> pd.DataFrame:
    """Return a table of one forward on one compute lane."""
    span = {
        "rank_class": 0,
        "stage": 0,
        "lane": "compute",
        "kind": "forward",
        "action": "F",
        "name": "attention",
        "micro_batch": 0,
        "chunk": 0,
        "layer": 0,
        "start_s": 0.25,
        "end_s": 0.75,
        "n_bytes": 0.0,
        "peer": -1,
        "flow": -1,
    }
    return pd.DataFrame([span | changes], columns=list(COLUMNS))


def rgb(colour: str) -> list[int]:
    return list(bytes.fromhex(colour[1:]))


def pixels_of(spans: pd.DataFrame, width: int, band: tuple[float, float]) -> np.ndarray:
    """Return the middle line of a band of the first row over one second."""
    image = timeline_image(spans, rank_rows(spans), (0.0, 1.0), (width, 100))
    middle: np.ndarray = image[int(100 * sum(band) / 2)]
    return middle


def test_a_span_has_the_colour_of_its_kind_and_the_rest_is_idle() -> None:
    line = pixels_of(one_span(), 4, COMPUTE_BAND).tolist()
    idle, forward = rgb(COLOURS["idle"]), rgb(COLOURS["forward"])
    assert line == [idle, forward, forward, idle]


def test_a_half_filled_pixel_is_half_way_to_idle() -> None:
    line = pixels_of(one_span(end_s=0.375), 4, COMPUTE_BAND)
    half_way = (np.array(rgb(COLOURS["idle"])) + rgb(COLOURS["forward"])) / 2
    assert np.abs(line[1] - half_way).max() <= 0.5


def test_the_kind_that_fills_most_of_a_pixel_names_its_colour() -> None:
    spans = pd.concat(
        [
            one_span(start_s=0.0, end_s=0.3),
            one_span(kind="recompute", start_s=0.3, end_s=0.6),
            one_span(start_s=0.6, end_s=1.0),
        ]
    )
    assert pixels_of(spans, 1, COMPUTE_BAND).tolist() == [rgb(COLOURS["forward"])]


def test_communication_is_drawn_below_compute() -> None:
    spans = one_span(lane="tensor", kind="tensor")
    assert pixels_of(spans, 4, COMMUNICATION_BAND)[1].tolist() == rgb(COLOURS["tensor"])
    assert pixels_of(spans, 4, COMPUTE_BAND)[1].tolist() == rgb(COLOURS["idle"])


intervals = st.lists(
    st.tuples(st.integers(0, 2), st.floats(-2, 12), st.floats(-2, 12)), min_size=1, max_size=30
)


@given(intervals)
def test_occupancy_is_the_overlap_with_each_bin(spans: list[tuple[int, float, float]]) -> None:
    keys = np.array([key for key, _, _ in spans])
    start = np.array([min(times) for _, *times in spans])
    end = np.array([max(times) for _, *times in spans])
    expected = np.zeros((3, 10))
    for key, first, last in zip(keys, start, end, strict=True):
        for index in range(10):
            expected[key, index] += max(0.0, min(last, index + 1) - max(first, index))
    assert occupancy(keys, start, end, (3, 10)) == pytest.approx(expected, abs=1e-12)


def test_actions_join_the_operators_of_a_chunk() -> None:
    runs = actions(sample_spans(SMALL))
    assert len(runs) == 4 * 8 * 2
    last_stage = runs[runs["rank_class"] == 3]
    text = [
        f"{action}{index}" for action, index in last_stage[["action", "micro_batch"]].to_numpy()
    ]
    assert text[:6] == ["F0", "B0", "F1", "B1", "F2", "B2"]
    assert (runs["end_s"] > runs["start_s"]).all()


def test_rows_name_the_class_only_where_a_stage_has_several() -> None:
    spans = pd.concat([one_span(), one_span(rank_class=7), one_span(rank_class=2, stage=1)])
    assert rank_rows(spans)["label"].tolist() == ["0 class 0", "0 class 7", "stage 1"]


def test_axis_covers_the_step_in_a_readable_unit() -> None:
    ax = plot_timeline(one_span(), Figure().subplots(), 0.9)
    assert ax.get_xlabel() == "time in the step [ms]"
    assert ax.get_xlim() == pytest.approx((0, 900))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["stage 0"]


def test_warm_up_lasts_until_the_pipeline_is_full_unless_that_is_most_of_the_step() -> None:
    spans = sample_spans(SMALL)
    first_of_last = spans[(spans["stage"] == 3) & (spans["lane"] == "compute")]["start_s"].min()
    assert warm_up_window(spans, 1.0) == pytest.approx((0.0, 2 * first_of_last))
    assert warm_up_window(spans, 100.0) == pytest.approx((0.0, 6.0))
    assert warm_up_window(one_span(start_s=0.3), 1.0) is None


@pytest.mark.parametrize(
    "pipeline", [Pipeline(1, 1), SMALL, Pipeline(16, 32, chunks=2, layers=1)], ids=str
)
def test_figure_names_every_kind_and_numbers_actions(pipeline: Pipeline) -> None:
    figure = timeline_figure(sample_spans(pipeline), sample_summary(pipeline))
    named = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert {"forward", "backward", "optimizer", "idle", "tensor", "data"} <= named
    headings = " ".join(text.get_text() for text in figure.texts)
    assert "llama3-405b-16k-h100" in headings
    assert "bubble 5.2" in headings
    assert any(isinstance(item, PathCollection) for item in figure.axes[-1].collections)


def test_start_of_step_work_does_not_hide_when_the_last_stage_begins() -> None:
    overhead = one_span(kind="other", action="", start_s=0.0, end_s=0.001)
    window = warm_up_window(pd.concat([overhead, one_span(start_s=0.2)]), 1.0)
    assert window == pytest.approx((0.0, 0.4))


def test_a_table_of_one_span_is_a_figure(tmp_path: Path) -> None:
    summary = sample_summary(SMALL) | {"step_time_s": 1.0}
    write_figure(timeline_figure(one_span(), summary), tmp_path / "one.svg")
    assert (tmp_path / "one.svg").stat().st_size > 0


def test_same_spans_same_bytes(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        figure = timeline_figure(sample_spans(SMALL), sample_summary(SMALL))
        write_figure(figure, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_many_spans_cost_little_time_and_few_bytes(tmp_path: Path) -> None:
    spans = many_spans(500_000)
    start = time.perf_counter()
    figure = timeline_figure(spans, sample_summary(SMALL) | {"step_time_s": 8.0})
    assert time.perf_counter() - start < 5.0  # 0.3 s on an idle core; slow machines are not bugs
    write_figure(figure, tmp_path / "large.svg")
    assert (tmp_path / "large.svg").stat().st_size < 2_000_000


def many_spans(count: int) -> pd.DataFrame:
    """Return back-to-back forwards and backwards on 16 stages over 8 s."""
    each = count // 16
    stage, index = np.divmod(np.arange(each * 16), each)
    frame = pd.concat([one_span()] * 2, ignore_index=True).iloc[index % 2].reset_index(drop=True)
    forward = index // 50 % 2 == 0
    return frame.assign(
        rank_class=stage,
        stage=stage,
        micro_batch=index // 100,
        kind=pd.Categorical(np.where(forward, "forward", "backward")),
        action=pd.Categorical(np.where(forward, "F", "B")),
        start_s=8.0 * index / each,
        end_s=8.0 * (index + 0.9) / each,
    )


@pytest.mark.parametrize("dpi", [100, 200, 333])
def test_an_image_drawn_pixel_by_pixel_is_the_one_that_matplotlib_scales(
    monkeypatch: pytest.MonkeyPatch, dpi: int
) -> None:
    """At 200 dpi it is drawn as it is; at others it has to be scaled."""
    pictures = []
    for draw in (PixelImage.draw, AxesImage.draw):
        monkeypatch.setattr(PixelImage, "draw", draw)
        figure = timeline_figure(sample_spans(SMALL), sample_summary(SMALL))
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba()))
    assert np.array_equal(*pictures)
