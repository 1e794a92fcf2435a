"""Routing: which expert a token goes to, and sorting tokens by expert and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from simulator.operators import Pointwise, PointwiseKind
from simulator.precision import Precision
from simulator.workload.linears import Linear, accumulation, linear
from simulator.workload.parameters import router_layers
from simulator.workload.steps import Step

if TYPE_CHECKING:
    from simulator.operators import Kernels
    from simulator.workload.steps import Shard
    from simulator.workload.transformer import Experts, Transformer

BF16 = Precision.BF16.n_bytes
FP32 = Precision.FP32.n_bytes


class Routing(NamedTuple):
    """What surrounds the experts of a layer."""

    forward: tuple[Step, ...]
    """Router, choice of experts, tokens sorted by expert."""
    combine: tuple[Step, ...]
    """Outputs back in their order, weighted and summed over the experts of a token."""
    combine_backward: tuple[Step, ...]
    backward: tuple[Step, ...]
    """Gradients of the sorted tokens back in their order, and those of the router."""


def routing(model: Transformer, experts: Experts, shard: Shard, kernels: Kernels) -> Routing:
    """Return the router and the permutations of one layer on one micro-batch.

    Traffic: sorting reads and writes a token for each of its experts; combining reads as many and
    writes the sum. Backward, combining also reads the experts' outputs, for the gradients of their
    weights. The choice is a softmax over the scores and a sort of the tokens' experts (fp32).

    Notes
    -----
    Neglected: the load-balancing loss, and activations inside a router with hidden layers.
    """
    layers = [
        linear(name, shard.tokens, outputs, inputs, Precision.BF16)
        for name, inputs, outputs in router_layers(model.hidden, experts)
    ]
    once = BF16 * float(shard.tokens * model.hidden)
    each = experts.per_token * once
    scores = FP32 * float(shard.tokens * experts.count)

    def moved(name: str, n_bytes: float) -> Step:
        return Step(Pointwise(name, n_bytes, kind=PointwiseKind.ELEMENTWISE))

    return Routing(
        forward=(
            *(Step(layer.forward) for layer in layers),
            Step(Pointwise("router_choice", 4 * scores, 4, PointwiseKind.SOFTMAX)),
            moved("permute", 2 * each),
        ),
        combine=(moved("unpermute", each + once),),
        combine_backward=(moved("unpermute_backward", once + 2 * each),),
        backward=(
            moved("permute_backward", each + once),
            Step(Pointwise("router_choice_backward", 3 * scores, 2, PointwiseKind.SOFTMAX)),
            *(step for layer in reversed(layers) for step in _gradients(layer, shard, kernels)),
        ),
    )


def even_rows(tokens: int, groups: int) -> tuple[int, ...]:
    """Return ``tokens`` spread over ``groups`` as evenly as whole tokens allow."""
    least, more = divmod(tokens, groups)
    return (least + 1,) * more + (least,) * (groups - more)


def _gradients(layer: Linear, shard: Shard, kernels: Kernels) -> tuple[Step, ...]:
    weight = layer.weight_gradient
    return (
        Step(layer.input_gradient),
        Step(weight, weight=True),
        *accumulation(weight, shard, kernels),
    )
