"""A search plays what the engine plays: same step time, same memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from search_samples import SMALL, scenario

from simulator.parallel.stages import Chunk
from simulator.schedule.actions import Kind
from simulator.search import kernels
from simulator.search.candidates import Candidate, candidates, scenario_of
from simulator.search.evaluate import MARGIN, Evaluator
from simulator.search.pipeline import PipelineKey, Split, pipeline_of
from simulator.search.replay import evaluate_by_engine, summary_of
from simulator.units import GIB

machine = kernels.compiled()
pytestmark = pytest.mark.skipif(machine is None, reason="numba is not installed")

ROOMY = "cluster.accelerator.memory_gb=1000000"
SWITCHES = {
    "as shipped": SMALL,
    "chunks at their ends": ("four-stages",),
    "blocking transfers": (
        *SMALL,
        "software.pipeline_transfer=blocking",
        "software.pass_overhead_us=500",
        "software.recompute_overhead_us=3000",
    ),
    "nothing overlapped": (
        *SMALL,
        "software.gradient_reduce_overlap=false",
        "software.parameter_gather_overlap=false",
    ),
    "overlapped, taking multiprocessors": (
        *SMALL,
        "software.gradient_reduce_overlap=true",
        "software.parameter_gather_overlap=true",
        "software.communication_multiprocessors=20",
    ),
    "gathers alone": (
        *SMALL,
        "software.gradient_reduce_overlap=false",
        "software.parameter_gather_overlap=true",
    ),
    "no norm, tied embedding": (
        *SMALL,
        "software.gradient_norm=false",
        "model.tied_embeddings=true",
    ),
    "norm, tied embedding, late ranks": (
        *SMALL,
        "model.tied_embeddings=true",
        "software.arrival_jitter=0.05",
        "software.deallocate_pipeline_outputs=false",
    ),
    "every second layer, head": (*SMALL, "recompute={mode: full, head: true}"),
    "scattered sends": ("gpt3-175b-1k-a100", "software.pipeline_scatter_gather=true"),
    "routing": (
        *SMALL,
        "network={routing: ecmp, flows_per_pair: 4, background: 0.1}",
    ),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_step_time_and_memory_are_those_of_a_simulation(name: str) -> None:
    """Twelve layouts of each stack, all of them played."""
    assert machine is not None
    base = scenario(*SWITCHES[name], ROOMY, "space={recompute_every: [1, 2]}")
    rows = candidates(base)
    small = rows[rows["pipeline"] * rows["micro_batches"] * rows["virtual_stages"] < 2000]
    random = np.random.default_rng(7)
    chosen = small[np.sort(random.choice(len(small), 12, replace=False))]
    results = Evaluator(base, machine).evaluate(chosen)
    assert np.count_nonzero(np.isfinite(results["step_time"])) == 12
    for row, result in zip(chosen.tolist(), results, strict=True):
        summary = summary_of(base, Candidate(*row))
        stages = [stage["total"] for stage in summary["memory_gib"]["stages"]]
        assert result["peak_memory"] / GIB == pytest.approx(max(stages), rel=1e-9)
        assert stages[result["peak_stage"]] == pytest.approx(max(stages), rel=1e-9)
        assert result["step_time"] == pytest.approx(summary["step_time_s"], rel=1e-9)


def test_results_do_not_depend_on_company() -> None:
    """A layout has the same result alone as among others, whatever was priced before."""
    assert machine is not None
    base = scenario(*SMALL)
    rows = candidates(base)[::7]
    together = Evaluator(base, machine).evaluate(rows)
    backwards = Evaluator(base, machine)
    for at in range(len(rows) - 1, 0, -97):
        alone = backwards.evaluate(rows[at : at + 1])
        assert alone.tobytes() == together[at : at + 1].tobytes()


def test_layouts_far_from_fitting_are_not_played() -> None:
    assert machine is not None
    base = scenario("llama3-405b-16k-h100")
    rows = candidates(base)[::200]
    results = Evaluator(base, machine).evaluate(rows)
    most = (1 + MARGIN) * base.cluster.accelerator.memory
    assert np.array_equal(np.isnan(results["step_time"]), results["peak_memory"] > most)
    assert 0 < np.count_nonzero(np.isnan(results["step_time"])) < len(rows)


def test_the_engine_gives_the_same_table() -> None:
    assert machine is not None
    base = scenario("llama-8b-8-h100", ROOMY, "batch.global_batch=32")
    rows = candidates(base)[::150]
    fast, slow = Evaluator(base, machine).evaluate(rows), evaluate_by_engine(base, rows)
    np.testing.assert_allclose(fast["step_time"], slow["step_time"], rtol=1e-9)
    np.testing.assert_allclose(fast["peak_memory"], slow["peak_memory"], rtol=1e-9)
    assert np.array_equal(fast["peak_stage"], slow["peak_stage"])


def test_explicit_layers_are_kept_where_they_fit() -> None:
    assert machine is not None
    base = scenario("four-stages")
    split = (base.model.layers // base.layout.chunks,) * base.layout.chunks
    uneven = (split[0] + 1, *split[1:-1], split[-1] - 1)
    base = replace(base, layout=replace(base.layout, layers=uneven))
    rows = candidates(base)
    own = rows[
        (rows["pipeline"] == base.layout.pipeline)
        & (rows["virtual_stages"] == base.layout.virtual_stages)
    ][:3]
    for row, result in zip(own.tolist(), Evaluator(base, machine).evaluate(own), strict=True):
        assert scenario_of(base, Candidate(*row)).layout.layers == uneven
        summary = summary_of(base, Candidate(*row))
        assert result["step_time"] == pytest.approx(summary["step_time_s"], rel=1e-9)


def test_in_flight_micro_batches_of_1f1b() -> None:
    """Stage s of p holds at most p - s micro-batches (Narayanan et al. 2021, section 2.2.1)."""
    assert machine is not None
    pipeline = pipeline_of(PipelineKey("1f1b", 4, 8, 1), machine)
    most = [pipeline.moment_counts[pipeline.moment_stage == stage].max() for stage in range(4)]
    assert most == [4, 3, 2, 1]
    assert pipeline.kinds == (Kind.FORWARD, Kind.BACKWARD)
    assert len(pipeline.stage) == 2 * 4 * 8


def test_gpipe_holds_every_micro_batch() -> None:
    assert machine is not None
    pipeline = pipeline_of(PipelineKey("gpipe", 2, 6, 1), machine)
    assert pipeline.moment_counts.max() == 6


def test_one_stage_sends_nothing() -> None:
    assert machine is not None
    assert (pipeline_of(PipelineKey("1f1b", 1, 4, 1), machine).link == -1).all()


def test_a_circle_is_noticed() -> None:
    """Two actions that need each other's output never play."""
    assert machine is not None
    first, needed = np.array([0, 1, 2]), np.array([1, 0])
    order = np.empty(2, dtype=np.int64)
    source, output = np.empty(2, dtype=np.int32), np.empty(2, dtype=np.int32)
    assert machine.order_actions(first, needed, needed, order, source, output) == (0, 0)


def test_types_of_virtual_stages() -> None:
    split = Split.of((0, 2, 2, 1), every=2)
    assert split.types == (
        Chunk(first_layer=0, layers=0, embedding=True, head=False),
        Chunk(first_layer=0, layers=2, embedding=False, head=False),
        Chunk(first_layer=0, layers=1, embedding=False, head=True),
    )
    assert split.type_of.tolist() == [0, 1, 1, 2]
