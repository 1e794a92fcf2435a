"""Rows of published runs as scenarios: what is read, assumed, and refused by name."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from simulator.catalog import Catalog
from simulator.operators import AttentionKernel
from simulator.parallel.blocks import Recomputation, Recompute
from simulator.parallel.layout import Sharding
from simulator.precision import Precision
from simulator.schedule.pipelines import ScheduleName
from simulator.validation.cases import Case, cases_of
from simulator.validation.cells import Cells, InvalidError, Row, UnsupportedError
from simulator.validation.columns import PARTS
from simulator.validation.runs import predict_row, split_of
from simulator.validation.sources import (
    CLUSTERS,
    SOURCES,
    UNKNOWN,
    Correction,
    Source,
    source_of,
)
from simulator.validation.stacks import stack_of
from simulator.workload.transformer import Norm, Positions

CATALOG = Catalog(())
CURATED = Path(__file__).parents[2] / "benchmarks" / "published" / "runs.csv"
with CURATED.open(encoding="utf-8", newline="") as table:
    ROWS = {row["run_id"]: row for row in csv.DictReader(table)}

VTRAIN = "vtrain-single-0012"
LAYOUTS = "aa-13B_64_GPUs-132307"
KORTHIKANTI = "korth-megatron-22B-full"
NARAYANAN = "narayanan-t1-1.7B"
MEGASCALE = "megascale-megascale-3072"
AMD = "mlperf-v5.1-dell-xe9785l_8xmi355x-llama31_8b"


def row_of(run: str, **cells: str) -> Row:
    return {**ROWS[run], **cells}


def case(run: str, **cells: str) -> Case:
    (only,) = cases_of(row_of(run, **cells), CATALOG)
    return only


def assumed(text: str) -> dict[str, str]:
    return dict(item.split("=", 1) for item in text.split("; ") if item)


def refused(run: str, **cells: str) -> tuple[str, str]:
    prediction = predict_row(row_of(run, **cells), CATALOG)
    assert set(prediction) == {"run_id", "split", "stack", "status", "reason"}
    return prediction["status"], prediction["reason"]


# Cells


def test_cells_take_defaults_and_remember_them() -> None:
    source = Source("stack", "a test", defaults={"mbs": "2", "vpp": "1"})
    row = {"source": "s", "mbs": "", "vpp": " 4.0 ", "tp": "x", "pp": "1.5", "cp": "0", "dp": "inf"}
    cells = Cells(row, source)
    assert cells.count("mbs") == 2
    assert cells.count("vpp") == 4
    assert cells.text("absent") == ""
    assert not cells.flag("absent")
    assert cells.assumed == {"mbs": "2"}
    for column, message in (
        ("absent", "absent is empty, and the source s gives none"),
        ("tp", "tp must be a number, got 'x'"),
        ("pp", "pp must be a whole number, 1 or more, got '1.5'"),
        ("cp", "cp must be a whole number, 1 or more, got '0'"),
        ("dp", "dp must be a whole number, 1 or more, got 'inf'"),
    ):
        with pytest.raises(InvalidError, match=message):
            cells.count(column)


def test_cells_that_are_taken_to_be_wrong_are_replaced_and_remembered() -> None:
    correction = Correction("small on 8 *", "mbs", "4", "a test")
    source = Source("stack", "a test", corrections=(correction,))
    row = {"model": "small", "n_accel": "8", "accelerator": "A", "precision": "", "mbs": "2"}
    for stated, note in (("2", "4 (the table: 2)"), ("", "4 (the table: nothing)")):
        cells = Cells({**row, "mbs": stated}, source)
        assert cells.text("mbs") == "4"
        assert cells.assumed == {"mbs": note}
    other = Cells({**row, "n_accel": "80"}, source)
    assert other.text("mbs") == "2"
    assert not other.assumed


@pytest.mark.parametrize(("text", "truth"), [("True", True), ("1.0", True), ("0.0", False)])
def test_flags(text: str, *, truth: bool) -> None:
    assert Cells({"flag": text}, UNKNOWN).flag("flag") is truth


# What a row becomes


def test_a_gpt_row_by_hand() -> None:
    """16 layers of 2,048 on 4 x 2 A100: fp16, no recomputation, four micro-batches of two."""
    found = case(VTRAIN)
    scenario = found.scenario
    assert (found.cluster, found.stack) == ("a100-vtrain", "megatron-deepspeed-traced-2023")
    assert (scenario.accelerators, scenario.micro_batches) == (8, 4)
    layout = scenario.layout
    assert (layout.tensor, layout.pipeline, layout.data, layout.context) == (4, 2, 1, 1)
    assert (layout.sharding, layout.sequence_parallel) == (Sharding.NONE, False)
    assert scenario.schedule is ScheduleName.ONE_F_ONE_B
    assert scenario.precision is Precision.FP16
    assert scenario.recompute == Recompute()
    model = scenario.model
    assert (model.layers, model.hidden, model.heads, model.head_dim) == (16, 2048, 16, 128)
    assert (model.norm, model.positions) == (Norm.LAYER, Positions.LEARNED)
    assert (model.max_positions, model.window, model.parallel_block) == (1024, 0, False)
    assert model.linear_bias
    assert model.tied_embeddings
    # Not padded: 50,257 ids on four ranks leave one without a row.
    assert (model.vocabulary, model.vocabulary_multiple) == (50_256, 1)
    assert (found.flushes, found.share, found.allocated_memory) == (1, 1.0, False)


def test_defaults_that_were_taken_are_listed() -> None:
    assert assumed(case(VTRAIN).assumed) == {
        "optimizer_sharding": "none",
        "positions": "learned",
        "precision": "fp16",
        "recompute": "none (the table: full)",
        "sequence_parallel": "False",
        "tied_embeddings": "True",
        "vocab": "50257",
        "vocabulary_multiple": "1",
    }
    stated = assumed(case(VTRAIN, precision="bf16", sequence_parallel="True").assumed)
    assert not {"precision", "sequence_parallel"} & set(stated)


def test_runs_of_several_nodes_recompute_as_the_table_says() -> None:
    found = case(VTRAIN, n_accel="16", dp="2.0")
    assert found.stack == "megatron-deepspeed-fp16-2023"
    assert found.scenario.recompute == Recompute(mode=Recomputation.FULL)
    assert "recompute" not in assumed(found.assumed)


def test_a_llama_row_of_the_layouts_study() -> None:
    scenario = case(LAYOUTS).scenario
    model = scenario.model
    assert (model.norm, model.positions, model.max_positions) == (Norm.RMS, Positions.ROTARY, 0)
    assert model.gated_mlp
    assert not model.linear_bias
    assert scenario.layout.sharding is Sharding.OPTIMIZER
    assert scenario.layout.layers == (21, 19)
    assert scenario.recompute.head
    assert case(LAYOUTS, pp="1.0", dp="64.0").scenario.layout.layers is None


@pytest.mark.parametrize(
    ("text", "kernel", "fused_norm"),
    [
        ("flash_attention2 + RMS kernel", AttentionKernel.FLASH2, True),
        ("flash_attention2", AttentionKernel.FLASH2, False),
        ("flash_attentionv1.0.8", AttentionKernel.FLASH1, False),
        ("torch", AttentionKernel.UNFUSED_BF16, False),
        ("fused", AttentionKernel.FUSED_SOFTMAX, False),
    ],
)
def test_attention_kernels_are_named_by_their_start(
    text: str, kernel: AttentionKernel, *, fused_norm: bool
) -> None:
    kernels = case(LAYOUTS, attention_kernel=text).scenario.software.kernels
    assert (kernels.attention, kernels.fused_norm) == (kernel, fused_norm)


def test_a_part_without_the_stacks_attention_takes_its_own() -> None:
    found = case(AMD)
    assert found.scenario.software.kernels.attention is AttentionKernel.FLASH2
    assert assumed(found.assumed)["attention_kernel"] == "flash2"
    assert found.scenario.precision is Precision.FP8  # "FP8 hybrid (TE)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Recompute()),
        ("none (not set in config)", Recompute()),
        ("selective", Recompute(mode=Recomputation.SELECTIVE)),
        ("full", Recompute(mode=Recomputation.FULL)),
        ("selective layer", Recompute(mode=Recomputation.FULL, every=2)),
    ],
)
def test_recomputation_by_its_words(text: str, expected: Recompute) -> None:
    assert case(KORTHIKANTI, recompute=text).scenario.recompute == expected


def test_interleaving_needs_a_pipeline() -> None:
    assert case(VTRAIN, vpp="2.0").scenario.schedule is ScheduleName.INTERLEAVED_1F1B
    alone = case(VTRAIN, vpp="2.0", pp="1.0", dp="2.0").scenario
    assert alone.layout.virtual_stages == 1
    assert alone.schedule is ScheduleName.ONE_F_ONE_B


def test_sequence_parallelism_needs_tensor_ranks() -> None:
    assert case(KORTHIKANTI, sequence_parallel="True").scenario.layout.sequence_parallel
    alone = case(KORTHIKANTI, sequence_parallel="True", tp="1.0", dp="8.0", gbs="32.0")
    assert not alone.scenario.layout.sequence_parallel


def test_altered_models_have_another_stack_and_a_window() -> None:
    found = case(MEGASCALE)
    assert found.stack == "megascale-2024"
    assert found.scenario.model.parallel_block
    assert found.scenario.model.window == 1024
    plain = case(MEGASCALE, flags="")
    assert plain.stack == "megascale-megatron-2023"
    assert (plain.scenario.model.window, plain.scenario.model.parallel_block) == (0, False)


@pytest.mark.parametrize(
    ("name", "gated"),
    [("Llama-3.1-8B", True), ("Mistral-7B", True), ("Qwen2.5", True), ("GPT 22B", False)],
)
def test_the_family_says_whether_the_mlp_is_gated(name: str, *, gated: bool) -> None:
    found = case(KORTHIKANTI, model=name, gated_mlp="")
    assert found.scenario.model.gated_mlp is gated
    assert assumed(found.assumed)["gated_mlp"] == str(gated)


def test_a_stated_gate_is_not_guessed() -> None:
    found = case(KORTHIKANTI, model="Llama-3.1-8B", gated_mlp="False")
    assert not found.scenario.model.gated_mlp
    assert "gated_mlp" not in assumed(found.assumed)


# Batches


def test_accumulation_stands_for_a_batch_that_is_not_given() -> None:
    batch = case(VTRAIN, gbs="", grad_accum="6.0").scenario.batch
    assert (batch.global_batch, batch.micro_batch) == (12, 2)


def test_a_ragged_last_micro_batch_is_priced_by_its_share() -> None:
    """7 sequences in micro-batches of 2: four passes of 8, of which 7/8 are there."""
    found = case(VTRAIN, gbs="7.0")
    assert found.scenario.batch.global_batch == 8
    assert found.share == 7 / 8
    assert "last micro-batch=7 of 8 sequences, priced by share" in found.assumed
    ragged = predict_row(row_of(VTRAIN, gbs="7.0"), CATALOG)
    whole = predict_row(row_of(VTRAIN), CATALOG)
    assert ragged["step_time_s"] == pytest.approx(whole["step_time_s"] * 7 / 8)
    assert ragged["tokens_per_s_per_gpu"] == pytest.approx(whole["tokens_per_s_per_gpu"])
    assert ragged["peak_memory_gib"] == whole["peak_memory_gib"]


def test_a_tuned_column_is_tried_and_the_best_taken() -> None:
    cases = cases_of(row_of(NARAYANAN), CATALOG)
    assert [item.scenario.batch.micro_batch for item in cases] == [1, 2, 4, 8]
    assert "mbs=4 (best of 1, 2, 4, 8)" in cases[2].assumed
    times = [
        predict_row(row_of(NARAYANAN, mbs=mbs), CATALOG)["step_time_s"]
        for mbs in ("1", "2", "4", "8")
    ]
    assert predict_row(row_of(NARAYANAN), CATALOG)["step_time_s"] == min(times)
    assert case(NARAYANAN, mbs="2.0").scenario.batch.micro_batch == 2


# Flushes


@pytest.mark.parametrize(
    ("cells", "flushes"),
    [
        ({}, 8),
        ({"gbs": "128.0"}, 4),  # four micro-batches cannot be drained more often
        ({"attention_kernel": "flash_attentionv1.0.8"}, 1),
        ({"pp": "1.0", "dp": "64.0"}, 1),
        ({"n_accel": "128", "dp": "64.0"}, 1),
    ],
)
def test_pipeline_flushes(cells: dict[str, str], flushes: int) -> None:
    found = case(LAYOUTS, **cells)
    assert found.flushes == flushes
    assert assumed(found.assumed).get("pipeline flushes", "1") == str(flushes)


def test_more_flushes_are_more_bubble_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven more drains of a two-stage pipeline: about seven slots beside 64 and one."""
    flushed = predict_row(row_of(LAYOUTS), CATALOG)
    monkeypatch.setattr("simulator.validation.cases._flushes", lambda *_: 1)
    once = predict_row(row_of(LAYOUTS), CATALOG)
    extra = flushed["step_time_s"] - once["step_time_s"]
    assert flushed["bubble_s"] - once["bubble_s"] == pytest.approx(extra)
    assert flushed["compute_s"] == once["compute_s"]
    assert extra / once["step_time_s"] == pytest.approx(7 / 65, rel=0.1)


