"""A scenario as a program: one rank class per pipeline stage, one step of it.

The step of a rank class, lane by lane:

* compute: host work of the step, the schedule's actions (with a blocking stack, its transfers
  too), the optimizer update;
* pipeline send: activations forward, gradients backward;
* data: gathers of sharded parameters before the first forward, reductions of gradients after
  the last backward.

Where the stack overlaps gathers or reductions, the first forward and the last backward of each
chunk are split at their blocks: each block waits for its own parameters, and each block's
gradients leave as soon as they are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.hardware.software import PipelineTransfer
from simulator.parallel.blocks import virtual_stages
from simulator.parallel.placement import place
from simulator.parallel.routing import routed
from simulator.program.actions import ActionTable, StageTasks, add_actions
from simulator.program.builder import ProgramBuilder
from simulator.program.gradients import GradientCosts, Transfer
from simulator.program.passes import PassPlanner, StagePasses
from simulator.program.prices import Prices
from simulator.program.tasks import Lane, Program, SpanKind
from simulator.program.transfers import StageTransfer
from simulator.program.wires import Wires
from simulator.schedule.actions import Kind
from simulator.schedule.dependencies import flatten, producers_of
from simulator.schedule.pipelines import build_schedule
from simulator.workload.parameters import embedding_parameters_per_rank
from simulator.workload.transformer import Transformer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.parallel.blocks import VirtualStage
    from simulator.parallel.placement import Placement
    from simulator.scenario.scenario import Scenario
    from simulator.schedule.actions import Schedule


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the program of a scenario is built from."""

    scenario: Scenario
    schedule: Schedule
    placement: Placement
    stages: tuple[VirtualStage, ...]
    """Virtual stages in model order."""
    passes: tuple[StagePasses, ...]
    """Their passes, in the same order."""
    stolen_share: float
    """Share of the multiprocessors that a running collective takes from other kernels."""

    def parameters(self, stage: int) -> int:
        """Return the parameters that one rank of a pipeline stage holds."""
        return sum(self.stages[virtual].parameters for virtual in self.schedule.placement[stage])


def make_plan(scenario: Scenario, schedule: Schedule | None = None) -> Plan:
    """Return the priced parts of ``scenario`` under ``schedule``, its own unless one is given.

    Raises
    ------
    LayoutError
        If model and layout do not divide.
    """
    if schedule is None:
        schedule = build_schedule(
            scenario.schedule,
            scenario.layout.pipeline,
            scenario.micro_batches,
            scenario.layout.virtual_stages,
        )
    placement = placement_of(scenario)
    stages = virtual_stages(
        scenario.model,
        scenario.layout,
        scenario.shard,
        scenario.software.kernels,
        scenario.recompute,
    )
    prices = Prices(scenario.cluster, scenario.software, placement.collectives)
    used = np.unique(np.concatenate([actions.kinds for actions in schedule.actions]))
    pipelined = scenario.layout.pipeline > 1
    planner = PassPlanner(prices, [Kind(int(kind)) for kind in used], pipelined=pipelined)
    return Plan(
        scenario=scenario,
        schedule=schedule,
        placement=placement,
        stages=stages,
        passes=tuple(planner.passes(stage) for stage in stages),
        stolen_share=prices.stolen_share,
    )


def placement_of(scenario: Scenario) -> Placement:
    """Return where the groups of ``scenario`` sit, and what the network leaves them.

    Raises
    ------
    LayoutError
        If the cluster has too few nodes left.
    """
    return routed(
        place(scenario.layout, scenario.cluster, scenario.placement),
        scenario.layout,
        scenario.cluster,
        scenario.placement,
        scenario.network,
    )


def build_program(plan: Plan) -> Program:
    """Return one step of every pipeline stage as a program."""
    return _StepBuilder(plan).build()


@dataclass(frozen=True, slots=True)
class StepTasks:
    """A step whose first forwards and last backwards are played block by block.

    Mappings go from a virtual stage to a task for each of its blocks, in model order.
    """

    program: Program
    reads: Mapping[int, Sequence[int]]
    """The first forward of each block."""
    needs: Mapping[int, Sequence[int]]
    """The task that needs a block's parameters first: its gather, or its forward."""
    gradients: Mapping[int, Sequence[int]]
    """The task after which a block's gradient is there, summed over its ranks."""
    applied: Sequence[int]
    """By pipeline stage, the task that needs all gradients: their norm, or the update."""
    updated: Sequence[int]
    """By pipeline stage, the optimizer update."""


