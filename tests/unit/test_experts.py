"""Local experts: parameters counted whole, FLOPs by what a token meets, tokens conserved."""

from __future__ import annotations

from dataclasses import replace

import pytest
from job_samples import MODEL, job
from step_samples import FUSED, LLAMA, TOKENS, operators, shard
from strategies import ROOT

from simulator.api import Result, simulate
from simulator.errors import MisfitError
from simulator.operators import Gemm, GroupedGemm, Pointwise, Role
from simulator.parallel.layout import Layout, Sharding
from simulator.scenario import load_scenario
from simulator.scenario.checks import findings
from simulator.workload.flops import Convention, model_flops_per_token
from simulator.workload.layers import transformer_layer
from simulator.workload.parameters import (
    active_parameters,
    embedding_parameters,
    layer_parameters,
    mlp_parameters,
    total_parameters,
)
from simulator.workload.routing import even_rows
from simulator.workload.transformer import Experts

SIXTEEN = replace(LLAMA, experts=Experts(count=16, per_token=2))
ZAYA = load_scenario(ROOT / "scenarios" / "zaya1-8b-1024-mi300x.yaml")


def grouped(model_steps: tuple[object, ...]) -> list[GroupedGemm]:
    return [item for item in model_steps if isinstance(item, GroupedGemm)]


def test_all_experts_are_parameters_and_two_are_active() -> None:
    router = 1024 * 16
    dense = mlp_parameters(LLAMA)
    assert mlp_parameters(SIXTEEN) == 16 * dense + router
    idle = total_parameters(SIXTEEN) - active_parameters(SIXTEEN)
    assert idle == SIXTEEN.layers * 14 * dense
    assert active_parameters(LLAMA) == total_parameters(LLAMA)


def test_the_router_of_zaya_has_four_layers() -> None:
    with_router = replace(SIXTEEN, experts=Experts(count=16, per_token=2, router_hidden=256))
    more = layer_parameters(with_router) - layer_parameters(SIXTEEN)
    assert more == 1024 * 256 + 2 * 256 * 256 + 256 * 16 - 1024 * 16


def test_zaya_has_its_published_sizes() -> None:
    """8.3 billion in all layers and 760 million active: arXiv 2511.17127, abstract."""
    layers = total_parameters(ZAYA.model) - embedding_parameters(ZAYA.model)
    active = active_parameters(ZAYA.model) - embedding_parameters(ZAYA.model)
    assert layers == pytest.approx(8.3e9, rel=0.005)
    assert active == pytest.approx(760e6, rel=0.03)


@pytest.mark.parametrize("convention", list(Convention))
def test_flops_count_the_experts_of_a_token(convention: Convention) -> None:
    """One expert of many costs what a dense MLP costs, and the router."""
    one = replace(LLAMA, experts=Experts(count=16, per_token=1))
    router = 6.0 * LLAMA.layers * 1024 * 16
    dense = model_flops_per_token(LLAMA, 2048, convention)
    assert model_flops_per_token(one, 2048, convention) == pytest.approx(dense + router)


def test_products_of_all_experts_do_the_work_of_two() -> None:
    block = transformer_layer(SIXTEEN, shard(), FUSED)
    up, down = grouped(tuple(operators(block.forward)))
    assert sum(up.rows) == sum(down.rows) == 2 * TOKENS
    dense = [
        item
        for item in operators(transformer_layer(LLAMA, shard(), FUSED).forward)
        if isinstance(item, Gemm) and item.name.startswith("mlp")
    ]
    assert up.flops + down.flops == pytest.approx(2 * sum(gemm.flops for gemm in dense))


def test_the_backward_pass_has_both_gradients_of_every_product() -> None:
    block = transformer_layer(SIXTEEN, shard(), FUSED)
    forward = grouped(tuple(operators(block.forward)))
    backward = grouped(tuple(operators(block.backward)))
    assert sum(item.flops for item in backward) == 2 * sum(item.flops for item in forward)
    weights = [item for item in backward if item.role is Role.WEIGHT_GRADIENT]
    assert sum(item.elements for item in weights) == 16 * 3 * 1024 * 2816
    router = [item.name for item in operators(block.backward) if isinstance(item, Gemm)]
    assert {"router_input_gradient", "router_weight_gradient"} <= set(router)


def test_every_expert_s_gradient_is_accumulated() -> None:
    block = transformer_layer(SIXTEEN, shard(), FUSED)
    sums = [
        item
        for item in operators(block.backward)
        if isinstance(item, Pointwise) and item.name.startswith("experts") and "_sum" in item.name
    ]
    assert sum(item.n_bytes for item in sums) == 8 * 16 * 3 * 1024 * 2816


def test_sorting_moves_every_token_for_each_of_its_experts() -> None:
    moved = {
        item.name: item.n_bytes
        for item in operators(transformer_layer(SIXTEEN, shard(), FUSED).forward)
        if isinstance(item, Pointwise)
    }
    token = 2.0 * TOKENS * 1024
    assert moved["permute"] == 2 * 2 * token
    assert moved["unpermute"] == 3 * token


@pytest.mark.parametrize(("tokens", "groups"), [(4096, 16), (10, 4), (3, 8), (0, 2)])
def test_rows_are_even_and_add_up(tokens: int, groups: int) -> None:
    rows = even_rows(tokens, groups)
    assert sum(rows) == tokens
    assert len(rows) == groups
    assert max(rows) - min(rows) <= 1


def test_gradients_of_all_experts_travel_and_are_kept() -> None:
    dense = job(Layout(data=16, sharding=Sharding.OPTIMIZER))
    mixture = replace(dense, model=replace(MODEL, experts=Experts(count=4, per_token=1)))
    few, many = simulate(dense), simulate(mixture)
    more = total_parameters(mixture.model) - total_parameters(dense.model)

    def gradient_bytes(result: Result) -> float:
        trace = result.trace
        return float(trace.loc[trace["name"] == "gradient_reduce_scatter", "n_bytes"].sum())

    assert gradient_bytes(many) - gradient_bytes(few) == 4 * more
    stages = [result.summary["memory_gib"]["stages"][0] for result in (few, many)]
    assert (stages[1]["weights"] - stages[0]["weights"]) * 2**30 == pytest.approx(2 * more)
    assert many.summary["active_parameters"] < many.summary["parameters"]
    assert any("Every expert gets as many" in note for note in many.summary["assumptions"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.experts={count: 4, per_token: 5}", "5 experts of 4 cannot be chosen"),
        ("model.parallel_block=true", "a parallel block has a dense MLP"),
    ],
)
def test_mixtures_that_cannot_be(change: str, message: str) -> None:
    with pytest.raises(MisfitError, match=message):
        load_scenario(ROOT / "scenarios" / "zaya1-8b-1024-mi300x.yaml", overrides=[change])


def test_tensor_parallelism_leaves_experts_whole() -> None:
    scenario = replace(ZAYA, layout=replace(ZAYA.layout, tensor=2, data=512))
    assert [path for path, _ in findings(scenario)] == ["layout.tensor"]
