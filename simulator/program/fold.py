"""Folding undone: the same step for every replica by name, or for every segment by name.

A program has one rank class for ranks that behave alike. That is exact, not an approximation:
replicas that run the same tasks for the same time reach each collective at the same moment, so
joining them there adds no wait. `unfold` and `unroll` spell the step out; played, they must give
the times of the folded program (tests compare them). `split` is how some replicas are made
different from the others, which stay folded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from simulator.errors import SimulatorError
from simulator.program.builder import COLUMNS, ProgramBuilder
from simulator.program.tasks import NONE, Lane

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from simulator.program.patterns import Pattern, Segment
    from simulator.program.tasks import Program

    Indices = NDArray[np.int64]


ALL: Final = np.ones(1)
"""The share of the ranks that a single copy of the rank classes stands for."""


def unfold(program: Program, replicas: int, slowdown: ArrayLike | None = None) -> Program:
    """Return ``program`` with every rank class as ``replicas`` classes that meet in collectives.

    Rank class c of replica r becomes class ``r * program.rank_classes + c`` and stands for
    ``1 / replicas`` of the ranks; task i becomes task ``r * len(program) + i``. A collective task
    starts when every replica has reached it: a gate, after all the copies, waits for the
    predecessors and the lane predecessor of each copy.

    Parameters
    ----------
    program
        A folded program.
    replicas
        Copies of each rank class, at least 1.
    slowdown
        Factor on the durations of each replica's compute, shape ``(replicas,)``; above 1 the
        replica is a straggler, 1 for all if not given. Transfers keep their time, even where they
        hold the compute lane; communication inside a pattern is stretched with its task.

    Raises
    ------
    SimulatorError
        If ``replicas`` or ``slowdown`` is out of range.

    Notes
    -----
    Every task marked ``collective`` is joined, the sum of the gradient norm over one replica
    included; the reductions before it have joined the replicas already. Each replica has links of
    its own; its part of a collective ends when its own links have moved it.
    """
    factors = _factors(replicas, slowdown)
    computes = (program.lane == Lane.COMPUTE) & (program.peer == NONE)
    return split(
        program,
        program.duration * np.where(computes, factors[:, np.newaxis], 1.0),
        np.ones(replicas),
    )


def split(program: Program, duration: ArrayLike, count: ArrayLike) -> Program:
    """Return ``program`` with every rank class split into classes that meet in collectives.

    Rank classes and tasks are numbered as by `unfold`; each has links of its own.

    Parameters
    ----------
    program
        A folded program.
    duration
        Time of every task in each class of replicas [s], shape ``(classes, tasks)``.
    count
        Replicas in each class, shape ``(classes,)``: their share of the ranks.
    """
    durations = np.asarray(duration, dtype=np.float64)
    tasks = len(program)
    builder = _copied_tables(program, shares=np.asarray(count) / np.sum(count))
    for replica, seconds in enumerate(durations):
        builder.add(tasks, **_replica_columns(program, replica, seconds))
        _copy_links(builder, program, replica, np.arange(tasks) + replica * tasks)
    joint = np.flatnonzero(program.collective)
    gate = np.full(tasks, NONE, dtype=np.int64)
    gate[joint] = builder.add(len(joint), name=program.name[joint])
    waiting, awaited = _edges(program, joint)
    joined = gate[waiting] != NONE
    for first in range(0, len(durations) * tasks, tasks):
        copies = np.where(joined, gate[waiting], waiting + first)
        builder.after(copies, awaited + first)
        builder.after(joint + first, gate[joint])
    return builder.build()


def unroll(program: Program) -> Program:
    """Return ``program`` with a task for every segment that its compute lanes play.

    Each task with a pattern becomes plain tasks back to back: its compute segments and, between
    them, waits of the kind and name of the communication that is exposed there. Communication
    hidden behind compute takes no time of the lane and is left out. Start and end of every action
    stay what they were, to rounding; the memory timeline needs the patterns and the spans of the
    other lanes are gone, so neither can be read from an unrolled program. Flows have no pattern and
    stay whole.
    """
    pieces = _PieceTable.of(program)
    counts = np.where(program.pattern == NONE, 1, pieces.length[program.pattern])
    last = np.cumsum(counts) - 1
    first = last - counts + 1
    owner = np.repeat(np.arange(len(program)), counts)
    builder = _copied_tables(program, names=pieces.names, patterns=())
    builder.add(len(owner), **_piece_columns(program, pieces, owner, first))
    _copy_links(builder, program, 0, first)
    waits = np.repeat(np.arange(len(program)), np.diff(program.predecessor_offsets))
    builder.after(first[waits], last[program.predecessors])
    return builder.build()


# ---- unfolding -------------------------------------------------------------------------------


def _factors(replicas: int, slowdown: ArrayLike | None) -> NDArray[np.float64]:
    """Return the factor of every replica, shape ``(replicas,)``."""
    if replicas < 1:
        raise SimulatorError(f"replicas = {replicas}, but must be at least 1")
    factors = np.ones(replicas) if slowdown is None else np.asarray(slowdown, dtype=np.float64)
    if factors.shape != (replicas,):
        raise SimulatorError(
            f"slowdown has shape {factors.shape}, but there are {replicas} replicas"
        )
    if not np.all((factors > 0) & np.isfinite(factors)):
        raise SimulatorError(f"slowdown must be finite and above 0: {factors.tolist()}")
    return factors


def _copied_tables(
    program: Program,
    *,
    shares: NDArray[np.float64] = ALL,
    names: Iterable[str] | None = None,
    patterns: Iterable[Pattern] | None = None,
) -> ProgramBuilder:
    """Return a builder with the program's rank classes, names and patterns, numbered alike.

    The rank classes come once for each entry of ``shares``, with that share of the ranks.
    ``names`` and ``patterns`` take the place of the program's own where given.
    """
    builder = ProgramBuilder(
        np.tile(program.stage, len(shares)).tolist(),
        np.outer(shares, program.weight).reshape(-1).tolist(),
    )
    for name in program.names if names is None else names:
        builder.name(name)
    for pattern in program.patterns if patterns is None else patterns:
        builder.pattern(pattern)
    return builder


def _copy_links(builder: ProgramBuilder, program: Program, replica: int, task: Indices) -> None:
    """Give a replica links of its own; ``task`` is the copy of each task of ``program``."""
    links = program.links
    shift = replica * program.rank_classes
    columns = (links.name.tolist(), links.rank_class.tolist(), links.capacity.tolist())
    new = [
        builder.link(links.names[name], rank_class + shift, capacity)
        for name, rank_class, capacity in zip(*columns, strict=True)
    ]
    builder.occupy(task[links.tasks], np.array(new, dtype=np.int64)[links.used], links.n_bytes)


def _replica_columns(
    program: Program, replica: int, duration: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Return the columns of one replica's tasks."""
    columns: dict[str, NDArray[Any]] = {key: getattr(program, key) for key in COLUMNS}
    shift = replica * program.rank_classes
    for key in ("rank_class", "peer"):
        columns[key] = np.where(columns[key] == NONE, NONE, columns[key] + shift)
    columns["duration"] = duration
    return columns


