"""Flows that share links: their max-min fair rates, as flows start and end.

A flow moves bytes over several links at once, at one rate: that on its **tightest** link, the one
on which its bytes would take longest. On another link it moves in proportion to its bytes there.
No flow is faster than it would be alone; the rest of a link's capacity is divided **max-min
fairly**: nobody's rate can grow without taking from a flow that is no faster. Progressive filling
finds these rates: all grow together, and a flow stops growing at its own limit or when one of its
links is full.

When a flow starts or ends, only those flows are looked at that it can touch: no other if its links
have room for it, or if none on them is held below its limit; else those that it is connected with
by shared links.

References
----------
Bertsekas and Gallager 1992, Data Networks, 2nd ed., section 6.5.2: max-min flow control.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.program.tasks import Program

    Uses = Sequence[tuple[int, float]]
    """Links of a flow, and its bytes there over those on its tightest link."""

SLACK: Final = 1e-9
"""Share of a link's capacity that is rounding: a flow that exceeds it by less has room."""
UNCHANGED: Final = 1e-12
"""Relative difference of two rates that is rounding."""


def max_min_rates(
    limits: Sequence[float], uses: Sequence[Uses], capacity: Mapping[int, float] | Sequence[float]
) -> list[float]:
    """Return the max-min fair rate of every flow [B/s, on its tightest link].

    Parameters
    ----------
    limits
        Rate of each flow alone [B/s].
    uses
        Links of each flow, with its bytes there over those on its tightest link.
    capacity
        Capacity of the links by number [B/s].

    Examples
    --------
    Two flows on a link of 10 B/s, one of which cannot do more than 2:

    >>> max_min_rates([2.0, 10.0], [[(0, 1.0)], [(0, 1.0)]], [10.0])
    [2.0, 8.0]
    """
    filling = _Filling(uses, capacity)
    for flow in sorted(range(len(limits)), key=lambda flow: (limits[flow], flow)):
        while filling.rate[flow] is None and not filling.reaches(limits[flow]):
            filling.fill_tightest()
        if filling.rate[flow] is None:
            filling.stop(flow, limits[flow])
    return [rate for rate in filling.rate if rate is not None]


class _Filling:
    """Links that fill up while the rates of all flows that have not stopped grow together."""

    def __init__(
        self, uses: Sequence[Uses], capacity: Mapping[int, float] | Sequence[float]
    ) -> None:
        self.rate: list[float | None] = [None] * len(uses)
        self._uses = uses
        self._level = 0.0
        """Rate up to which all that have not stopped have grown."""
        self._on: dict[int, list[int]] = {}
        for flow, links in enumerate(uses):
            for link, _ in links:
                self._on.setdefault(link, []).append(flow)
        self._left = {link: capacity[link] for link in self._on}
        """Capacity that stopped flows leave."""
        self._weight = dict.fromkeys(self._on, 0.0)
        """Bytes of the growing flows on the link for each byte of their rate."""
        for links in uses:
            for link, part in links:
                self._weight[link] += part
        self._growing = {link: len(flows) for link, flows in self._on.items()}
        # A link fills later as flows stop elsewhere, never earlier: entries may be too low.
        self._full_at = [(self._fills(link), link) for link in self._on]
        heapify(self._full_at)

    def reaches(self, rate: float) -> bool:
        """Return whether all can grow up to ``rate`` before the next link is full."""
        while self._full_at:
            known, link = self._full_at[0]
            if not self._growing[link]:
                heappop(self._full_at)
            elif (now := self._fills(link)) > known:
                heapreplace(self._full_at, (now, link))
            else:
                return rate <= known
        return True

    def fill_tightest(self) -> None:
        """Stop all flows on the link that is full next; `reaches` has found it."""
        self._level, link = heappop(self._full_at)
        for flow in self._on[link]:
            if self.rate[flow] is None:
                self.stop(flow, self._level)

    def stop(self, flow: int, rate: float) -> None:
        """Fix the rate of a flow."""
        self.rate[flow] = rate
        self._level = max(self._level, rate)
        for link, part in self._uses[flow]:
            self._left[link] -= part * rate
            self._weight[link] -= part
            self._growing[link] -= 1

    def _fills(self, link: int) -> float:
        """Return the rate at which a link is full; rounding never takes it below the level."""
        return max(self._level, self._left[link] / self._weight[link])


@dataclass(frozen=True, slots=True)
class FlowTable:
    """The flows of a program that can meet others, by task; links on which none meet left out."""

    limit: Mapping[int, float]
    """Rate of the flow alone [B/s, on its tightest link]."""
    n_bytes: Mapping[int, float]
    """Bytes on its tightest link [B]."""
    uses: Mapping[int, Uses]
    capacity: Sequence[float]
    """Of every link of the program [B/s]."""

    @classmethod
    def of(cls, program: Program) -> FlowTable:
        """Return the flows of ``program`` that can meet others."""
        links = program.links
        if not len(links):
            return cls(limit={}, n_bytes={}, uses={}, capacity=())
        task, used, n_bytes = links.tasks, links.used, links.n_bytes
        met = links.shared(program.lane_key())[used]
        longest = np.zeros(len(program))
        np.maximum.at(longest, task, n_bytes / links.capacity[used])
        tightest = np.zeros(len(program))
        binds = n_bytes / links.capacity[used] >= longest[task]
        np.maximum.at(tightest, task[binds], n_bytes[binds])
        uses: dict[int, list[tuple[int, float]]] = {}
        parts = (n_bytes / tightest[task])[met].tolist()
        for flow, link, part in zip(task[met].tolist(), used[met].tolist(), parts, strict=True):
            uses.setdefault(flow, []).append((link, part))
        moving = program.duration - program.latency
        return cls(
            limit={flow: float(tightest[flow] / moving[flow]) for flow in uses},
            n_bytes={flow: float(tightest[flow]) for flow in uses},
            uses=uses,
            capacity=links.capacity.tolist(),
        )