@pytest.mark.parametrize("run", [VTRAIN, LAYOUTS, KORTHIKANTI, AMD])
def test_parts_add_up_to_the_step(run: str) -> None:
    prediction = predict_row(row_of(run), CATALOG)
    assert (prediction["status"], prediction["reason"]) == ("ok", "")
    parts = sum(prediction[f"{name}_s"] for name in PARTS)
    assert parts == pytest.approx(prediction["step_time_s"])


def test_allocated_memory_leaves_out_what_is_not_the_allocators() -> None:
    run = "simumax-llama3_70b_l12_tp8_pp1_dp1_mbc4_cef"
    assert case(run).allocated_memory
    prediction = predict_row(row_of(run), CATALOG)
    parts = {name: value for name, value in prediction.items() if name.startswith("memory_")}
    outside = parts["memory_framework_gib"] + parts["memory_fragmentation_gib"]
    assert outside > 0
    assert prediction["peak_memory_gib"] == pytest.approx(sum(parts.values()) - outside)


# Refusals

SHARDED = "sharded parameters or gradients (ZeRO-2, ZeRO-3, FSDP)"
BETWEEN = "a stack between two others, with some of MegaScale's changes"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"n_experts": "8.0"}, "mixture of experts"),
        ({"optimizer_sharding": "ZeRO-3 (FSDP FULL_SHARD)"}, SHARDED),
        ({"optimizer_sharding": "ZeRO-2"}, SHARDED),
        ({"fsdp": "8.0"}, SHARDED),
        ({"notes": "JAX (Paxml), FSDP over 4"}, SHARDED),
        ({"optimizer_sharding": "Adafactor"}, "optimizer sharding 'Adafactor'"),
        ({"model": "gpt-22B (LoRA)"}, "fine-tuning of some of the weights"),
        ({"flags": "finetune"}, "fine-tuning of some of the weights"),
        ({"flags": "x,arch_hybrid"}, "a hybrid architecture that the table does not give"),
        ({"flags": "arch_unlisted"}, "an architecture that the table does not give"),
        ({"flags": "layout_unknown"}, "a layout that the source does not give"),
        ({"flags": "layout_partial y"}, "a layout that the source gives in part"),
        ({"flags": "ablation,model_altered(PTB,SWA)"}, BETWEEN),
        ({"accelerator": "MI250X"}, "no profile of the accelerator MI250X"),
        ({"precision": "int8"}, "precision int8"),
        ({"recompute": "maxtext remat_policy=full"}, "recomputation 'maxtext remat_policy=full'"),
    ],
)
def test_what_is_not_simulated_is_unsupported(cells: dict[str, str], reason: str) -> None:
    assert refused(KORTHIKANTI, **cells) == ("unsupported", reason)
    with pytest.raises(UnsupportedError):
        cases_of(row_of(KORTHIKANTI, **cells), CATALOG)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"tp": ""}, "tp is empty, and the source korthikanti2022 gives none"),
        ({"pp": ""}, "pp is empty, and the source korthikanti2022 gives none"),
        ({"gbs": "", "grad_accum": ""}, "neither gbs nor grad_accum is given"),
        ({"n_heads": ""}, "n_heads is empty"),
        ({"n_layers": "many"}, "n_layers must be a number, got 'many'"),
        ({"dp": "2"}, "tp 8 x pp 1 x cp 1 x dp 2 does not make 8 accelerators"),
        ({"dp": "", "tp": "3.0"}, "tp 3 x pp 1 x cp 1 x dp ? does not make 8 accelerators"),
        ({"model": "mpt-22B", "gated_mlp": ""}, "mpt-22B is of no family known here"),
        ({"n_heads": "60.0", "n_kv_heads": "60.0"}, "does not divide"),
    ],
)
def test_what_contradicts_itself_or_is_missing_is_invalid(
    cells: dict[str, str], reason: str
) -> None:
    status, text = refused(KORTHIKANTI, **cells)
    assert status == "invalid"
    assert reason in text


