"""Pictures of a result, drawn here or by a process that gets ready while the step is played."""

from __future__ import annotations

from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Protocol, Self

from simulator.errors import OutputError
from simulator.processes import ignore_interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path
    from types import TracebackType

    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from simulator.metrics.memory import StageMemory


class Drawer(Protocol):
    """Who draws: each picture is a function of this module and its arguments."""

    def draw(self, picture: Callable[..., Figure], *arguments: object, to: Sequence[Path]) -> None:
        """Draw a picture into every file of ``to``, now or later; suffixes choose formats."""

    def finish(self) -> None:
        """Return once all pictures are drawn; raise what went wrong."""


class DrawingHere:
    """Draws at once."""

    def draw(self, picture: Callable[..., Figure], *arguments: object, to: Sequence[Path]) -> None:
        """Draw a picture into every file of ``to``."""
        _draw(picture, arguments, to)

    def finish(self) -> None:
        """Nothing is left to draw."""


class DrawingProcess:
    """Draws in a process of its own, which loads the drawing library at once.

    Loading takes half of what a short run takes, and drawing as long as all else. The process
    ends with the ``with`` block, whatever is left to draw.
    """

    def __init__(self) -> None:
        """Start the process."""
        context = get_context("spawn")
        self._requests, asked = context.Pipe()
        self._waiting = 0
        self._process = context.Process(target=_draw_what_is_asked, args=(asked,), daemon=True)
        self._process.start()
        asked.close()  # the process holds the other end: without it, reading here ends

    def __enter__(self) -> Self:
        """Return the drawer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process."""
        # Not asked to end: tidying up takes it a fifth of a second.
        self._process.terminate()
        self._process.join()

    def draw(self, picture: Callable[..., Figure], *arguments: object, to: Sequence[Path]) -> None:
        """Ask for a picture."""
        self._waiting += 1
        try:
            self._requests.send((picture, arguments, to))
        except BrokenPipeError as error:
            raise _ended() from error

    def finish(self) -> None:
        """Wait for all pictures asked for.

        Raises
        ------
        OutputError
            If the process was killed; and whatever drawing raised.
        """
        while self._waiting:
            try:
                wrong = self._requests.recv()
            except (EOFError, ConnectionResetError) as error:
                raise _ended() from error
            self._waiting -= 1
            if wrong is not None:
                raise wrong


def timeline_picture(spans: pd.DataFrame, summary: Mapping[str, Any]) -> Figure:
    """Return the timeline of a step: `simulator.report.timeline.timeline_figure`."""
    from simulator.report.timeline import timeline_figure  # noqa: PLC0415 - matplotlib is slow

    return timeline_figure(spans, summary)


def memory_picture(stages: tuple[StageMemory, ...], summary: Mapping[str, Any]) -> Figure:
    """Return the memory of every stage: `simulator.report.memory_plot.memory_figure`."""
    from simulator.metrics.memory import frame  # noqa: PLC0415 - pandas is slow
    from simulator.report.memory_plot import memory_figure  # noqa: PLC0415 - as above

    memory = summary["memory_gib"]
    return memory_figure(frame(stages), memory["stages"], memory["capacity"], summary)


def step_times_picture(
    step_time: NDArray[Any], without_slow: NDArray[Any], summary: Mapping[str, Any]
) -> Figure:
    """Return the samples of a step: `simulator.report.step_times_plot.step_times_figure`."""
    from simulator.report.step_times_plot import step_times_figure  # noqa: PLC0415 - as above

    return step_times_figure(step_time, without_slow, summary)


def _draw(picture: Callable[..., Figure], arguments: Sequence[object], to: Sequence[Path]) -> None:
    from simulator.report.palette import write_figure  # noqa: PLC0415 - it loads while we draw

    figure = picture(*arguments)
    for path in to:
        write_figure(figure, path)


def _draw_what_is_asked(requests: Connection) -> None:
    """Draw until nobody is left who could ask; answer each request with what went wrong."""
    ignore_interrupts()
    _get_ready()
    while True:
        try:
            request = requests.recv()
        except EOFError:
            return
        try:
            _draw(*request)
        except Exception as error:  # noqa: BLE001 - whoever asked raises it
            requests.send(error)
        else:
            requests.send(None)


def _get_ready() -> None:
    """Load what drawing needs."""
    import matplotlib.backends.backend_agg  # noqa: PLC0415
    import matplotlib.backends.backend_svg  # noqa: F401, PLC0415

    import simulator.report.memory_plot  # noqa: PLC0415
    import simulator.report.timeline  # noqa: F401, PLC0415


def _ended() -> OutputError:
    return OutputError("the process that draws the pictures was killed; nothing is written")
