"""Candidates: every legal layout of a space, a row each, in a fixed order."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import permutations, product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from simulator.errors import LayoutError, ScheduleError, SimulatorError
from simulator.operators import Axis
from simulator.parallel.blocks import Recomputation
from simulator.parallel.layout import INNERMOST_FIRST, Sharding
from simulator.parallel.stages import split_layers
from simulator.scenario.checks import LARGEST_SCHEDULE, findings
from simulator.scenario.space import Space
from simulator.schedule.pipelines import ScheduleName, ideal_bubble_fraction
from simulator.workload.parameters import layer_parameters_per_rank
from simulator.workload.transformer import Transformer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from simulator.scenario import Scenario

    Rows = NDArray[np.void]

ROW: Final = np.dtype(
    [
        ("accelerators", np.int32),
        ("tensor", np.int32),
        ("context", np.int32),
        ("pipeline", np.int32),
        ("data", np.int32),
        ("virtual_stages", np.int32),
        ("micro_batch", np.int32),
        ("micro_batches", np.int32),
        ("schedule", np.int8),
        ("recompute", np.int8),
        ("recompute_every", np.int32),
        ("sequence_parallel", np.bool_),
        ("sharding", np.int8),
        ("order", np.int16),
    ]
)
"""Columns of a candidate; names are written as their place in `SCHEDULES`, `MODES`, …"""

SCHEDULES: Final = tuple(ScheduleName)
MODES: Final = tuple(Recomputation)
SHARDINGS: Final = tuple(Sharding)
ORDERS: Final = tuple(permutations(INNERMOST_FIRST))

FEWEST_TOKENS: Final = 2048
"""Tokens of a sequence below which context parallelism does not cut it by default."""
LARGEST_MICRO_BATCH: Final = 16
"""Largest micro-batch that is tried by default [sequences]."""
MOST_CHUNKS: Final = 16
"""Model chunks per stage that are tried by default; every one adds transfers, and published runs
have at most about a dozen."""
MOST_CANDIDATES: Final = 20_000_000
"""Layouts of a search beyond which memory ends (41 bytes each, and their results)."""


class Degrees(NamedTuple):
    """The degrees of a layout."""

    accelerators: int
    tensor: int
    context: int
    pipeline: int
    data: int


class Candidate(NamedTuple):
    """One row of `ROW`."""

    accelerators: int
    tensor: int
    context: int
    pipeline: int
    data: int
    virtual_stages: int
    micro_batch: int
    micro_batches: int
    schedule: int
    recompute: int
    recompute_every: int
    sequence_parallel: bool
    sharding: int
    order: int

    @property
    def degrees(self) -> Degrees:
        """The degrees alone."""
        return Degrees(*self[:5])

    @property
    def reduces(self) -> bool:
        """Whether gradients are reduced: several ranks hold the same weights."""
        return self.data * self.context > 1

    @property
    def gathers(self) -> bool:
        """Whether updated parameters are gathered: they were updated in shares."""
        return self.reduces and SHARDINGS[self.sharding] is Sharding.OPTIMIZER


@dataclass(frozen=True, slots=True)
class Axes:
    """What a search tries on each axis, the scenario's space with its gaps filled."""

    scenario: Scenario
    model: Transformer
    space: Space

    @classmethod
    def of(cls, scenario: Scenario) -> Axes:
        """Return the axes of a scenario.

        Raises
        ------
        SimulatorError
            If the model is none that is cut, or a value of the space can never be: an order that
            is no permutation of the axes.
        """
        if not isinstance(scenario.model, Transformer):
            raise SimulatorError(
                f"{scenario.model.name} is a convolutional network, which only data parallelism "
                f"spreads: there are no layouts to search"
            )
        space = scenario.space or Space()
        for order in space.order or ():
            if sorted(order) != sorted(INNERMOST_FIRST):
                raise SimulatorError(
                    f"space.order: each must name {', '.join(INNERMOST_FIRST)} once, innermost "
                    f"first; got {', '.join(order) or 'nothing'}"
                )
        return cls(scenario, scenario.model, space)

    def degrees(self) -> Iterator[Degrees]:
        """Yield the degrees that fill the job, tensor parallelism cutting what it must."""
        space, scenario = self.space, self.scenario
        for accelerators in space.accelerators or (scenario.accelerators,):
            if accelerators > scenario.cluster.largest:
                continue
            for tensor, context, pipeline in product(
                self._tensor(accelerators), self._context(accelerators), self._pipeline()
            ):
                data, rest = divmod(accelerators, tensor * context * pipeline)
                if not rest and data and (space.data is None or data in space.data):
                    yield Degrees(accelerators, tensor, context, pipeline, data)

    def micro_batches(self, data: int) -> Iterator[tuple[int, int]]:
        """Yield micro-batch [sequences] and micro-batches per rank that make the global batch."""
        batch = self.scenario.batch
        own = {batch.micro_batch, *_powers_of_two(LARGEST_MICRO_BATCH)}
        for micro_batch in self.space.micro_batch or sorted(own):
            count, rest = divmod(batch.global_batch, data * micro_batch)
            if not rest and count:
                yield micro_batch, count

    def pipelines(self, pipeline: int, micro_batches: int) -> Iterator[tuple[int, int]]:
        """Yield schedule (its place in `SCHEDULES`) and virtual stages that take these counts."""
        for code, name in enumerate(SCHEDULES):
            if not self._tries(name):
                continue
            for chunks in self._virtual_stages(pipeline):
                # Interleaved 1F1B with one chunk is 1F1B: tried under that name if both are.
                repeated = name is ScheduleName.INTERLEAVED_1F1B and chunks == 1
                if repeated and self._tries(ScheduleName.ONE_F_ONE_B):
                    continue
                if 2 * pipeline * chunks * micro_batches > LARGEST_SCHEDULE:
                    continue
                try:
                    ideal_bubble_fraction(name, pipeline, micro_batches, chunks)
                except ScheduleError:
                    continue
                yield code, chunks

    def recomputes(self) -> Iterator[tuple[int, int]]:
        """Yield what is recomputed (its place in `MODES`), and of every how many layers."""
        every = self.space.recompute_every or (1,)
        for mode in self.space.recompute or MODES:
            choices = (1,) if mode is Recomputation.NONE else every
            yield from ((MODES.index(mode), number) for number in choices)

    def sequence_parallelisms(self, tensor: int, context: int) -> Iterator[bool]:
        """Yield whether sequence parallelism is tried."""
        length = self.scenario.batch.sequence_length
        for flag in self.space.sequence_parallel or (False, True):
            if flag and (tensor == 1 or length % (context * tensor)):
                continue
            yield flag

    def shardings(self, gradient_ranks: int) -> Iterator[int]:
        """Yield shardings (their places in `SHARDINGS`) that differ for so many ranks."""
        tried = self.space.sharding or SHARDINGS
        alike = gradient_ranks == 1
        yield from (SHARDINGS.index(name) for name in (tried[:1] if alike else tried))

    def orders(self, degrees: Degrees) -> Iterator[int]:
        """Yield orders (their places in `ORDERS`), one of those that place all ranks alike."""
        seen: set[tuple[Axis, ...]] = set()
        for order in self.space.order or self._default_orders():
            moved = tuple(axis for axis in order if getattr(degrees, axis.value) > 1)
            if moved not in seen:
                seen.add(moved)
                yield ORDERS.index(order)

    def _default_orders(self) -> Iterable[tuple[Axis, ...]]:
        """Return the scenario's order, then those with tensor innermost."""
        own = self.scenario.layout.order
        return (own, *(order for order in ORDERS if order[0] is Axis.TENSOR and order != own))

    def _tensor(self, accelerators: int) -> Iterator[int]:
        scenario = self.scenario
        inside = min(scenario.cluster.node.accelerators, accelerators)
        own = scenario.layout.tensor
        for tensor in self.space.tensor or sorted({own, *_divisors(inside)}):
            try:
                layer_parameters_per_rank(self.model, tensor)
            except LayoutError:
                continue
            yield tensor

    def _context(self, accelerators: int) -> Iterator[int]:
        length = self.scenario.batch.sequence_length
        longest = [c for c in _divisors(accelerators) if length // c >= FEWEST_TOKENS]
        own = self.scenario.layout.context
        for context in self.space.context or sorted({1, own, *longest}):
            if length % context == 0:
                yield context

    def _pipeline(self) -> Iterator[int]:
        layers = self.model.layers
        for pipeline in self.space.pipeline or range(1, layers + 3):
            if _splits(layers, pipeline):
                yield pipeline

    def _virtual_stages(self, pipeline: int) -> Iterator[int]:
        """Yield chunks per stage: given ones that are legal, or those that divide the model.

        By default into even virtual stages, or even but for the first and the last, which make up
        for the embedding and the head.
        """
        layers = self.model.layers
        if self.space.virtual_stages:
            yield from (v for v in self.space.virtual_stages if _splits(layers, pipeline * v))
            return
        own = self.scenario.layout
        most = max(MOST_CHUNKS, own.virtual_stages)
        for chunks in range(1, min(most, (layers + 2) // pipeline) + 1):
            total = pipeline * chunks
            even = layers % total == 0 or (layers + 2) % total == 0
            kept = pipeline == own.pipeline and chunks == own.virtual_stages
            if (chunks == 1 or (pipeline > 1 and (even or kept))) and _splits(layers, total):
                yield chunks

    def _tries(self, name: ScheduleName) -> bool:
        return self.space.schedule is None or name in self.space.schedule


def candidates(scenario: Scenario) -> Rows:
    """Return every legal layout of the scenario's space, shape ``(layouts,)`` of `ROW`.

    Layouts that play the same order of actions stand together; the order depends on the scenario
    alone.

    Raises
    ------
    SimulatorError
        If the space holds no legal layout, or more than `MOST_CANDIDATES`.
    """
    axes = Axes.of(scenario)
    rows: list[tuple[Any, ...]] = []
    for degrees in axes.degrees():
        rows += _legal_rows(axes, degrees)
        if len(rows) > MOST_CANDIDATES:
            raise SimulatorError(
                f"the space holds more than {MOST_CANDIDATES:,} layouts: narrow it (space:)"
            )
    if not rows:
        raise SimulatorError(
            f"the space holds no legal layout of {scenario.model.name} on "
            f"{scenario.accelerators:,} accelerators with a global batch of "
            f"{scenario.batch.global_batch:,}: widen it (space:)"
        )
    table = np.array(rows, dtype=ROW)
    keys = [table[name] for name in ("virtual_stages", "schedule", "micro_batches", "pipeline")]
    return table[np.lexsort(keys)]


def _legal_rows(axes: Axes, degrees: Degrees) -> list[tuple[Any, ...]]:
    """Return the rows of all layouts with these degrees, none if a scenario may not have them.

    The axes know the rules that bind other fields than the degrees; what binds these alone (the
    model's experts, the nodes that the job is given, …) one row tells of all.
    """
    rows = list(_rows(axes, degrees))
    if rows and findings(scenario_of(axes.scenario, Candidate(*rows[0]))):
        return []
    return rows


def _rows(axes: Axes, degrees: Degrees) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of all layouts with these degrees."""
    _, tensor, context, pipeline, data = degrees
    orders = tuple(axes.orders(degrees))
    splits = tuple(
        product(axes.sequence_parallelisms(tensor, context), axes.shardings(data * context))
    )
    for micro_batch, count in axes.micro_batches(data):
        for schedule, chunks in axes.pipelines(pipeline, count):
            for recompute, (sequence, sharding), order in product(
                axes.recomputes(), splits, orders
            ):
                yield (
                    *degrees,
                    chunks,
                    micro_batch,
                    count,
                    schedule,
                    *recompute,
                    sequence,
                    sharding,
                    order,
                )


def scenario_of(scenario: Scenario, row: Candidate) -> Scenario:
    """Return ``scenario`` with the layout of one candidate; it has no space."""
    own = scenario.layout
    kept = (row.pipeline, row.virtual_stages) == (own.pipeline, own.virtual_stages)
    layout = dataclasses.replace(
        own,
        tensor=row.tensor,
        context=row.context,
        pipeline=row.pipeline,
        data=row.data,
        virtual_stages=row.virtual_stages,
        sequence_parallel=row.sequence_parallel,
        sharding=SHARDINGS[row.sharding],
        order=ORDERS[row.order],
        layers=own.layers if kept else None,
    )
    return dataclasses.replace(
        scenario,
        layout=layout,
        accelerators=row.accelerators,
        batch=dataclasses.replace(scenario.batch, micro_batch=row.micro_batch),
        schedule=SCHEDULES[row.schedule],
        recompute=dataclasses.replace(
            scenario.recompute, mode=MODES[row.recompute], every=row.recompute_every
        ),
        space=None,
    )


def _powers_of_two(largest: int) -> tuple[int, ...]:
    return tuple(1 << power for power in range(largest.bit_length()))


def _divisors(number: int) -> tuple[int, ...]:
    return tuple(divisor for divisor in range(1, number + 1) if number % divisor == 0)


def _splits(layers: int, chunks: int) -> bool:
    """Return whether so many virtual stages leave no inner one empty."""
    try:
        split_layers(layers, chunks)
    except LayoutError:
        return False
    return True
