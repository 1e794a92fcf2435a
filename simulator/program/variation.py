"""What is drawn anew for every sample of a step: jitter, and which ranks are slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.program.jitter import Jitter

LARGEST_SAMPLES: Final = 1_000_000
LARGEST_EXCESS: Final = 10.0
FORWARD_ONLY: Final = ":forward"


@dataclass(frozen=True, slots=True)
class SlowShare:
    """A share of the ranks, or of the nodes, whose compute takes longer by a share."""

    share: float
    excess: float
    """0.1: compute takes 1.1 times as long."""
    ranks_together: int = 1
    """Neighbouring ranks that are slow together: 1, or the accelerators of a node."""
    forward_only: bool = False
    """Only forward passes take longer (as MegaScale observed of its slow machines)."""

    def draw(self, ranks: int, generator: np.random.Generator) -> NDArray[np.bool_]:
        """Return which of ``ranks`` are slow: as many as the share says, anywhere."""
        units = -(-ranks // self.ranks_together)
        slow = np.zeros(units, dtype=np.bool_)
        slow[generator.choice(units, self.count(ranks), replace=False)] = True
        return np.repeat(slow, self.ranks_together)[:ranks]

    def count(self, ranks: int) -> int:
        """Return how many ranks (nodes) are slow.

        Raises
        ------
        SimulatorError
            If the share is less than half a rank (node): nothing would be slow.
        """
        units = -(-ranks // self.ranks_together)
        count = round(self.share * units)
        if count == 0 < self.share:
            unit = "ranks" if self.ranks_together == 1 else "nodes"
            raise SimulatorError(
                f"{100 * self.share:g} % of {units:,} {unit} is less than half of one: none would "
                f"be slow; name one with --slow-rank RANK:FACTOR"
            )
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """How the samples of a step differ from one another and from the step as priced."""

    jitter: Jitter | None = None
    slow: SlowShare | None = None
    samples: int = 1
    seed: int = 0
    per_rank: bool = False
    """Draw every rank's jitter itself; without it a group draws that of its slowest rank."""

    def __post_init__(self) -> None:
        """Refuse counts out of range.

        Raises
        ------
        SimulatorError
            If there are no samples or too many, or the seed is negative.
        """
        if not 1 <= self.samples <= LARGEST_SAMPLES:
            raise SimulatorError(
                f"samples = {self.samples}, but must be from 1 to {LARGEST_SAMPLES:,}"
            )
        if self.seed < 0:
            raise SimulatorError(f"seed = {self.seed}, but must be 0 or more")


def parse_slow_share(option: str, text: str, ranks_together: int = 1) -> SlowShare:
    """Return the share of a text such as ``0.5%:10%``: how many are slow, and by how much.

    ``0.5%:10%:forward`` makes forward passes slow alone.

    Raises
    ------
    SimulatorError
        If it is no such text or a share is out of range.
    """
    parts = [part.strip() for part in text.removesuffix(FORWARD_ONLY).split(":")]
    try:
        share, excess = (float(part.removesuffix("%")) / 100 for part in parts)
    except ValueError:
        share = excess = np.nan
    in_percent = all(part.endswith("%") for part in parts)
    if not (in_percent and 0 <= share <= 1 and 0 <= excess <= LARGEST_EXCESS):
        raise SimulatorError(
            f"{option} {text}: must be SHARE%:EXCESS%, such as 0.5%:10% for one in two hundred "
            f"whose compute takes 10 % longer, or SHARE%:EXCESS%{FORWARD_ONLY}"
        )
    return SlowShare(share, excess, ranks_together, text.endswith(FORWARD_ONLY))
