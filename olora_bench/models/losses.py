"""Token losses of packed rows, with logits computed only where they are read."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from olora_bench.models import kernels
from olora_bench.models.attention import NAME, Layout, layout_of
from olora_bench.models.causal import attending_as, causal_model
from olora_bench.models.compiled import EAGER, Steps
from olora_bench.models.fused import Fused
from olora_bench.models.general import example_nll, is_general
from olora_bench.models.head import LmHead


@dataclass(frozen=True)
class Packed:
    """Examples one after another in one row without padding, the longest first.

    Attributes:
        input_ids: int64 [1, l].
        positions: int64 [1, l], each token's place in its own example.
        reads: int64 [m], the columns whose hidden states predict a supervised token. The first token of an example is predicted by none.
        targets: int64 [m], those tokens.
        owners: int64 [m], the example of each.
        examples: how many.
        layout: how the examples lie.
    """

    input_ids: Tensor
    positions: Tensor
    reads: Tensor
    targets: Tensor
    owners: Tensor
    examples: int
    layout: Layout

    def to(self, device: torch.device) -> Packed:
        """The same on `device`; a copy to a GPU does not wait."""
        if device.type == "cpu":
            return self
        columns = (self.input_ids, self.positions, self.reads, self.targets, self.owners, self.layout.offsets)
        ids, positions, reads, targets, owners, offsets = kernels.sent_together([column.numpy() for column in columns], device)
        return Packed(ids, positions, reads, targets, owners, self.examples, Layout(self.layout.lengths, offsets))


def pack(sequences: Sequence[tuple[Any, Any]]) -> Packed:
    """One row of sequences, each (token ids, supervised): arrays, tensors or lists of one length.

    Raises:
        ValueError: they do not come with the longest first, or one is empty.
    """
    lengths = [len(ids) for ids, _ in sequences]
    if not lengths or min(lengths) < 1 or any(a < b for a, b in itertools.pairwise(lengths)):
        raise ValueError(f"sequences to pack must have tokens and come with the longest first (got lengths {lengths[:10]})")
    sizes = torch.tensor(lengths)
    starts = torch.cumsum(sizes, 0) - sizes
    ids = torch.cat([torch.as_tensor(ids, dtype=torch.int64) for ids, _ in sequences])
    wanted = torch.cat([torch.as_tensor(supervised, dtype=torch.bool) for _, supervised in sequences])
    wanted[starts] = False
    owners = torch.repeat_interleave(torch.arange(len(lengths)), sizes)
    at = wanted.nonzero().flatten()
    positions = torch.arange(len(ids)) - starts[owners]
    return Packed(ids[None], positions[None], at - 1, ids[at], owners[at], len(lengths), layout_of(lengths))


class PackedRows:
    """Inside, a model takes packed rows: its attention keeps examples apart, and what is known here of its layers runs the cheaper way.

    It can be entered again and again, for as long as the model is what it was.

    Args:
        checkpointing: keep only each layer's input for the backward pass and compute the rest again there: less memory, a third more work.
        steps: what is done between matrix products, compiled or not.
    """

    def __init__(self, model: nn.Module, *, checkpointing: bool = False, steps: Steps = EAGER) -> None:
        self.model, self.fused = model, Fused(model, checkpointing=checkpointing, steps=steps)
        self._open = ExitStack()

    def __enter__(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(kernels.any_shape() if is_general(self.model) else attending_as(self.model, NAME))
            stack.enter_context(self.fused)
            self._open = stack.pop_all()

    def __exit__(self, *_: object) -> None:
        self._open.close()


def token_nll(model: nn.Module, packed: Packed, head: LmHead) -> Tensor:
    """Negative log-likelihood of each example's supervised tokens, summed, in nats. To be called inside `PackedRows(model)`.

    Token t is predicted from the tokens of its example before it. Hidden states meet the LM head in fp32, whatever the base's dtype.

    Args:
        model: a causal language model of transformers, or a PEFT model around one.
        head: `LmHead.of(model)`.

    Returns:
        fp32 [examples], differentiable.
    """
    if is_general(model):
        nll = example_nll(model, packed.input_ids, packed.positions, packed.reads, packed.targets)
    else:
        ids, positions = kernels.filled_up(packed.input_ids, packed.positions)
        found = causal_model(model).base_model(input_ids=ids, position_ids=positions, use_cache=False, layout=packed.layout)
        nll = head.nll(found.last_hidden_state[0].index_select(0, packed.reads), packed.targets)
    return nll.new_zeros(packed.examples).index_add(0, packed.owners, nll)
