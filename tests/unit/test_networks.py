"""Convolutional networks: shapes, parameters, operators, and what a scenario may ask of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator import load_scenario, simulate
from simulator.catalog import Catalog
from simulator.documents import validate
from simulator.errors import ScenarioError
from simulator.hardware.gemm_costs import gemm_time
from simulator.hardware.operator_costs import operator_time
from simulator.operators import Convolution, Gemm, Pointwise, Role
from simulator.precision import Precision
from simulator.workload.convolutional import (
    ConvolutionalNetwork,
    Module,
    ModuleKind,
    forward_flops_per_image,
    layers_of,
    network_parameters,
)
from simulator.workload.convolutions import network_blocks
from simulator.workload.steps import Shard

if TYPE_CHECKING:
    from simulator.workload.steps import Block

SCENARIOS = Path(__file__).parents[2] / "scenarios"
RESNET = SCENARIOS / "resnet50-256-p100.yaml"
LINEAR = "{name: a, kind: linear, channels: 4}"
IMAGES = 4
SHARD = Shard(
    micro_batch=IMAGES,
    sequence_length=1,
    tensor=1,
    context=1,
    sequence_parallel=False,
    precision=Precision.FP32,
    gradient_precision=Precision.FP32,
)


def network(name: str) -> ConvolutionalNetwork:
    return validate(ConvolutionalNetwork, Catalog().document("model", name))


def blocks(model: ConvolutionalNetwork) -> dict[str, Block]:
    return {block.name: block for block, _ in network_blocks(model, SHARD)}


TINY = ConvolutionalNetwork(
    name="tiny",
    image_size=8,
    image_channels=3,
    modules=(
        Module(
            name="first",
            kind=ModuleKind.CONVOLUTION,
            channels=16,
            kernel=3,
            stride=2,
            padding=1,
            batch_norm=True,
            relu=True,
        ),
        Module(name="pool", kind=ModuleKind.MAX_POOL, kernel=2, stride=2),
        Module(name="second", kind=ModuleKind.CONVOLUTION, channels=8, groups=2, bias=True),
        Module(name="classes", kind=ModuleKind.LINEAR, channels=10, dropout=True),
    ),
)


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        # He et al. 2015: 3.8e9 with the stride on 1x1 convolutions, 4.1e9 on the 3x3 ones.
        ("resnet-50", 25_557_032, 4_089_184_256),
        # Krizhevsky et al. 2012: 60 million parameters.
        ("alexnet", 60_965_224, 724_406_816),
    ],
)
def test_published_networks(name: str, parameters: int, multiply_adds: int) -> None:
    model = network(name)
    assert network_parameters(model) == parameters
    assert forward_flops_per_image(model) == 2 * multiply_adds


def test_resnet_50_has_fifty_layers_and_four_projections() -> None:
    layers = [layer for layer in layers_of(network("resnet-50")) if layer.weights]
    assert len(layers) == 50 + 4
    sizes = [layer.size_out for layer in layers if layer.name.endswith(".1_3")]
    assert sizes == [56, 28, 14, 7]
    assert [layer.outputs for layer in layers if layer.name.endswith(".1_3")] == [
        256,
        512,
        1024,
        2048,
    ]


def test_alexnet_layer_by_layer() -> None:
    """Parameters of each layer by hand, biases included."""
    held = {
        layer.name: layer.weights + layer.biases
        for layer in layers_of(network("alexnet"))
        if layer.weights
    }
    assert held == {
        "conv1": 96 * 3 * 121 + 96,
        "conv2": 256 * 48 * 25 + 256,
        "conv3": 384 * 256 * 9 + 384,
        "conv4": 384 * 192 * 9 + 384,
        "conv5": 256 * 192 * 9 + 256,
        "fc6": 4096 * 256 * 36 + 4096,
        "fc7": 4096 * 4096 + 4096,
        "fc8": 1000 * 4096 + 1000,
    }


@pytest.mark.parametrize("name", ["resnet-50", "alexnet"])
def test_blocks_hold_all_parameters_and_do_all_flops(name: str) -> None:
    """Three products per layer of equal FLOPs, but for the images' gradient, which nobody needs."""
    model = network(name)
    whole = network_blocks(model, SHARD)
    assert sum(parameters for _, parameters in whole) == network_parameters(model)
    products = [
        step.operator
        for block, _ in whole
        for step in (*block.forward, *block.backward)
        if isinstance(step.operator, Convolution | Gemm)
    ]
    forward = IMAGES * forward_flops_per_image(model)
    first = 2 * IMAGES * layers_of(model)[0].multiply_adds
    assert sum(product.flops for product in products) == 3 * forward - first


