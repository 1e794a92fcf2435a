"""Every legal layout is a candidate, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from search_samples import scenario

from simulator.errors import SimulatorError
from simulator.operators import Axis
from simulator.parallel.blocks import Recomputation
from simulator.parallel.layout import INNERMOST_FIRST, Sharding
from simulator.scenario.checks import findings
from simulator.scenario.space import Space
from simulator.schedule.pipelines import ScheduleName
from simulator.search.candidates import (
    MODES,
    ORDERS,
    SCHEDULES,
    SHARDINGS,
    Candidate,
    candidates,
    scenario_of,
)

WIDE = Space(
    tensor=(1, 2, 3, 4),
    context=(1, 2, 3),
    pipeline=(1, 2, 3, 4),
    virtual_stages=(1, 2, 3, 10),
    micro_batch=(1, 2, 3),
    schedule=tuple(ScheduleName),
    recompute=(Recomputation.FULL,),
    sequence_parallel=(False, True),
    sharding=(Sharding.OPTIMIZER,),
    order=(INNERMOST_FIRST,),
)


def told(row: np.void) -> Candidate:
    return Candidate(*row.tolist())


def test_candidates_are_the_layouts_that_a_scenario_may_have() -> None:
    """Against every combination of a space, tried with the rules of scenarios."""
    base = replace(scenario(), space=WIDE)
    batch, ranks = base.batch, base.accelerators
    legal = set()
    for tensor, context, pipeline, chunks, micro, schedule, split in product(
        WIDE.tensor or (),
        WIDE.context or (),
        WIDE.pipeline or (),
        WIDE.virtual_stages or (),
        WIDE.micro_batch or (),
        range(len(SCHEDULES)),
        (False, True),
    ):
        data, rest = divmod(ranks, tensor * context * pipeline)
        if rest or batch.global_batch % (data * micro):
            continue
        # Interleaved 1F1B with one chunk is 1F1B.
        if SCHEDULES[schedule] is ScheduleName.INTERLEAVED_1F1B and chunks == 1:
            continue
        row = Candidate(
            ranks,
            tensor,
            context,
            pipeline,
            data,
            chunks,
            micro,
            batch.global_batch // (data * micro),
            schedule,
            MODES.index(Recomputation.FULL),
            1,
            split,
            SHARDINGS.index(Sharding.OPTIMIZER),
            ORDERS.index(INNERMOST_FIRST),
        )
        if not findings(scenario_of(base, row)):
            legal.add(row)
    found = [told(row) for row in candidates(base)]
    assert len(found) == len(set(found))
    assert set(found) == legal
    assert len(legal) > 100


@pytest.mark.parametrize("name", ["llama-8b-8-h100", "llama3-405b-16k-h100", "four-stages"])
def test_default_candidates_are_legal_and_hold_the_scenario(name: str) -> None:
    base = scenario(name)
    rows = candidates(base)
    for row in rows[:: max(1, len(rows) // 40)]:
        assert findings(scenario_of(base, told(row))) == []
    assert base.layout in {scenario_of(base, told(row)).layout for row in rows}


def test_layouts_with_the_same_pipeline_stand_together() -> None:
    rows = candidates(scenario())
    keys = rows[["pipeline", "micro_batches", "schedule", "virtual_stages"]]
    runs = 1 + np.count_nonzero(keys[1:] != keys[:-1])
    assert runs == len(np.unique(keys))


def test_orders_that_differ_in_axes_of_one_rank_are_one() -> None:
    space = Space(tensor=(8,), context=(1,), pipeline=(1,), micro_batch=(1,), order=ORDERS)
    rows = candidates(replace(scenario(), space=space))
    # Tensor and data are left: one of them is innermost.
    assert len(np.unique(rows["order"])) == 2


def test_a_job_of_another_size_keeps_its_batch() -> None:
    space = Space(accelerators=(32, 64), tensor=(8,), context=(1,), micro_batch=(1,))
    rows = candidates(replace(scenario(), space=space))
    assert set(rows["accelerators"].tolist()) == {32, 64}
    product_of = rows["tensor"] * rows["context"] * rows["pipeline"] * rows["data"]
    assert np.array_equal(product_of, rows["accelerators"])


def test_an_empty_space_is_an_error() -> None:
    with pytest.raises(SimulatorError, match=r"no legal layout.*global batch.*widen it"):
        candidates(replace(scenario(), space=Space(tensor=(7,))))


def test_an_order_must_be_a_permutation() -> None:
    space = Space(order=((Axis.TENSOR, Axis.DATA),))
    with pytest.raises(SimulatorError, match=r"space\.order: each must name"):
        candidates(replace(scenario(), space=space))
