"""The pictures of a result; what draws them is loaded with the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def timeline_picture(spans: pd.DataFrame, summary: Mapping[str, Any]) -> Figure:
    """Return the timeline of a step: `simulator.report.timeline.timeline_figure`."""
    from simulator.report.timeline import timeline_figure  # noqa: PLC0415 - matplotlib is slow

    return timeline_figure(spans, summary)


def memory_picture(columns: Mapping[str, NDArray[Any]], summary: Mapping[str, Any]) -> Figure:
    """Return the memory of every stage: `simulator.report.memory_plot.memory_figure`."""
    import pandas as pd  # noqa: PLC0415 - as above

    from simulator.report.memory_plot import memory_figure  # noqa: PLC0415 - as above

    memory = summary["memory_gib"]
    return memory_figure(pd.DataFrame(columns), memory["stages"], memory["capacity"], summary)


def step_times_picture(
    step_time: NDArray[Any], without_slow: NDArray[Any], summary: Mapping[str, Any]
) -> Figure:
    """Return the samples of a step: `simulator.report.step_times_plot.step_times_figure`."""
    from simulator.report.step_times_plot import step_times_figure  # noqa: PLC0415 - as above

    return step_times_figure(step_time, without_slow, summary)
