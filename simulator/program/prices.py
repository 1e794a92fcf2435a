"""Prices: the steps of a block as segments with times."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

from simulator.hardware.collective_costs import collective_time
from simulator.hardware.interference import slowdown
from simulator.hardware.operator_costs import operator_time
from simulator.hardware.power import in_training
from simulator.hardware.software import Launch
from simulator.operators import Attention, Axis, Collective, Communication, Pointwise
from simulator.program.patterns import Pattern, Segment
from simulator.program.tasks import Lane, SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from simulator.hardware.cluster import Cluster
    from simulator.hardware.collectives import GroupSpan
    from simulator.hardware.software import Software
    from simulator.operators import Compute
    from simulator.workload.steps import Step

LANES: Mapping[Axis, tuple[Lane, SpanKind]] = {
    Axis.TENSOR: (Lane.TENSOR, SpanKind.TENSOR),
    Axis.CONTEXT: (Lane.CONTEXT, SpanKind.CONTEXT),
    Axis.EXPERT: (Lane.EXPERT, SpanKind.EXPERT),
    Axis.DATA: (Lane.DATA, SpanKind.DATA),
}

BACKWARD_KINDS = (SpanKind.BACKWARD, SpanKind.INPUT_GRADIENT, SpanKind.WEIGHT_GRADIENT)
"""Passes whose kernels the autograd engine launches."""


class Prices:
    """Seconds of operators and collectives on one cluster under one software stack.

    Remembers what it has priced: the layers of a model repeat the same few shapes.
    """

    def __init__(
        self, cluster: Cluster, software: Software, spans: Mapping[Axis, GroupSpan]
    ) -> None:
        """Price on ``cluster``; collectives of an axis cross that axis's span."""
        self._cluster = cluster
        self._part = in_training(cluster.accelerator)
        self._software = software
        self._spans = spans
        self._known: dict[Compute | Communication, float] = {}
        stolen = software.communication_multiprocessors / cluster.accelerator.multiprocessors
        self.stolen_share = min(stolen, 0.5)
        """Share of the multiprocessors that a running collective takes from other kernels."""
        ranks = spans[Axis.TENSOR].ranks if Axis.TENSOR in spans else 1
        self.arrival_spread = software.arrival_jitter * expected_maximum(ranks)
        """By how much the last rank of the tensor group is later than the mean, relative."""

    def seconds(self, operator: Compute | Communication) -> float:
        """Return the time of one operator alone on its lane [s]."""
        if operator not in self._known:
            self._known[operator] = self._price(operator)
        return self._known[operator]

    def _price(self, operator: Compute | Communication) -> float:
        if isinstance(operator, Communication):
            span = self._spans[operator.axis]
            return collective_time(operator.kind, operator.n_bytes, span, self._cluster)
        return operator_time(operator, self._part)

    def slowdown(self, operator: Compute, beside: Communication) -> float:
        """Return how many times longer an operator takes while a collective runs beside it.

        The collective reads and writes its bytes once each.
        """
        duration = self.seconds(beside)
        if duration <= 0.0:
            return 1.0
        taken = self._software.communication_multiprocessors
        bandwidth = 2 * beside.n_bytes / duration
        return slowdown(operator, self._part, taken, bandwidth)

    def stretch(self, operator: Compute, beside: Communication, together: float) -> float:
        """Return an operator's time over that alone if a collective runs for ``together`` [s]."""
        alone = self.seconds(operator)
        factor = self.slowdown(operator, beside)
        if together <= 0.0 or alone <= 0.0 or alone * factor <= together:
            return factor if together > 0.0 else 1.0
        return 1.0 + together * (1.0 - 1.0 / factor) / alone

    def pattern(self, steps: Iterable[Step], kind: SpanKind) -> Pattern:
        """Return ``steps`` laid out in time; compute segments are of ``kind``.

        A communication holds the compute lane unless the software overlaps it: with independent
        GEMMs (``under``) if tensor-parallel gradients are asynchronous, or by chunks with the
        GEMM ``beside`` it for the share ``tensor_overlap`` of its time. What runs beside a
        collective loses the multiprocessors that the collective takes.

        An eager stack needs host time per kernel; a block that the host cannot feed in time
        waits for it at its end (the host runs ahead within a block, not beyond it).
        """
        layout = _Timeline(self, kind, self._software)
        for step in steps:
            layout.play(step)
        return layout.finish()

    def host_time(self, kernels: int, kind: SpanKind) -> float:
        """Return the host time of launching ``kernels`` of a pass [s].

        A captured graph launches at once.
        """
        if self._software.launch is Launch.GRAPH:
            return 0.0
        backward = kind in BACKWARD_KINDS
        each = self._software.backward_launch if backward else self._software.kernel_launch
        return kernels * each

    def restart_time(self, *, recomputes: bool) -> float:
        """Return how long the device idles at the start of a pass between transfers [s]."""
        again = self._software.recompute_overhead if recomputes else 0.0
        return self._software.pass_overhead + again


