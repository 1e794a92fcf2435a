"""What all layouts with the same pipeline share: the order of actions, and what is in flight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from simulator.errors import ScheduleError
from simulator.parallel.stages import chunks_of
from simulator.schedule.actions import Kind
from simulator.schedule.dependencies import consumers_of, flatten, producers_of, receivers_of
from simulator.schedule.pipelines import build_schedule
from simulator.search.kernels import FIRST, LAST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.parallel.stages import Chunk
    from simulator.schedule.actions import Schedule
    from simulator.schedule.dependencies import FlatColumns
    from simulator.search.kernels import Kernels

    Indices = NDArray[np.int64]
    Narrow = NDArray[np.int32]

MOST_MOMENTS: Final = 100_000
"""Moments of one stage at which memory may peak, beyond which a schedule is not searched."""


class PipelineKey(NamedTuple):
    """What the order of actions depends on."""

    schedule: str
    stages: int
    micro_batches: int
    chunks: int


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The layers of a pipeline's virtual stages; many of them are of one type."""

    types: tuple[Chunk, ...]
    """Their first layers counted among every n that recompute alike."""
    type_of: Indices
    """Place in ``types`` of each virtual stage in model order."""

    @property
    def blocks(self) -> Indices:
        """Blocks of each type: layers, embedding and head."""
        return np.array([chunk.embedding + chunk.layers + chunk.head for chunk in self.types])

    @classmethod
    def of(cls, layers: tuple[int, ...], every: int) -> Split:
        """Return the types of virtual stages with so many layers each."""
        known: dict[Chunk, int] = {}
        places = [
            known.setdefault(chunk._replace(first_layer=chunk.first_layer % every), len(known))
            for chunk in chunks_of(layers)
        ]
        return cls(tuple(known), np.array(places, dtype=np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """The actions of a schedule in an order in which they can be played, in columns."""

    kinds: tuple[Kind, ...]
    """Kinds of action that there are."""
    virtual_of: Narrow
    """Virtual stage of each chunk of each stage, shape ``(stages, chunks)``."""
    stage: Narrow
    row: Narrow
    """Virtual stage times the number of kinds, plus the place of its kind in ``kinds``."""
    source: Narrow
    output: Narrow
    link: Narrow
    """Sender times two, plus one for a transfer to the stage before; -1 for no transfer."""
    mark: NDArray[np.int8]
    virtual: Narrow
    places: int
    moment_stage: Narrow
    moment_counts: Narrow
    moment_working: Narrow

    @property
    def stages(self) -> int:
        """Pipeline stages."""
        return len(self.virtual_of)


def pipeline_of(key: PipelineKey, machine: Kernels) -> Pipeline:
    """Return what layouts with this pipeline share.

    Raises
    ------
    ScheduleError
        If the schedule refuses the counts, deadlocks, or memory may peak at too many moments.
    """
    schedule = build_schedule(*key)
    flat = flatten(schedule)
    needed = producers_of(flat, schedule.micro_batches, schedule.virtual_stages)
    consumer = consumers_of(needed)
    order = np.empty(len(needed), dtype=np.int64)
    source, output = (np.empty(len(needed), dtype=np.int32) for _ in range(2))
    played, places = machine.order_actions(flat.first, needed, consumer, order, source, output)
    if played < len(needed):
        raise ScheduleError(f"{key.schedule} deadlocks with {key}")
    present = np.flatnonzero(np.bincount(flat.kind, minlength=len(Kind)))
    kinds = tuple(Kind(int(kind)) for kind in present)
    position = np.searchsorted(present, flat.kind[order])
    virtual = flat.visit % schedule.virtual_stages
    moments = _moments(schedule, machine)
    return Pipeline(
        kinds=kinds,
        virtual_of=np.array(schedule.placement, dtype=np.int32),
        stage=flat.stage[order].astype(np.int32),
        row=(virtual[order] * len(kinds) + position).astype(np.int32),
        source=source,
        output=output,
        link=_links(flat.stage, receivers_of(flat, consumer), schedule.stages)[order],
        mark=_marks(flat, virtual, schedule.virtual_stages)[order],
        virtual=virtual[order].astype(np.int32),
        places=places,
        moment_stage=moments[0],
        moment_counts=moments[1],
        moment_working=moments[2],
    )


def _links(sender: Indices, receiver: Indices, stages: int) -> Narrow:
    """Return the transfer that follows each action, -1 for none."""
    forward = receiver == (sender + 1) % stages
    backward = sender == (receiver + 1) % stages
    moves = receiver >= 0
    if not np.all((forward | backward)[moves]):
        raise ScheduleError("stages that exchange data are not neighbours")
    return np.where(moves, 2 * sender + ~forward, -1).astype(np.int32)


def _marks(flat: FlatColumns, virtual: Indices, virtual_stages: int) -> NDArray[np.int8]:
    """Return `FIRST` for the first forward of each chunk, `LAST` for its last weight gradient."""
    marks = np.zeros(len(flat.kind), dtype=np.int8)
    forwards = np.flatnonzero(flat.kind == Kind.FORWARD)
    weights = np.flatnonzero(np.isin(flat.kind, (Kind.BACKWARD, Kind.WEIGHT_GRADIENT)))
    holder = flat.stage * virtual_stages + virtual
    _, first = np.unique(holder[forwards], return_index=True)
    _, last = np.unique(holder[weights][::-1], return_index=True)
    marks[forwards[first]] = FIRST
    marks[weights[::-1][last]] = LAST
    return marks


def _moments(schedule: Schedule, machine: Kernels) -> tuple[Narrow, Narrow, Narrow]:
    """Return stage, micro-batches in flight and work of the moments at which memory may peak."""
    starts = np.array([kind is Kind.FORWARD for kind in Kind])
    frees = np.array([kind in {Kind.BACKWARD, Kind.WEIGHT_GRADIENT} for kind in Kind])
    stages, counts, working = [], [], []
    for stage, actions in enumerate(schedule.actions):
        room = min(MOST_MOMENTS, len(actions))
        count = np.zeros((room, schedule.chunks), dtype=np.int32)
        work = np.zeros(room, dtype=np.int32)
        found = machine.most_in_flight(
            actions.kinds, actions.chunks, starts, ~starts, frees, count, work
        )
        if found < 0:
            raise ScheduleError(f"memory may peak at more than {MOST_MOMENTS:,} moments of a stage")
        stages.append(np.full(found, stage, dtype=np.int32))
        counts.append(count[:found])
        working.append(work[:found])
    return np.concatenate(stages), np.concatenate(counts), np.concatenate(working)
