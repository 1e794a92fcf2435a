"""The command: options in, calls to the library, text out; what went wrong as an exit code.

0    done
1    a bug, with its traceback
2    a mistake that the user can mend, as a message on stderr
130  interrupted
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from simulator import __version__
from simulator.cli import calibrate
from simulator.cli.options import (  # noqa: TC001 - typer reads them at run time
    Engine,
    Overrides,
    Profiles,
    ScenarioName,
    Workers,
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


@app.command()
def run(
    scenario: ScenarioName,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write summary, trace and pictures into this directory."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print one line only.")] = False,
    engine: Engine = "auto",
    set_: Overrides = None,
    slow_rank: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RANK:FACTOR",
            help="This rank's compute takes so many times as long. Repeatable.",
        ),
    ] = None,
    slow_interface: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RANK:FACTOR",
            help="Transfers through this rank's network interface do. Repeatable.",
        ),
    ] = None,
    lost_node: Annotated[
        list[int] | None,
        typer.Option(metavar="NODE", help="Leave this node out; ranks move up. Repeatable."),
    ] = None,
    jitter: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:SPREAD",
            help="Draw the compute time of every action on every rank: lognormal:0.02.",
        ),
    ] = None,
    slow_ranks: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE%:EXCESS%", help="Draw slow ranks: 0.5%:10% makes 1 in 200 slow."
        ),
    ] = None,
    slow_nodes: Annotated[
        str | None, typer.Option(metavar="SHARE%:EXCESS%", help="Draw slow nodes instead.")
    ] = None,
    per_rank: Annotated[
        bool, typer.Option("--per-rank", help="Play every rank as itself, with draws of its own.")
    ] = False,
    samples: Annotated[
        int | None, typer.Option(metavar="N", help="Steps to draw and play; default 1.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="What draws depend on; default 0.")
    ] = None,
    profiles: Profiles = None,
) -> None:
    """Simulate one training step.

    \b
    simulator run llama3-405b-16k-h100
    simulator run my.yaml --set layout.tensor=4 --set cluster=h200-ndr400 --out results
    simulator run my.yaml --json | jq .mfu
    simulator run my.yaml --slow-rank 37:1.2
    simulator run my.yaml --jitter lognormal:0.02 --slow-ranks 0.5%:10% --samples 1000
    """  # noqa: D301 - as above
    from simulator.cli.run import run_scenario  # noqa: PLC0415 - --help must not pay for it
    from simulator.cli.variation import VariationOptions  # noqa: PLC0415 - as above

    run_scenario(
        scenario,
        out=out,
        as_json=json,
        quiet=quiet,
        engine=engine,
        overrides=set_ or [],
        profiles=profiles or [],
        options=VariationOptions(
            slow_rank=slow_rank or [],
            slow_interface=slow_interface or [],
            lost_node=lost_node or [],
            jitter=jitter,
            slow_ranks=slow_ranks,
            slow_nodes=slow_nodes,
            per_rank=per_rank,
            samples=samples,
            seed=seed,
        ),
    )


@app.command()
def compare(
    scenario: ScenarioName,
    clusters: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,C", help="Clusters to run it on, names or files. The scenario's if none."
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES",
            help="Values of a field: 1,2,4 or 50:800:x2 or 0:1:0.25. Repeatable: a grid.",
        ),
    ] = None,
    set_: Overrides = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLUSTER:KEY=VALUE", help="Change a field on one of the clusters. Repeatable."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write tables and picture into this directory."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the rows as JSON and nothing else.")
    ] = False,
    knee: Annotated[
        bool,
        typer.Option(
            "--knee/--no-knee", help="Search the bandwidth that 90, 95 and 99 % of the speed need."
        ),
    ] = True,
    best_layout: Annotated[
        bool,
        typer.Option(
            "--best-layout", help="Give every row the fastest layout that fits there, by search."
        ),
    ] = False,
    workers: Workers = None,
    engine: Engine = "auto",
    profiles: Profiles = None,
) -> None:
    """Compare a scenario on several clusters, or over the values of any field.

    \b
    simulator compare llama-70b-1024 --clusters h100-ndr400,h200-ndr400,b200-ndr400 --out results
    simulator compare llama-70b-1024 --sweep fabric.nic_gbit_per_s=50:800:x2
    """  # noqa: D301 - as above
    from simulator.cli.compare import compare_scenario  # noqa: PLC0415 - as above

    compare_scenario(
        scenario,
        clusters=clusters or [],
        sweeps=sweep or [],
        overrides=set_ or [],
        on_cluster=on or [],
        out=out,
        as_json=json,
        knee=knee,
        best_layout=best_layout,
        workers=workers,
        engine=engine,
        profiles=profiles or [],
    )


@app.command()
def search(
    scenario: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="A file, or the name of a shipped scenario.")
    ],
    by: Annotated[
        str, typer.Option(metavar="WHAT", help="Rank by step_time, memory_headroom or cost.")
    ] = "step_time",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write all layouts, best.yaml and picture; an interrupted search goes on there.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print one line only.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a field, value in YAML. Repeatable."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes; all cores if not given.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, tcp://host:8786; or local."),
    ] = None,
    profiles: Profiles = None,
) -> None:
    """Search the layouts of a scenario: which fit, and which is fastest.

    \b
    simulator search llama3-405b-16k-h100 --out results
    simulator search my.yaml --set 'space={tensor: [4, 8], recompute: [none, selective]}'
    simulator run results/best.yaml
    """  # noqa: D301 - as above
    from simulator.cli.search import search_scenario  # noqa: PLC0415 - as above

    search_scenario(
        scenario,
        by=by,
        out=out,
        as_json=json,
        quiet=quiet,
        overrides=set_ or [],
        workers=workers,
        dask=dask,
        profiles=profiles or [],
    )


@app.command()
def schedule(
    name: Annotated[str, typer.Argument(metavar="NAME", help="gpipe, 1f1b or interleaved_1f1b.")],
    stages: Annotated[int, typer.Option(metavar="P", help="Pipeline stages.")],
    microbatches: Annotated[int, typer.Option(metavar="M", help="Micro-batches per step.")],
    chunks: Annotated[
        int, typer.Option(metavar="V", help="Model chunks (virtual stages) per stage.")
    ] = 1,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it into this .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Print a pipeline schedule, one line per stage.

    F3 is the forward, B3 the backward of micro-batch 3; F3.1 that of chunk 1.

    \b
    simulator schedule 1f1b --stages 4 --microbatches 8
    simulator schedule interleaved_1f1b --stages 4 --microbatches 8 --chunks 2 --plot order.png
    """  # noqa: D301 - as above
    from simulator.cli.schedule import print_schedule  # noqa: PLC0415 - as above

    print_schedule(name, stages, microbatches, chunks, plot)


