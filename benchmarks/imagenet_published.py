"""What was published of image models on P100, beside what is simulated: a table for imagenet.py.

No constant of the part was fitted to convolutions: its kernels are transferred from later parts.
`FITTED` marks the rows that fitted ``step_jitter`` of the stack ``caffe2-2017``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simulator import load_scenario, simulate
from simulator.hardware.collective_costs import bus_factor
from simulator.hardware.patterns import Pattern
from simulator.hardware.three_phase import exchange
from simulator.operators import Collective
from simulator.program.build import make_plan
from simulator.units import HOUR, MEGA, MILLI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.scenario import Scenario

SCENARIOS: Final = Path(__file__).parent.parent / "scenarios"
RESNET: Final = SCENARIOS / "resnet50-256-p100.yaml"
ALEXNET: Final = SCENARIOS / "alexnet-lars-256-p100.yaml"
TRAINING_IMAGES: Final = 1_281_167
"""Images of ImageNet-1k's training set."""
EPOCHS: Final = 90
SERVERS: Final = 32
FITTED: Final = " (fitted)"


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield quantity, published and simulated value, both as text with their unit."""
    for images, published in ((32, 195), (64, 219)):
        rate = step(RESNET, 1, images)["tokens_per_s"]
        yield f"images/s of one P100, {images} images", f"{published}", f"{rate:.0f}"
    result = simulate(load_scenario(RESNET))
    backward = result.trace[result.trace["kind"] == "backward"]
    time = (backward["end_s"].max() - backward["start_s"].min()) / MILLI
    yield "backward pass, 32 images", "120 ms", f"{time:.0f} ms"
    share = bus_factor(Collective.ALL_REDUCE, SERVERS)
    sent = share * exchanged(result.trace)["n_bytes"].sum() / MEGA
    yield "sent per server and step", "200 MB", f"{sent:.0f} MB"
    ratio = ring_over_halving(load_scenario(RESNET))
    yield f"ring over halving and doubling, {SERVERS} servers", "3", f"{ratio:.1f}"
    one, many, more = (step(RESNET, gpus)["step_time_s"] for gpus in (8, 256, 352))
    yield f"step time of 8 over 256 GPUs{FITTED}", f"{29 / 32:.3f}", f"{one / many:.3f}"
    yield f"step time of 352 over 8 GPUs{FITTED}", "1.12", f"{more / one:.2f}"
    for gpus, time, published in ((8, one, 29), (256, many, 1)):
        hours = EPOCHS * TRAINING_IMAGES / (32 * gpus) * time / HOUR
        yield f"hours of {EPOCHS} epochs, {gpus} GPUs", f"{published}", f"{hours:.3g}"
    rate = step(ALEXNET, 1, 512)["tokens_per_s"]
    yield "images/s of one P100, AlexNet, 512 images", "2987", f"{rate:.0f}"
    yield "network over GPU time, AlexNet, 256 GPUs", "-", f"{network_over_compute():.1f}"


def step(scenario: Path, gpus: int, images: int = 32, *more: str) -> dict[str, Any]:
    """Return the summary of a step with so many images on each of so many GPUs, and overrides."""
    overrides = (
        f"accelerators={gpus}",
        f"layout.data={gpus}",
        f"batch.micro_batch={images}",
        f"batch.global_batch={images * gpus}",
        *more,
    )
    return simulate(load_scenario(scenario, overrides=overrides)).summary


def exchanged(trace: Any) -> Any:  # noqa: ANN401 - frames of pandas
    """Return the spans in which gradients cross the network."""
    return trace[trace["name"] == "gradient_exchange"]


def ring_over_halving(scenario: Scenario) -> float:
    """Return the time of all gradients, one after another, by a ring over halving and doubling."""
    plan = make_plan(scenario)
    span, cluster = plan.placement.gradient.span, plan.scenario.cluster
    sizes = [4.0 * block.parameters for block in plan.stages[0].blocks]
    ring, halving = (
        sum(exchange(n_bytes, algorithm, span, cluster).time for n_bytes in sizes)
        for algorithm in (Pattern.RING, Pattern.HALVING_DOUBLING)
    )
    return ring / halving


def network_over_compute() -> float:
    """Return how long AlexNet's gradients cross the network over how long the GPUs compute."""
    trace = simulate(load_scenario(ALEXNET)).trace
    network, compute = (
        (spans["end_s"] - spans["start_s"]).sum()
        for spans in (exchanged(trace), trace[trace["lane"] == "compute"])
    )
    return float(network / compute)
