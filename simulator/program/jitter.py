"""Jitter: by how much one task takes longer on one rank than priced, as a distribution."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_SPREAD: Final = 1.0
REACH: Final = 8.5
"""Standard normal values beyond this, either way, are drawn once in 10¹⁷ times."""
PER_UNIT: Final = 256
"""Points of a table per unit of a standard normal value."""


class JitterKind(StrEnum):
    """Shape of the distribution."""

    LOGNORMAL = "lognormal"
    """exp(s·z - s²/2): mean 1, standard deviation s of the logarithm."""
    EXPONENTIAL = "exponential"
    """1 + s·e, e exponential with mean 1: never faster than priced, s slower on average."""


@dataclass(frozen=True, slots=True)
class FactorTable:
    """Factors by standard normal value: ``values[k]`` at ``first + k * step``, linear between."""

    first: float
    step: float
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Jitter:
    """A factor on the compute time of every action of every rank, drawn for each anew."""

    kind: JitterKind
    spread: float

    def __str__(self) -> str:
        """Return the text that `parse_jitter` reads."""
        return f"{self.kind}:{self.spread:g}"

    def slowest(self, ranks: int) -> FactorTable:
        """Return the factor of the slowest of ``ranks`` ranks that draw independently.

        Its distribution function is that of one rank to the power ``ranks``: exact, so a group
        whose ranks wait for one another needs one draw. The table turns a standard normal value z
        into the quantile at Φ(z); linear interpolation errs by less than 10⁻⁶ of the spread.
        """
        from scipy.special import log_ndtr, ndtri_exp  # noqa: PLC0415 - slow, and few runs jitter

        normal = np.linspace(-REACH, REACH, int(2 * REACH * PER_UNIT) + 1)
        log_share = log_ndtr(normal) / ranks
        if self.kind is JitterKind.LOGNORMAL:
            values = np.exp(self.spread * ndtri_exp(log_share) - self.spread**2 / 2)
        else:
            values = 1.0 - self.spread * np.log(-np.expm1(log_share))
        return FactorTable(-REACH, 1 / PER_UNIT, values)


def parse_jitter(text: str) -> Jitter:
    """Return the jitter of a text such as ``lognormal:0.02``.

    Raises
    ------
    SimulatorError
        If it is no such text or the spread is out of range.
    """
    kind, _, spread = text.partition(":")
    kinds = " or ".join(f"{member}:SPREAD" for member in JitterKind)
    try:
        jitter = Jitter(JitterKind(kind), float(spread))
    except ValueError:
        raise SimulatorError(
            f"--jitter {text}: must be {kinds}, such as lognormal:0.02 for two percent"
        ) from None
    if not 0 <= jitter.spread <= LARGEST_SPREAD:
        raise SimulatorError(
            f"--jitter {text}: the spread must be from 0 to {LARGEST_SPREAD:g} (0.02 is 2 %)"
        )
    return jitter
