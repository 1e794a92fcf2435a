"""Pictures of a step drawn by a process of their own, which gets ready while the step is played."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from simulator.processes import new_pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    import pandas as pd


@contextmanager
def drawing_process() -> Iterator[Executor]:
    """Yield an executor of one process that loads the drawing library at once.

    Loading takes half of what a short run takes. Leaving waits for what is being drawn.
    """
    pool = new_pool(1)
    try:
        pool.submit(_get_ready)
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def draw_timeline(spans: pd.DataFrame, summary: Mapping[str, Any], paths: Sequence[Path]) -> None:
    """Draw the timeline of a step into each of ``paths``; the suffix chooses the format."""
    from simulator.report.palette import write_figure  # noqa: PLC0415 - the process imports it
    from simulator.report.timeline import timeline_figure  # noqa: PLC0415 - matplotlib is slow

    figure = timeline_figure(spans, summary)
    for path in paths:
        write_figure(figure, path)


def _get_ready() -> None:
    """Load what drawing needs."""
    import matplotlib.backends.backend_agg  # noqa: PLC0415
    import matplotlib.backends.backend_svg  # noqa: F401, PLC0415

    import simulator.report.timeline  # noqa: F401, PLC0415
