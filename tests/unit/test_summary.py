"""The summary's numbers by hand from the trace's step time."""

from __future__ import annotations

import json
from dataclasses import replace
from math import fsum
from typing import TYPE_CHECKING, Any

import pytest
from job_samples import MODEL, SEQUENCE, job

from simulator.api import simulate
from simulator.errors import SimulatorError
from simulator.metrics import summary as summary_module
from simulator.metrics.breakdown import NAMES, Breakdown
from simulator.metrics.summary import recomputed_flops_per_token, summarise
from simulator.parallel.blocks import Recomputation, Recompute
from simulator.parallel.layout import Layout, Sharding
from simulator.parallel.network import Network
from simulator.parallel.slots import Allocation, NodeChoice
from simulator.workload.flops import Convention, forward_flops_per_token, model_flops_per_token

if TYPE_CHECKING:
    from simulator.api import Result
    from simulator.engine.trace import Trace

LAYOUT = Layout(tensor=2, sequence_parallel=True, pipeline=2, data=2, sharding=Sharding.OPTIMIZER)


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(job(LAYOUT, micro_batches=4))


def test_it_is_plain_data(result: Result) -> None:
    assert json.loads(json.dumps(result.summary)) == result.summary
    assert result.summary["schema_version"] == 1


def test_rates_follow_from_the_step_time(result: Result) -> None:
    """8 sequences of 1,024 tokens on 8 accelerators."""
    summary, seconds = result.summary, result.played.step_time
    assert summary["step_time_s"] == seconds
    assert summary["tokens_per_step"] == 8 * SEQUENCE
    assert summary["tokens_per_s"] == pytest.approx(8 * SEQUENCE / seconds)
    assert summary["tokens_per_s_per_accelerator"] == pytest.approx(SEQUENCE / seconds)


@pytest.mark.parametrize("convention", list(Convention))
def test_mfu_is_model_flops_over_peak(result: Result, convention: Convention) -> None:
    """989.4 TFLOP/s: the dense bf16 peak of an H100 SXM (data sheet)."""
    summary = result.summary
    per_token = model_flops_per_token(MODEL, SEQUENCE, convention)
    rate = per_token * SEQUENCE / result.played.step_time
    assert summary["model_flop_per_token"][convention.value] == per_token
    assert summary["tflop_per_s_per_accelerator"][convention.value] == pytest.approx(rate / 1e12)
    assert summary["mfu"][convention.value] == pytest.approx(rate / 989.4e12, rel=1e-3)
    assert summary["hfu"][convention.value] == summary["mfu"][convention.value]


@pytest.mark.parametrize(
    ("recompute", "layers", "linear"),
    [
        (Recompute(), 0, False),
        (Recompute(mode=Recomputation.SELECTIVE), 8, False),
        (Recompute(mode=Recomputation.FULL), 8, True),
        (Recompute(mode=Recomputation.FULL, every=4), 2, True),
    ],
)
def test_hfu_adds_what_is_recomputed(recompute: Recompute, layers: int, linear: bool) -> None:  # noqa: FBT001 - a parametrised case
    scenario = replace(job(Layout(data=1)), recompute=recompute)
    forward = forward_flops_per_token(MODEL, SEQUENCE, causal=True)
    expected = layers * (forward.layer_attention + (forward.layer_linear if linear else 0))
    again = recomputed_flops_per_token(scenario, causal=True)
    assert again == pytest.approx(expected)
    summary = simulate(scenario).summary
    model = summary["model_flop_per_token"]["causal"]
    ratio = summary["hfu"]["causal"] / summary["mfu"]["causal"]
    assert ratio == pytest.approx((model + again) / model)


def test_the_breakdown_adds_up_exactly(result: Result) -> None:
    seconds = result.summary["breakdown_s"]
    assert tuple(seconds) == NAMES
    assert fsum(seconds.values()) == pytest.approx(result.summary["step_time_s"], rel=1e-15)
    assert min(seconds.values()) >= 0


