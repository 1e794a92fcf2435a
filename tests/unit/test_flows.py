"""Flows that share links, against what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flow_samples import program_of
from strategies import TOY

from simulator.api import simulate
from simulator.engine.events import play_events
from simulator.engine.flows import ActiveFlows, FlowTable, max_min_rates
from simulator.errors import SimulatorError
from simulator.parallel.network import Network, Sharing
from simulator.program.builder import ProgramBuilder
from simulator.program.tasks import Lane, Program

FAIR = Network(sharing=Sharing.FAIR)


def ends(program: Program) -> list[float]:
    """Return when each flow ends; flows are the last tasks of their lanes."""
    trace = play_events(program)
    return [float(trace.end[program.rank_class == flow].max()) for flow in np.unique(program.stage)]


def test_a_flow_alone_takes_its_duration() -> None:
    program = program_of([10.0], [{0: 100.0}], latency=0.3)
    assert not program.clock_dependent
    assert ends(program) == [10.3]


def test_alone_in_time_is_alone() -> None:
    """Two lanes use the link, one after the other."""
    program = program_of([10.0], [{0: 100.0}, {0: 100.0}], starts=[0.0, 50.0], latency=0.3)
    assert program.clock_dependent
    assert ends(program) == pytest.approx([10.3, 60.3], rel=1e-15)


def test_two_flows_on_one_link_take_twice_as_long() -> None:
    assert ends(program_of([10.0], [{0: 100.0}, {0: 100.0}])) == pytest.approx([20.0, 20.0])


def test_the_longer_of_two_flows_has_the_link_to_itself_at_last() -> None:
    """Both move 50 B until 10 s; then one has 50 B left and all of the link."""
    assert ends(program_of([10.0], [{0: 50.0}, {0: 100.0}])) == pytest.approx([10.0, 15.0])


def test_a_late_joiner_slows_what_is_under_way() -> None:
    """At 5 s the first has 50 B left, which take 10 s; the second then has 50 B left."""
    program = program_of([10.0], [{0: 100.0}, {0: 100.0}], starts=[0.0, 5.0])
    assert ends(program) == pytest.approx([15.0, 20.0])


def test_latency_moves_no_bytes() -> None:
    """Both latencies pass side by side; only bytes share the link."""
    program = program_of([10.0], [{0: 100.0}, {0: 100.0}], latency=4.0)
    assert ends(program) == pytest.approx([24.0, 24.0])
    late = program_of([10.0], [{0: 100.0}, {0: 100.0}], latency=4.0, starts=[0.0, 10.0])
    assert ends(late) == pytest.approx([14.0, 24.0])


@pytest.mark.parametrize("senders", [1, 2, 7, 32])
def test_incast(senders: int) -> None:
    """Senders with a link each into one of the same capacity: it carries all their bytes."""
    flows = [{sender: 100.0, senders: 100.0} for sender in range(senders)]
    program = program_of([10.0] * (senders + 1), flows)
    assert ends(program) == pytest.approx([10.0 * senders] * senders)


def test_parking_lot() -> None:
    """A long flow over a chain, on each of whose links one short flow: half each."""
    chain = [10.0] * 4
    long = dict.fromkeys(range(4), 100.0)
    shorts = [{link: 100.0} for link in range(4)]
    assert ends(program_of(chain, [long, *shorts])) == pytest.approx([20.0] * 5)


def test_parking_lot_with_a_crowded_link() -> None:
    """Two short flows on the second link leave a third to the long one, and two on the first."""
    uses = [[(0, 1.0), (1, 1.0)], [(0, 1.0)], [(1, 1.0)], [(1, 1.0)]]
    assert max_min_rates([9.0] * 4, uses, [9.0, 9.0]) == pytest.approx([3.0, 6.0, 3.0, 3.0])


def test_parking_lot_of_links_that_differ() -> None:
    """The link of 4 gives 2 to each; what is left of the link of 10 is the other's."""
    uses = [[(0, 1.0), (1, 1.0)], [(0, 1.0)], [(1, 1.0)]]
    assert max_min_rates([10.0] * 3, uses, [10.0, 4.0]) == pytest.approx([2.0, 8.0, 2.0])


def test_a_limited_flow_leaves_the_rest_to_others() -> None:
    program = program_of([10.0], [{0: 20.0}, {0: 80.0}], limits=[2.0, 10.0])
    assert ends(program) == pytest.approx([10.0, 10.0])


