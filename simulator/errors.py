"""What can go wrong, as one tree.

    SimulatorError              a message for the user; exit code 2
    ├── DocumentError           a file is missing, unreadable or not YAML
    ├── ScenarioError           a scenario or profile holds mistakes (all of them, with lines)
    │   └── MisfitError         each field is right by itself, but they do not go together
    ├── ProfileError            numbers of one profile contradict one another
    ├── LayoutError             degrees, batch and cluster do not fit together
    ├── ScheduleError           a schedule is malformed or cannot run
    ├── DeadlockError           a program's tasks wait for one another
    └── OutputError             results cannot be written

Everything else that escapes is a bug and shows its traceback.
"""

from __future__ import annotations

from dataclasses import dataclass


class SimulatorError(Exception):
    """A mistake or condition that the user can act on."""


class DocumentError(SimulatorError):
    """A document cannot be read or is not a YAML mapping."""


class ProfileError(SimulatorError, ValueError):
    """Numbers of a profile contradict one another; a ValueError, so that documents locate it."""


class LayoutError(SimulatorError):
    """Degrees, batch, model and cluster do not fit together."""


class ScheduleError(SimulatorError):
    """A schedule is malformed: an action is missing, repeated or out of order."""


class DeadlockError(SimulatorError):
    """Tasks wait for one another for ever; the message names them."""


class OutputError(SimulatorError):
    """Results cannot be written where the user asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in a document: where it is, what is wrong, what would be right."""

    where: str
    """``file:line`` or ``--set``; empty if the mistake has no single place."""
    path: str
    """Dotted field path, such as ``layout.tensor``."""
    message: str

    def __str__(self) -> str:
        """Return ``file:line: field: message`` without empty parts."""
        return ": ".join(part for part in (self.where, self.path, self.message) if part)


class ScenarioError(SimulatorError):
    """Every mistake found in a scenario or profile, reported together."""

    def __init__(self, problems: list[Problem]) -> None:
        """Keep the problems; the message is one line for each."""
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class MisfitError(ScenarioError):
    """Fields that are right by themselves break a rule between them: a layout on another cluster.

    Where scenarios are compared it is a result, not a mistake.
    """