def expected_maximum(count: int) -> float:
    """Return the expected largest of ``count`` standard normal values, 0 for one.

    References
    ----------
    Blom 1958, Statistical Estimates and Transformed Beta-Variables: the quantile at
    ``(count - 3/8) / (count + 1/4)``; 5 % above the exact value for two, within 2 % from four on.
    """
    if count <= 1:
        return 0.0
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25))


def launches(operator: Compute) -> int:
    """Return the kernels that the host launches for an operator."""
    if isinstance(operator, Pointwise):
        return operator.kernels
    return operator.launches if isinstance(operator, Attention) else 1


class _Timeline:
    """The clock of one pattern while its steps are laid out."""

    def __init__(self, prices: Prices, kind: SpanKind, software: Software) -> None:
        self._prices = prices
        self._kind = kind
        self._software = software
        self._segments: list[Segment] = []
        self._clock = 0.0
        self._kernels = 0
        self._since = 0.0
        """Compute time since the ranks of the tensor group last met [s]."""

    def play(self, step: Step) -> None:
        """Lay out one step."""
        operator = step.operator
        if isinstance(operator, Communication) and operator.axis is Axis.TENSOR:
            self._meet(operator)
        if not isinstance(operator, Communication):
            self._compute(operator)
        elif step.under and self._software.asynchronous_tensor_gradients:
            self._concurrent(operator, step.under)
        else:
            self._sequential(operator, step)

    def _meet(self, operator: Communication) -> None:
        """Wait for the last rank of the tensor group to reach its collective."""
        late = self._prices.arrival_spread * self._since
        self._since = 0.0
        if late > 0:
            lane, kind = LANES[operator.axis]
            self._segments.append(Segment("late_ranks", kind, lane, self._clock, late))
            self._clock += late

    def finish(self) -> Pattern:
        """Return the pattern, with a wait at its end if the host launches too slowly."""
        late = self._prices.host_time(self._kernels, self._kind) - self._clock
        if late > 0:
            self._segments.append(
                Segment("launch", SpanKind.OTHER, Lane.COMPUTE, self._clock, late)
            )
            self._clock += late
        return Pattern(tuple(self._segments), self._clock)

    def _compute(self, operator: Compute, stretch: float = 1.0) -> None:
        duration = self._prices.seconds(operator) * stretch
        self._segments.append(
            Segment(operator.name, self._kind, Lane.COMPUTE, self._clock, duration)
        )
        self._clock += duration
        self._since += duration
        self._kernels += launches(operator)

    def _communicate(self, operator: Communication, start: float) -> float:
        lane, kind = LANES[operator.axis]
        duration = self._prices.seconds(operator)
        self._segments.append(Segment(operator.name, kind, lane, start, duration, operator.n_bytes))
        self._kernels += 1
        return duration

    def _concurrent(self, operator: Communication, under: tuple[Compute, ...]) -> None:
        """Run ``under`` while the communication is under way."""
        end = self._clock + self._communicate(operator, self._clock)
        for item in under:
            beside = max(0.0, end - self._clock)
            self._compute(item, self._prices.stretch(item, operator, beside))
        self._clock = max(self._clock, end)

    def _sequential(self, operator: Communication, step: Step) -> None:
        """Wait for the communication, less what chunked overlap hides behind its GEMM."""
        duration = self._prices.seconds(operator)
        hidden = slowed = 0.0
        if operator.axis is Axis.TENSOR and step.beside is not None:
            hidden = min(
                self._software.tensor_overlap * duration, self._prices.seconds(step.beside)
            )
            slowed = hidden * (1.0 - 1.0 / self._prices.slowdown(step.beside, operator))
        elif operator.axis is Axis.CONTEXT:
            hidden = self._software.context_overlap * duration
            slowed = self._prices.stolen_share * hidden
        # A gather hides behind the GEMM that consumes it, a reduction behind the one before it.
        early = 0.0 if operator.kind is Collective.ALL_GATHER else hidden
        self._communicate(operator, max(0.0, self._clock - early))
        self._clock += duration - hidden
        if slowed > 0:
            self._segments.append(
                Segment("overlap_slowdown", self._kind, Lane.COMPUTE, self._clock, slowed)
            )
            self._clock += slowed
        for item in step.under:
            self._compute(item)
