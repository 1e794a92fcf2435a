"""Perturbed ranks split what they touch, and nothing that folding keeps together differs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from every_rank import every_rank
from hypothesis import given, settings
from hypothesis import strategies as st
from job_samples import job
from strategies import ROOT, TOY, small_jobs

from simulator.api import simulate
from simulator.engine.choice import play
from simulator.engine.events import play_events
from simulator.errors import SimulatorError
from simulator.parallel.gaps import replica_links, without_nodes
from simulator.parallel.layout import Layout, Sharding
from simulator.parallel.ranks import replica_grid
from simulator.parallel.slots import CONTIGUOUS, slots_of
from simulator.program.build import build_program, make_plan
from simulator.program.classes import perturbed, replica_classes
from simulator.program.fold import split
from simulator.program.perturbations import Perturbations
from simulator.program.stretch import GroupTraits, group_durations
from simulator.scenario import load_scenario

if TYPE_CHECKING:
    from simulator.scenario import Scenario

SCENARIOS = ROOT / "scenarios"
FACTORS = st.dictionaries(st.integers(0, 127), st.sampled_from([0.5, 1.0, 1.1, 2.0]), max_size=4)


def within(factors: dict[int, float], ranks: int) -> dict[int, float]:
    """Return the factors with ranks that a smaller job has."""
    return {rank % ranks: factor for rank, factor in factors.items()}


@settings(max_examples=25)
@given(small_jobs(), FACTORS, FACTORS, st.booleans())
def test_folded_is_every_rank_by_itself(
    scenario: Scenario,
    slow: dict[int, float],
    interfaces: dict[int, float],
    loses: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    """Against SimPy with a rank class for every rank."""
    ranks = scenario.accelerators
    perturbations = Perturbations(
        slow_ranks=within(slow, ranks),
        slow_interfaces=within(interfaces, ranks),
        lost_nodes=(0, (ranks - 1) // 16) if loses else (),
    )
    plan = make_plan(scenario)
    program = build_program(plan)
    folded = play(perturbed(program, plan, perturbations))[0]
    unfolded = play_events(every_rank(plan, perturbations))
    assert folded.step_time == pytest.approx(unfolded.step_time, rel=1e-9)


@settings(max_examples=25)
@given(small_jobs(), FACTORS, FACTORS)
def test_every_replica_does_what_its_class_does(
    scenario: Scenario, slow: dict[int, float], interfaces: dict[int, float]
) -> None:
    ranks = scenario.accelerators
    perturbations = Perturbations(
        slow_ranks=within(slow, ranks), slow_interfaces=within(interfaces, ranks)
    )
    plan = make_plan(scenario)
    program = build_program(plan)
    traits = GroupTraits.of(perturbations, plan)
    classes = replica_classes(traits.features())
    folded = play(perturbed(program, plan, perturbations))[0]
    durations = group_durations(program, plan, traits)
    unfolded = play(split(program, durations, np.ones(len(durations))))[0]
    tasks = len(program)
    for replica, group in enumerate(classes.of_replica):
        own, folded_own = (slice(n * tasks, (n + 1) * tasks) for n in (replica, int(group)))
        np.testing.assert_allclose(
            unfolded.end[own], folded.end[folded_own], rtol=1e-9, atol=1e-12 * folded.step_time
        )
    assert folded.program.weight.sum() == pytest.approx(ranks)


STAGES, REPLICAS = 4, 4
CASES = {
    "healthy": ({}, {}, 1),
    "all alike": (dict.fromkeys(range(32), 1.2), {}, 1),
    "one rank": ({5: 1.2}, {}, 2),
    "its tensor peer, too": ({4: 1.1, 5: 1.2}, {}, 2),
    "two replicas, same stage, same factor": ({0: 1.2, 9: 1.2}, {}, 2),
    "two replicas, same stage, two factors": ({0: 1.2, 8: 1.3}, {}, 3),
    "two replicas, two stages": ({0: 1.2, 10: 1.2}, {}, 3),
    "two stages of one replica": ({0: 1.2, 2: 1.2}, {}, 2),
    "accelerator and interface of one rank": ({0: 1.2}, {0: 2.0}, 2),
    "interface only": ({}, {31: 2.0}, 2),
    "every replica another": ({0: 1.1, 8: 1.2, 16: 1.3, 24: 1.4}, {}, 4),
    "all replicas but one alike": ({0: 1.1, 8: 1.1, 16: 1.1}, {}, 2),
}


@pytest.mark.parametrize("name", CASES)
def test_the_number_of_classes_is_minimal(name: str) -> None:
    """Stages times the kinds of pipeline: tensor 2, four stages, four replicas, 32 ranks."""
    slow, interfaces, kinds = CASES[name]
    scenario = job(Layout(tensor=2, pipeline=STAGES, data=REPLICAS))
    given_ = Perturbations(slow_ranks=slow, slow_interfaces=interfaces)
    result = simulate(scenario, perturbations=given_)
    assert result.summary["rank_classes"] == STAGES * kinds
    assert result.played.program.weight.sum() == 32


def test_a_slow_rank_splits_its_own_pipeline_only() -> None:
    """Rank 10 is tensor rank 0 of stage 1 of replica 1; three replicas stay folded."""
    plan = make_plan(job(Layout(tensor=2, pipeline=STAGES, data=REPLICAS)))
    assert replica_grid(plan.scenario.layout)[1, 1].tolist() == [10, 11]
    program = build_program(plan)
    split_program = perturbed(program, plan, Perturbations(slow_ranks={10: 1.5}))
    assert split_program.weight.tolist() == [6.0] * 4 + [2.0] * 4
    tasks = len(program)
    longer = split_program.duration[tasks : 2 * tasks] > program.duration
    assert {*program.rank_class[longer].tolist()} == {1}
    np.testing.assert_array_equal(split_program.duration[:tasks], program.duration)


def test_a_slow_interface_stretches_what_leaves_the_node() -> None:
    """Eight ranks a node: transfers between stages stay inside, gradients cross nodes."""
    layout = Layout(tensor=2, pipeline=4, data=4, sharding=Sharding.OPTIMIZER)
    plan = make_plan(job(layout))
    program = build_program(plan)
    slow = perturbed(program, plan, Perturbations(slow_interfaces={2: 3.0}))
    tasks = len(program)
    names = np.array(program.names)[program.name]
    reduces = (names == "gradient_reduce_scatter") & (program.rank_class == 1)
    assert reduces.any()
    for copy in (slow.duration[:tasks], slow.duration[tasks : 2 * tasks]):
        factor = np.divide(copy, program.duration, out=np.ones(tasks), where=program.duration > 0)
        np.testing.assert_allclose(factor[reduces], 3.0)
        np.testing.assert_allclose(factor[program.peer >= 0], 1.0)
        np.testing.assert_allclose(factor[names == "gradient_norm"], 1.0)


def test_a_slow_interface_stretches_transfers_between_nodes() -> None:
    """Tensor 8 fills a node, so every stage is a node of its own."""
    plan = make_plan(job(Layout(tensor=8, pipeline=2, data=2)))
    program = build_program(plan)
    slow = perturbed(program, plan, Perturbations(slow_interfaces={0: 2.0}))
    tasks = len(program)
    sends = program.peer >= 0
    np.testing.assert_allclose(slow.duration[:tasks][sends], program.duration[sends])
    np.testing.assert_allclose(slow.duration[tasks : 2 * tasks][sends], 2 * program.duration[sends])


@settings(max_examples=15)
@given(small_jobs(), st.integers(0, 127), st.floats(1.0, 3.0))
def test_a_slow_rank_costs_at_most_its_factor(scenario: Scenario, rank: int, factor: float) -> None:
    priced = simulate(scenario).summary["step_time_s"]
    given_ = Perturbations(slow_ranks={rank % scenario.accelerators: factor})
    slow = simulate(scenario, perturbations=given_).summary["step_time_s"]
    assert priced * (1 - 1e-12) <= slow <= priced * factor * (1 + 1e-12)


def test_host_work_does_not_slow_down() -> None:
    """One rank, nothing to wait for: only compute takes twice as long."""
    alone = replace(
        TOY, accelerators=1, layout=Layout(data=1), batch=replace(TOY.batch, global_batch=2)
    )
    before = simulate(alone).summary["breakdown_s"]
    after = simulate(alone, perturbations=Perturbations(slow_ranks={0: 2.0})).summary
    computed = before["compute"] + before["optimizer"]
    extra = after["step_time_s"] - sum(before.values())
    assert extra == pytest.approx(computed, rel=1e-9)


def test_a_lost_node_gives_no_bandwidth_back() -> None:
    """Other jobs keep their share of the links of every replica, moved or not."""
    scenario = load_scenario(SCENARIOS / "llama-70b-1024.yaml")
    busy = replace(scenario, network=replace(scenario.network, background=0.3))
    whole, lost = (
        simulate(busy, perturbations=Perturbations(lost_nodes=nodes)).summary
        for nodes in ((), (3,))
    )
    assert lost["step_time_s"] >= whole["step_time_s"]
    pipeline = [part["breakdown_s"]["exposed_pipeline"] for part in (whole, lost)]
    assert pipeline[1] >= pipeline[0]


def test_lost_nodes_split_the_replicas_whose_links_change() -> None:
    """A rack of two nodes less: pods of 3,072 no longer end where every 24th replica ends.

    Five of 128 replicas then lie across two pods, with stages 0 to 13 in one and the last two in
    the next: one class of pipeline more.
    """
    scenario = load_scenario(SCENARIOS / "llama3-405b-16k-h100.yaml")
    scenario = replace(scenario, cluster=replace(scenario.cluster, largest=20_000))
    priced = simulate(scenario)
    lost = simulate(scenario, perturbations=Perturbations(lost_nodes=(2, 3)))
    allocation = without_nodes(CONTIGUOUS, (3, 2), 16384, scenario.cluster)
    slots = slots_of(allocation, 16384, scenario.cluster)
    assert slots[[15, 16, 16383]].tolist() == [15, 32, 16399]
    links = replica_links(scenario.layout, scenario.cluster, slots, scenario.network)
    usual = priced.plan.placement.stage_links
    farther = {
        replica: [stage for stage in range(15) if own[stage].tier > usual[stage].tier]
        for replica, own in enumerate(links)
    }
    changed = {replica: stages for replica, stages in farther.items() if stages}
    assert changed == {replica: [13] for replica in range(23, 128, 24)}
    assert lost.summary["rank_classes"] == 32
    assert lost.played.program.weight[[0, 16]].tolist() == [123 * 8, 5 * 8]
    assert lost.summary["step_time_s"] > priced.summary["step_time_s"]


def test_lost_nodes_out_of_range_are_refused() -> None:
    for node, message in ((-1, "lost node -1"), (9, "would fill nodes 0 to 0")):
        with pytest.raises(SimulatorError, match=message):
            simulate(TOY, perturbations=Perturbations(lost_nodes=(node,)))
    full = replace(TOY, cluster=replace(TOY.cluster, largest=8))
    with pytest.raises(SimulatorError, match=r"4 ranks need 1 nodes, but .* has 0 left"):
        simulate(full, perturbations=Perturbations(lost_nodes=(0,)))


@pytest.mark.parametrize(
    ("perturbations", "message"),
    [
        (Perturbations(slow_ranks={4: 1.2}), "slow rank 4: the job has ranks 0 to 3"),
        (Perturbations(slow_ranks={-1: 1.2}), "slow rank -1"),
        (Perturbations(slow_ranks={0: 0.0}), "factor is 0"),
        (Perturbations(slow_interfaces={0: float("nan")}), "slow interface 0: its factor is nan"),
    ],
)
def test_ranks_and_factors_out_of_range_are_refused(
    perturbations: Perturbations, message: str
) -> None:
    with pytest.raises(SimulatorError, match=message):
        simulate(TOY, perturbations=perturbations)
