"""ImageNet in 1 Hour (Goyal et al. 2017, arXiv 1706.02677) and P100 alone, beside the simulator.

Calibration: ``step_jitter`` of the stack ``caffe2-2017`` was fitted to the two ratios of
`test_calibrated_scaling`. Nothing else was fitted to these figures; the part's kernels are
transferred from later parts.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from simulator import load_scenario, simulate
from simulator.hardware.patterns import Pattern
from simulator.hardware.three_phase import exchange
from simulator.program.build import make_plan
from simulator.units import HOUR

RESNET = Path(__file__).parents[2] / "scenarios" / "resnet50-256-p100.yaml"
TRAINING_IMAGES, EPOCHS = 1_281_167, 90


@cache
def summary(accelerators: int, *overrides: str, images: int = 32) -> dict[str, Any]:
    sizes = (
        f"accelerators={accelerators}",
        f"layout.data={accelerators}",
        f"batch.micro_batch={images}",
        f"batch.global_batch={images * accelerators}",
    )
    return simulate(load_scenario(RESNET, overrides=[*sizes, *overrides])).summary


def step_time(accelerators: int, *overrides: str) -> float:
    time: float = summary(accelerators, *overrides)["step_time_s"]
    return time


def network_efficiency(gbit_per_s: float, algorithm: str = "halving_doubling") -> float:
    """Return the efficiency of 256 GPUs over 8 that the network alone leaves, without jitter."""
    still = "software.step_jitter=0"
    across = step_time(
        256,
        still,
        f"cluster.fabric.nic_gbit_per_s={gbit_per_s}",
        f"software.gradient_all_reduce=three_phase_{algorithm}",
    )
    return step_time(8, still) / across


@pytest.mark.parametrize(("images", "published"), [(32, 195.0), (64, 219.0)])
def test_images_per_second_of_one_p100(images: int, published: float) -> None:
    """TensorFlow's benchmarks of May 2017, DGX-1, synthetic data: another framework, same cuDNN."""
    rate = summary(1, images=images)["tokens_per_s"]
    assert rate == pytest.approx(published, rel=0.20)


def test_backward_pass() -> None:
    """Section 4.3: 120 ms on one P100 for 32 images. Ours is 23 % shorter."""
    trace = simulate(load_scenario(RESNET)).trace
    backward = trace[trace["kind"] == "backward"]
    time = backward["end_s"].max() - backward["start_s"].min()
    assert time == pytest.approx(0.120, rel=0.25)


def test_bytes_on_the_network() -> None:
    """Section 4.3: 200 MB per server and step, 12.8 Gbit/s over the backward pass."""
    trace = simulate(load_scenario(RESNET)).trace
    exchanged = trace.loc[trace["name"] == "gradient_exchange", "n_bytes"].sum()
    sent = 2 * 31 / 32 * exchanged
    assert sent == pytest.approx(200e6, rel=0.02)


def test_the_network_is_no_bottleneck_at_50_gbit_per_s() -> None:
    """Section 4: "collective communication was not a bottleneck"."""
    assert network_efficiency(50) > 0.99


def test_it_collapses_below_15_gbit_per_s() -> None:
    """Section 4.3: about 15 Gbit/s are needed, overheads included."""
    by_rate = {rate: network_efficiency(rate) for rate in (25, 15, 10, 7.5, 5)}
    assert by_rate[25] > 0.9
    assert 0.6 < by_rate[15] < 0.9
    assert by_rate[10] < 0.6
    # From there on the network alone sets the pace.
    assert by_rate[5] / by_rate[7.5] == pytest.approx(5 / 7.5, rel=0.12)


def test_halving_and_doubling_is_three_times_faster_than_a_ring() -> None:
    """Section 4.1, 32 servers: all gradients of ResNet-50, one after another."""
    plan = make_plan(load_scenario(RESNET))
    span, cluster = plan.placement.gradient.span, plan.scenario.cluster
    buffers = [4.0 * block.parameters for block in plan.stages[0].blocks]
    ring, halving = (
        sum(exchange(n_bytes, algorithm, span, cluster).time for n_bytes in buffers)
        for algorithm in (Pattern.RING, Pattern.HALVING_DOUBLING)
    )
    assert ring / halving == pytest.approx(3.0, rel=0.15)
    # "much better … for buffer sizes up to a million elements", alike for large ones.
    by_elements = {
        elements: exchange(4.0 * elements, Pattern.RING, span, cluster).time
        / exchange(4.0 * elements, Pattern.HALVING_DOUBLING, span, cluster).time
        for elements in (1e4, 1e6, 25e6)
    }
    assert by_elements[1e4] > 5
    assert by_elements[1e6] > 1.5
    assert by_elements[25e6] < 1.1
    # The ring cannot be hidden any more, which is why they left it.
    assert network_efficiency(50, "ring") < 0.7


def test_calibrated_scaling() -> None:
    """Calibration, not validation: 29 h on 8 GPUs and 1 h on 256; 12 % more time on 352.

    The second ratio is known from secondary sources only.
    """
    assert step_time(8) / step_time(256) == pytest.approx(29 / 32, abs=0.01)
    assert step_time(352) / step_time(8) == pytest.approx(1.12, abs=0.015)


@pytest.mark.parametrize(("accelerators", "published"), [(8, 29.0), (256, 1.0)])
def test_hours_of_ninety_epochs(accelerators: int, published: float) -> None:
    """A third short, on both: kernels above, input and whatever else Caffe2 did in a step."""
    steps = EPOCHS * TRAINING_IMAGES / (32 * accelerators)
    hours = steps * step_time(accelerators) / HOUR
    assert hours == pytest.approx(published, rel=0.35)