def test_products_of_a_convolution_by_hand() -> None:
    """4 images of 8x8x3 to 4x4x16 through 3x3 windows."""
    first = blocks(TINY)["first"]
    (forward,) = (step.operator for step in first.forward)
    (weight,) = (step.operator for step in first.backward)
    assert isinstance(forward, Convolution)
    assert isinstance(weight, Convolution)
    assert (forward.product.m, forward.product.n, forward.product.k) == (4 * 16, 16, 27)
    assert (weight.product.m, weight.product.n, weight.product.k) == (16, 27, 4 * 16)
    assert weight.product.role is Role.WEIGHT_GRADIENT
    # Images, result and weights once each, in fp32.
    assert forward.n_bytes == 4 * (4 * 8 * 8 * 3 + 4 * 4 * 4 * 16 + 16 * 27)


def test_grouped_convolution() -> None:
    """2x2 pixels, 16 to 8 channels in two groups: each 8 to 4."""
    second = blocks(TINY)["second"]
    product = next(s.operator for s in second.forward if isinstance(s.operator, Convolution))
    gradient = next(s.operator for s in second.backward if isinstance(s.operator, Convolution))
    assert isinstance(product, Convolution)
    assert isinstance(gradient, Convolution)
    assert (product.product.m, product.product.n, product.product.k) == (16, 4, 8)
    assert product.product.groups == 2
    assert gradient.flops == product.flops == 2 * 2 * 16 * 4 * 8


def test_passes_by_hand() -> None:
    """Batch norm 3 and 5 passes over 4x4x4x16 values, ReLU 2 and 3, pooling in and out."""
    norm = blocks(TINY)["first_norm"]
    volume = 4 * 4 * 4 * 4 * 16
    traffic = {
        step.operator.name: step.operator.n_bytes
        for step in (*norm.forward, *norm.backward)
        if isinstance(step.operator, Pointwise)
    }
    assert traffic == {
        "batch_norm": 3 * volume,
        "relu": 2 * volume,
        "pool": volume + volume / 4,
        "batch_norm_backward": 5 * volume,
        "relu_backward": 3 * volume,
        "pool_backward": 2 * volume + volume / 4,
    }
    assert [step.operator.name for step in norm.backward] == [
        "pool_backward",
        "relu_backward",
        "batch_norm_backward",
    ]


def test_kept_activations_by_hand() -> None:
    """fp32: input of each weight and norm, the pool's input, a byte per dropped value."""
    kept = {name: block.saved_bytes for name, block in blocks(TINY).items()}
    images, activations, pooled, features = 4 * 8 * 8 * 3, 4 * 4 * 4 * 16, 4 * 2 * 2 * 16, 4 * 32
    assert kept == {
        "first": 4 * images,
        "first_norm": 4 * activations + 4 * activations,
        "second": 4 * pooled + features,
        "classes": 4 * features,
    }


def test_weight_gradients_are_spread_over_the_part() -> None:
    """A small matrix summed over 10^5 positions: as a plain GEMM a few tiles would hold it up."""
    part = load_scenario(RESNET).cluster.accelerator
    product = Gemm("w", 64, 64, 100_352, precision=Precision.FP32, role=Role.WEIGHT_GRADIENT)
    n_bytes = 4.0 * 2 * 64 * 100_352
    spread = operator_time(Convolution("w", product, n_bytes), part)
    assert spread < 0.3 * gemm_time(product, part)
    assert spread > n_bytes / part.memory_bandwidth
    assert spread > product.flops / part.peak(Precision.FP32)