class ActiveFlows:
    """The flows under way, their rates and when each will end if nothing changes."""

    def __init__(self, table: FlowTable) -> None:
        """Begin with no flow under way."""
        self.touched = 0
        """Flows whose rate has been computed so far, each as often as it was."""
        self.end_time: dict[int, float] = {}
        """When each flow under way ends at its present rate [s]."""
        self._table = table
        self._rate: dict[int, float] = {}
        self._left: dict[int, float] = {}
        """Bytes left to move at ``_since``."""
        self._since: dict[int, float] = {}
        self._on: list[dict[int, float]] = [{} for _ in table.capacity]
        """Flows under way on each link, with their part there."""
        self._load = [0.0] * len(table.capacity)
        self._unsettled: set[int] = set()
        """Links whose capacity is to be divided anew."""

    def start(self, flow: int, now: float) -> bool:
        """Let ``flow`` begin to move bytes; return whether its links have room for it.

        If they have none it waits, at this time, for `settle`.
        """
        limit, uses, capacity = (
            self._table.limit[flow],
            self._table.uses[flow],
            self._table.capacity,
        )
        load = self._load
        roomy = all(
            load[link] + part * limit <= capacity[link] * (1 + SLACK) for link, part in uses
        )
        for link, part in uses:
            self._on[link][flow] = part
            load[link] += part * limit if roomy else 0.0
        self._left[flow] = self._table.n_bytes[flow]
        self._since[flow] = now
        self._rate[flow] = limit if roomy else 0.0
        self.touched += 1
        if roomy:
            self.end_time[flow] = now + self._left[flow] / limit
        else:
            self._unsettled.update(link for link, _ in uses)
        return roomy

    def end(self, flow: int) -> bool:
        """Take ``flow`` away; return whether no other gets faster by it.

        If one does it waits, at the same time, for `settle`.
        """
        rate, uses = self._rate.pop(flow), self._table.uses[flow]
        del self._left[flow], self._since[flow], self.end_time[flow]
        for link, part in uses:
            del self._on[link][flow]
            self._load[link] = self._load[link] - part * rate if self._on[link] else 0.0
        held = any(self._is_held(other) for link, _ in uses for other in self._on[link])
        if held:
            self._unsettled.update(link for link, _ in uses)
        return not held

    def settle(self, now: float) -> list[int]:
        """Divide the links anew after starts and ends at this time; return whose end changes."""
        flows, links = self._connected(self._unsettled)
        self._unsettled.clear()
        self.touched += len(flows)
        table = self._table
        rates = max_min_rates(
            [table.limit[flow] for flow in flows],
            [table.uses[flow] for flow in flows],
            table.capacity,
        )
        for link in links:
            self._load[link] = 0.0
        for flow, rate in zip(flows, rates, strict=True):
            for link, part in table.uses[flow]:
                self._load[link] += part * rate
        return [
            flow for flow, rate in zip(flows, rates, strict=True) if self._changes(flow, rate, now)
        ]

    def rate(self, flow: int) -> float:
        """Return the present rate of a flow under way [B/s, on its tightest link]."""
        return self._rate[flow]

    def load(self, link: int) -> float:
        """Return what flows under way put on a link [B/s]."""
        return self._load[link]

    def _is_held(self, flow: int) -> bool:
        """Return whether other flows keep a flow below its own limit."""
        return self._rate[flow] < self._table.limit[flow] * (1 - UNCHANGED)

    def _connected(self, links: set[int]) -> tuple[list[int], set[int]]:
        """Return the flows under way and the links connected with ``links``."""
        links = set(links)
        waiting = list(links)
        flows: set[int] = set()
        while waiting:
            for flow in self._on[waiting.pop()].keys() - flows:
                flows.add(flow)
                new = {link for link, _ in self._table.uses[flow]} - links
                links |= new
                waiting.extend(new)
        return sorted(flows), links

    def _changes(self, flow: int, rate: float, now: float) -> bool:
        """Give ``flow`` a new rate from ``now`` on; return whether it differs from the old."""
        old = self._rate[flow]
        if abs(rate - old) <= UNCHANGED * self._table.limit[flow]:
            return False
        left = max(0.0, self._left[flow] - old * (now - self._since[flow]))
        self._rate[flow], self._left[flow], self._since[flow] = rate, left, now
        self.end_time[flow] = now + left / rate
        return True
