from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from olora_bench.data import Example, batch_order, collate, micro_batches
from olora_bench.data.batches import cheapest_chunks


def example(length: int, supervised: int = 1) -> Example:
    marks = np.zeros(length, dtype=np.bool_)
    marks[length - supervised :] = True
    return Example(f"e{length}", "g", np.arange(1, length + 1, dtype=np.int32), marks, False)


@given(n=st.integers(1, 40), batch_size=st.integers(1, 12), steps=st.integers(1, 30), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_an_epoch_holds_each_example_once(n: int, batch_size: int, steps: int, seed: int) -> None:
    """Whatever the sizes, each run of ceil(n / batch_size) batches is a permutation, and more steps only continue the order."""
    order = batch_order(n, seed=seed, steps=steps, batch_size=batch_size)
    assert len(order) == steps
    an_epoch = -(-n // batch_size)
    for start in range(0, steps - an_epoch + 1, an_epoch):
        assert sorted(np.concatenate(order[start : start + an_epoch]).tolist()) == list(range(n))
    longer = batch_order(n, seed=seed, steps=steps + 3, batch_size=batch_size)
    assert all(np.array_equal(a, b) for a, b in zip(order, longer[:steps], strict=True))


def test_epochs_and_seeds_have_their_own_order() -> None:
    """The second epoch is shuffled anew, and another seed moves both."""
    first, second = batch_order(50, seed=0, steps=2, batch_size=50)
    other = batch_order(50, seed=1, steps=1, batch_size=50)[0]
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_no_examples_no_order() -> None:
    """An empty part is refused, not looped over for ever."""
    with pytest.raises(ValueError, match="there are no training examples to order"):
        batch_order(0, seed=0, steps=1, batch_size=4)


def test_collate_pads_on_the_right() -> None:
    """Ids, mask and supervision of two examples by eye."""
    batch = collate([example(3), example(2)], pad_id=9)
    assert batch.input_ids.tolist() == [[1, 2, 3], [1, 2, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.supervised.tolist() == [[False, False, True], [False, True, False]]
    assert (batch.input_ids.dtype, batch.attention_mask.dtype, batch.supervised.dtype) == (torch.int64, torch.int64, torch.bool)


@given(lengths=st.lists(st.integers(2, 30), min_size=1, max_size=25), budget=st.integers(2, 80))
@settings(max_examples=60, deadline=None)
def test_micro_batches_keep_the_budget_and_every_example(lengths: list[int], budget: int) -> None:
    """Padding counts; an example longer than the budget stands alone; none is lost; long ones come first."""
    batches = list(micro_batches([example(n) for n in lengths], budget, pad_id=0))
    assert all(b.input_ids.numel() <= budget or len(b.input_ids) == 1 for b in batches)
    found = [n for b in batches for n in b.attention_mask.sum(1).tolist()]
    assert found == sorted(lengths, reverse=True)


def test_the_order_of_a_seed_is_fixed_for_good() -> None:
    """A literal: should NumPy or this code draw differently, stored results no longer pair with new ones."""
    assert [b.tolist() for b in batch_order(5, seed=0, steps=3, batch_size=2)] == [[4, 2], [1, 3], [0]]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=7), st.integers(1, 200), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_the_cheapest_chunks_are_the_cheapest_of_all(lengths: list[int], budget: int, overhead: int) -> None:
    """Compared with every way to cut the list."""
    lengths = sorted(lengths, reverse=True)

    def cost(cuts: tuple[int, ...]) -> float:
        edges = [0, *cuts, len(lengths)]
        parts = [(lengths[a], b - a) for a, b in itertools.pairwise(edges)]
        return sum(overhead + first * n for first, n in parts) if all(n == 1 or first * n <= budget for first, n in parts) else math.inf

    inner = range(1, len(lengths))
    least = min(cost(cuts) for k in range(len(lengths)) for cuts in itertools.combinations(inner, k))
    found = cheapest_chunks(lengths, budget, overhead)
    assert cost(tuple(chunk.start for chunk in found[1:])) == least
    assert [i for chunk in found for i in chunk] == list(range(len(lengths)))
