"""Which layers each virtual stage holds."""

from __future__ import annotations

from typing import NamedTuple

from simulator.errors import LayoutError


class Chunk(NamedTuple):
    """One virtual stage: its layers and whether it begins or ends the model."""

    first_layer: int
    layers: int
    embedding: bool
    head: bool


def split_layers(layers: int, chunks: int) -> tuple[int, ...]:
    """Return the layers of each virtual stage, as even as possible.

    A remainder goes to the middle: the first and the last virtual stage, which also hold the
    embedding and the head, are the last to get one. With 126 layers on 128 virtual stages that
    is Llama 3's split: none on the first and the last (arXiv 2407.21783, section 3.3.2).

    Raises
    ------
    LayoutError
        If a virtual stage other than the first and the last would be empty.

    Examples
    --------
    >>> split_layers(7, 4)
    (1, 2, 2, 2)
    >>> split_layers(6, 8)
    (0, 1, 1, 1, 1, 1, 1, 0)
    """
    base, extra = divmod(layers, chunks)
    # The last inner virtual stages first: fewer micro-batches are in flight there.
    by_claim = [*range(chunks - 2, 0, -1), chunks - 1, 0]
    favoured = set(by_claim[:extra])
    split = [base + (index in favoured) for index in range(chunks)]
    if not all(split[1:-1]):
        raise LayoutError(
            f"{layers} layers on {chunks} virtual stages leave an inner one empty; "
            f"only the first (embedding) and the last (head) may hold no layer"
        )
    return tuple(split)


def split_modules(layers: int, stages: int) -> tuple[int, ...]:
    """Return the layers of each stage where all modules are dealt out evenly.

    The modules are the embedding, the layers, the final norm and the head; a remainder goes to
    the first stages (DeepSpeed's ``uniform`` partition, Aleph Alpha's default).

    Raises
    ------
    LayoutError
        If there are more stages than modules.

    Examples
    --------
    >>> split_modules(40, 2)
    (21, 19)
    """
    base, extra = divmod(layers + 3, stages)
    if base == 0:
        raise LayoutError(f"{layers} layers with embedding, norm and head fill no {stages} stages")
    split = [base + (stage < extra) for stage in range(stages)]
    split[0] -= 1
    split[-1] -= 2
    if split[-1] < 0:
        raise LayoutError(f"{layers} layers on {stages} stages split the norm from the head")
    return tuple(split)


def chunks_of(split: tuple[int, ...]) -> tuple[Chunk, ...]:
    """Return the virtual stages of a model whose layers are split as given."""
    last = len(split) - 1
    return tuple(
        Chunk(
            first_layer=sum(split[:index]),
            layers=layers,
            embedding=index == 0,
            head=index == last,
        )
        for index, layers in enumerate(split)
    )