@pytest.mark.parametrize("experts", ["", "0", "0.0", "1", "1.0"])
def test_one_expert_is_a_dense_model(experts: str) -> None:
    assert case(KORTHIKANTI, n_experts=experts).scenario == case(KORTHIKANTI).scenario


def test_sharded_optimizers_of_llama_3_are_simulated() -> None:
    found = case("llama3-t4-8192-8192")
    assert found.scenario.layout.sharding is Sharding.OPTIMIZER
    assert found.scenario.layout.virtual_stages == 8
    assert found.cluster == "h100-roce400"


# Sources


def test_sources_are_found_with_and_without_a_version() -> None:
    assert source_of("vtrain") is SOURCES["vtrain"]
    assert source_of("mlperf_v5.0") is SOURCES["mlperf"]
    assert source_of("nobody_v2") is source_of("a blog") is UNKNOWN


@pytest.mark.parametrize(("name", "source"), [*SOURCES.items(), ("unknown", UNKNOWN)])
def test_sources_name_profiles_that_exist(name: str, source: Source) -> None:
    assert name
    stacks = {source.software, source.altered, *source.stack_by_run.values()} - {""}
    assert stacks <= set(CATALOG.names("software"))
    assert {*source.clusters.values(), *CLUSTERS.values()} <= set(CATALOG.names("cluster"))
    assert source.evidence
    header = {*next(iter(ROWS.values())), "vocabulary_multiple", "positions", "tied_embeddings",
              "embedding_norm"}  # fmt: skip
    corrected = {correction.column for correction in source.corrections}
    assert {*source.defaults, *source.tuned, *corrected} <= header
    assert all(correction.evidence for correction in source.corrections)


