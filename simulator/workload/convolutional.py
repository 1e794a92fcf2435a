"""A convolutional network as its published configuration describes it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from simulator.fields import Count, CountOrZero, Flag, Text, record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EXPANSION: Final = 4
"""Output channels of a bottleneck over those of its inner convolutions (He et al. 2015)."""


class ModuleKind(StrEnum):
    """What a module of the network does."""

    CONVOLUTION = "convolution"
    BOTTLENECK = "bottleneck"
    """Residual blocks of 1x1, 3x3 and 1x1 convolutions, the stride on the 3x3 (ResNet-50)."""
    MAX_POOL = "max_pool"
    AVERAGE_POOL = "average_pool"
    """Over the whole image."""
    LINEAR = "linear"


@record
class Module:
    """One module, or ``repeat`` residual blocks, in the order of the forward pass."""

    name: Text
    kind: ModuleKind
    channels: CountOrZero = 0
    """Outputs of a convolution or linear layer; inner channels of a bottleneck."""
    kernel: Count = 1
    stride: Count = 1
    """Of the first block, if repeated."""
    padding: CountOrZero = 0
    groups: Count = 1
    bias: Flag = False
    batch_norm: Flag = False
    relu: Flag = False
    local_response_norm: Flag = False
    """After the activation, across channels (AlexNet)."""
    dropout: Flag = False
    """On the module's input."""
    repeat: Count = 1


SETTINGS: Final[Mapping[ModuleKind, tuple[str, ...]]] = {
    ModuleKind.CONVOLUTION: (
        *("channels", "kernel", "stride", "padding", "groups", "bias"),
        *("batch_norm", "relu", "local_response_norm", "dropout"),
    ),
    ModuleKind.BOTTLENECK: ("channels", "stride", "bias", "batch_norm", "repeat"),
    ModuleKind.MAX_POOL: ("kernel", "stride", "padding"),
    ModuleKind.AVERAGE_POOL: (),
    ModuleKind.LINEAR: ("channels", "bias", "batch_norm", "relu", "dropout"),
}
"""What each kind of module may set, beside its name."""


