"""Which links the transfers of a step use, and what meeting on them costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from job_samples import job

from simulator import load_scenario, simulate
from simulator.hardware.scale_up import port_bandwidth
from simulator.operators import Axis
from simulator.parallel.layout import Layout, Sharding
from simulator.parallel.network import Network, Sharing
from simulator.program.build import build_program, make_plan
from simulator.program.tasks import SpanKind

if TYPE_CHECKING:
    from simulator.program.tasks import Program
    from simulator.scenario import Scenario

FAIR = Network(sharing=Sharing.FAIR)
LLAMA = Path(__file__).parents[2] / "scenarios" / "llama3-405b-16k-h100.yaml"


def across(network: Network = FAIR, **layout: object) -> Scenario:
    """Return a job whose tensor group fills a node: all else goes over the network."""
    degrees = {"tensor": 8, "pipeline": 2, "data": 2, "sharding": Sharding.OPTIMIZER, **layout}
    return replace(job(Layout(**degrees)), network=network)  # type: ignore[arg-type]


def program_of(scenario: Scenario) -> Program:
    return build_program(make_plan(scenario))


def links_of(program: Program, kind: SpanKind, stage: int) -> dict[tuple[str, int], float]:
    """Return the bytes on each (link, stage) by the first task of a kind on a stage."""
    task = int(np.flatnonzero((program.kind == kind) & (program.rank_class == stage))[0])
    links = program.links
    entries = range(links.offsets[task], links.offsets[task + 1])
    return {
        (links.names[links.name[link]], int(links.rank_class[link])): float(links.n_bytes[entry])
        for entry in entries
        for link in [links.used[entry]]
    }


def test_without_sharing_there_are_no_links() -> None:
    program = program_of(across(Network()))
    assert len(program.links) == 0
    assert not program.clock_dependent


def test_a_send_leaves_by_its_stage_and_arrives_at_the_next() -> None:
    scenario = across()
    program = program_of(scenario)
    message = scenario.batch.sequence_length * scenario.model.hidden * 2
    used = links_of(program, SpanKind.PIPELINE, 0)
    assert used == pytest.approx({("nic_out", 0): message, ("nic_in", 1): message})
    back = links_of(program, SpanKind.PIPELINE, 1)
    assert set(back) == {("nic_out", 1), ("nic_in", 0)}


def test_a_data_parallel_ring_sends_as_much_as_it_receives() -> None:
    """Half of the gradients or parameters go to the other replica: (n - 1) / n."""
    program = program_of(across())
    task = np.flatnonzero(program.kind == SpanKind.DATA)[0]
    used = links_of(program, SpanKind.DATA, 0)
    half = program.n_bytes[task] / 2
    assert used == pytest.approx({("nic_out", 0): half, ("nic_in", 0): half})


def test_inside_a_node_transfers_use_the_port() -> None:
    """Four ranks of one node: no byte on the network."""
    used = links_of(program_of(across(tensor=1)), SpanKind.PIPELINE, 0)
    assert set(used) == {("port_out", 0), ("port_in", 1)}


def test_capacities_are_what_one_rank_reaches() -> None:
    scenario = across(replace(FAIR, background=0.5))
    cluster, links = scenario.cluster, program_of(scenario).links
    capacity = {
        name: links.capacity[links.name == links.names.index(name)].tolist()
        for name in ("nic_out", "port_in")
    }
    reached = cluster.nic_bandwidth * cluster.fabric.efficiency / 2
    assert capacity["nic_out"] == pytest.approx([reached] * 2)
    assert capacity["port_in"] == pytest.approx([port_bandwidth(cluster.node)] * 2)


def test_every_data_parallel_byte_is_on_a_link() -> None:
    """Bytes of all flows, by hand: gathers and reductions of every parameter, and the norm."""
    scenario = across()
    plan = make_plan(scenario)
    program = build_program(plan)
    links, software = program.links, scenario.software
    sent = np.flatnonzero(links.name == links.names.index("nic_out"))
    data = program.kind[links.tasks] == SpanKind.DATA
    for stage in range(2):
        out = sent[links.rank_class[sent] == stage]
        moved = links.n_bytes[data & np.isin(links.used, out)].sum()
        width = (
            software.gradient_reduce_precision.n_bytes + software.parameter_gather_precision.n_bytes
        )
        assert moved == pytest.approx(plan.parameters(stage) * width / 2, rel=1e-3)


def test_context_parallel_traffic_is_no_flow() -> None:
    program = program_of(across(tensor=1, context=2))
    assert SpanKind.CONTEXT not in program.kind[np.diff(program.links.offsets) > 0]
    assert Axis.CONTEXT in make_plan(across(tensor=1, context=2)).placement.collectives


def test_a_step_pays_for_its_contention() -> None:
    """Gathers, reductions and hand-overs of Llama 3 meet on one interface of 400 Gbit/s."""
    alone = simulate(load_scenario(LLAMA)).summary
    shared = simulate(load_scenario(LLAMA, overrides=["network.sharing=fair"])).summary
    assert alone["transfers"] == {}
    assert alone["links"] == []
    assert 1.005 < shared["step_time_s"] / alone["step_time_s"] < 1.03
    for kind in ("pipeline", "data"):
        told = shared["transfers"][kind]
        assert 1.01 < told["slowdown"] < 1.1
        assert told["slowdown"] == pytest.approx(told["shared_s"] / told["alone_s"])
    use = {row["link"]: row for row in shared["links"]}
    assert use["nic_out"]["mean_use"] == pytest.approx(use["nic_in"]["mean_use"])
    assert 0 < use["nic_out"]["mean_use"] <= use["nic_out"]["highest_use"] < 1


def test_link_use_is_bytes_over_capacity() -> None:
    """Every stage's bytes over what its interface carries in the step, by hand."""
    trace = simulate(across()).played
    links = trace.program.links
    link = links.names.index("nic_out")
    number = int(np.flatnonzero(links.name == link)[0])
    moved = links.n_bytes[links.used == number].sum()
    expected = moved / links.capacity[number] / trace.step_time
    assert trace.link_use[number] == pytest.approx(expected)


def test_a_slower_network_costs_as_much_as_one_half_taken() -> None:
    """Half of the bandwidth: by the interface, or by other jobs."""
    taken = load_scenario(LLAMA, overrides=["network={sharing: fair, background: 0.5}"])
    slower = load_scenario(
        LLAMA, overrides=["network.sharing=fair", "cluster.fabric.nic_gbit_per_s=200"]
    )
    steps = [simulate(scenario).summary["step_time_s"] for scenario in (taken, slower)]
    assert steps[0] == pytest.approx(steps[1], rel=1e-9)


def test_the_summary_says_what_is_assumed() -> None:
    notes = simulate(across(Network())).summary["assumptions"]
    assert any("network.sharing: none" in note for note in notes)
    notes = simulate(across(replace(FAIR, background=0.25))).summary["assumptions"]
    assert any("Other jobs take 25%" in note for note in notes)
    assert not any("network.sharing: none" in note for note in notes)


def test_what_routing_takes_is_said_by_axis() -> None:
    """Llama 3's gradients and hand-overs leave their leaves, its tensor groups do not."""
    notes = simulate(load_scenario(LLAMA, overrides=["network.routing=adaptive"])).summary[
        "assumptions"
    ]
    told = [note.split()[6] for note in notes if note.startswith("Routing leaves")]
    assert told == ["data+context", "pipeline"]
    assert all("95%" in note for note in notes if note.startswith("Routing leaves"))
