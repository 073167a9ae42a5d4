"""The order of training and the rows it is fed in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from olora_bench.models import Packed, pack
from olora_bench.seeds import derive

if TYPE_CHECKING:
    from olora_bench.data.parts import Example


class Batch(NamedTuple):
    """Padded on the right. `input_ids`, `attention_mask`: int64 [n, t]; `supervised`: bool [n, t], false at padding."""

    input_ids: Tensor
    attention_mask: Tensor
    supervised: Tensor


def batch_order(n: int, *, seed: int, steps: int, batch_size: int) -> list[np.ndarray]:
    """Example indices of every optimiser batch.

    Each epoch is a new permutation of all `n`, and ends with a smaller batch where `batch_size` does not divide `n`. The order depends on
    (n, seed, batch_size) alone: more steps continue it, and runs of one seed share it, whatever their arm.

    Args:
        n: number of training examples.
        seed: the experiment's seed; the stream `data_order` is derived from it here.

    Returns:
        `steps` arrays of int64, each of 1 to `batch_size` indices.

    Raises:
        ValueError: there are no examples.
    """
    if n < 1:
        raise ValueError("there are no training examples to order")
    rng = np.random.default_rng(derive(seed, "data_order"))
    batches: list[np.ndarray] = []
    while len(batches) < steps:
        epoch = rng.permutation(n)
        batches += [epoch[i : i + batch_size] for i in range(0, n, batch_size)]
    return batches[:steps]


def collate(examples: Sequence[Example], pad_id: int) -> Batch:
    """Pad examples on the right to the longest."""
    n, t = len(examples), max(len(e.input_ids) for e in examples)
    ids = np.full((n, t), pad_id, dtype=np.int64)
    mask, supervised = np.zeros((n, t), dtype=np.int64), np.zeros((n, t), dtype=np.bool_)
    for row, example in enumerate(examples):
        length = len(example.input_ids)
        ids[row, :length], mask[row, :length], supervised[row, :length] = example.input_ids, 1, example.supervised
    return Batch(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(supervised))


def longest_first(examples: Sequence[Example]) -> list[Example]:
    """Examples in the order in which `packs` lays them out."""
    return sorted(examples, key=lambda e: -len(e.input_ids))


def packs(examples: Sequence[Example], token_budget: int) -> Iterator[Packed]:
    """Lay examples into rows of at most `token_budget` tokens, without padding; an example longer than that has a row of its own.

    Long ones come first, so that what does not fit in memory shows at once, and rows are about equally full. How examples are laid out
    never changes the mathematics of a step.
    """
    order = longest_first(examples)
    for chunk in even_chunks([len(e.input_ids) for e in order], token_budget):
        yield pack([(order[i].input_ids, order[i].supervised) for i in chunk])


def even_chunks(lengths: Sequence[int], token_budget: int) -> Iterator[range]:
    """Consecutive ranges of a list of lengths, each at most `token_budget` in all (at least one long), as few and as even as that allows.

    >>> [list(c) for c in even_chunks([5, 4, 2, 2, 2], 8)]
    [[0], [1, 2], [3, 4]]
    >>> [list(c) for c in even_chunks([4, 4, 4, 4], 12)]
    [[0, 1], [2, 3]]
    """
    left, start = sum(lengths), 0
    while start < len(lengths):
        aim = left / max(1, math.ceil(left / token_budget))
        stop, held = start, 0
        while stop < len(lengths) and (stop == start or (held < aim and held + lengths[stop] <= token_budget)):
            held += lengths[stop]
            stop += 1
        yield range(start, stop)
        left, start = left - held, stop


def chunks_by_budget(lengths: Sequence[int], token_budget: int) -> Iterator[range]:
    """Consecutive ranges of a falling list of lengths, each padded to its first and at most `token_budget` in all (at least one long).

    >>> [list(c) for c in chunks_by_budget([5, 4, 2, 2, 2], 8)]
    [[0], [1, 2], [3, 4]]
    """
    start = 0
    while start < len(lengths):
        count = max(1, token_budget // max(1, lengths[start]))
        yield range(start, min(start + count, len(lengths)))
        start += count
