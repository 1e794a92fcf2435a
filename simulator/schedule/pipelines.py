"""Generators of schedules, by the name that a scenario uses.

The three differ in one number only: how many forwards a stage runs before it starts to
alternate one forward with one backward (its warm-up).
"""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from simulator.errors import ScheduleError
from simulator.schedule.actions import (
    LARGEST_CHUNK,
    LARGEST_MICRO_BATCH,
    Actions,
    Kind,
    Schedule,
    looping,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Generator = Callable[[int, int, int], Schedule]
    Warmups = NDArray[np.intp]
    """Forwards before the first backward, by stage."""


def gpipe(stages: int, micro_batches: int, chunks: int = 1) -> Schedule:
    """Return the schedule that runs all forwards, then all backwards, both from micro-batch 0.

    Parameters
    ----------
    stages, micro_batches
        At least 1.
    chunks
        1: this schedule does not interleave.

    Raises
    ------
    ScheduleError
        If a count is out of range.

    References
    ----------
    Huang et al. 2019 (arXiv 1811.06965), figure 2c; backwards there run from the last micro-batch
    to the first, here from the first as in Narayanan et al. 2021, figure 3, and in PyTorch. With
    equal costs, step time and peak memory are the same.
    """
    _require_counts(stages, micro_batches, chunks)
    _require_one_chunk("gpipe", chunks)
    return _alternating(stages, micro_batches, chunks, np.full(stages, micro_batches))


def one_f_one_b(stages: int, micro_batches: int, chunks: int = 1) -> Schedule:
    """Return 1F1B (PipeDream-Flush): stage s warms up with stages - s - 1 forwards.

    Parameters
    ----------
    stages, micro_batches
        At least 1.
    chunks
        1: `interleaved_1f1b` is the schedule with several.

    Raises
    ------
    ScheduleError
        If a count is out of range.

    References
    ----------
    Narayanan et al. 2021 (arXiv 2104.04473), section 2.2.1; Megatron-LM,
    ``forward_backward_pipelining_without_interleaving``.
    """
    _require_counts(stages, micro_batches, chunks)
    _require_one_chunk("1f1b", chunks)
    return _alternating(stages, micro_batches, chunks, np.arange(stages)[::-1])


def interleaved_1f1b(stages: int, micro_batches: int, chunks: int) -> Schedule:
    """Return 1F1B over several chunks per stage, visited in groups of ``stages`` micro-batches.

    Stage s warms up with 2·(stages - s - 1) + (chunks - 1)·stages forwards. One chunk is plain
    1F1B, as in Megatron-LM, and then the micro-batches need not divide.

    Parameters
    ----------
    stages, micro_batches, chunks
        At least 1; with several chunks, ``micro_batches`` is a multiple of ``stages``.

    Raises
    ------
    ScheduleError
        If a count is out of range or the micro-batches do not divide.

    Notes
    -----
    The order is that of ``forward_backward_pipelining_with_interleaving`` with
    ``microbatch_group_size_per_vp_stage`` at its default, the pipeline size. Releases before
    that option ran every forward first if ``micro_batches == stages``; the step time is the same
    and so is the memory of the first stage, but later stages held more.

    References
    ----------
    Narayanan et al. 2021 (arXiv 2104.04473), section 2.2.2; Megatron-LM,
    ``megatron/core/pipeline_parallel/schedules.py``.
    """
    _require_counts(stages, micro_batches, chunks)
    if chunks == 1:
        return one_f_one_b(stages, micro_batches)
    _require_whole_groups(stages, micro_batches)
    later_stages = np.arange(stages)[::-1]
    return _alternating(stages, micro_batches, chunks, 2 * later_stages + (chunks - 1) * stages)


class ScheduleName(StrEnum):
    """Names of the schedules, as scenarios and the command line write them."""

    GPIPE = "gpipe"
    ONE_F_ONE_B = "1f1b"
    INTERLEAVED_1F1B = "interleaved_1f1b"


SCHEDULES: Final[Mapping[str, Generator]] = MappingProxyType(
    {
        ScheduleName.GPIPE: gpipe,
        ScheduleName.ONE_F_ONE_B: one_f_one_b,
        ScheduleName.INTERLEAVED_1F1B: interleaved_1f1b,
    }
)
"""Generators by the name used in scenarios."""


def build_schedule(name: str, stages: int, micro_batches: int, chunks: int) -> Schedule:
    """Return the schedule called ``name`` in `SCHEDULES`.

    Raises
    ------
    ScheduleError
        If there is no such schedule or it refuses the counts.
    """
    return _generator(name)(stages, micro_batches, chunks)


def ideal_bubble_fraction(name: str, stages: int, micro_batches: int, chunks: int) -> float:
    """Return the share of the step that a stage idles: (p - 1) / (v·m + p - 1).

    Holds for equal costs on all stages and free communication: p stages, m micro-batches,
    v chunks.

    Raises
    ------
    ScheduleError
        If there is no such schedule or it refuses the counts.

    References
    ----------
    Narayanan et al. 2021 (arXiv 2104.04473), sections 2.2.1 and 2.2.2, give the bubble relative
    to the ideal time, x = (p - 1) / (v·m); relative to the step that is x / (1 + x).
    """
    _require_counts(stages, micro_batches, chunks)
    if _generator(name) is not interleaved_1f1b:
        _require_one_chunk(name, chunks)
    elif chunks > 1:
        _require_whole_groups(stages, micro_batches)
    return (stages - 1) / (chunks * micro_batches + stages - 1)


def _generator(name: str) -> Generator:
    if name in SCHEDULES:
        return SCHEDULES[name]
    close = get_close_matches(name, SCHEDULES, n=1)
    hint = f"; did you mean {str(close[0])!r}?" if close else ""
    raise ScheduleError(f"no schedule is called {name!r}; there are: {', '.join(SCHEDULES)}{hint}")


def _alternating(stages: int, micro_batches: int, chunks: int, warmups: Warmups) -> Schedule:
    """Return the schedule of stages that warm up, alternate F and B, and drain."""
    micro_batch, chunk = _visits(stages, micro_batches, chunks)
    forwards = _Pass(Kind.FORWARD, micro_batch, chunk)
    backwards = _Pass(Kind.BACKWARD, micro_batch, chunks - 1 - chunk)
    return Schedule(
        micro_batches,
        looping(stages, chunks),
        tuple(_stage(forwards, backwards, warmup) for warmup in warmups.tolist()),
    )


class _Pass(NamedTuple):
    """All forwards, or all backwards, of one stage in order."""

    kind: Kind
    micro_batches: NDArray[np.intp]
    chunks: NDArray[np.intp]


def _visits(
    stages: int, micro_batches: int, chunks: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return micro-batch and chunk of each forward: a group of micro-batches, chunk by chunk."""
    group, visit = np.divmod(np.arange(micro_batches * chunks), stages * chunks)
    chunk, micro_batch_in_group = np.divmod(visit, stages)
    return group * stages + micro_batch_in_group, chunk


def _stage(forwards: _Pass, backwards: _Pass, warmup: int) -> Actions:
    """Return ``warmup`` forwards, then pairs of one forward and one backward, then the rest."""
    count = len(forwards.chunks)
    warmup = min(warmup, count)
    index = np.arange(count)
    forward_at = np.where(index < warmup, index, 2 * index - warmup)
    backward_at = np.where(index < count - warmup, 2 * index + warmup + 1, count + index)
    kinds = np.empty(2 * count, np.int8)
    micro_batches = np.empty(2 * count, np.int32)
    chunks = np.empty(2 * count, np.int16)
    for at, one_pass in ((forward_at, forwards), (backward_at, backwards)):
        kinds[at], micro_batches[at], chunks[at] = one_pass
    return Actions(kinds, micro_batches, chunks)


def _require_counts(stages: int, micro_batches: int, chunks: int) -> None:
    counts = {
        "stages": (stages, LARGEST_MICRO_BATCH),
        "micro_batches": (micro_batches, LARGEST_MICRO_BATCH),
        "chunks": (chunks, LARGEST_CHUNK),
    }
    for name, (count, largest) in counts.items():
        if not 1 <= count <= largest:
            raise ScheduleError(f"{name} = {count}, but must be from 1 to {largest:,}")


def _require_one_chunk(name: str, chunks: int) -> None:
    if chunks != 1:
        raise ScheduleError(
            f"{name} does not interleave: chunks = {chunks}, but must be 1;"
            " interleaved_1f1b takes several"
        )


def _require_whole_groups(stages: int, micro_batches: int) -> None:
    groups, rest = divmod(micro_batches, stages)
    if rest:
        below = f"{groups * stages} or " if groups else ""
        raise ScheduleError(
            "interleaved_1f1b needs micro-batches in whole groups of one per stage:"
            f" {micro_batches} micro-batches = {groups} x {stages} stages + {rest};"
            f" use {below}{(groups + 1) * stages}"
        )
