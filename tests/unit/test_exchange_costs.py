"""Dispatch and combine of experts' tokens inside a node."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import SimulatorError
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.exchange_model import ExchangeModel, ExchangePass
from simulator.hardware.operator_costs import operator_time
from simulator.hardware.operator_tables import exchanges_of, measured_times
from simulator.operators import ExpertExchange
from simulator.validation.operators import predict


def accelerator(name: str) -> Accelerator:
    return validate(Accelerator, Catalog().document("accelerator", name))


H100 = accelerator("h100-sxm")
ROW = {
    "node_num": 1,
    "hidden_size": 7168,
    "num_token": 8192,
    "num_topk": 8,
    "num_experts": 256,
    "dispatch_sms": 24,
    "combine_sms": 24,
}
ROUND = ExchangePass(
    latency=10e-6,
    row_latency_rate=1e9,
    row_rate=10e9,
    destination_time=1e-6,
    destination_rate=20e9,
    link_bandwidth=100e9,
    overlap_exponent=1.0,
)


def test_destinations_are_the_ranks_that_a_token_reaches() -> None:
    """Two of eight experts on eight ranks: two; one: one; two of four on two: 2 (1 - 1/6)."""
    plain = ExpertExchange("e", 8, tokens=1, hidden=1, top_k=2, experts=8, multiprocessors=1)
    assert plain.destinations == pytest.approx(2)
    assert dataclasses.replace(plain, top_k=1).destinations == pytest.approx(1)
    two = dataclasses.replace(plain, ranks=2, experts=4)
    assert two.destinations == pytest.approx(2 * (1 - 1 / 6))


def test_dispatch_is_fp8_with_scales_and_combine_is_bf16() -> None:
    dispatch, combine = exchanges_of(ROW)
    assert dispatch.row_bytes == pytest.approx(7168 + 56 * 4)
    assert combine.row_bytes == pytest.approx(2 * 7168)


def test_an_exchange_by_hand() -> None:
    """1,000 rows of 2,000 B to one rank: 1.3 ms of work over 10 multiprocessors, 1.75 MB leave."""
    part = H100.with_kernels(exchange=ExchangeModel(dispatch=ROUND, combine=ROUND))
    exchange = ExpertExchange(
        "e", 8, tokens=1000, hidden=1000, top_k=1, experts=8, multiprocessors=10, combine=True
    )
    work = 1000 * (2000 / 10e9 + 1e-6 + 2000 / 20e9) / 10
    links = 1000 * 2000 * 7 / 8 / 100e9
    assert operator_time(exchange, part) == pytest.approx(10e-6 + 2e-6 + work + links)


@given(tokens=st.integers(1, 131_072), multiprocessors=st.integers(1, 24), combine=st.booleans())
def test_more_tokens_take_longer_and_more_multiprocessors_never_do(
    tokens: int, multiprocessors: int, *, combine: bool
) -> None:
    one = ExpertExchange(
        "e",
        8,
        tokens=tokens,
        hidden=4096,
        top_k=8,
        experts=128,
        multiprocessors=multiprocessors,
        combine=combine,
    )
    more = dataclasses.replace(one, tokens=tokens + 1)
    wider = dataclasses.replace(one, multiprocessors=multiprocessors + 1)
    assert operator_time(more, H100) > operator_time(one, H100) >= operator_time(wider, H100)


@pytest.mark.parametrize(("name", "measured_us_"), [("h100-sxm", 2811), ("b200-sxm", 2228)])
def test_the_largest_known_layer_is_near_its_public_timing(name: str, measured_us_: float) -> None:
    """Dispatch 972, 833 and combine 1,839, 1,395 us (ai-dynamo/aiconfigurator, 095f58a51)."""
    (time_us,) = predict(pd.DataFrame([ROW]), accelerator(name))
    assert time_us == pytest.approx(measured_us_, rel=0.15)


@pytest.mark.parametrize(("direction", "published"), [(0, 153e9), (1, 158e9)])
def test_an_h800_reaches_what_deepep_states(direction: int, published: float) -> None:
    """4,096 tokens of 7,168, eight of 256 experts; what stays on the rank is counted, too."""
    exchange = exchanges_of(ROW | {"num_token": 4096})[direction]
    received = exchange.tokens * exchange.destinations * exchange.row_bytes
    time = operator_time(exchange, accelerator("h800-sxm"))
    assert received / time == pytest.approx(published, rel=0.1)


def test_a_part_without_a_kernel_and_rows_of_several_nodes_are_refused() -> None:
    with pytest.raises(SimulatorError, match="no kernels of expert exchange"):
        operator_time(exchanges_of(ROW)[0], accelerator("gb200"))
    with pytest.raises(SimulatorError, match=r"over 4 nodes .* node_num = 1"):
        exchanges_of(ROW | {"node_num": 4})


def test_a_row_took_what_its_parts_took() -> None:
    times = {
        f"{a}_{b}_us": t
        for a in ("dispatch", "combine")
        for b, t in [("transmit", 5.0), ("notify", 1.0)]
    }
    assert measured_times(pd.DataFrame([times])).tolist() == [12.0]
