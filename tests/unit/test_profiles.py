"""The shipped accelerator and software profiles: they load, are sourced, and hang together."""

from __future__ import annotations

import csv
import re
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulator.catalog import Catalog
from simulator.documents import Document, Status, validate
from simulator.hardware.accelerator import Accelerator
from simulator.hardware.software import Launch, PipelineTransfer, Software
from simulator.operators import AttentionKernel
from simulator.precision import Precision
from simulator.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.documents import FieldPath

ACCELERATORS = Catalog(()).names("accelerator")
STACKS = Catalog(()).names("software")
BEFORE_TRANSFORMERS = ("caffe2-2017", "caffe2-lars-2017")
H200_MEASUREMENTS = Path(__file__).parents[2] / "benchmarks" / "measurements" / "h200"
FLOAT_PRECISIONS = {Precision.FP32, Precision.TF32, Precision.BF16, Precision.FP16}


@cache
def document(kind: str, name: str) -> Document:
    catalog = Catalog(())
    return catalog.resolve(kind, catalog.document(kind, name), ())


def accelerator(name: str) -> Accelerator:
    return validate(Accelerator, document("accelerator", name))


def software(name: str) -> Software:
    return validate(Software, document("software", name))


def numbers(data: Any, path: FieldPath = ()) -> Iterator[FieldPath]:  # noqa: ANN401 - plain data
    """Yield the paths of all numbers in ``data``, except those of a kernels profile."""
    if isinstance(data, dict):
        for key, value in data.items():
            if (*path, key) != ("kernels",):
                yield from numbers(value, (*path, key))
    elif isinstance(data, (int, float)) and not isinstance(data, bool):
        yield path


def measurements(table: str) -> list[dict[str, str]]:
    path = H200_MEASUREMENTS / table
    if not path.exists():
        pytest.skip(f"benchmarks/measurements/h200/{table} is not in this distribution")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def best_gemm(dtype: str) -> float:
    return max(float(row["tflops"]) for row in measurements("gemm.csv") if row["dtype"] == dtype)


def miscellaneous(what: str, setting: str) -> float:
    rows = measurements("misc.csv")
    return next(float(r["value"]) for r in rows if (r["what"], r["setting"]) == (what, setting))


def differences(left: Software, right: Software) -> set[str]:
    names = (field.name for field in fields(Software))
    return {name for name in names if getattr(left, name) != getattr(right, name)}


PROFILES = [("accelerator", n) for n in ACCELERATORS] + [("software", n) for n in STACKS]


@pytest.mark.parametrize(("kind", "name"), PROFILES)
def test_every_number_has_a_source_and_a_status(kind: str, name: str) -> None:
    profile = document(kind, name)
    paths = list(numbers(profile.data))
    assert paths
    for path in paths:
        source = profile.sources.get(path)
        assert source is not None, path
        assert source.text, path
        assert source.status is not None, path


@pytest.mark.parametrize(("kind", "name"), PROFILES)
def test_sources_can_be_looked_up_by_anyone(kind: str, name: str) -> None:
    on_this_machine = re.compile(r"(?:^|\s)(?:~|\.{0,2})/\w")
    for path, source in document(kind, name).sources.items():
        if path[0] != "kernels":
            assert not on_this_machine.search(f"{source.text} {source.note}"), path


@pytest.mark.parametrize("name", ACCELERATORS)
def test_accelerators_are_of_plausible_size(name: str) -> None:
    part = accelerator(name)
    assert 1e10 < part.memory < 4e11
    assert 5e11 < part.memory_bandwidth < 1e13
    assert 5e9 < part.host_bandwidth < 5e11
    assert 0 <= part.launch_gap < 5e-6
    assert 1 <= part.multiprocessors < 1000
    assert part.power is None or 200 < part.power < 2000
    assert all(1e12 < rate < 2e16 for rate in part.peak_flop_rate.values())


