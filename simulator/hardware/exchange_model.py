"""How long experts' tokens travel inside a node: the section ``exchange`` of a kernels profile."""

from __future__ import annotations

from typing import Annotated

from simulator.fields import GB_PER_S, MICROSECONDS, NonNegative, Positive, record


@record
class ExchangePass:
    """One direction of a kernel that stays on a few multiprocessors and writes to its peers."""

    latency: Annotated[NonNegative, MICROSECONDS]
    """Start, counts and the last token's way [s]."""
    row_latency_rate: Annotated[Positive, GB_PER_S]
    """Rate [B/s] at which the first row passes: it adds to the latency."""
    row_rate: Annotated[Positive, GB_PER_S]
    """Rate [B/s] of one multiprocessor at a token's own row: read to send, or written as a sum."""
    destination_time: Annotated[NonNegative, MICROSECONDS]
    """Work [s] of one multiprocessor for each rank that a token goes to."""
    destination_rate: Annotated[Positive, GB_PER_S]
    """Rate [B/s] of one multiprocessor at the row of each such rank."""
    link_bandwidth: Annotated[Positive, GB_PER_S]
    """Bandwidth [B/s] of one rank's scale-up links, one way, at what leaves the rank."""
    overlap_exponent: Positive
    """How work and links overlap: the sum of their powers; a large one leaves the longer."""


@record
class ExchangeModel:
    """Dispatch and combine of one library (DeepEP) inside a node."""

    dispatch: ExchangePass
    combine: ExchangePass
