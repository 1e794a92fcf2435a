"""Memory of every stage over the step: static terms plus what the trace keeps alive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulator.parallel.memory import StaticMemory, pass_memory, static_memory
from simulator.schedule.actions import Kind
from simulator.units import GIB

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.engine.trace import Trace
    from simulator.parallel.blocks import VirtualStage
    from simulator.parallel.memory import PassMemory
    from simulator.program.build import Plan

COMPONENTS = (
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "working",
    "buffers",
    "fragmentation",
    "framework",
)
"""Terms of a stage's memory, in the order of tables and pictures."""


@dataclass(frozen=True, slots=True)
class StageMemory:
    """Memory of one rank of a stage [B]: dynamic terms over time, all terms at their peak."""

    stage: int
    static: StaticMemory
    time: NDArray[np.float64]
    """Moments at which memory changes [s]."""
    total: NDArray[np.float64]
    """Memory from each moment on [B]."""
    peak: dict[str, float]
    """Each of `COMPONENTS` at the moment of the peak [B]."""

    @property
    def peak_total(self) -> float:
        """Most memory at any moment [B]."""
        return sum(self.peak.values())


def memory_of(trace: Trace, plan: Plan) -> tuple[StageMemory, ...]:
    """Return the memory of every pipeline stage over the step.

    A forward pass adds its chunk's kept activations when it starts; the backward pass (with a
    split backward, the weight gradient) frees them when it ends and meanwhile needs the most that
    any of its blocks needs, less what the blocks before it have freed. Fragmentation is a share of
    the dynamic memory. Neglected: the gradual growth within one forward pass.
    """
    return tuple(
        _stage_memory(trace, plan, stage) for stage in range(plan.scenario.layout.pipeline)
    )


def memory_columns(stages: tuple[StageMemory, ...]) -> dict[str, NDArray[np.float64]]:
    """Return columns stage, time_s, memory_gib: each value holds from its time on."""
    return {
        "stage": np.concatenate([np.full(len(s.time), s.stage) for s in stages]),
        "time_s": np.concatenate([s.time for s in stages]),
        "memory_gib": np.concatenate([s.total for s in stages]) / GIB,
    }


def logit_bytes(stage: VirtualStage) -> float:
    """Return the bytes of the logits kept per micro-batch of a virtual stage."""
    return sum(
        saved.n_bytes
        for placed in stage.blocks
        for saved in placed.block.saved
        if saved.name == "logits"
    )


def _stage_memory(trace: Trace, plan: Plan, stage: int) -> StageMemory:
    held = [plan.stages[virtual] for virtual in plan.schedule.placement[stage]]
    scenario = plan.scenario
    shared = scenario.layout, scenario.shard, scenario.software, scenario.stream_width
    static = static_memory(plan.parameters(stage), *shared)
    passes = [pass_memory(virtual, *shared) for virtual in held]
    time, columns = _dynamic(trace, stage, passes, [logit_bytes(virtual) for virtual in held])
    loss = 1 + scenario.software.fragmentation
    total = static.total + columns.sum(axis=1) * loss
    at = int(np.argmax(total))
    activations, logits, working = columns[at].tolist()
    peak = {
        "weights": static.weights,
        "gradients": static.gradients,
        "optimizer": static.optimizer,
        "activations": activations,
        "logits": logits,
        "working": working,
        "buffers": static.buffers,
        "fragmentation": scenario.software.fragmentation * (activations + logits + working),
        "framework": static.framework,
    }
    return StageMemory(stage, static, time, total, {name: peak[name] for name in COMPONENTS})


def _dynamic(
    trace: Trace, stage: int, passes: list[PassMemory], logits_kept: list[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return moments and, from each on, activations, logits and working memory [B]."""
    program = trace.program
    tasks = np.flatnonzero((program.rank_class == stage) & (program.pattern >= 0))
    chunk, action = program.chunk[tasks], program.action[tasks]
    logits = np.array(logits_kept)[chunk]
    whole, transient = np.array(passes)[chunk].T
    kept = whole - logits
    first, last = _ends_of_actions(program.micro_batch[tasks], chunk, action)
    begins = (action == Kind.FORWARD) & first
    frees = -1.0 * (np.isin(action, (Kind.BACKWARD, Kind.WEIGHT_GRADIENT)) & last)
    works = action != Kind.FORWARD
    zero = np.zeros(len(tasks))
    changes = [
        (trace.start[tasks], begins * kept, begins * logits, zero),
        (trace.end[tasks], frees * kept, frees * logits, zero),
        (trace.start[tasks], zero, zero, works * transient),
        (trace.end[tasks], zero, zero, works * -transient),
    ]
    time = np.concatenate([[0.0], *(change[0] for change in changes)])
    deltas = np.concatenate(
        [np.zeros((1, 3)), *(np.stack(change[1:], axis=1) for change in changes)]
    )
    # At one moment what ends is freed before what starts is allocated.
    order = np.lexsort((deltas.sum(axis=1), time))
    level = np.maximum(np.cumsum(deltas[order], axis=0), 0.0)
    changed = np.concatenate([[True], np.any(deltas[order][1:] != 0, axis=1)])
    return time[order][changed], level[changed]


def _ends_of_actions(
    micro_batch: NDArray[np.int32], chunk: NDArray[np.int32], action: NDArray[np.int8]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which tasks begin and which end their action (an action may be split in parts)."""
    same = (
        (micro_batch[1:] == micro_batch[:-1])
        & (chunk[1:] == chunk[:-1])
        & (action[1:] == action[:-1])
    )
    return np.concatenate([[True], ~same]), np.concatenate([~same, [True]])