def test_a_breakdown_that_misses_is_never_rounded_away(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(trace: Trace) -> Breakdown:
        mean = dict.fromkeys(NAMES, 0.0) | {"compute": 0.9 * trace.step_time}
        return Breakdown(by_class=(mean,), mean=mean)

    monkeypatch.setattr(summary_module, "break_down", short)
    with pytest.raises(SimulatorError, match="the breakdown misses the step time by"):
        summarise(result.played, result.plan, result.memory, "simpy")


def test_bubble_stands_beside_the_ideal(result: Result) -> None:
    summary = result.summary
    assert summary["bubble_fraction_ideal"] == pytest.approx(1 / 5)
    bubble = summary["breakdown_s"]["bubble"] / summary["step_time_s"]
    assert summary["bubble_fraction"] == pytest.approx(bubble)


def test_what_was_simulated_is_written_down(result: Result) -> None:
    summary = result.summary
    assert summary["layout"]["tensor"] == 2
    assert summary["layout"]["layers"] == [4, 4]
    assert summary["batch"] == {
        "global_batch": 8,
        "micro_batch": 1,
        "micro_batches": 4,
        "sequence_length": SEQUENCE,
    }
    assert (summary["engine"], summary["accelerators"]) == ("compiled", 8)
    assert summary["tasks"] == len(result.played.program)


def test_memory_per_stage_and_whether_it_fits(result: Result) -> None:
    memory = result.summary["memory_gib"]
    assert memory["peak"] == max(stage["total"] for stage in memory["stages"])
    assert result.summary["fits"] is (memory["peak"] <= memory["capacity"])
    for stage in memory["stages"]:
        parts = [value for key, value in stage.items() if key not in ("stage", "total")]
        assert fsum(parts) == pytest.approx(stage["total"])


def _axes(summary: dict[str, Any]) -> dict[str, int]:
    return {group["axis"]: group["ranks"] for group in summary["groups"]}


def test_groups_that_communicate_are_listed(result: Result) -> None:
    assert _axes(result.summary) == {"tensor": 2, "data+context": 2, "pipeline": 2}
    assert _axes(simulate(job(Layout(data=1))).summary) == {}


def test_groups_say_how_fast_they_are(result: Result) -> None:
    """A hand-over of 1,024 tokens of 1,024 in bf16, split by the tensor group: 1 MiB to a peer."""
    groups = {group["axis"]: group for group in result.summary["groups"]}
    node = result.scenario.cluster.node
    hand_over = groups["pipeline"]
    assert hand_over["collective"] == "send_recv"
    message = SEQUENCE * MODEL.hidden * 2 / 2
    assert hand_over["message_mib"] == message / 2**20
    seconds = node.pair_latency + message / node.pair_bandwidth
    assert hand_over["message_time_us"] == pytest.approx(seconds * 1e6)
    assert hand_over["bus_bandwidth_gb_per_s"] == pytest.approx(message / seconds / 1e9)
    assert hand_over["latency_us"] == pytest.approx(node.pair_latency * 1e6, rel=1e-3)
    assert groups["data+context"]["collective"] == "reduce_scatter"
    assert groups["tensor"]["message_mib"] == SEQUENCE * MODEL.hidden * 2 / 2**20
    for group in groups.values():
        assert group["latency_us"] < group["message_time_us"]
        assert group["bus_bandwidth_gb_per_s"] < group["line_rate_gb_per_s"]


def test_scattered_nodes_are_slower_and_a_lost_one_is_skipped() -> None:
    """64 ranks in eight nodes are under one leaf unless these are scattered over the cluster."""
    wide = job(Layout(tensor=2, pipeline=8, data=4), micro_batches=8)
    seconds = []
    for choice, seed in ((NodeChoice.CONTIGUOUS, None), (NodeChoice.SCATTERED, 3)):
        allocation = Allocation(nodes=choice, seed=seed)
        summary = simulate(replace(wide, placement=allocation)).summary
        assert summary["placement"] == {"nodes": choice.value, "seed": seed, "lost_nodes": []}
        seconds.append(summary["step_time_s"])
    assert seconds[0] < seconds[1]
    skipped = replace(job(LAYOUT), placement=Allocation(lost_nodes=(0,)))
    assert simulate(skipped).summary["step_time_s"] == simulate(job(LAYOUT)).summary["step_time_s"]


def test_assumptions_name_what_this_job_simplifies(result: Result) -> None:
    assert [note for note in result.summary["assumptions"] if "stragglers" in note]
    uneven = simulate(job(Layout(pipeline=3, data=1), micro_batches=3)).summary
    assert [note for note in uneven["assumptions"] if "Layers do not divide" in note]


def test_spread_ranks_keep_the_assumptions_about_the_network() -> None:
    plain = job(LAYOUT)
    software = replace(plain.software, step_jitter=0.02)
    busy = replace(plain, software=software, network=Network(background=0.25))
    notes = simulate(busy).summary["assumptions"]
    assert [note for note in notes if "spread by 2 % of the step" in note]
    assert [note for note in notes if "Other jobs take 25%" in note]
    assert not [note for note in notes if "No other job" in note or "No background" in note]