@app.command()
def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="accelerators, nodes, fabrics, clusters, software, kernels, models or scenarios; "
            "or the NAME or KIND/NAME of a profile.",
        ),
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A profile of the KIND before it.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw a cluster into this .png, .svg or .pdf."),
    ] = None,
    accelerators: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of a cluster, only the first so many: list or draw links."),
    ] = None,
    profiles: Profiles = None,
) -> None:
    """List profiles, or print one with its sources; draw a cluster and list its links.

    \b
    simulator show accelerators
    simulator show h100-sxm
    simulator show cluster h100-ndr400 --plot cluster.png --accelerators 16384
    """  # noqa: D301 - as above
    if plot is not None or accelerators is not None:
        from simulator.cli.show_cluster import show_cluster  # noqa: PLC0415 - as above

        show_cluster(what, name, plot, accelerators, profiles or [])
        return
    from simulator.cli.show import show_profiles  # noqa: PLC0415 - as above

    show_profiles(what if name is None else f"{what}/{name}", profiles or [])


@app.command()
def collective(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="all_reduce, all_gather, reduce_scatter, all_to_all, broadcast or send_recv.",
        ),
    ],
    cluster: Annotated[str, typer.Option(metavar="NAME", help="Cluster profile.")],
    ranks: Annotated[int, typer.Option(metavar="N", help="Accelerators that take part.")],
    ranks_per_node: Annotated[
        int | None, typer.Option(metavar="N", help="Of them in each node; default: all it has.")
    ] = None,
    bytes_: Annotated[
        str,
        typer.Option("--bytes", metavar="SIZES", help="Sizes as nccl-tests counts: 1MiB,1GB,…"),
    ] = "8,64KiB,1MiB,16MiB,256MiB,1GiB,8GiB",
    algorithm: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="ring, tree, halving_doubling, nvls, sharp, hierarchical, torus, pairwise or pxn; "
            "all compares them. Default: what the site's library takes.",
        ),
    ] = None,
    imbalance: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="all_to_all of unequal parts: the first rank receives X times the mean.",
        ),
    ] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    profiles: Profiles = None,
) -> None:
    """Print time and bus bandwidth of a collective beside the line rates of its wires.

    Also the bytes on each class of links, and how much of the time the busiest link needs.

    \b
    simulator collective all_reduce --cluster h100-ndr400 --ranks 64
    simulator collective all_reduce --cluster h100-ndr400 --ranks 64 --algorithm all
    simulator collective all_to_all --cluster h100-ndr400 --ranks 64 --algorithm pxn --imbalance 1.5
    simulator collective all_gather --cluster a100-selene --ranks 32 --ranks-per-node 1
    """  # noqa: D301 - as above
    from simulator.cli.collective import print_collective  # noqa: PLC0415 - as above

    print_collective(
        kind,
        cluster=cluster,
        ranks=ranks,
        ranks_per_node=ranks_per_node,
        sizes=bytes_,
        algorithm=algorithm,
        imbalance=imbalance,
        as_json=json,
        profiles=profiles or [],
    )


@app.command()
def validate(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE.csv",
            help="Measured runs, collectives, operators or steps. Recognised by its columns.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write predictions, page and picture into it."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON and nothing else.")
    ] = False,
    workers: Workers = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="SPLIT", help="Only rows of calibration, or of validation."),
    ] = None,
    accelerator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The part that a table of operators was measured on: h200-sxm."
        ),
    ] = None,
    profiles: Profiles = None,
) -> None:
    """Predict every row of a table of measurements, and print how far off that is.

    \b
    simulator validate benchmarks/published/runs.csv --out results/validation
    simulator validate gemm.csv --accelerator h200-sxm --json
    """  # noqa: D301 - as above
    from simulator.cli.validate import validate_table  # noqa: PLC0415 - as above

    validate_table(
        table,
        out=out,
        as_json=json,
        workers=workers,
        split=split,
        accelerator=accelerator,
        profiles=profiles or [],
    )


def main() -> None:
    """Run the command and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A bar that the terminal's encoding lacks is no reason to lose the numbers.
        sys.stdout.reconfigure(errors="replace")
    code = _exit_code()
    if code == INTERRUPTED:
        sys.stderr.write("interrupted\n")
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
