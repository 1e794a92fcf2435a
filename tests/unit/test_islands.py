"""Training across islands: what is exchanged when, and what it holds up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import load_scenario, simulate
from simulator.engine.events import play_events
from simulator.errors import DocumentError, ScenarioError
from simulator.metrics.islands import GRID, IslandTraining, required_gbit_per_s
from simulator.parallel.islands import FragmentOrder, Islands, Method, Synchronisation
from simulator.program import islands as islands_program
from simulator.program.build import build_by_block, build_program, make_plan
from simulator.program.inner_step import equal_layers, inner_step
from simulator.program.islands import Calendar, calendar
from simulator.units import GBIT_PER_S
from simulator.validation.islands import read_rows

if TYPE_CHECKING:
    from simulator.program.inner_step import InnerStep

SCENARIOS = Path(__file__).parents[2] / "scenarios"
ACROSS = SCENARIOS / "llama-8b-2-islands.yaml"
SYNC_KEY, FRAGMENT = "synchronisation", "layers_per_fragment: 3"
SYNC = f"islands.{SYNC_KEY}"
STREAMING = Method.STREAMING_DILOCO


def islands(
    method: Method = Method.DATA_PARALLEL,
    *,
    link: float = 1.0,
    latency: float = 0.0,
    count: int = 2,
    inner_steps: int = 1,
    bits: float = 8.0,
    layers_per_fragment: int | None = None,
    overlap_steps: int = 0,
) -> Islands:
    """Two islands on a link of 1 B/s that send a byte per parameter, unless told otherwise."""
    return Islands(
        count=count,
        link=link,
        latency=latency,
        synchronisation=Synchronisation(
            method=method,
            bits_per_parameter=bits,
            inner_steps=inner_steps,
            layers_per_fragment=layers_per_fragment,
            overlap_steps=overlap_steps,
        ),
    )


def test_a_ring_sends_its_bytes_and_travels_twice() -> None:
    """Four islands: 2 x 3/4 of 2 B; 2 x 3 hops of 5 ms."""
    four = islands(count=4, bits=16.0, latency=5e-3)
    assert four.sent_bytes_per_parameter == 3.0
    assert four.ring_latency == pytest.approx(30e-3)


def test_fragments() -> None:
    strided = islands(STREAMING, inner_steps=9, layers_per_fragment=3).synchronisation
    assert strided.fragments(7) == ((0, 3, 6), (1, 4), (2, 5))
    sequential = Synchronisation(
        method=STREAMING,
        bits_per_parameter=16.0,
        inner_steps=9,
        layers_per_fragment=3,
        order=FragmentOrder.SEQUENTIAL,
    )
    assert sequential.fragments(7) == ((0, 1, 2), (3, 4, 5), (6,))


def test_streaming_spreads_fragments_over_the_period() -> None:
    """24 layers by three and an empty ninth fragment: one every 100 // 9 = 11 steps."""
    sync = islands(STREAMING, inner_steps=100, layers_per_fragment=3, overlap_steps=1)
    found = calendar(equal_layers(24, 1e9, 0.1), sync.synchronisation)
    assert found.period == 100
    assert list(found.released) == [11 * at for at in range(8)]
    assert found.released[11].tolist() == [1, 9, 17]
    assert found.delay == 2


@pytest.mark.parametrize(
    ("exchange", "latency", "expected"),
    [
        pytest.param(1.5, 0.0, 7.0, id="the link is busy: 4 + 1.5 + 1.5"),
        pytest.param(0.4, 0.0, 5.4, id="only the last exchange is exposed: 5 + 0.4"),
        pytest.param(0.4, 0.5, 6.4, id="latency: 5 + 0.4 + 2 x 0.5"),
        pytest.param(1.5, 0.5, 8.0, id="latency does not occupy the link"),
    ],
)
def test_two_layers_by_hand(exchange: float, latency: float, expected: float) -> None:
    """F1 F2 I2 W2 W1 of 1 s each: gradients are there at 4 s and 5 s."""
    step = equal_layers(2, 2 * exchange, 5.0)
    assert play_events(step.program).end.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    training = IslandTraining(step, islands(latency=latency))
    assert training.step_time() == pytest.approx(expected)
    assert training.utilisation() == pytest.approx(5.0 / expected)


