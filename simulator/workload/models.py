"""Models of every kind: what the rooms above ask of them, whatever they are made of.

A sample is what a model counts its work by: a token of a transformer, an image of a network. In a
`simulator.parallel.layout.Batch` an image is a sequence of one.
"""

from __future__ import annotations

from typing import Annotated, Final

from simulator.fields import called, told_apart
from simulator.workload.convolutional import (
    ConvolutionalNetwork,
    forward_flops_per_image,
    layers_of,
    network_parameters,
)
from simulator.workload.flops import TRAINING_PASSES, Convention, model_flops_per_token
from simulator.workload.parameters import active_parameters, total_parameters
from simulator.workload.transformer import Transformer

Model = Annotated[
    Annotated[Transformer, called(Transformer)]
    | Annotated[ConvolutionalNetwork, called(ConvolutionalNetwork)],
    told_apart("image_size", present=ConvolutionalNetwork, absent=Transformer),
]
"""A model of a scenario; a description with an ``image_size`` is a convolutional network."""

CONVOLUTIONS: Final = "convolutions"
"""Convention of an image model's FLOPs: convolutions and linear layers, a multiply-add as two, the
backward pass as twice the forward pass (the first layer's input gradient, which nobody computes,
included)."""


def parameters_of(model: Transformer | ConvolutionalNetwork) -> int:
    """Return all trained parameters of a model, a transformer's vocabulary as published."""
    if isinstance(model, ConvolutionalNetwork):
        return network_parameters(model)
    return total_parameters(model)


def active_parameters_of(model: Transformer | ConvolutionalNetwork) -> int:
    """Return the parameters that a sample meets: all, less the experts it is not routed to."""
    if isinstance(model, ConvolutionalNetwork):
        return network_parameters(model)
    return active_parameters(model)


def depth_of(model: Transformer | ConvolutionalNetwork) -> int:
    """Return the layers of a transformer, the modules of a network with their repetitions."""
    if isinstance(model, ConvolutionalNetwork):
        return sum(module.repeat for module in model.modules)
    return model.layers


def exchanged(model: Transformer | ConvolutionalNetwork) -> int:
    """Return how many layers can be exchanged apart: of a network its weights and norms."""
    if isinstance(model, ConvolutionalNetwork):
        return sum(len(layer.block_names) for layer in layers_of(model) if layer.weights)
    return model.layers


def sample_of(model: Transformer | ConvolutionalNetwork) -> str:
    """Return what a model counts its work by: ``token`` or ``image``."""
    return "image" if isinstance(model, ConvolutionalNetwork) else "token"


def flops_per_sample(
    model: Transformer | ConvolutionalNetwork, sequence_length: int
) -> dict[str, float]:
    """Return the model FLOPs of training on one sample by each convention for such models."""
    if isinstance(model, ConvolutionalNetwork):
        return {CONVOLUTIONS: TRAINING_PASSES * forward_flops_per_image(model)}
    return {c.value: model_flops_per_token(model, sequence_length, c) for c in Convention}
