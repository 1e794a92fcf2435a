"""The command: options in, calls to the library, text out; what went wrong as an exit code.

0    done
1    a bug, with its traceback
2    a mistake that the user can mend, as a message on stderr
130  interrupted
"""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import Annotated, Final

import typer

from simulator import __version__
from simulator.cli.commands import (
    calibrate,
    collective,
    compare,
    run,
    schedule,
    search,
    show,
    validate,
)
from simulator.errors import SimulatorError
from simulator.report.files import DISK_ERRORS

MISTAKE: Final = 2
INTERRUPTED: Final = 130

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 100},
)

for command in (
    run.run,
    compare.compare,
    search.search,
    schedule.schedule,
    show.show,
    collective.collective,
    validate.validate,
):
    app.command()(command)
app.add_typer(calibrate.app, name="calibrate")


def _print_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"simulator {__version__}\n")
        raise typer.Exit


@app.callback()
def simulator(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Simulate training clusters: step time, bubbles, MFU and memory of any parallel layout.

    \b
    simulator show scenarios                          what can be run by name
    simulator run llama-8b-8-h100                     run one
    simulator run my.yaml --out results               run your own; keep trace and pictures
    simulator schedule 1f1b --stages 4 --microbatches 8
    """  # noqa: D301 - the escape keeps the command line from joining the lines


def main() -> None:
    """Run the command and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A bar that the terminal's encoding lacks is no reason to lose the numbers.
        sys.stdout.reconfigure(errors="replace")
    code = _exit_code()
    if code == INTERRUPTED:
        sys.stderr.write("interrupted\n")
    # Python looks through all that is left for garbage as it exits, a fifth of a second after
    # pictures; nothing is left that has to be tidied up.
    gc.freeze()
    sys.exit(code)


def _exit_code() -> int | str | None:
    """Run the command; turn what the user can mend into a message."""
    try:
        return _returned()
    except SimulatorError as error:
        sys.stderr.write(f"{error}\n")
    except MemoryError:
        sys.stderr.write("there is not enough memory for so large a job\n")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()  # the reader (head, less) has gone: nothing is left to say
        return 0
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        _silence_stdout()
        sys.stderr.write(f"the output cannot be written: {error.strerror}\n")
    return MISTAKE


def _returned() -> int | str | None:
    """Return the exit code that typer ends with, once all that was printed has left."""
    try:
        app()
    except SystemExit as end:
        sys.stdout.flush()
        return end.code
    return 0


def _silence_stdout() -> None:
    """Send what is still buffered nowhere, lest Python complain about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
