"""The command: options in, calls to the library, text out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator import __version__
from simulator.errors import SimulatorError

MISTAKE = 2
"""Exit code of everything that the user can mend."""
INTERRUPTED = 130

app = typer.Typer(
    help="Simulate training clusters: step time, bubbles, MFU and memory of any parallel layout.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 100},
)


def _print_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"simulator {__version__}\n")
        raise typer.Exit


@app.callback()
def simulator(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print and exit."),
    ] = False,
) -> None:
    """Simulate training clusters: step time, bubbles, MFU and memory of any parallel layout."""


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="A scenario file, or a shipped scenario's name.")],
    out: Annotated[
        Path | None, typer.Option(help="Write summary, trace and pictures here.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON only.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the headline only.")] = False,
    engine: Annotated[str, typer.Option(help="auto or simpy.")] = "auto",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field: layout.tensor=4. Repeatable.")
    ] = None,
    profiles: Annotated[
        list[Path] | None, typer.Option(help="Directory of your own profiles. Repeatable.")
    ] = None,
) -> None:
    """Simulate one training step.

    \b
    simulator run llama3-405b-16k-h100
    simulator run my.yaml --set layout.tensor=4 --set cluster.accelerator=h200-sxm --out results
    """  # noqa: D301 - the escape keeps click from joining the lines
    from simulator.cli.run import run_scenario  # noqa: PLC0415 - --help must not pay for it

    run_scenario(
        scenario,
        out=out,
        as_json=json,
        quiet=quiet,
        engine=engine,
        overrides=set_ or [],
        profiles=profiles or [],
    )


@app.command()
def schedule(
    name: Annotated[str, typer.Argument(help="gpipe, 1f1b or interleaved_1f1b.")],
    stages: Annotated[int, typer.Option(help="Pipeline stages.")],
    microbatches: Annotated[int, typer.Option(help="Micro-batches per step.")],
    chunks: Annotated[int, typer.Option(help="Model chunks (virtual stages) per stage.")] = 1,
    plot: Annotated[Path | None, typer.Option(help="Draw it into this .png, .svg or .pdf.")] = None,
) -> None:
    """Print a pipeline schedule, one line per stage.

    \b
    simulator schedule 1f1b --stages 4 --microbatches 8
    simulator schedule interleaved_1f1b --stages 4 --microbatches 8 --chunks 2 --plot s.png
    """  # noqa: D301 - as above
    from simulator.cli.schedule import print_schedule  # noqa: PLC0415 - as above

    print_schedule(name, stages, microbatches, chunks, plot)


@app.command()
def show(
    what: Annotated[
        str, typer.Argument(help="A kind (accelerators, clusters, models, …) or a profile's name.")
    ],
    profiles: Annotated[
        list[Path] | None, typer.Option(help="Directory of your own profiles. Repeatable.")
    ] = None,
) -> None:
    """List profiles of a kind, or print one with the source of every number.

    \b
    simulator show accelerators
    simulator show h100-sxm
    simulator show cluster/h100-ndr400
    """  # noqa: D301 - as above
    from simulator.cli.show import show_profiles  # noqa: PLC0415 - as above

    show_profiles(what, profiles or [])


def main() -> None:
    """Run the command; a user's mistake is one message on stderr and exit code 2."""
    try:
        app()
    except SimulatorError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing is left to say, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