def test_an_image_is_a_sequence_of_one() -> None:
    scenario = load_scenario(RESNET)
    assert scenario.batch.sequence_length == 1
    summary = simulate(scenario).summary
    assert summary["sample"] == "image"
    assert summary["tokens_per_step"] == 8192
    assert list(summary["mfu"]) == ["convolutions"]
    assert summary["model_flop_per_token"]["convolutions"] == 6 * 4_089_184_256
    assert sum(summary["breakdown_s"].values()) == pytest.approx(summary["step_time_s"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("layout.tensor=2", "layout.tensor: resnet-50 is a convolutional network"),
        ("layout.pipeline=2", "layout.pipeline: resnet-50 is a convolutional network"),
        ("layout.context=2", "layout.context: resnet-50 is a convolutional network"),
        ("layout.virtual_stages=2", "only data parallelism is simulated: must be 1, got 2"),
        ("layout.layers=[107]", "layout.layers: resnet-50 is a convolutional network"),
        ("recompute=full", "recompute: resnet-50 is a convolutional network"),
        ("batch.sequence_length=7", "takes images, each a sequence of 1; got 7"),
        ("precision=bf16", "P100 SXM2 has no bf16 rate"),
        ("model=llama-3-8b", "batch.sequence_length: required key is missing"),
    ],
)
def test_what_a_network_cannot_do_is_refused(override: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_scenario(RESNET, overrides=[override])


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ("[]", "must begin with a convolution or a linear layer"),
        ("[{name: a, kind: max_pool}]", "must begin with a convolution"),
        ("[{name: a, kind: convolution}]", "a: kind convolution needs channels"),
        ("[{name: a, kind: convolution, channels: 4, kernel: 99}]", "a: a window of 99"),
        ("[{name: a, kind: convolution, channels: 4, groups: 2}]", "a: 3 inputs do not divide"),
        ("[{name: a, kind: linear, channels: 4, repeat: 2}]", "a: kind linear takes no repeat"),
        ("[{name: a, kind: convolutio, channels: 4}]", "did you mean 'convolution'?"),
        ("[{name: a, kind: linear, channel: 4}]", "did you mean 'channels'?"),
        (
            f"[{LINEAR}, {LINEAR}]",
            "a: is the name of 2 layers",
        ),
        (
            f"[{LINEAR}, {{name: b, kind: bottleneck, channels: 4, repeat: 999999}}]",
            "must be at most 10,000, got 1,000,000",
        ),
    ],
)
def test_modules_that_make_no_network_are_refused(modules: str, message: str) -> None:
    model = f"model={{name: x, image_size: 32, image_channels: 3, modules: {modules}}}"
    with pytest.raises(ScenarioError, match=message):
        load_scenario(RESNET, overrides=[model])


def test_layerwise_norms_need_whole_layers() -> None:
    with pytest.raises(ScenarioError, match="ranks that hold whole layers"):
        load_scenario(
            SCENARIOS / "alexnet-lars-256-p100.yaml", overrides=["layout.sharding=optimizer"]
        )


def test_layerwise_norms_take_a_pass_before_the_update() -> None:
    """LARS reads weights and gradients once more: 8 B per parameter, two kernels for each block."""
    scenario = load_scenario(SCENARIOS / "alexnet-lars-256-p100.yaml")
    plain = replace(scenario, software=replace(scenario.software, layerwise_norms=False))
    part = scenario.cluster.accelerator
    norms = operator_time(Pointwise("n", 8 * 60_965_224.0, kernels=2 * 8), part)
    with_norms = simulate(scenario).summary["breakdown_s"]["optimizer"]
    assert with_norms - simulate(plain).summary["breakdown_s"]["optimizer"] == pytest.approx(norms)


def test_sgd_keeps_momentum_only() -> None:
    """Weights, gradients and momentum: three times 4 B for 25.56 million parameters."""
    stage = simulate(RESNET).summary["memory_gib"]["stages"][0]
    each = 4 * 25_557_032 / 2**30
    assert stage["weights"] == stage["gradients"] == pytest.approx(each)
    assert stage["optimizer"] == pytest.approx(each)
