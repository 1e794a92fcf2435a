"""DeepSpeed's uniform partition: embedding, layers, norm and head are dealt out evenly."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator.errors import LayoutError
from simulator.parallel.stages import chunks_of, split_modules

repeatable = settings(derandomize=True, deadline=None)


def split_or_reject(layers: int, stages: int) -> tuple[int, ...]:
    try:
        return split_modules(layers, stages)
    except LayoutError:
        # Only a norm that its stage would not share with the head is refused up to here.
        assert (layers + 3) // stages == 1
        assume(condition=False)
        raise


@repeatable
@given(st.integers(1, 200), st.integers(1, 64))
def test_every_layer_is_held_once_and_modules_are_even(layers: int, stages: int) -> None:
    assume(stages <= layers + 3)
    split = split_or_reject(layers, stages)
    assert len(split) == stages
    assert sum(split) == layers
    chunks = chunks_of(split)
    held = [
        number
        for chunk in chunks
        for number in range(chunk.first_layer, chunk.first_layer + chunk.layers)
    ]
    assert held == list(range(layers))
    modules = [chunk.layers + chunk.embedding + 2 * chunk.head for chunk in chunks]
    assert sum(modules) == layers + 3
    assert max(modules) - min(modules) <= 1
    assert modules == sorted(modules, reverse=True)


@pytest.mark.parametrize(
    ("layers", "stages", "split"),
    [
        (40, 1, (40,)),
        (40, 2, (21, 19)),  # 43 modules: 22 with the embedding, 21 with norm and head
        (80, 8, (10, 11, 11, 10, 10, 10, 10, 8)),
        (1, 2, (1, 0)),
    ],
)
def test_splits_by_hand(layers: int, stages: int, split: tuple[int, ...]) -> None:
    assert split_modules(layers, stages) == split


def test_stages_without_modules_are_refused() -> None:
    with pytest.raises(LayoutError, match="fill no 9 stages"):
        split_modules(5, 9)
    with pytest.raises(LayoutError, match="split the norm from the head"):
        split_modules(5, 8)
