"""``simulator collective``: its options."""

from __future__ import annotations

from typing import Annotated

import typer

from simulator.cli.options import Profiles  # noqa: TC001 - typer reads it at run time


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
    """  # noqa: D301 - the escape keeps the command line from joining the lines
    from simulator.cli.collective import print_collective  # noqa: PLC0415 - --help must not pay for it

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
