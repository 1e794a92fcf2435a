"""Pictures of a result, drawn here or by a process that gets ready while the step is played."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, Final, Protocol

from simulator.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

PROGRAM: Final = """
import gc
import sys
gc.disable()
sys.path[:] = {path!r}
from simulator.report.drawing import draw_what_is_asked
draw_what_is_asked({pipe})
"""
"""What the drawing process runs; it lives too briefly to look for garbage. One of
`multiprocessing` would first import the main program and start another process beside it: a tenth
of a second in which nothing is drawn."""


class Drawer(Protocol):
    """Who draws: each picture is a function of `simulator.report.pictures` and its arguments."""

    def draw(self, picture: Callable[..., Figure], *arguments: object, to: Sequence[Path]) -> None:
        """Draw a picture into every file of ``to``, now or later; suffixes choose formats."""

    def finish(self) -> None:
        """Return once all pictures are drawn; raise what went wrong."""

    def close(self) -> None:
        """Draw no more: nothing is written after this."""


class DrawingHere:
    """Draws at once."""

    def draw(self, picture: Callable[..., Figure], *arguments: object, to: Sequence[Path]) -> None:
        """Draw a picture into every file of ``to``."""
        _draw(picture, arguments, to)

    def finish(self) -> None:
        """Nothing is left to draw."""

    def close(self) -> None:
        """Nothing is left to draw."""


class DrawingProcess:
    """Draws in a process of its own, which loads the drawing library at once.

    Loading takes half of what a short run takes, and drawing as long as all else.
    """

    def __init__(self) -> None:
        """Start the process."""
        self._waiting = 0
        self._pipe, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own code, on this interpreter
                [sys.executable, "-c", PROGRAM.format(path=sys.path, pipe=theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is left to this process, which ends that one
            )

    def close(self) -> None:
        """End the process, whatever is left to draw."""
        # Not asked to end: tidying up takes it a fifth of a second.
        self.process.kill()
        self.process.wait()
        self._pipe.close()

    def draw(self, picture: Callable[..., Figure], *arguments: object, to: Sequence[Path]) -> None:
        """Ask for a picture."""
        self._waiting += 1
        with _while_it_lives():
            self._pipe.send((picture, arguments, to))

    def finish(self) -> None:
        """Wait for all pictures asked for.

        Raises
        ------
        OutputError
            If the process was killed; and whatever drawing raised.
        """
        while self._waiting:
            with _while_it_lives():
                wrong = self._pipe.recv()
            self._waiting -= 1
            if wrong is not None:
                raise wrong


def _draw(picture: Callable[..., Figure], arguments: Sequence[object], to: Sequence[Path]) -> None:
    from simulator.report.palette import write_figure  # noqa: PLC0415 - it loads while we draw

    figure = picture(*arguments)
    for path in to:
        write_figure(figure, path)


def draw_what_is_asked(pipe: int) -> None:
    """Draw until nobody is left who could ask; answer each request with what went wrong."""
    _get_ready()
    with Connection(pipe) as requests, suppress(EOFError, ConnectionError):
        while True:
            requests.send(_wrong_with(requests.recv()))


def _wrong_with(
    request: tuple[Callable[..., Figure], Sequence[object], Sequence[Path]],
) -> Exception | None:
    """Return what was raised by drawing."""
    try:
        _draw(*request)
    except Exception as error:  # noqa: BLE001 - whoever asked raises it
        return error
    return None


@contextmanager
def _while_it_lives() -> Iterator[None]:
    """Say what happened if the other end of a pipe is gone."""
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise OutputError(
            "the process that draws the pictures was killed; nothing is written"
        ) from error


def _get_ready() -> None:
    """Load what drawing needs."""
    import matplotlib.backends.backend_agg  # noqa: PLC0415
    import matplotlib.backends.backend_svg  # noqa: F401, PLC0415

    import simulator.report.memory_plot  # noqa: PLC0415
    import simulator.report.timeline  # noqa: F401, PLC0415