@pytest.mark.parametrize("name", ACCELERATORS)
def test_achievable_rates_are_a_large_share_of_the_peak(name: str) -> None:
    part = accelerator(name)
    assert part.achievable_flop_rate.keys() == part.peak_flop_rate.keys()
    for precision in part.peak_flop_rate:
        assert 0.4 < part.achievable(precision) / part.peak(precision) <= 0.95
    assert 0.7 < part.achievable_memory_bandwidth / part.memory_bandwidth < 1


@pytest.mark.parametrize("name", ACCELERATORS)
def test_fewer_bits_are_never_slower(name: str) -> None:
    part = accelerator(name)
    formats = [p for p in part.peak_flop_rate if p not in FLOAT_PRECISIONS] + [Precision.BF16]
    by_bits = sorted(set(formats) & part.peak_flop_rate.keys(), key=lambda p: p.n_bytes)
    rates = [part.peak(precision) for precision in by_bits]
    assert all(narrow >= 0.99 * wide for narrow, wide in pairwise(rates))


def test_h200_in_si() -> None:
    part = accelerator("h200-sxm")
    assert part.peak(Precision.BF16) == pytest.approx(989.4e12)
    assert part.peak(Precision.FP8) == pytest.approx(1978.9e12)
    assert part.achievable(Precision.BF16) == pytest.approx(797.4e12)
    assert part.memory == pytest.approx(150_109_880_320)
    assert part.memory_bandwidth == pytest.approx(4.8e12)
    assert part.achievable_memory_bandwidth == pytest.approx(4.30e12)
    assert part.multiprocessors == 132
    assert part.launch_gap == pytest.approx(0.92e-6)
    assert part.host_bandwidth == pytest.approx(55.4e9)
    assert part.power == 700


def test_h200_is_what_was_measured() -> None:
    part = accelerator("h200-sxm")
    assert part.achievable(Precision.BF16) == pytest.approx(best_gemm("bf16") * 1e12)
    assert part.achievable(Precision.FP8) == pytest.approx(best_gemm("fp8") * 1e12)
    copy = miscellaneous("hbm_copy_rw", "GB=4") * 1e9
    assert part.achievable_memory_bandwidth == pytest.approx(copy, rel=2e-3)
    gap = miscellaneous("graph_tiny_kernel", "add_ 32 floats") * 1e-6
    assert part.launch_gap == pytest.approx(gap)
    pinned = miscellaneous("h2d_pinned", "MiB=512") * 1e9
    assert part.host_bandwidth == pytest.approx(pinned, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "gibibytes"),
    [("a100-80gb-sxm", 79.25), ("h100-sxm", 79.11), ("b200-sxm", 178.35), ("gb300", 276.50)],
)
def test_memory_is_what_the_runtime_offers(name: str, gibibytes: float) -> None:
    assert accelerator(name).memory == pytest.approx(gibibytes * GIB, rel=1e-4)


def test_h800_is_an_h100_by_another_name() -> None:
    h100, h800 = accelerator("h100-sxm"), accelerator("h800-sxm")
    names = {field.name for field in fields(Accelerator)}
    differing = {name for name in names if getattr(h100, name) != getattr(h800, name)}
    assert differing == {"name", "kernels"}
    # NVLink has 200 of 450 GB/s, which the exchange of experts' tokens feels.
    assert replace(h800.kernels, exchange=h100.kernels.exchange) == h100.kernels
    statuses = document("accelerator", "h800-sxm").sources
    assert statuses["peak_flop_rate_tflop_per_s", "bf16"].status is Status.ASSUMED


def test_mi350x_is_an_mi355x_at_a_lower_clock() -> None:
    slow, fast = accelerator("mi350x"), accelerator("mi355x")
    for precision in fast.peak_flop_rate:
        assert slow.peak(precision) / fast.peak(precision) == pytest.approx(2200 / 2400, rel=1e-3)
    assert slow.memory == fast.memory


