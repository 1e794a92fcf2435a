"""A convolutional network as blocks of operators: what one rank computes for its images.

A block is what one gradient message comes from: a convolution or linear layer with its bias, or a
batch norm (scale and shift together). What has no parameters (activations, pooling, residual
additions) belongs to the block before it.

Traffic is counted by passes over an activation, each reading or writing all of it once, in the
format of the products (fp32 or a 16-bit one). Activations after a norm or convolution are in place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from simulator.operators import Convolution, Gemm, Pointwise, PointwiseKind, Role
from simulator.workload.branches import DROPOUT_MASK
from simulator.workload.convolutional import ModuleKind, layers_of
from simulator.workload.linears import linear
from simulator.workload.steps import Block, Saved, Step

if TYPE_CHECKING:
    from simulator.workload.convolutional import ConvolutionalNetwork, Layer
    from simulator.workload.steps import Shard


class Passes(NamedTuple):
    """Passes over an activation forward and backward, and how the kernels reach it."""

    forward: float
    backward: float
    forward_kind: PointwiseKind = PointwiseKind.ELEMENTWISE
    backward_kind: PointwiseKind = PointwiseKind.ELEMENTWISE


BATCH_NORM = Passes(3, 5, PointwiseKind.NORM, PointwiseKind.NORM_BACKWARD)
"""Statistics (read), then x in and y out; backward two sums (x, dy), then x, dy in and dx out."""
RELU = Passes(2, 3)
"""In place; backward reads dy and y and writes dx."""
ADDITION = Passes(3, 3)
"""Two branches in, one out; backward adds the gradients of the two users of the block's input."""
BIAS = Passes(2, 1)
"""In place; backward sums dy."""
LOCAL_RESPONSE_NORM = Passes(3, 5)
"""x in, y and the scale out; backward x, y, scale and dy in, dx out."""
DROPOUT = Passes(2, 2, PointwiseKind.DROPOUT)


class NetworkBlock(NamedTuple):
    """A block and the parameters that it trains."""

    block: Block
    parameters: int


def network_blocks(network: ConvolutionalNetwork, shard: Shard) -> tuple[NetworkBlock, ...]:
    """Return the blocks of a network in the order of its forward pass.

    Neglected: the loss over the classes, data augmentation and the input's copy to the device
    (they run beside the step), and running averages of batch norms.
    """
    blocks: list[_Open] = []
    for number, layer in enumerate(layers_of(network)):
        _Layer(layer, shard, first=number == 0).add_to(blocks)
    return tuple(block.closed() for block in blocks)


