"""The actions that a pipeline stage runs, in order, and the schedule of all stages."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from simulator.errors import ScheduleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

Placement = tuple[tuple[int, ...], ...]
"""``placement[stage][chunk]``: index of that chunk in model order (its virtual stage)."""

LARGEST_CHUNK: Final = int(np.iinfo(np.int16).max)
LARGEST_MICRO_BATCH: Final = int(np.iinfo(np.int32).max)


class Kind(IntEnum):
    """Which pass an action is; the value is its code in a column."""

    FORWARD = 0
    BACKWARD = 1
    """Input and weight gradients in one pass."""
    INPUT_GRADIENT = 2
    WEIGHT_GRADIENT = 3

    @property
    def letter(self) -> str:
        """``F``, ``B``, ``I`` or ``W``."""
        return "FBIW"[self]


KINDS: Final = tuple(Kind)
"""Kinds by code: indexing is several times faster than calling `Kind`."""


class Action(NamedTuple):
    """One pass of one micro-batch through one chunk of a stage."""

    kind: Kind
    micro_batch: int
    chunk: int = 0

    def text(self, chunks: int) -> str:
        """Return ``F0``, or ``F0.1`` (micro-batch 0, chunk 1) where a stage has several chunks."""
        suffix = f".{self.chunk}" if chunks > 1 else ""
        return f"{self.kind.letter}{self.micro_batch}{suffix}"


@dataclass(frozen=True, slots=True, eq=False)
class Actions:
    """The actions of one stage in the order in which it runs them, as read-only columns.

    Columns, because a step of a large job has millions of actions; iterating and indexing
    make `Action` objects on demand.
    """

    kinds: NDArray[np.int8]
    micro_batches: NDArray[np.int32]
    chunks: NDArray[np.int16]

    def __post_init__(self) -> None:
        """Freeze the columns; refuse ragged ones and unknown kinds."""
        lengths = {len(self.kinds), len(self.micro_batches), len(self.chunks)}
        if len(lengths) > 1:
            raise ScheduleError(f"columns of one stage differ in length: {sorted(lengths)}")
        if len(self) and not 0 <= self.kinds.min() <= self.kinds.max() < len(KINDS):
            raise ScheduleError(f"kinds must be codes from 0 to {len(KINDS) - 1}")
        for column in (self.kinds, self.micro_batches, self.chunks):
            column.setflags(write=False)

    @classmethod
    def of(cls, actions: Iterable[Action]) -> Actions:
        """Return the columns of ``actions``."""
        rows = list(actions)
        return cls(
            np.array([action.kind for action in rows], np.int8),
            np.array([action.micro_batch for action in rows], np.int32),
            np.array([action.chunk for action in rows], np.int16),
        )

    def __len__(self) -> int:
        """Return how many actions the stage runs."""
        return len(self.kinds)

    def __getitem__(self, position: int) -> Action:
        """Return the action at ``position``."""
        return Action(
            KINDS[self.kinds[position]],
            int(self.micro_batches[position]),
            int(self.chunks[position]),
        )

    def __iter__(self) -> Iterator[Action]:
        """Yield the actions in order."""
        columns = (self.kinds.tolist(), self.micro_batches.tolist(), self.chunks.tolist())
        return (Action(KINDS[kind], *rest) for kind, *rest in zip(*columns, strict=True))

    def __eq__(self, other: object) -> bool:
        """Return whether ``other`` holds the same actions in the same order."""
        return (
            isinstance(other, Actions)
            and np.array_equal(self.kinds, other.kinds)
            and np.array_equal(self.micro_batches, other.micro_batches)
            and np.array_equal(self.chunks, other.chunks)
        )

    def __hash__(self) -> int:
        """Hash the kinds and micro-batches; equal actions hash equally."""
        return hash((self.kinds.tobytes(), self.micro_batches.tobytes()))


@dataclass(frozen=True, slots=True)
class Schedule:
    """The order of actions on every stage of a pipeline, and which part of the model each runs.

    A schedule may be wrong (a deadlock, a missing action): `validation` tells. Only what would
    make it unreadable is refused here.

    Parameters
    ----------
    micro_batches
        Micro-batches of one step.
    placement
        ``placement[stage][chunk]`` is the virtual stage: F of virtual stage k follows F of k - 1,
        and B of k follows B of k + 1. Two stages may hold the same virtual stage (bidirectional
        pipelines); each micro-batch then passes through one of them.
    actions
        One entry per stage.

    Raises
    ------
    ScheduleError
        If the placement has gaps or does not fit the stages.
    """

    micro_batches: int
    placement: Placement
    actions: tuple[Actions, ...]

    def __post_init__(self) -> None:
        """Refuse a placement that does not describe the stages."""
        if not self.actions or len(self.placement) != len(self.actions):
            raise ScheduleError(
                f"placement has {len(self.placement)} stages, actions have {len(self.actions)}"
            )
        if not self.chunks or len({len(row) for row in self.placement}) > 1:
            raise ScheduleError("every stage must hold the same number of chunks, at least one")
        held = {virtual for row in self.placement for virtual in row}
        if held != set(range(len(held))):
            raise ScheduleError(f"placement has gaps: virtual stages {sorted(held)}")

    @property
    def stages(self) -> int:
        """Pipeline stages (ranks along the pipeline axis)."""
        return len(self.actions)

    @property
    def chunks(self) -> int:
        """Chunks of the model on each stage (virtual pipeline size)."""
        return len(self.placement[0])

    @property
    def virtual_stages(self) -> int:
        """Parts into which the model is cut."""
        return 1 + max(max(row) for row in self.placement)


def looping(stages: int, chunks: int) -> Placement:
    """Return the placement of interleaved pipelines: chunk c of stage s is part c·stages + s.

    References
    ----------
    Narayanan et al. 2021 (arXiv 2104.04473), section 2.2.2.
    """
    return tuple(
        tuple(chunk * stages + stage for chunk in range(chunks)) for stage in range(stages)
    )