@pytest.mark.parametrize("inner_steps", [1, 3, 50])
def test_without_overlap_it_is_the_closed_form(inner_steps: int) -> None:
    """One layer leaves nothing to overlap: compute + (2N/W (1 - 1/M) + e) / H.

    Charles et al. 2025, arXiv 2503.09799, appendix A.2, outer synchronisation between data
    centres; with one chip in each, their R chips are the M islands.
    """
    step_time, parameters, link, latency, count = 2.0, 40.0, 8.0, 0.25, 4
    across = islands(
        Method.DILOCO,
        link=link,
        latency=latency,
        count=count,
        inner_steps=inner_steps,
        bits=16.0,
    )
    training = IslandTraining(equal_layers(1, parameters, step_time), across)
    exchange = 2 * (2 * parameters) / link * (1 - 1 / count) + 2 * (count - 1) * latency
    assert training.step_time() == pytest.approx(step_time + exchange / inner_steps, rel=1e-12)


def test_a_link_that_falls_behind_slowly_sets_the_pace_in_the_end() -> None:
    """Four fragments of 2.505 s every ten steps of 1 s: seven steps of overlap hide it at first."""
    across = islands(
        STREAMING, inner_steps=10, layers_per_fragment=1, overlap_steps=7, link=1.0, bits=8.0
    )
    training = IslandTraining(equal_layers(4, 4 * 2.505, 1.0), across)
    assert training.step_time() == pytest.approx(1.002, rel=1e-9)


@given(
    layers=st.integers(1, 6),
    parameters=st.floats(0.1, 100),
    method=st.sampled_from(Method),
    link=st.floats(0.05, 20),
    overlap=st.integers(0, 2),
)
def test_bounds_and_monotony(
    layers: int, parameters: float, method: Method, link: float, overlap: int
) -> None:
    """Never faster than alone nor slower than one after another; more bandwidth never hurts."""
    data_parallel = method is Method.DATA_PARALLEL
    across = islands(
        method,
        link=link,
        inner_steps=1 if data_parallel else 12,
        layers_per_fragment=2 if method is STREAMING else None,
        overlap_steps=0 if data_parallel else overlap,
    )
    training = IslandTraining(equal_layers(layers, parameters, 3.0), across)
    step_time = training.step_time()
    serial = 3.0 + training.exchanged_bytes / link
    assert 3.0 * (1 - 1e-9) <= step_time <= serial * (1 + 1e-9)
    assert training.step_time(2 * link) <= step_time * (1 + 1e-9)


