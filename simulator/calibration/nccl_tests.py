"""Text of nccl-tests and rccl-tests, read in a stream: who took part, and how long each size took.

A log may hold several runs, other programs' lines and launchers' prefixes (``[1,0]<stdout>:``,
``0: ``, time stamps). Columns are found by the header that the tests print::

    #       size         count      type   redop    root     time   algbw   busbw #wrong     time …
            1024           256     float     sum      -1    28.02    0.04    0.07      0    27.95 …

Old releases have no root or no redop, "error" for "#wrong"; checks that did not run print N/A.

References
----------
NVIDIA/nccl-tests, src/common.cu and src/all_reduce.cu; ROCm/rccl-tests, the same files.
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

from simulator.hardware.collective_costs import bus_factor
from simulator.hardware.collective_tables import KINDS
from simulator.operators import Collective
from simulator.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Iterable

_PROGRAM: Final = re.compile(r"(?<![A-Za-z])([a-z_]+)_perf\b")
_START: Final = re.compile(r"#\s*(nThread|Collective test starting)")
_RANK: Final = re.compile(r"#\s+Rank\s+(\d+)\s.*?\bon\s+(\S+)\s+device\s+\S+\s+\[\S+\]\s*(.*)")
_HEADER: Final = re.compile(r"#\s+size\s+count\s+type\b(.*)")
_LIBRARY: Final = re.compile(r"\b(NCCL version [\d.]+|RCCL version\s*:?\s*[\d.]+)", re.IGNORECASE)
_TYPES: Final = "u?int(?:8|32|64)|float|double|half|bfloat16|(?:fp8|f8)_?e\\dm\\d\\w*"
_ROW: Final = re.compile(rf"(?:^|[\s:>|\])])(\d+)\s+(\d+)\s+({_TYPES})\s+(.*)$")
_BROKEN: Final = re.compile(rf"^\s*\d+\s+\d+\s+({_TYPES})\b")
_SAMPLES: Final = 5
"""Lines quoted of those that could not be read."""
_RATIO_SLACK: Final = 0.002
"""Relative difference of printed and computed bus bandwidth that is let pass."""
_DECIMAL: Final = 0.005
"""Half of the last printed digit of a bandwidth [GB/s]."""


@dataclass(frozen=True, slots=True)
class Group:
    """What was measured: a collective of so many ranks in so many nodes."""

    kind: Collective
    ranks: int
    nodes: int

    def __str__(self) -> str:
        """Return kind, ranks and nodes in words."""
        where = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
        return f"{self.kind}, {self.ranks} ranks in {where}"


@dataclass(slots=True)
class Log:
    """All that was read."""

    curves: dict[Group, dict[int, float]] = field(default_factory=dict)
    """Time [s] by message [B]; the median where a size was measured repeatedly."""
    devices: set[str] = field(default_factory=set)
    libraries: set[str] = field(default_factory=set)
    rows: int = 0
    problems: list[str] = field(default_factory=list)
    """What could not be read or used, one sentence each."""


@dataclass(slots=True)
class _Run:
    """The run that is being read."""

    kind: Collective | None = None
    foreign: str = ""
    """Name of a test that has no model here."""
    ranks: dict[int, str] = field(default_factory=dict)
    has_root: bool | None = None
    has_operation: bool = True
    pending: list[tuple[int, float, float, float]] = field(default_factory=list)
    """Message [B], time [s], algorithm and bus bandwidth [GB/s]."""
    place: str = ""


class LogReader:
    """Reads logs line by line; memory grows with the distinct sizes, not with the text."""

    def __init__(self, collective: Collective | None = None) -> None:
        """Take rows to be of ``collective`` where the text does not name the test."""
        self._given = collective
        self._times: defaultdict[Group, defaultdict[int, array[float]]] = defaultdict(
            lambda: defaultdict(lambda: array("d"))
        )
        self._log = Log()
        self._unread = 0
        self._run = _Run()

    def read(self, lines: Iterable[str], name: str) -> None:
        """Read one log called ``name``; its name says the test if nothing else does."""
        stem = _program(name.replace("-", "_"))
        self._run = _Run(kind=self._given or stem, place=name)
        for number, line in enumerate(lines, start=1):
            self._line(line.rstrip(), f"{name}:{number}")
        self._finish()

    def log(self) -> Log:
        """Return what has been read."""
        if self._unread > _SAMPLES:
            self._log.problems.append(f"and {self._unread - _SAMPLES:,} more lines like these")
        self._log.curves = {
            group: {size: median(times) for size, times in sorted(sizes.items())}
            for group, sizes in self._times.items()
        }
        return self._log

    def _line(self, line: str, place: str) -> None:
        if "#" in line:
            self._comment(line, place)
            return
        if "_perf" in line and (program := _PROGRAM.search(line)):
            self._start(program[1], place)
            return
        if match := _LIBRARY.search(line):
            self._log.libraries.add(match[1])
        row = _ROW.search(line)
        readable = self._row(row, place) if row else not _BROKEN.search(line)
        if not readable:
            self._unreadable(place, line)

    def _comment(self, line: str, place: str) -> None:
        if rank := _RANK.search(line):
            self._run.ranks[int(rank[1])] = rank[2]
            self._log.devices |= {rank[3].strip()} - {""}
        elif header := _HEADER.search(line):
            self._run.has_root = "root" in header[1]
            self._run.has_operation = "redop" in header[1]
        elif _START.search(line):
            program = _PROGRAM.search(line)
            self._start(program[1] if program else "", place)

    def _start(self, program: str, place: str) -> None:
        """Begin a run: what has been read so far belongs to the one before.

        A command line and the banner that follows it announce the same run; a banner without a
        name goes on with the test named before.
        """
        kind, foreign = self._run.kind, self._run.foreign
        self._finish()
        if program:
            kind = KINDS.get(program)
            foreign = "" if kind else program
        self._run = _Run(kind=kind, foreign=foreign, place=place)

    def _row(self, match: re.Match[str], place: str) -> bool:
        """Take in a row; return whether it could be read."""
        tokens = match[4].split()
        if self._run.has_operation and tokens and not _number_like(tokens[0]):
            tokens = tokens[1:]
        if self._run.has_root or (self._run.has_root is None and len(tokens) % 2):
            tokens = tokens[1:]
        figures = _figures(tokens)
        if figures is None:
            return False
        if not self._run.pending:
            self._run.place = self._run.place or place
        size = int(match[1])
        if size > 0 and figures[0] > 0:
            self._run.pending.append((size, figures[0] * MICRO, figures[1], figures[2]))
            self._log.rows += 1
        return True

    def _unreadable(self, place: str, line: str) -> None:
        self._unread += 1
        if self._unread <= _SAMPLES:
            self._log.problems.append(f"{place}: cannot be read: {line.strip()[:80]}")

    def _finish(self) -> None:
        """File the rows of the run under what was measured."""
        run, problems = self._run, self._log.problems
        if not run.pending:
            return
        if run.kind is None:
            what = f"{run.foreign}_perf has no model" if run.foreign else "no test is named"
            hint = "" if run.foreign else "; name it with --collective"
            problems.append(f"{run.place}: {len(run.pending)} rows left out: {what}{hint}")
        elif group := _group(run, run.kind, problems):
            for size, time, _, _ in run.pending:
                self._times[group][size].append(time)
        run.pending = []


def _program(text: str) -> Collective | None:
    """Return the collective that a file's name starts or ends with the name of."""
    return next((kind for stem, kind in KINDS.items() if stem in text), None)