def _edges(program: Program, joint: Indices) -> tuple[Indices, Indices]:
    """Return waiting and awaited tasks: all predecessors, and the lane's for ``joint`` tasks."""
    counts = np.diff(program.predecessor_offsets)
    before = program.lane_predecessor()[joint]
    queued = before != NONE
    waiting = np.concatenate([np.repeat(np.arange(len(program)), counts), joint[queued]])
    return waiting, np.concatenate([program.predecessors, before[queued]])


# ---- unrolling -------------------------------------------------------------------------------


class _PieceTable(NamedTuple):
    """The pieces of all patterns in columns, and where each pattern's begin.

    One entry more than needed in each column, so that an index of `NONE` reads something
    harmless.
    """

    names: tuple[str, ...]
    length: Indices
    first: Indices
    name: Indices
    kind: NDArray[np.int8]
    layer: Indices
    n_bytes: NDArray[np.float64]
    share: NDArray[np.float64]
    """Share of the task's time."""

    @classmethod
    def of(cls, program: Program) -> _PieceTable:
        """Return the pieces of the patterns of ``program``; an empty pattern is one piece."""
        rows = [pattern.pieces() for pattern in program.patterns]
        pieces = [piece for row in rows for piece in row]
        names = {name: number for number, name in enumerate(program.names)}
        counts = np.array([*map(len, rows), 0], dtype=np.int64)
        return cls(
            name=np.array([*(names.setdefault(p.name, len(names)) for p in pieces), 0]),
            names=tuple(names),
            length=counts,
            first=np.cumsum(counts) - counts,
            kind=np.array([*(piece.kind for piece in pieces), 0], dtype=np.int8),
            layer=np.array([*(piece.layer for piece in pieces), NONE]),
            n_bytes=np.array([*(piece.n_bytes for piece in pieces), 0.0]),
            share=np.array([*(share for row in rows for share in _shares(row)), 1.0]),
        )


def _shares(pieces: Sequence[Segment]) -> list[float]:
    """Return each piece's share of their time together."""
    whole = sum(piece.duration for piece in pieces)
    return [piece.duration / whole if whole else 1.0 for piece in pieces]


def _piece_columns(
    program: Program, pieces: _PieceTable, owner: Indices, first: Indices
) -> dict[str, NDArray[Any]]:
    """Return the columns of all pieces; ``owner`` is the task that each is a piece of."""
    columns: dict[str, NDArray[Any]] = {key: getattr(program, key)[owner] for key in COLUMNS}
    pattern = columns.pop("pattern")
    plain = pattern == NONE
    row = np.where(plain, NONE, pieces.first[pattern] + np.arange(len(owner)) - first[owner])
    columns["duration"] *= np.where(plain, 1.0, pieces.share[row])
    layer = np.where(pieces.layer[row] == NONE, NONE, columns["layer"] + pieces.layer[row])
    columns["layer"] = np.where(plain, columns["layer"], layer)
    for key, column in (("name", pieces.name), ("kind", pieces.kind), ("n_bytes", pieces.n_bytes)):
        columns[key] = np.where(plain, columns[key], column[row])
    return columns
