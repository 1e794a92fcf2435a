"""Small jobs from the physical domain, for property tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st

from simulator.parallel.blocks import Recomputation, Recompute
from simulator.parallel.layout import Batch, Layout, Sharding
from simulator.scenario import Scenario, load_scenario
from simulator.schedule.pipelines import ScheduleName

ROOT = Path(__file__).parents[1]
TOY = load_scenario(ROOT / "scenarios" / "four-stages.yaml")


@st.composite
def small_jobs(draw: st.DrawFn) -> Scenario:
    """Return a job of at most 128 accelerators with any layout that divides."""
    name = draw(st.sampled_from(list(ScheduleName)))
    tensor = draw(st.sampled_from([1, 2, 4]))
    pipeline = draw(st.sampled_from([1, 2, 4]))
    chunks = draw(st.sampled_from([1, 2])) if name is ScheduleName.INTERLEAVED_1F1B else 1
    context = draw(st.sampled_from([1, 2]))
    data = draw(st.sampled_from([1, 2, 4]))
    micro_batches = pipeline * draw(st.integers(1, 4))
    micro_batch = draw(st.sampled_from([1, 2]))
    layout = Layout(
        tensor=tensor,
        context=context,
        pipeline=pipeline,
        virtual_stages=chunks,
        data=data,
        sequence_parallel=tensor > 1 and draw(st.booleans()),
        sharding=draw(st.sampled_from(list(Sharding))),
    )
    software = replace(
        TOY.software,
        gradient_reduce_overlap=draw(st.booleans()),
        parameter_gather_overlap=draw(st.booleans()),
        gradient_norm=draw(st.booleans()),
        tensor_overlap=draw(st.sampled_from([0.0, 0.5])),
    )
    return replace(
        TOY,
        model=replace(TOY.model, layers=8, hidden=1024, heads=8, kv_heads=8, ffn_hidden=4096),
        accelerators=layout.ranks,
        software=software,
        layout=layout,
        batch=Batch(
            sequence_length=1024,
            global_batch=micro_batches * micro_batch * data,
            micro_batch=micro_batch,
        ),
        schedule=name,
        recompute=Recompute(mode=draw(st.sampled_from(list(Recomputation))), every=1),
    )
