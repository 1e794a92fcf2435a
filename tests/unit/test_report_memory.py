"""The memory picture shows the highest value of every moment, the components and the capacity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from report_samples import CAPACITY_GIB, Pipeline, sample_memory, sample_summary

from simulator.report.memory_plot import highest_within, memory_figure, plot_components, plot_memory
from simulator.report.palette import ALARM, MEMORY_COLOURS, write_figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

SMALL = Pipeline(stages=4, micro_batches=8)


def test_a_bin_shows_the_highest_value_that_holds_in_it() -> None:
    time_s, values = pd.Series([0.0, 1.5, 1.6, 3.0]), pd.Series([1.0, 9.0, 2.0, 4.0])
    edges = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    # 3.0 starts the last bin: the third still holds 2.
    assert highest_within(edges, time_s, values).tolist() == [1.0, 9.0, 2.0, 4.0]


def test_the_first_value_also_holds_before_its_time() -> None:
    highest = highest_within(np.array([0.0, 1.0, 2.0]), pd.Series([1.5]), pd.Series([7.0]))
    assert highest.tolist() == [7.0, 7.0]


def test_peaks_survive_any_number_of_changes() -> None:
    times = pd.Series(np.linspace(0, 1, 20_000))
    values = pd.Series(np.where(np.arange(20_000) == 7_777, 50.0, 1.0))
    assert highest_within(np.linspace(0, 1, 601), times, values).max() == 50.0


def outlines(ax: Axes, area: int) -> list[np.ndarray]:
    """Return the corners of each row of an area, in the order of drawing."""
    return [np.asarray(path.vertices) for path in ax.collections[area].get_paths()]


def test_curves_end_at_the_capacity_and_at_the_peak() -> None:
    memory, _ = sample_memory(SMALL)
    ax = plot_memory(memory, Figure().subplots(), CAPACITY_GIB, 0.36)
    free = [row + 1 - corners[:, 1].min() for row, corners in enumerate(outlines(ax, 1))]
    assert free == pytest.approx([0.84] * 4)
    peak = memory[memory["stage"] == 0]["memory_gib"].max()
    assert 1 - outlines(ax, 2)[0][:, 1].min() == pytest.approx(0.84 * peak / CAPACITY_GIB)


def test_bars_end_at_the_total() -> None:
    _, stages = sample_memory(SMALL)
    ax = plot_components(stages, Figure().subplots(), CAPACITY_GIB)
    assert len(ax.collections) == len(MEMORY_COLOURS)
    ends = [corners[:, 0].max() for corners in outlines(ax, -1)]
    assert ends == pytest.approx([stage["total"] for stage in stages])


def overfull(pipeline: Pipeline) -> tuple[pd.DataFrame, list[dict[str, float]], dict[str, Any]]:
    memory, stages = sample_memory(pipeline)
    memory["memory_gib"] += 40
    more = [
        stage | {"weights": stage["weights"] + 40, "total": stage["total"] + 40} for stage in stages
    ]
    summary = sample_summary(pipeline) | {"fits": False}
    summary["memory_gib"] = {
        "capacity": CAPACITY_GIB,
        "peak": max(stage["total"] for stage in more),
        "stages": more,
    }
    return memory, more, summary


def test_what_does_not_fit_is_said_and_marked() -> None:
    memory, stages, summary = overfull(SMALL)
    figure = memory_figure(memory, stages, CAPACITY_GIB, summary)
    assert any("Does not fit" in text.get_text() for text in figure.texts)
    named = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert "over capacity" in named
    assert any(text.get_color() == ALARM for text in figure.axes[1].texts)


def test_what_fits_raises_no_alarm() -> None:
    memory, stages = sample_memory(SMALL)
    figure = memory_figure(memory, stages, CAPACITY_GIB, sample_summary(SMALL))
    named = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert "over capacity" not in named
    assert not any(text.get_color() == ALARM for text in figure.axes[1].texts)


def test_sixty_four_stages_stay_small_and_labels_apart(tmp_path: Path) -> None:
    pipeline = Pipeline(stages=64, micro_batches=80, layers=1)
    memory, stages = sample_memory(pipeline)
    figure = memory_figure(memory, stages, CAPACITY_GIB, sample_summary(pipeline))
    write_figure(figure, tmp_path / "memory.svg")
    assert (tmp_path / "memory.svg").stat().st_size < 1_000_000
    assert len(figure.axes[0].get_yticklabels()) == 32
