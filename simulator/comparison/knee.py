"""The knee: the least bandwidth between nodes at which a job runs nearly as if it were infinite."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from math import sqrt
from typing import TYPE_CHECKING, Final

from simulator.api import step_time
from simulator.comparison.ideals import (
    UNLIMITED,
    rate_is_free,
    with_free_communication,
    with_free_network,
    with_line_rate,
)
from simulator.parallel.placement import place
from simulator.units import GBIT_PER_S, MEGA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.scenario import Scenario

TARGETS: Final = (0.90, 0.95, 0.99)
"""Shares of the compute-bound speed for which the least bandwidth is sought."""
TOLERANCE: Final = 0.01
"""Relative width of the interval in which a knee is enclosed; its upper end is reported."""
LEAST_RATE: Final = GBIT_PER_S / MEGA
"""Line rate of an accelerator [B/s] below which no knee is sought: 1 kbit/s."""
MOST_RATE: Final = GBIT_PER_S * MEGA
"""The same from above: 1 Pbit/s."""


@dataclass(frozen=True, slots=True)
class Knee:
    """What bandwidth between nodes can bring a scenario on its cluster, and how much it needs."""

    compute_bound: float
    """Step time [s] with a network between nodes that costs nothing."""
    communication_free: float
    """Step time [s] with no cost of communication inside the nodes either."""
    rates: Mapping[float, float | None]
    """Least line rate of an accelerator [B/s] by share of the compute-bound speed; or none."""
    reason: str
    """Why there is none; empty if there are all."""


def find_knee(scenario: Scenario, *, engine: str = "auto") -> Knee:
    """Return the knee of ``scenario``: each rate found by bisection over simulated steps.

    Notes
    -----
    The speed is taken to grow with the line rate. Where two rates reach a share and one between
    them does not, what is found is the first that does, counted from the cluster's own rate.
    """

    @cache
    def time_at(rate: float) -> float:
        cluster = with_line_rate(scenario.cluster, rate)
        return step_time(replace(scenario, cluster=cluster), engine=engine)

    free = replace(scenario, cluster=with_free_network(scenario.cluster))
    compute_bound = step_time(free, engine=engine)
    rates: dict[float, float | None] = dict.fromkeys(TARGETS)
    reason = _obstacle(scenario)
    if not reason:
        own = scenario.cluster.nic_bandwidth
        rates = {share: least_rate(time_at, compute_bound / share, own) for share in TARGETS}
        if None in rates.values():
            best = compute_bound / time_at(UNLIMITED)
            reason = f"at any bandwidth, latency holds it at {100 * best:.1f} % of compute-bound"
    freest = replace(scenario, cluster=with_free_communication(scenario.cluster))
    return Knee(compute_bound, step_time(freest, engine=engine), rates, reason)


def least_rate(time_at: Callable[[float], float], longest: float, start: float) -> float | None:
    """Return the least rate at which a step takes no longer than ``longest`` [s]; none if no rate.

    Parameters
    ----------
    time_at
        Step time [s] by rate [B/s], falling.
    longest
        Step time to reach [s].
    start
        Rate from which the search goes up or down [B/s].
    """
    if time_at(UNLIMITED) > longest:
        return None
    enough = start
    while time_at(enough) > longest:
        enough *= 2
        if enough > MOST_RATE:
            return None
    short = enough / 2
    while time_at(short) <= longest:
        enough, short = short, short / 2
        if short < LEAST_RATE:
            return enough
    while enough / short > 1 + TOLERANCE:
        middle = sqrt(short * enough)
        if time_at(middle) <= longest:
            enough = middle
        else:
            short = middle
    return enough


def _obstacle(scenario: Scenario) -> str:
    """Return why the line rate does not decide the speed of a scenario; empty if it does."""
    placed = place(scenario.layout, scenario.cluster, scenario.placement)
    axes = (placed.tensor, placed.context, placed.gradient, placed.model)
    spans = (*(part.span for part in axes), *placed.stage_links)
    if all(span.tier == 0 for span in spans):
        return "nothing leaves the node"
    if not rate_is_free(scenario.cluster.fabric):
        return f"measured curves of {scenario.cluster.fabric.name} fix its times"
    return ""