@pytest.mark.parametrize(
    ("run", "cells", "split"),
    [
        (MEGASCALE, {}, "validation"),
        (MEGASCALE, {"n_accel": "256"}, "calibration"),
        (MEGASCALE, {"n_accel": "2560"}, "validation"),
        (LAYOUTS, {}, "validation"),
        (LAYOUTS, {"model": "llama-65B"}, "calibration"),
        (LAYOUTS, {"attention_kernel": "torch"}, "calibration"),
        (VTRAIN, {}, "validation"),
        (VTRAIN, {"model": "gpt-L24-h1024"}, "calibration"),
        (KORTHIKANTI, {"model": "llama-65B"}, "validation"),
    ],
)
def test_rows_that_fitted_a_profile_are_calibration(
    run: str, cells: dict[str, str], split: str
) -> None:
    assert split_of(row_of(run, **cells)) == split
    # A refused row says so, too.
    assert predict_row(row_of(run, flags="layout_unknown", **cells), CATALOG)["split"] == split


def test_a_refused_row_names_its_stack() -> None:
    prediction = predict_row(row_of(MEGASCALE, n_experts="8"), CATALOG)
    assert prediction["run_id"] == MEGASCALE
    assert prediction["stack"] == stack_of(row_of(MEGASCALE), source_of("megascale"))
