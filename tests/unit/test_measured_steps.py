"""Rows of measured single-accelerator steps as scenarios, and their phases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.catalog import Catalog
from simulator.errors import SimulatorError
from simulator.hardware.software import Launch
from simulator.operators import AttentionKernel
from simulator.parallel.blocks import Recomputation
from simulator.precision import Precision
from simulator.validation.steps import predict_row, scenario_of
from simulator.workload.transformer import Norm, Positions

if TYPE_CHECKING:
    from simulator.validation.cells import Row

CATALOG = Catalog(())
ROW: Row = {
    "model": "small",
    "n_layers": "4",
    "hidden": "1024",
    "n_heads": "16",
    "n_kv_heads": "4",
    "ffn_hidden": "2816",
    "vocab": "32001",
    "gated": "1",
    "seq": "2048",
    "mbs": "2",
    "grad_accum": "3",
    "recompute": "none",
}


def test_a_row_by_hand() -> None:
    scenario = scenario_of(ROW, CATALOG)
    assert (scenario.accelerators, scenario.layout.ranks, scenario.micro_batches) == (1, 1, 3)
    assert (scenario.batch.global_batch, scenario.batch.micro_batch) == (6, 2)
    assert scenario.cluster.name == scenario_of(ROW, CATALOG, "h200-ndr400").cluster.name
    assert scenario_of(ROW, CATALOG, "h100-ndr400").cluster.name != scenario.cluster.name
    model = scenario.model
    assert (model.layers, model.heads, model.kv_heads, model.head_dim) == (4, 16, 4, 64)
    assert (model.vocabulary, model.vocabulary_multiple) == (32_001, 1)
    assert (model.norm, model.positions) == (Norm.RMS, Positions.ROTARY)
    assert model.gated_mlp
    assert not model.tied_embeddings
    assert scenario.precision is Precision.BF16
    assert scenario.recompute.mode is Recomputation.NONE
    assert scenario.software.launch is Launch.EAGER


@pytest.mark.parametrize(("text", "gated"), [("1", True), ("True", True), ("0", False)])
def test_gates(text: str, *, gated: bool) -> None:
    assert scenario_of({**ROW, "gated": text}, CATALOG).model.gated_mlp is gated


def test_optional_cells() -> None:
    row = {**ROW, "head_dim": "128", "precision": "fp8", "recompute": "full"}
    scenario = scenario_of(row, CATALOG)
    assert scenario.model.head_dim == 128
    assert scenario.precision is Precision.FP8
    assert scenario.recompute.mode is Recomputation.FULL


@pytest.mark.parametrize(
    ("text", "kernel"), [("flash", AttentionKernel.FLASH2), ("math", AttentionKernel.UNFUSED)]
)
def test_attention_by_its_cell(text: str, kernel: AttentionKernel) -> None:
    kernels = scenario_of({**ROW, "attention": text}, CATALOG).software.kernels
    assert kernels.attention is kernel
    other = scenario_of({**ROW, "attention": "cudnn"}, CATALOG).software.kernels
    assert other == scenario_of(ROW, CATALOG).software.kernels


def test_eager_blocks_fuse_nothing_and_gpt_drops_out() -> None:
    for style, dropout in (("llama", False), ("gpt", True)):
        row = {**ROW, "blocks": "eager", "style": style}
        kernels = scenario_of(row, CATALOG).software.kernels
        assert not kernels.fused_norm
        assert not kernels.fused_activation
        assert not kernels.fused_rope
        assert not kernels.fused_residual
        assert kernels.dropout is dropout


def test_eager_blocks_are_slower() -> None:
    compiled, eager = (
        predict_row({**ROW, "blocks": blocks}, CATALOG) for blocks in ("compiled", "eager")
    )
    assert float(str(eager["step_time_s"])) > float(str(compiled["step_time_s"]))


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"n_experts": "8"}, "mixture of experts"),
        ({"hidden": "1000", "n_heads": "3"}, "kv_heads"),
    ],
)
def test_refused_rows_say_why(cells: Row, reason: str) -> None:
    prediction = predict_row({**ROW, **cells}, CATALOG)
    assert set(prediction) == {"status", "reason"}
    assert prediction["status"] == "unsupported"
    assert reason in str(prediction["reason"])
    with pytest.raises(SimulatorError, match=reason):
        scenario_of({**ROW, **cells}, CATALOG)


@pytest.mark.parametrize("recompute", ["none", "full"])
def test_phases_make_up_the_step(recompute: str) -> None:
    """Three micro-batches and one update; what is left is the host's work once per step."""
    prediction = predict_row({**ROW, "recompute": recompute}, CATALOG)
    assert prediction["status"] == "ok"
    phases = {name: float(str(prediction[f"{name}_s"])) for name in (
        "forward", "backward", "accumulate", "optimizer")}  # fmt: skip
    assert all(value > 0 for value in phases.values())
    passes = phases["forward"] + phases["backward"] + phases["accumulate"]
    overhead = scenario_of(ROW, CATALOG).software.step_overhead
    expected = 3 * passes + phases["optimizer"] + overhead
    assert float(str(prediction["step_time_s"])) == pytest.approx(expected, rel=1e-6)


def test_phases_do_not_depend_on_the_number_of_micro_batches() -> None:
    few, many = (predict_row({**ROW, "grad_accum": count}, CATALOG) for count in ("2", "8"))
    for name in ("forward_s", "backward_s", "accumulate_s", "optimizer_s"):
        assert few[name] == pytest.approx(many[name])
