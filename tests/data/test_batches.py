from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from olora_bench.data import Example, batch_order, collate, packs


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
def test_packs_keep_the_budget_and_every_example(lengths: list[int], budget: int) -> None:
    """An example longer than the budget stands alone; none is lost; long ones come first; no row more than it takes and one."""
    found = list(packs([example(n) for n in lengths], budget))
    assert all(row.input_ids.numel() <= budget or row.examples == 1 for row in found)
    starts = [[*(row.positions[0] == 0).nonzero().flatten().tolist(), row.positions.numel()] for row in found]
    assert [b - a for one in starts for a, b in itertools.pairwise(one)] == sorted(lengths, reverse=True)
    assert sum(len(row.reads) for row in found) == len(lengths)  # each example supervises its last token
    assert all(torch.equal(row.targets, row.input_ids[0, row.reads + 1]) for row in found)


def test_the_order_of_a_seed_is_fixed_for_good() -> None:
    """A literal: should NumPy or this code draw differently, stored results no longer pair with new ones."""
    assert [b.tolist() for b in batch_order(5, seed=0, steps=3, batch_size=2)] == [[4, 2], [1, 3], [0]]