@dataclass(slots=True)
class _Open:
    """A block that still grows."""

    name: str
    parameters: int
    input_bytes: float
    forward: list[Step] = field(default_factory=list)
    backward: list[tuple[Step, ...]] = field(default_factory=list)
    """In forward order; each part's gradients in the order in which they are computed."""
    saved: list[Saved] = field(default_factory=list)
    working_bytes: float = 0.0

    def closed(self) -> NetworkBlock:
        block = Block(
            name=self.name,
            forward=tuple(self.forward),
            backward=tuple(step for part in reversed(self.backward) for step in part),
            core_attention=(),
            saved=tuple(self.saved),
            input_bytes=self.input_bytes,
            working_bytes=self.working_bytes,
        )
        return NetworkBlock(block, self.parameters)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer on one rank's images."""

    layer: Layer
    shard: Shard
    first: bool
    """Nobody needs the gradient of the images."""

    def add_to(self, blocks: list[_Open]) -> None:
        kind = self.layer.module.kind
        if kind in (ModuleKind.MAX_POOL, ModuleKind.AVERAGE_POOL):
            self._add_pool(blocks[-1], keeps_input=kind is ModuleKind.MAX_POOL)
            return
        if self.layer.module.dropout:
            self._add_passes(blocks[-1], "dropout", DROPOUT, self._inputs)
            blocks[-1].saved.append(Saved("dropout", DROPOUT_MASK * self._inputs))
        name, parameters = self.layer.name, self.layer.weights + self.layer.biases
        block = self._opened(name, parameters, self._inputs)
        blocks.append(block)
        if kind is ModuleKind.LINEAR:
            self._add_linear(block)
        else:
            self._add_convolution(block)
        if self.layer.module.bias:
            self._add_passes(block, "bias", BIAS)
        if self.layer.module.batch_norm:
            block = self._opened(self.layer.block_names[-1], self.layer.norms, self._outputs)
            blocks.append(block)
            self._add_passes(block, "batch_norm", BATCH_NORM)
        if self.layer.adds:
            self._add_passes(block, "residual", ADDITION)
        if self.layer.relu:
            self._add_passes(block, "relu", RELU)
        if self.layer.module.local_response_norm:
            self._add_passes(block, "local_response_norm", LOCAL_RESPONSE_NORM)
            block.saved.append(Saved("local_response_norm", 2 * self._width * self._outputs))

    @property
    def _width(self) -> float:
        """Bytes of an activation's element."""
        return self.shard.precision.n_bytes

    @property
    def _images(self) -> int:
        return self.shard.tokens

    @property
    def _inputs(self) -> float:
        """Elements that reach the layer."""
        return float(self._images * self.layer.inputs * self.layer.size_in**2)

    @property
    def _outputs(self) -> float:
        """Elements that leave it."""
        return float(self._images * self.layer.outputs * self.layer.size_out**2)

    def _opened(self, name: str, parameters: int, inputs: float) -> _Open:
        """Return a new block that keeps its input for its gradients."""
        kept = self._width * inputs
        block = _Open(name, parameters, kept, working_bytes=kept + self._width * self._outputs)
        block.saved.append(Saved(name, kept))
        return block

    def _add_passes(
        self, block: _Open, name: str, passes: Passes, elements: float | None = None
    ) -> None:
        volume = self._width * (self._outputs if elements is None else elements)
        forward = Pointwise(name, passes.forward * volume, kind=passes.forward_kind)
        backward = Pointwise(
            f"{name}_backward", passes.backward * volume, kind=passes.backward_kind
        )
        block.forward.append(Step(forward))
        block.backward.append((Step(backward),))

    def _add_pool(self, block: _Open, *, keeps_input: bool) -> None:
        inputs, outputs = self._width * self._inputs, self._width * self._outputs
        gradient = inputs + outputs + (inputs if keeps_input else 0.0)
        block.forward.append(Step(Pointwise("pool", inputs + outputs)))
        block.backward.append((Step(Pointwise("pool_backward", gradient)),))
        if keeps_input:
            block.saved.append(Saved("pool", inputs))

    def _add_linear(self, block: _Open) -> None:
        layer = self.layer
        products = linear(
            layer.name, self._images, layer.outputs, layer.inputs, self.shard.precision
        )
        block.forward.append(Step(products.forward))
        weight = Step(products.weight_gradient, weight=True)
        block.backward.append((Step(products.input_gradient), weight))

    def _add_convolution(self, block: _Open) -> None:
        weight = Step(self._convolution(Role.WEIGHT_GRADIENT), weight=True)
        block.forward.append(Step(self._convolution(Role.FORWARD)))
        if self.first:
            block.backward.append((weight,))
        else:
            block.backward.append((Step(self._convolution(Role.INPUT_GRADIENT)), weight))

    def _convolution(self, role: Role) -> Convolution:
        """Return one of the three products of the layer; all have the same FLOPs."""
        layer, groups = self.layer, self.layer.module.groups
        positions = self._images * layer.size_out**2
        inputs, outputs, window = layer.inputs // groups, layer.outputs // groups, layer.kernel**2
        suffix, m, n, k = {
            Role.FORWARD: ("", positions, outputs, inputs * window),
            # The windows of a strided convolution leave gaps: of each phase, its own positions.
            Role.INPUT_GRADIENT: ("_input_gradient", positions, inputs, outputs * window),
            Role.WEIGHT_GRADIENT: ("_weight_gradient", outputs, inputs * window, positions),
        }[role]
        product = Gemm(
            layer.name + suffix, m, n, k, precision=self.shard.precision, role=role, groups=groups
        )
        traffic = self._width * (self._inputs + self._outputs + layer.weights)
        return Convolution(layer.name + suffix, product, traffic)
