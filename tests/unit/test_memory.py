"""Bytes per rank by hand: what stays for the whole step, and what the schedule keeps alive."""

from __future__ import annotations

from dataclasses import replace

import pytest
from job_samples import MODEL, SEQUENCE, job

from simulator.api import simulate
from simulator.metrics.memory import COMPONENTS
from simulator.parallel.blocks import Recomputation, Recompute, virtual_stages
from simulator.parallel.layout import Layout, Sharding
from simulator.parallel.memory import static_memory
from simulator.precision import Precision
from simulator.schedule.pipelines import build_schedule
from simulator.schedule.timeline import peak_in_flight
from simulator.units import GIB

LAYER = 512 * (512 + 2 * 256) + 512 * 512 + 3 * 512 * 1408 + 2 * 512
"""Parameters of a layer: QKV, output, gate and up and down, two norms."""
EMBEDDING = 2048 * 512
ALL = 8 * LAYER + 2 * EMBEDDING + 512


def test_bytes_per_parameter_without_sharding() -> None:
    """bf16 weights, fp32 gradients, fp32 master weights and two moments: 2 + 4 + 12."""
    plan = simulate(job(Layout(data=2))).plan
    static = static_memory(
        plan.parameters(0), plan.scenario.layout, plan.scenario.shard, plan.scenario.software, 512
    )
    assert (static.weights, static.gradients, static.optimizer) == (2 * ALL, 4 * ALL, 12 * ALL)
    assert static.buffers == 0
    assert static.total == 18 * ALL + plan.scenario.software.context_memory


@pytest.mark.parametrize("context", [1, 2])
def test_zero_1_splits_the_optimizer_over_all_that_hold_the_weights(context: int) -> None:
    scenario = job(Layout(data=4, context=context, sharding=Sharding.OPTIMIZER))
    static = simulate(scenario).memory[0].static
    assert static.gradients == 4 * ALL
    assert static.optimizer == pytest.approx(12 * ALL / (4 * context))


def test_moments_alone_without_master_weights() -> None:
    scenario = job(Layout(data=1))
    plain = replace(scenario, software=replace(scenario.software, master_weights=False))
    assert simulate(plain).memory[0].static.optimizer == 8 * ALL


def test_fp8_keeps_bf16_weights() -> None:
    scenario = replace(job(Layout(data=1)), precision=Precision.FP8)
    assert simulate(scenario).memory[0].static.weights == 2 * ALL


def test_pipeline_and_sequence_parallel_buffers() -> None:
    """Two messages in and two out, each split over tensor ranks; one gathered input."""
    result = simulate(job(Layout(tensor=2, sequence_parallel=True, pipeline=2, data=1)))
    stream = 2 * SEQUENCE * 512
    assert result.memory[0].static.buffers == 4 * stream / 2 + stream


def test_stages_hold_the_whole_model_between_them() -> None:
    result = simulate(job(Layout(pipeline=4, data=1)))
    assert sum(stage.static.weights for stage in result.memory) == 2 * ALL
    assert result.memory[1].static.weights == 2 * 2 * LAYER
    assert result.memory[0].static.weights == 2 * (2 * LAYER + EMBEDDING)


def test_full_recomputation_keeps_layer_inputs() -> None:
    """8 layers of 2 B for 1,024 tokens of 512, in one micro-batch at a time."""
    scenario = replace(job(Layout(data=1)), recompute=Recompute(mode=Recomputation.FULL))
    stages = virtual_stages(
        scenario.model,
        scenario.layout,
        scenario.shard,
        scenario.software.kernels,
        scenario.recompute,
    )
    layers = [block for block in stages[0].blocks if block.layer is not None]
    assert [block.kept_bytes for block in layers] == [2 * SEQUENCE * 512] * 8


def test_every_other_layer_recomputes() -> None:
    every_second = Recompute(mode=Recomputation.FULL, every=2)
    assert [every_second.of_layer(layer) for layer in range(4)] == [
        Recomputation.FULL,
        Recomputation.NONE,
        Recomputation.FULL,
        Recomputation.NONE,
    ]


@pytest.mark.parametrize("schedule", ["1f1b", "gpipe"])
def test_activations_follow_the_micro_batches_in_flight(schedule: str) -> None:
    """Stage s of p holds p - s micro-batches under 1F1B and all of them under GPipe."""
    result = simulate(job(Layout(pipeline=4, data=1), micro_batches=8, schedule=schedule))
    peaks = peak_in_flight(build_schedule(schedule, 4, 8, 1))
    assert peaks.tolist() == ([4, 3, 2, 1] if schedule == "1f1b" else [8] * 4)
    for memory, virtual, in_flight in zip(result.memory, result.plan.stages, peaks, strict=True):
        held = memory.peak["activations"] + memory.peak["logits"]
        assert held == pytest.approx(in_flight * virtual.kept_bytes)


def test_the_peak_is_the_sum_of_its_components() -> None:
    result = simulate(job(Layout(pipeline=2, data=1), micro_batches=4))
    for memory in result.memory:
        assert set(memory.peak) == set(COMPONENTS)
        assert memory.total.max() == pytest.approx(memory.peak_total)
        assert memory.total[-1] == pytest.approx(memory.static.total)


def test_only_the_last_stage_keeps_logits() -> None:
    """A bf16 logit for each of 2,048 words and 1,024 tokens."""
    first, last = simulate(job(Layout(pipeline=2, data=1))).memory
    assert first.peak["logits"] == 0
    assert last.peak["logits"] == 2 * SEQUENCE * MODEL.vocabulary


def test_frame_names_its_units() -> None:
    result = simulate(job(Layout(pipeline=2, data=1)))
    memory, table = result.memory, result.memory_timeline
    assert table.columns.tolist() == ["stage", "time_s", "memory_gib"]
    peaks = table.groupby("stage")["memory_gib"].max() * GIB
    assert peaks.tolist() == pytest.approx([stage.peak_total for stage in memory])