def build_by_block(plan: Plan) -> StepTasks:
    """Return the step of `build_program`, as long to rounding, open to waits for single blocks."""
    return _StepBuilder(plan, by_block=True).marked()


class _StepBuilder:
    """Adds the parts of the step in the order in which the lanes play them."""

    def __init__(self, plan: Plan, *, by_block: bool = False) -> None:
        self._plan = plan
        self._by_block = by_block
        self._software = plan.scenario.software
        self._stages = plan.scenario.layout.pipeline
        ranks = plan.scenario.accelerators / self._stages
        self._tasks = ProgramBuilder(range(self._stages), [ranks] * self._stages)
        self._wires = Wires.of(self._tasks, plan.scenario)
        self._costs = GradientCosts(plan.scenario, plan.placement)
        self._gathers: dict[int, list[int]] = {}
        """Virtual stage -> gather task of each of its blocks, in model order."""
        self._gradients: dict[int, list[int]] = {}
        """Virtual stage -> task after which each of its blocks' gradients are there, likewise."""
        self._played: list[StageTasks] = []
        self._applied: list[int] = []
        self._updated: list[int] = []

    def marked(self) -> StepTasks:
        """Build the step and return it with what its tasks do to blocks."""
        program = self.build()
        reads = {
            virtual: parts
            for stage in self._played
            for virtual, parts in stage.first_forward.items()
        }
        return StepTasks(
            program=program,
            reads=reads,
            needs=reads | self._gathers,
            gradients=self._gradients,
            applied=self._applied,
            updated=self._updated,
        )

    def build(self) -> Program:
        for stage in range(self._stages):
            self._begin(stage)
        self._played = self._play()
        ready = [self._reduce(stage, self._played[stage]) for stage in range(self._stages)]
        self._sum_tied_embedding(ready)
        self._update(ready)
        return self._tasks.build()

    def _begin(self, stage: int) -> None:
        """Add the host work of the step and, where overlapped, the parameter gathers."""
        if self._software.step_overhead > 0:
            self._compute("step_overhead", stage, SpanKind.OTHER, self._software.step_overhead)
        if self._costs.gathers and self._software.parameter_gather_overlap:
            for virtual in self._plan.schedule.placement[stage]:
                self._gathers[virtual] = [
                    self._data(stage, self._costs.gather(count))
                    for count in self._plan.passes[virtual].parameters
                ]

    def _play(self) -> list[StageTasks]:
        """Add every stage's actions and transfers, and what they wait for."""
        table = ActionTable(
            tasks=self._tasks,
            passes=self._plan.passes,
            transfer=StageTransfer(self._plan.scenario, self._plan.placement),
            blocking=self._software.pipeline_transfer is PipelineTransfer.BLOCKING,
            split_first=bool(self._gathers),
            split_last=self._costs.reduces and self._software.gradient_reduce_overlap,
            by_block=self._by_block,
            stolen_share=self._plan.stolen_share,
            costs=self._costs,
            wires=self._wires,
        )
        schedule = self._plan.schedule
        flat = flatten(schedule)
        needed = producers_of(flat, schedule.micro_batches, schedule.virtual_stages)
        played = add_actions(table, schedule, flat, needed)
        first = np.concatenate([stage.first for stage in played])
        output = np.concatenate([stage.output for stage in played])
        waiting = np.flatnonzero(needed >= 0)
        self._tasks.after(first[waiting], output[needed[waiting]])
        for stage in played:
            for virtual, parts in stage.first_forward.items():
                if virtual in self._gathers:
                    self._tasks.after(np.array(parts), np.array(self._gathers[virtual]))
        return played

    def _reduce(self, stage: int, played: StageTasks) -> int:
        """Add a stage's gradient reductions; return the task after which all are done."""
        last = int(played.last[-1])
        if not self._costs.reduces:
            self._note_gradients(played.last_backward)
            return last
        if not self._software.gradient_reduce_overlap:
            late = self._wait_for_ranks(stage, after=last)
            ready = self._sum_gradients(stage, self._plan.parameters(stage), after=late)
            parts_of = played.last_backward.items()
            self._note_gradients({virtual: [ready] * len(parts) for virtual, parts in parts_of})
            return ready
        ready = last
        for virtual, parts in played.last_backward.items():
            counts = reversed(self._plan.passes[virtual].parameters)
            sums = []
            for part, count in zip(parts, counts, strict=True):
                done = self._wait_for_ranks(stage, after=part) if part == last else part
                sums.append(self._sum_gradients(stage, count, after=done))
            self._note_gradients({virtual: sums})
            ready = sums[-1]
        return ready

    def _wait_for_ranks(self, stage: int, *, after: int) -> int:
        """Add the wait for the last data-parallel rank; return the task that ends it."""
        held = self._plan.schedule.placement[stage]
        once = sum(self._plan.passes[virtual].duration for virtual in held)
        late = self._costs.late_ranks(self._plan.scenario.micro_batches * once)
        return self._data(stage, late, after=after) if late.duration > 0 else after

    def _sum_gradients(self, stage: int, parameters: int, *, after: int) -> int:
        """Add the reduction of some gradients, phase by phase; return the task that ends it."""
        last = after
        for message in self._costs.reduction(parameters):
            last = after
            for transfer in message:
                last = self._data(stage, transfer, after=last)
        return last

    def _note_gradients(self, tasks: Mapping[int, Sequence[int]]) -> None:
        """Note after which tasks the blocks' gradients are there, given from the last block on."""
        self._gradients |= {virtual: list(reversed(parts)) for virtual, parts in tasks.items()}

    def _sum_tied_embedding(self, ready: list[int]) -> None:
        """Add the exchange of a tied embedding's gradient between the first and last stage."""
        model, layout = self._plan.scenario.model, self._plan.scenario.layout
        if not isinstance(model, Transformer) or not model.tied_embeddings or self._stages == 1:
            return
        held = embedding_parameters_per_rank(model, layout.tensor).split
        transfer = self._costs.tied_embedding(held)
        ends = (0, self._stages - 1)
        gate = self._tasks.gate(np.array([ready[stage] for stage in ends]), "tied_embedding")
        for stage in ends:
            ready[stage] = self._data(stage, transfer, after=gate)

    def _update(self, ready: list[int]) -> None:
        """Add the gradient norm, the optimizer and, where not overlapped, the gathers."""
        if self._software.gradient_norm:
            gate = self._tasks.gate(np.array(ready), "gradient_norm")
            self._applied = [gate] * self._stages
            ready = [
                self._data(stage, self._costs.norm(), after=gate) for stage in range(self._stages)
            ]
        for stage in range(self._stages):
            held = self._plan.parameters(stage)
            chunks = self._plan.schedule.placement[stage]
            blocks = sum(len(self._plan.stages[virtual].blocks) for virtual in chunks)
            seconds = self._costs.update(held, blocks)
            update = self._compute("optimizer", stage, SpanKind.OPTIMIZER, seconds)
            self._tasks.after(update, ready[stage])
            self._updated.append(update)
            if self._costs.gathers and not self._software.parameter_gather_overlap:
                self._data(stage, self._costs.gather(held), after=update)
        self._applied = self._applied or self._updated

    def _compute(self, name: str, stage: int, kind: SpanKind, seconds: float) -> int:
        tasks = self._tasks.add(
            name=self._tasks.name(name),
            rank_class=stage,
            lane=Lane.COMPUTE,
            kind=kind,
            duration=seconds,
        )
        return int(tasks[0])

    def _data(self, stage: int, transfer: Transfer, *, after: int | None = None) -> int:
        """Add one communication of the data-parallel group."""
        task = int(
            self._tasks.add(
                name=self._tasks.name(transfer.name),
                rank_class=stage,
                lane=transfer.lane,
                kind=SpanKind.DATA,
                duration=transfer.cost.time,
                latency=transfer.cost.latency,
                n_bytes=transfer.n_bytes,
                collective=True,
            )[0]
        )
        if self._wires:
            self._wires.exchange(task, stage, transfer.cost)
        if after is not None:
            self._tasks.after(task, after)
        return task
