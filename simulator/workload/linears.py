"""Linear layers: their three GEMMs, the casts of operands and the sums of weight gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from simulator.operators import Gemm, GroupedGemm, Product, Role
from simulator.precision import Precision
from simulator.workload import pointwise
from simulator.workload.steps import Step

if TYPE_CHECKING:
    from simulator.operators import Kernels
    from simulator.workload.steps import Shard


class Linear(NamedTuple):
    """The three GEMMs of a linear layer, each with the m, n and k of its own product."""

    forward: Product
    """Tokens x inputs by inputs x outputs."""
    input_gradient: Product
    """Tokens x outputs by outputs x inputs."""
    weight_gradient: Product
    """Outputs x tokens by tokens x inputs."""


def linear(name: str, tokens: int, outputs: int, inputs: int, precision: Precision) -> Linear:
    """Return the products of a linear layer on ``tokens`` rows."""

    def gemm(suffix: str, role: Role, m: int, n: int, k: int) -> Gemm:
        return Gemm(name + suffix, m, n, k, precision=precision, role=role)

    return Linear(
        gemm("", Role.FORWARD, tokens, outputs, inputs),
        gemm("_input_gradient", Role.INPUT_GRADIENT, tokens, inputs, outputs),
        gemm("_weight_gradient", Role.WEIGHT_GRADIENT, outputs, inputs, tokens),
    )


def grouped_linear(
    name: str, rows: tuple[int, ...], outputs: int, inputs: int, precision: Precision
) -> Linear:
    """Return the products of several linear layers, each on its own ``rows``, as one kernel."""

    def gemm(suffix: str, role: Role, n: int, k: int) -> GroupedGemm:
        return GroupedGemm(name + suffix, rows, n, k, precision=precision, role=role)

    return Linear(
        gemm("", Role.FORWARD, outputs, inputs),
        gemm("_input_gradient", Role.INPUT_GRADIENT, inputs, outputs),
        gemm("_weight_gradient", Role.WEIGHT_GRADIENT, outputs, inputs),
    )


def operand_bytes(precision: Precision) -> float:
    """Return the bytes per element of a linear layer's saved input: one quantised copy, or bf16."""
    return min(Precision.BF16.n_bytes, precision.n_bytes)


def cast(width: int, what: str, shard: Shard, kernels: Kernels, *, fused: bool) -> tuple[Step, ...]:
    """Return the quantisation of a GEMM operand ``width`` wide; none if the kernel before can.

    Weights are quantised once per step, which is neglected.
    """
    late = pointwise.scaled_first(shard.precision, kernels)
    if fused and kernels.fused_quantisation and not late:
        return ()
    elements = float(shard.tokens * width)
    return tuple(
        map(Step, pointwise.quantisation(elements, shard.precision, kernels, f"cast_{what}"))
    )


def accumulation(weight: Product, shard: Shard, kernels: Kernels) -> tuple[Step, ...]:
    """Return what adding a weight gradient to the gradient buffer takes beyond its GEMM."""
    if kernels.fused_gradient_accumulation:
        sums = pointwise.fused_accumulation(weight, shard.gradient_precision)
        return tuple(Step(addition, weight=True) for addition in sums)
    addition = pointwise.gradient_accumulation(float(weight.elements), shard.gradient_precision)
    return (Step(addition, weight=True),)
