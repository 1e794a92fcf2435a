"""Fit of attention and memory-bound kernels: the rates of a part's profile, scaled to timings."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from operator import itemgetter
from statistics import median
from typing import TYPE_CHECKING, Final

from simulator.calibration.held_out import is_held_out
from simulator.errors import SimulatorError
from simulator.hardware.operator_costs import operator_time
from simulator.hardware.operator_tables import added_time, measured_times, reader, timed_by_events
from simulator.operators import Attention, Pointwise
from simulator.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from simulator.hardware.accelerator import Accelerator
    from simulator.operators import Compute

ROUNDS: Final = 4
"""Times that rates are scaled: overheads beside them make one scaling fall short."""


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """What a row of a table ran, and how long [s]."""

    operator: Compute
    seconds: float

    @property
    def held_out(self) -> bool:
        """Whether the row is kept from the fit."""
        return is_held_out(_shape(self.operator))


def _shape(operator: Compute) -> str:
    """Return the text that a shape is held out by: one for all kernels and directions."""
    if isinstance(operator, Attention):
        sizes = (operator.batch, operator.heads, operator.kv_heads, operator.queries)
        return "x".join(map(str, (*sizes, operator.head_dim, *filter(None, (operator.value_dim,)))))
    if isinstance(operator, Pointwise):
        return f"{operator.name}x{operator.n_bytes:.0f}"
    return operator.name


def timings(frame: pd.DataFrame, *, events: bool | None = None) -> list[Timing]:
    """Return the rows of a table of attention calls or memory-bound kernels.

    ``events`` says whether a pair of events took the times, if the columns do not tell.

    Chains of kernels of several kinds tell no rate and are left out.

    Raises
    ------
    SimulatorError
        If the columns are of no table that is fitted here, or a row is wrong.
    """
    build = reader(frame)
    if events is None:
        events = timed_by_events(frame.columns)
    chains = [build(row) for row in frame.to_dict("records")]
    known = [
        Timing(chain[0], time_us * MICRO - added_time(chain[0], events=events))
        for chain, time_us in zip(chains, measured_times(frame).tolist(), strict=True)
        if len(chain) == 1
    ]
    if not all(isinstance(row.operator, Attention | Pointwise) for row in known):
        raise SimulatorError("only GEMMs, attention and memory-bound kernels are fitted")
    return [row for row in known if row.seconds > 0.0]


def scaled(part: Accelerator, rows: Sequence[Timing]) -> Accelerator:
    """Return the part with rates that make the median error of each group of fitted rows vanish.

    A group is one attention kernel, direction and head dimension, or one kind of memory-bound
    kernel; the overheads of the profile stay.
    """
    groups: defaultdict[tuple[str, ...], list[Timing]] = defaultdict(list)
    for row in rows:
        if not row.held_out:
            groups[group_of(row.operator)].append(row)
    for _ in range(ROUNDS):
        for group, some in sorted(groups.items(), key=itemgetter(0)):
            factor = math.exp(median(-error for error in log_errors(part, some)))
            part = _with_scaled(part, group, factor)
    return part


def log_errors(part: Accelerator, rows: Iterable[Timing]) -> list[float]:
    """Return log(measured / modelled time) of each row."""
    return [math.log(row.seconds / operator_time(row.operator, part)) for row in rows]


def group_of(operator: Compute) -> tuple[str, ...]:
    """Return what rows share a rate: kernel, direction and head dimension, or the kind."""
    if isinstance(operator, Attention):
        direction = ("latent_" if operator.latent else "") + (
            "backward" if operator.backward else "forward"
        )
        return "attention", operator.kernel.value, direction, f"{operator.mean_dim:4.0f}"
    if isinstance(operator, Pointwise):
        return "pointwise", operator.kind.value
    raise SimulatorError(f"{operator.name} is fitted by its shapes, not by a rate")


def profile_lines(part: Accelerator, rows: Iterable[Timing]) -> list[str]:
    """Return the lines under ``kernels:`` of a profile that hold the scaled rates."""
    said = "source: simulator calibrate operators, status: fitted"
    groups = sorted({group_of(row.operator) for row in rows})
    kinds = [group[1] for group in groups if group[0] == "pointwise"]
    lines: list[str] = []
    if kinds:
        known = {kind.value: share for kind, share in part.kernels.pointwise.bandwidth.items()}
        shares = ", ".join(f"{kind}: {known[kind]:.3f}" for kind in kinds)
        lines += ["  pointwise:", f"    bandwidth: {{value: {{{shares}}}, {said}}}"]
    passes = sorted({group[1:3] for group in groups if group[0] == "attention"})
    lines += ["  fused_attention:"] * bool(passes)
    fused = {kernel.value: model for kernel, model in part.kernels.fused_attention.items()}
    for at, (kernel, direction) in enumerate(passes):
        if at == 0 or passes[at - 1][0] != kernel:
            lines.append(f"    {kernel}:")
        model = getattr(fused[kernel], direction)
        rates = ", ".join(f"{size}: {rate:.3f}" for size, rate in sorted(model.rate.items()))
        lines += [
            f"      {direction}:",
            f"        rate: {{value: {{{rates}}}, {said}}}",
            f"        sustained_rate: {{value: {model.sustained_rate:.3f}, {said}}}",
        ]
    return lines


def _with_scaled(part: Accelerator, group: tuple[str, ...], factor: float) -> Accelerator:
    kernels = part.kernels
    if group[0] == "pointwise":
        bandwidth = {
            kind: min(1.0, share * factor) if kind.value == group[1] else share
            for kind, share in kernels.pointwise.bandwidth.items()
        }
        pointwise = dataclasses.replace(kernels.pointwise, bandwidth=bandwidth)
        return part.with_kernels(pointwise=pointwise)
    _, name, direction, head_dim = group
    fused = dict(kernels.fused_attention)
    (kernel,) = (key for key in fused if key.value == name)
    model = getattr(fused[kernel], direction) or getattr(
        fused[kernel], direction.removeprefix("latent_")
    )
    size = int(head_dim)
    old = model.rate.get(size, model.rate[min(model.rate, key=lambda known: abs(known - size))])
    scaled_model = dataclasses.replace(
        model,
        rate={**model.rate, size: old * factor},
        sustained_rate=min(1.0, model.sustained_rate * max(1.0, factor)),
    )
    fused[kernel] = dataclasses.replace(fused[kernel], **{direction: scaled_model})
    return part.with_kernels(fused_attention=fused)