def _number_like(token: str) -> bool:
    return bool(re.fullmatch(r"-?[\d.]+(?:e[-+]?\d+)?|N/A", token, re.IGNORECASE))


def _figures(tokens: list[str]) -> tuple[float, float, float] | None:
    """Return time [us], algorithm and bus bandwidth: out of place, or in place if that is N/A."""
    if not tokens or not all(map(_number_like, tokens)):
        return None
    width = 4 if len(tokens) % 4 == 0 else 3
    for start in range(0, len(tokens) - 2, width):
        cells = tokens[start : start + 3]
        if all("/" not in cell for cell in cells):
            time, algorithm, bus = map(float, cells)
            return time, algorithm, bus
    return None


def _group(run: _Run, kind: Collective, problems: list[str]) -> Group | None:
    """Return what a run measured, from its list of ranks, checked against its bandwidths."""
    hosts, listed = len(set(run.ranks.values())), len(run.ranks)
    implied = _implied_ranks(run, kind)
    if not listed and implied is None:
        problems.append(f"{run.place}: {len(run.pending)} rows left out: no list of ranks")
        return None
    if not listed:
        problems.append(f"{run.place}: no list of ranks; {implied} by busbw over algbw, one node")
        return Group(kind, implied or 0, 1)
    if implied is not None and _contradicts(run, kind, listed):
        problems.append(
            f"{run.place}: left out: {listed} ranks are listed, but busbw over algbw is that of "
            f"{implied}"
        )
        return None
    if listed < 2 or listed % hosts:  # noqa: PLR2004 - a pair
        problems.append(f"{run.place}: {listed} ranks in {hosts} nodes: left out")
        return None
    return Group(kind, listed, hosts)


def _contradicts(run: _Run, kind: Collective, ranks: int) -> bool:
    """Return whether the largest message's bandwidths cannot be those of so many ranks.

    Both are printed with two decimals, so that those of small messages say nothing.
    """
    _, _, algorithm, bus = max(run.pending)
    expected = bus_factor(kind, ranks) * algorithm
    rounding = _DECIMAL * (1 + bus_factor(kind, ranks))
    return abs(bus - expected) > rounding + _RATIO_SLACK * expected


def _implied_ranks(run: _Run, kind: Collective) -> int | None:
    """Return the ranks that busbw over algbw of the largest message tells, None if it cannot."""
    _, _, algorithm, bus = max(run.pending)
    passes = bus_factor(kind, 2) * 2
    if kind in (Collective.BROADCAST, Collective.SEND_RECV) or algorithm <= 0:
        return None
    share = 1 - bus / algorithm / passes
    return max(2, round(1 / share)) if share > 0 else None
