"""What a job's traffic meets on the network: itself, other jobs, and how switches spread it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from simulator.fields import Count, CountOrZero, Share, record

LARGEST_BACKGROUND: Final = 0.95
"""Beyond this share of other jobs' traffic nothing is left to simulate."""
MOST_FLOWS_PER_PAIR: Final = 256
"""More queue pairs than any library opens."""
RESIDUAL_LOSS: Final = 0.05
"""Share of the bandwidth between switches that adaptive routing and packet spraying lose to
uneven loads. Assumed; one vendor's test of two nodes loses 0.03 (Asterfusion 2025)."""


class Sharing(StrEnum):
    """What transfers do that are under way at the same time."""

    NONE = "none"
    """Each has its links to itself."""
    FAIR = "fair"
    """They divide the links that they share, max-min fairly."""


class Routing(StrEnum):
    """How a switch chooses among uplinks that lead equally far."""

    EVEN = "even"
    """All uplinks are loaded alike; the fabric's ``efficiency`` is all that is lost."""
    ADAPTIVE = "adaptive"
    """By load or packet by packet: alike but for `RESIDUAL_LOSS`."""
    ECMP = "ecmp"
    """By a hash of each connection: some uplinks get several, others none."""


@record
class Network:
    """The network around a job (``network:`` in a scenario)."""

    sharing: Sharing = Sharing.NONE
    background: Share = 0.0
    """Share of every network link that other jobs take."""
    routing: Routing = Routing.EVEN
    seed: CountOrZero | None = None
    """Of the hash of ``ecmp``, 0 if not given."""
    flows_per_pair: Count | None = None
    """Connections over which ``ecmp`` hashes what one rank sends another; it cannot do without."""

    @property
    def hash_seed(self) -> int:
        """Seed of the hash of ``ecmp``."""
        return self.seed or 0

    @property
    def connections(self) -> int:
        """Connections of each pair of ranks; where they matter, a scenario says how many."""
        return self.flows_per_pair or 1
