"""Schedules as text: one line per stage, ``F0 F1 B0 F2 B1 …``, and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from simulator.errors import ScheduleError
from simulator.schedule.actions import (
    LARGEST_CHUNK,
    LARGEST_MICRO_BATCH,
    Action,
    Actions,
    Kind,
    Placement,
    Schedule,
    looping,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN: Final = re.compile(r"([FBIW])([0-9]+)(?:\.([0-9]+))?")
KIND_OF: Final = {kind.letter: kind for kind in Kind}


def format_schedule(schedule: Schedule) -> str:
    """Return one line per stage; an action is kind, micro-batch and, if several, ``.chunk``.

    The placement of chunks is not part of the text.

    Examples
    --------
    >>> from simulator.schedule import one_f_one_b
    >>> print(format_schedule(one_f_one_b(2, 3)))
    F0 F1 B0 F2 B1 B2
    F0 B0 F1 B1 F2 B2
    """
    chunks = schedule.chunks
    return "\n".join(
        " ".join(action.text(chunks) for action in actions) for actions in schedule.actions
    )


def parse_schedule(text: str, place: Callable[[int, int], Placement] = looping) -> Schedule:
    """Return the schedule written in ``text``; micro-batches and chunks are counted from it.

    Parameters
    ----------
    text
        As `format_schedule` writes it. Blank lines are skipped; every other line is a stage.
    place
        The placement for a number of stages and of chunks, which the text does not tell.

    Raises
    ------
    ScheduleError
        If a token is not an action, naming the stage's line and the token's position, both
        counted from 1. Whether the schedule can run is `validate_schedule`'s question.
    """
    stages = [
        [_action(token, line, position) for position, token in enumerate(content.split(), 1)]
        for line, content in enumerate(text.splitlines(), 1)
        if content.strip()
    ]
    actions = [action for stage in stages for action in stage]
    if not actions:
        raise ScheduleError("the schedule has no actions; write one line per stage: F0 F1 B0 B1")
    chunks = 1 + max(action.chunk for action in actions)
    return Schedule(
        1 + max(action.micro_batch for action in actions),
        place(len(stages), chunks),
        tuple(Actions.of(stage) for stage in stages),
    )


def _action(token: str, line: int, position: int) -> Action:
    match = TOKEN.fullmatch(token)
    if match is None:
        raise ScheduleError(
            f"line {line}, token {position}: {token!r} is not an action;"
            " write F, B, I or W and a micro-batch (F0), and a chunk if there are several (F0.1)"
        )
    kind, micro_batch, chunk = match[1], int(match[2]), int(match[3] or 0)
    if micro_batch >= LARGEST_MICRO_BATCH or chunk >= LARGEST_CHUNK:
        raise ScheduleError(
            f"line {line}, token {position}: {token!r} is out of range; micro-batches are below"
            f" {LARGEST_MICRO_BATCH:,} and chunks below {LARGEST_CHUNK:,}"
        )
    return Action(KIND_OF[kind], micro_batch, chunk)