@record
class ConvolutionalNetwork:
    """An image model (``scenarios/models/*.yaml`` with an ``image_size``, or inline)."""

    name: Text
    image_size: Count
    """Pixels along an edge of the square input."""
    image_channels: Count
    modules: tuple[Module, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution, pooling or linear layer with the shapes that reach and leave it."""

    name: str
    module: Module
    inputs: int
    """Input channels (linear: input features)."""
    outputs: int
    size_in: int
    """Pixels along an edge before, 1 for linear layers."""
    size_out: int
    kernel: int
    stride: int
    relu: bool
    adds: bool = False
    """A residual is added after the norm, before the activation."""

    @property
    def weights(self) -> int:
        """Elements of the weight tensor; 0 for pooling."""
        if self.module.kind in (ModuleKind.MAX_POOL, ModuleKind.AVERAGE_POOL):
            return 0
        return self.outputs * self.inputs // self.module.groups * self.kernel**2

    @property
    def biases(self) -> int:
        """Elements of the bias; 0 without one."""
        return self.outputs if self.module.bias else 0

    @property
    def norms(self) -> int:
        """Scale and shift of the batch norm; 0 without one."""
        return 2 * self.outputs if self.module.batch_norm else 0

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of what is reduced on its own: the weights and, if there is one, the norm."""
        return (self.name, f"{self.name}_norm") if self.module.batch_norm else (self.name,)

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the weights for one image, forward."""
        return float(self.weights) * self.size_out**2


def layers_of(network: ConvolutionalNetwork) -> tuple[Layer, ...]:
    """Return the layers of a network in the order of its forward pass, residual blocks unrolled.

    The projection of a residual block stands before its last convolution, which adds it.
    """
    layers: list[Layer] = []
    channels, size = network.image_channels, network.image_size
    for module in network.modules:
        layers += _unrolled(module, channels, size)
        channels, size = layers[-1].outputs, layers[-1].size_out
    return tuple(layers)


def module_problems(network: ConvolutionalNetwork) -> Iterator[str]:
    """Yield what is wrong with the modules, each with the module's name."""
    first = network.modules[0].kind if network.modules else None
    if first not in (ModuleKind.CONVOLUTION, ModuleKind.LINEAR):
        yield "must begin with a convolution or a linear layer"
        return
    channels, size = network.image_channels, network.image_size
    for module in network.modules:
        problem = _setting_problem(module) or _shape_problem(module, channels, size)
        if problem:
            yield f"{module.name}: {problem}"
            return  # all shapes after it are wrong, too
        *_, last = _unrolled(module, channels, size)
        channels, size = last.outputs, last.size_out
    names = Counter(name for layer in layers_of(network) for name in layer.block_names)
    yield from (
        f"{name}: is the name of {count} layers" for name, count in names.items() if count > 1
    )


def _setting_problem(module: Module) -> str:
    """Return which setting a module lacks, or has although its kind takes none."""
    if "channels" in SETTINGS[module.kind] and module.channels == 0:
        return f"kind {module.kind} needs channels"
    plain = Module(name=module.name, kind=module.kind)
    names = (item.name for item in fields(Module) if item.name not in ("name", "kind"))
    for name in names:
        if name not in SETTINGS[module.kind] and getattr(module, name) != getattr(plain, name):
            return f"kind {module.kind} takes no {name}"
    return ""


def _shape_problem(module: Module, channels: int, size: int) -> str:
    """Return how a module does not fit the ``channels`` and ``size`` that reach it."""
    for what, count in (("inputs", channels), ("channels", module.channels)):
        if count % module.groups:
            return f"{count} {what} do not divide into {module.groups} groups"
    if module.kernel > size + 2 * module.padding:
        return f"a window of {module.kernel} does not fit {size} pixels padded by {module.padding}"
    return ""


def network_parameters(network: ConvolutionalNetwork) -> int:
    """Return all trained parameters of the network (running statistics are none)."""
    return sum(layer.weights + layer.biases + layer.norms for layer in layers_of(network))


def forward_flops_per_image(network: ConvolutionalNetwork) -> float:
    """Return the FLOPs of one image's forward pass, a multiply-add counted as two.

    Convolutions and linear layers only. Many papers on image models call a multiply-add one FLOP:
    their "4.1 GFLOP" of a ResNet-50 are 8.2 here.
    """
    return 2.0 * sum(layer.multiply_adds for layer in layers_of(network))


def _unrolled(module: Module, channels: int, size: int) -> Iterator[Layer]:
    """Yield the layers of one module, which ``channels`` of ``size`` pixels reach."""
    if module.kind is not ModuleKind.BOTTLENECK:
        yield _layer(module, channels, size)
        return
    for number in range(module.repeat):
        block = list(_bottleneck(module, number, channels, size))
        yield from block
        channels, size = block[-1].outputs, block[-1].size_out


def _layer(module: Module, channels: int, size: int) -> Layer:
    match module.kind:
        case ModuleKind.LINEAR:
            inputs, size_in, size_out, outputs = channels * size**2, 1, 1, module.channels
        case ModuleKind.AVERAGE_POOL:
            inputs, size_in, size_out, outputs = channels, size, 1, channels
        case ModuleKind.MAX_POOL:
            inputs, size_in, size_out, outputs = channels, size, _shrunk(module, size), channels
        case _:
            inputs, size_in = channels, size
            size_out, outputs = _shrunk(module, size), module.channels
    return Layer(
        name=module.name,
        module=module,
        inputs=inputs,
        outputs=outputs,
        size_in=size_in,
        size_out=size_out,
        kernel=module.kernel,
        stride=module.stride,
        relu=module.relu,
    )


def _bottleneck(module: Module, number: int, channels: int, size: int) -> Iterator[Layer]:
    """Yield the convolutions of the residual block ``number``."""
    stride = module.stride if number == 0 else 1
    inner, outer = module.channels, EXPANSION * module.channels
    small = -(-size // stride)
    name = f"{module.name}.{number + 1}"
    shapes = [
        ("1", channels, inner, size, size, 1, 1, True),
        ("2", inner, inner, size, small, 3, stride, True),
    ]
    if channels != outer or stride != 1:
        shapes.append(("0", channels, outer, size, small, 1, stride, False))
    shapes.append(("3", inner, outer, small, small, 1, 1, True))
    for suffix, inputs, outputs, size_in, size_out, kernel, step, relu in shapes:
        yield Layer(
            name=f"{name}_{suffix}",
            module=module,
            inputs=inputs,
            outputs=outputs,
            size_in=size_in,
            size_out=size_out,
            kernel=kernel,
            stride=step,
            relu=relu,
            adds=suffix == "3",
        )


def _shrunk(module: Module, size: int) -> int:
    """Return the pixels along an edge after a window has passed over it."""
    padded = size + 2 * module.padding - module.kernel
    return padded // module.stride + 1
