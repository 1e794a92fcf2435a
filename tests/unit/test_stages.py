"""Which layers each virtual stage holds."""

from __future__ import annotations

import pytest

from simulator.errors import LayoutError
from simulator.parallel.stages import chunks_of, split_layers


@pytest.mark.parametrize(
    ("layers", "chunks", "split"),
    [
        (8, 4, (2, 2, 2, 2)),
        (9, 4, (2, 2, 3, 2)),
        (10, 4, (2, 3, 3, 2)),
        (11, 4, (2, 3, 3, 3)),
        (5, 1, (5,)),
        (3, 2, (1, 2)),
        (6, 8, (0, 1, 1, 1, 1, 1, 1, 0)),
    ],
)
def test_splits_by_hand(layers: int, chunks: int, split: tuple[int, ...]) -> None:
    assert split_layers(layers, chunks) == split


def test_llama_3_405b_leaves_first_and_last_empty() -> None:
    """126 layers on 16 stages of 8 chunks: arXiv 2407.21783, section 3.3.2."""
    split = split_layers(126, 128)
    assert split[0] == split[-1] == 0
    assert set(split[1:-1]) == {1}


def test_an_empty_inner_stage_is_refused() -> None:
    with pytest.raises(LayoutError, match="5 layers on 8 virtual stages leave an inner one empty"):
        split_layers(5, 8)


def test_chunks_follow_one_another() -> None:
    chunks = chunks_of((1, 0, 2))
    assert [chunk.first_layer for chunk in chunks] == [0, 1, 1]
    assert [chunk.embedding for chunk in chunks] == [True, False, False]
    assert [chunk.head for chunk in chunks] == [False, False, True]


def test_a_single_stage_has_embedding_and_head() -> None:
    (chunk,) = chunks_of((7,))
    assert chunk.embedding
    assert chunk.head
