"""Seconds of dispatching tokens to their experts' ranks inside a node, and of combining results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.errors import SimulatorError

if TYPE_CHECKING:
    from simulator.hardware.accelerator import Accelerator
    from simulator.operators import ExpertExchange


def exchange_time(exchange: ExpertExchange, accelerator: Accelerator) -> float:
    """Return the time [s] of one direction of an exchange between the ranks of one node.

    Every token's row is handled once for itself and once for each rank that it goes to, by the
    multiprocessors given to the kernel; what leaves the rank crosses its links beside that::

        work  = tokens (row / row_rate + destinations (destination_time + row / destination_rate))
        links = tokens destinations (ranks - 1) / ranks row / link_bandwidth
        time  = latency + row / row_latency_rate + ((work / multiprocessors)^e + links^e)^(1/e)

    Raises
    ------
    SimulatorError
        If the part's profile has no such kernel.

    Notes
    -----
    Neglected: uneven routing (the busiest rank decides then), and networks between nodes.
    """
    model = accelerator.kernels.exchange
    if model is None:
        raise SimulatorError(f"{accelerator.name} has no kernels of expert exchange in its profile")
    one = model.combine if exchange.combine else model.dispatch
    row, destinations = exchange.row_bytes, exchange.destinations
    each = one.destination_time + row / one.destination_rate
    work = exchange.tokens * (row / one.row_rate + destinations * each)
    leaving = exchange.tokens * destinations * row * (1 - 1 / exchange.ranks)
    parts = work / exchange.multiprocessors, leaving / one.link_bandwidth
    power = one.overlap_exponent
    busy: float = sum(part**power for part in parts) ** (1 / power)
    return one.latency + row / one.row_latency_rate + busy