def test_quiet_steps_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps played as time alone give the same as the same steps spelt out task by task."""
    scenario = load_scenario(ACROSS)
    assert scenario.islands is not None
    step = inner_step(make_plan(scenario))
    slow = islands(STREAMING, link=GBIT_PER_S / 10, inner_steps=40, layers_per_fragment=8)
    folded = IslandTraining(step, slow).step_time()

    # Awaiting nothing is awaiting, too: every step but the first is played in full.
    def spelt_out(inner: InnerStep, sync: Synchronisation) -> Calendar:
        found = calendar(inner, sync)
        nothing = {at: np.zeros(0, dtype=np.int64) for at in range(found.period)}
        return Calendar(found.period, nothing | dict(found.released), found.delay)

    monkeypatch.setattr(islands_program, "calendar", spelt_out)
    spelt = IslandTraining(step, slow).step_time()
    assert folded > 1.05 * IslandTraining(step, slow).inner_step_time
    assert folded == pytest.approx(spelt, rel=1e-12)


@pytest.mark.parametrize("name", ["four-stages", "llama-8b-8-h100", "llama-13b-64-a100"])
def test_a_step_by_blocks_takes_as_long(name: str) -> None:
    plan = make_plan(load_scenario(SCENARIOS / f"{name}.yaml"))
    whole = play_events(build_program(plan)).step_time
    assert play_events(build_by_block(plan).program).step_time == pytest.approx(whole, rel=1e-12)


def test_every_block_is_exchanged_once() -> None:
    """Four pipeline stages of the toy: embedding, 16 layers, head; what the ranks hold."""
    plan = make_plan(load_scenario(SCENARIOS / "four-stages.yaml"))
    step = inner_step(plan)
    assert step.layer.tolist() == [-1, *range(16), -1]
    assert step.parameters.sum() == sum(plan.parameters(stage) for stage in range(4))
    stages = step.program.rank_class[step.reads]
    assert stages.tolist() == [0] * 5 + [1] * 4 + [2] * 4 + [3] * 5
    assert np.all(step.program.rank_class[step.updated] == stages)
    assert np.all(step.program.rank_class[step.gradient] == stages)


def test_a_fast_link_leaves_only_the_outer_step() -> None:
    summary = simulate(load_scenario(ACROSS, overrides=["islands.link_gbit_per_s=1000000"])).summary
    across = summary["islands"]
    assert across["inner_step_time_s"] == pytest.approx(summary["step_time_s"], rel=1e-12)
    waits = across["mean_step_time_s"] - across["inner_step_time_s"]
    assert waits == pytest.approx(across["outer_step_s"] / 100, rel=1e-6)


def test_data_parallel_sends_every_gradient_every_step() -> None:
    scenario = load_scenario(
        ACROSS,
        overrides=[
            "islands.synchronisation={method: data_parallel, bits_per_parameter: 16}",
            "islands.link_gbit_per_s=20",
            "islands.latency_ms=0",
        ],
    )
    summary = simulate(scenario).summary
    across, sent = summary["islands"], 2e-9 * summary["parameters"]
    # Each of the tensor ranks holds and sends the norms.
    assert across["exchanged_gb_per_step"] == pytest.approx(sent, rel=1e-3)
    # Sending takes 6.4 s of which the last backward pass hides what it can.
    sending = across["exchanged_gb_per_step"] / 2.5
    assert sending < across["mean_step_time_s"] < sending + across["inner_step_time_s"]
    assert across["outer_step_s"] == 0.0
    assert across["outer_state_gib"] == 0.0


def test_bandwidth_needed_is_the_first_that_suffices() -> None:
    training = IslandTraining(equal_layers(4, 1e9, 1.0), islands(bits=16.0))
    needed = required_gbit_per_s(training)
    assert list(needed) == ["50", "80", "90", "95", "99"]
    for percent, gbit_per_s in needed.items():
        assert gbit_per_s is not None
        at = int(np.argmin(np.abs(GRID - gbit_per_s * GBIT_PER_S)))
        assert training.utilisation(float(GRID[at])) >= float(percent) / 100
        assert training.utilisation(float(GRID[at - 1])) < float(percent) / 100


def test_latency_can_put_a_utilisation_out_of_reach() -> None:
    """A second of latency after every step of a second: no bandwidth gives 80 %."""
    training = IslandTraining(equal_layers(4, 1e9, 1.0), islands(latency=0.5, bits=16.0))
    assert required_gbit_per_s(training, utilisations=(0.4, 0.8))["80"] is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("islands.count=1", "islands.count: must be at least 2"),
        ("islands.synchronisation.overlap_steps=100", "must be below inner_steps 100, got 100"),
        ("islands.synchronisation.inner_steps=8", "11 fragments and that of embedding and head"),
        (
            f"{SYNC}={{method: diloco, inner_steps: 9, bits_per_parameter: 4, {FRAGMENT}}}",
            "streaming_diloco needs it, the other methods take none",
        ),
        (
            f"{SYNC}={{method: data_parallel, inner_steps: 9, bits_per_parameter: 4}}",
            "data_parallel exchanges every step, got 9",
        ),
        (
            f"{SYNC}={{method: data_parallel, overlap_steps: 1, bits_per_parameter: 4}}",
            "data_parallel applies the gradients of the step itself",
        ),
        ("islands.synchronisation={method: diloco}", "bits_per_parameter"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario(ACROSS, overrides=[override])


def test_fragments_of_a_network_are_counted_in_blocks() -> None:
    """ResNet-50 has 107 weights and norms: 27 fragments of four, each at a step of its own."""
    streaming = "method: streaming_diloco, layers_per_fragment: 4, bits_per_parameter: 4"
    link = "count: 2, link_gbit_per_s: 1, latency_ms: 0"

    def overrides(inner_steps: int) -> list[str]:
        return [f"islands={{{link}, {SYNC_KEY}: {{{streaming}, inner_steps: {inner_steps}}}}}"]

    resnet = SCENARIOS / "resnet50-256-p100.yaml"
    with pytest.raises(ScenarioError, match="27 fragments and that of embedding and head"):
        load_scenario(resnet, overrides=overrides(27))
    scenario = load_scenario(resnet, overrides=overrides(28))
    assert simulate(scenario).summary["islands"]["fragments"] == 27


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="No such file"):
        read_rows(tmp_path / "missing.csv")
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("table,model\nx,y\n", encoding="utf-8")
    with pytest.raises(DocumentError, match="no table of published bandwidths"):
        read_rows(wrong)