def test_fairness_is_on_the_tightest_link() -> None:
    """The first puts a quarter of its bytes on the shared link, which 2 + 8 B/s fill."""
    rates = max_min_rates([8.0, 10.0], [[(0, 0.25)], [(0, 1.0)]], [10.0])
    assert rates == pytest.approx([8.0, 8.0])


def test_a_flow_of_uneven_bytes_is_bound_by_its_tightest_link() -> None:
    """Alone 400 B at 40 B/s beside 100 B at 20 B/s: 10 s. Another on the second link halves it."""
    flows = [{0: 400.0, 1: 100.0}, {1: 200.0}, {0: 1.0}]
    table = FlowTable.of(program_of([40.0, 20.0], flows))
    assert table.limit[0] == pytest.approx(40.0)
    assert dict(table.uses[0]) == pytest.approx({0: 1.0, 1: 0.25})


def active_flows(program: Program) -> ActiveFlows:
    return ActiveFlows(FlowTable.of(program))


def test_only_connected_flows_are_touched() -> None:
    """Two links of three flows each, not connected: the second's flows leave the first's alone."""
    active = active_flows(program_of([10.0, 10.0], [{0: 100.0}] * 3 + [{1: 100.0}] * 3))
    assert [active.start(flow, 0.0) for flow in range(3)] == [True, False, False]
    assert active.settle(0.0) == [0, 1, 2]
    assert active.touched == 3 + 3
    assert active.start(3, 1.0)
    assert active.touched == 7
    assert not active.start(4, 1.0)
    assert active.settle(1.0) == [3, 4]
    assert active.touched == 8 + 2
    assert not active.end(3)
    assert active.settle(2.0) == [4]
    assert active.touched == 11
    assert active.rate(0) == pytest.approx(10 / 3)
    assert active.rate(4) == pytest.approx(10.0)


def test_room_on_the_links_touches_nobody_else() -> None:
    active = active_flows(program_of([10.0], [{0: 100.0}] * 3, limits=[4.0, 5.0, 5.0]))
    assert active.start(0, 0.0)
    assert active.start(1, 0.0)
    assert active.end(0)
    assert active.start(2, 1.0)
    assert active.touched == 3
    assert active.load(0) == pytest.approx(10.0)


def test_the_order_of_lanes_changes_nothing() -> None:
    flows = [{0: 100.0, 1: 100.0}, {0: 70.0}, {1: 30.0, 2: 30.0}, {2: 90.0}]
    starts = [0.0, 2.0, 2.0, 1.0]
    forward = ends(program_of([10.0, 8.0, 5.0], flows, starts=starts))
    backward = ends(program_of([10.0, 8.0, 5.0], flows[::-1], starts=starts[::-1]))
    assert backward[::-1] == pytest.approx(forward, rel=1e-14)


def test_the_program_refuses_more_than_a_link_carries() -> None:
    builder = ProgramBuilder([0], [1.0])
    link = builder.link("nic_out", 0, 10.0)
    task = builder.add(
        name=builder.name("send"), rank_class=0, lane=Lane.DATA, duration=3.0, latency=1.0
    )
    builder.occupy(task, link, 21.0)
    with pytest.raises(SimulatorError, match=r"task 0 moves 21 B in 2 s over link 0 \(nic_out\)"):
        builder.build()


def test_flows_of_one_lane_never_meet() -> None:
    builder = ProgramBuilder([0], [1.0])
    link = builder.link("nic_out", 0, 10.0)
    tasks = builder.add(2, name=builder.name("send"), rank_class=0, lane=Lane.DATA, duration=1.0)
    builder.occupy(tasks, link, 10.0)
    assert not builder.build().clock_dependent


def test_spans_and_link_use_are_outcomes() -> None:
    trace = play_events(program_of([10.0, 5.0], [{0: 100.0}, {0: 100.0, 1: 25.0}]))
    frame = trace.frame()
    assert frame["end_s"].tolist() == pytest.approx([20.0, 20.0])
    assert trace.duration.tolist() == pytest.approx([20.0, 20.0])
    assert trace.link_use.tolist() == pytest.approx([1.0, 0.25])


def test_two_plays_of_flows_are_identical() -> None:
    program = simulate(replace(TOY, network=FAIR)).played.program
    assert program.clock_dependent
    assert play_events(program).end.tobytes() == play_events(program).end.tobytes()