def test_p100_is_the_part_of_goyal_et_al() -> None:
    part = accelerator("p100")
    assert part.peak(Precision.FP32) == pytest.approx(10.6e12)
    assert part.memory_bandwidth == pytest.approx(732e9)
    assert Precision.BF16 not in part.peak_flop_rate


@pytest.mark.parametrize("name", STACKS)
def test_stacks_are_plausible(name: str) -> None:
    stack = software(name)
    assert 0 <= stack.backward_launch <= stack.kernel_launch < 200e-6
    assert 0 <= stack.step_overhead < 2
    assert 0 <= stack.context_memory < 4 * GIB
    assert stack.fragmentation < 0.1
    assert stack.communication_multiprocessors <= 32
    smallest = 1 if name in BEFORE_TRANSFORMERS else 32  # nothing was fused into buckets
    assert smallest * MIB < stack.bucket <= 64 * 1024 * MIB


@pytest.mark.parametrize("name", STACKS)
def test_optimizer_traffic_is_counted(name: str) -> None:
    """28 B for fp32 Adam, 4 for the norm, 6 for 16-bit weights; 6 more to widen gradients.

    20 B for SGD with momentum in fp32.
    """
    stack = software(name)
    if name in BEFORE_TRANSFORMERS:
        assert stack.optimizer_traffic_bytes_per_parameter == 20
        assert stack.optimizer_state_bytes_per_parameter == 4
        return
    narrow = stack.gradient_precision.n_bytes < 4
    clipping = 8 if name in ("torchtitan-2025", "llm-foundry-2023") else 0
    deepspeed = dict.fromkeys(
        ("megatron-deepspeed-fp16-2023", "megatron-deepspeed-traced-2023"), 30
    )
    counted = {**deepspeed, "pytorch-steps-2026": 40}
    expected = counted.get(name, 38 + 6 * narrow + clipping)
    assert stack.optimizer_traffic_bytes_per_parameter == expected


@pytest.mark.parametrize("name", STACKS)
def test_gradients_do_not_travel_wider_than_they_are_kept(name: str) -> None:
    stack = software(name)
    if name != "megatron-2023":  # its trainer widens gradients to reduce them
        assert stack.gradient_reduce_precision.n_bytes <= stack.gradient_precision.n_bytes
    # MLPerf's submissions keep their parameters in fp8, frameworks of 2017 theirs in fp32.
    kept = {"mlperf-nemo-2024": 1} | dict.fromkeys(BEFORE_TRANSFORMERS, 4)
    assert stack.parameter_gather_precision.n_bytes == kept.get(name, 2)


def test_megascale_is_megatron_with_its_overlaps() -> None:
    before, after = software("megascale-megatron-2023"), software("megascale-2024")
    assert differences(before, after) == {
        "name",
        "kernels",
        "tensor_overlap",
        "pipeline_transfer",
        "gradient_reduce_overlap",
        "parameter_gather_overlap",
        "bucket",
        "bucket_per_rank",
        "step_overhead",
    }
    assert before.kernels.attention is AttentionKernel.FLASH1
    assert after.kernels.attention is AttentionKernel.FLASH2
    assert after.kernels.fused_norm
    assert after.pipeline_transfer is PipelineTransfer.OVERLAPPED


def test_performance_recipes_keep_gradients_in_bf16() -> None:
    library, recipes = software("megatron-core-2025"), software("megatron-bridge-2025")
    assert library.gradient_precision is Precision.FP32
    assert recipes.gradient_precision is Precision.BF16
    assert recipes.launch is Launch.GRAPH
    assert 2 * recipes.bucket == pytest.approx(library.bucket, rel=0.01)
    # 40e6 parameters, and 1e6 for each rank that shares gradients.
    assert library.bucket == pytest.approx(4 * 40e6, rel=0.005)
    assert library.bucket_per_rank == pytest.approx(4 * 1e6, rel=0.001)
    assert 2 * recipes.bucket_per_rank == pytest.approx(library.bucket_per_rank, rel=0.001)
