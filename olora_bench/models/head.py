"""Log-likelihoods from hidden states: the LM head in fp32, a bounded number of logits at a time, the gradient made on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from olora_bench.errors import BadInput
from olora_bench.models import kernels
from olora_bench.models.causal import causal_model

# Logits held at a time: 2^25 fp32 numbers are 128 MiB, whatever the vocabulary and however many positions are read. Fewer rows a time
# would read the weight more often than their products take.
LOGITS_AT_ONCE = 1 << 25


@dataclass(frozen=True)
class LmHead:
    """A model's LM head, computed in fp32 whatever the weight's dtype.

    Attributes:
        weight: [v, h] as the model keeps it.
        wide: [v, h] that products take: on a CPU the weight in fp32 (a copy of it where it is kept in bf16), else the weight itself.
        bias: fp32 [v] or None.
    """

    weight: Tensor
    wide: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, model: nn.Module) -> LmHead:
        """The head of a causal language model of transformers, or of a PEFT model around one.

        Raises:
            BadInput: the model has no plain linear LM head.
        """
        causal = causal_model(model)
        head = causal.get_output_embeddings()
        if type(head) is not nn.Linear:
            raise BadInput(f"{type(causal).__name__} has {type(head).__name__} as LM head: token losses need a plain torch.nn.Linear there")
        weight = head.weight.detach()
        wide = weight if kernels.on_gpu(weight) else weight.float()
        return cls(weight, wide, None if head.bias is None else head.bias.detach().float())

    @property
    def copied_bytes(self) -> int:
        """What `wide` takes beside the model."""
        return 0 if self.wide.data_ptr() == self.weight.data_ptr() else self.wide.nbytes

    def nll(self, states: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood of each target in nats.

        Args:
            states: [m, h], the hidden states that the head sees.
            targets: int64 [m], token ids.

        Returns:
            fp32 [m], differentiable in `states`. Memory beside it: `LOGITS_AT_ONCE` numbers, and [m, h] for the gradient.
        """
        nll: Tensor = _Nll.apply(states, targets, self, states.requires_grad and torch.is_grad_enabled())
        return nll

    def back(self, grad: Tensor) -> Tensor:
        """The gradient of states, fp32 [m, h], from that of logits, fp32 [m, v]; rounded as the weight is."""
        if self.wide.dtype == torch.float32:
            with exact_products(self.weight.dtype):
                return torch.mm(grad, self.wide)
        return kernels.wide_product(grad, self.wide)

    def logits(self, states: Tensor, out: Tensor | None = None) -> Tensor:
        """fp32 [m, v] of states [m, h], which are in the weight's dtype or fp32; in `out` where it is given and the device can."""
        if self.wide.dtype != torch.float32:
            logits = kernels.wide_product(states, self.wide.t())
        else:
            # Of fp32 states nothing is known to be exact in bf16.
            with exact_products(self.weight.dtype if states.dtype == self.weight.dtype else torch.float32):
                logits = torch.mm(states.float(), self.wide.t(), out=out)
        return logits if self.bias is None else logits.add_(self.bias)


class _Nll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, head: LmHead, differentiable: bool) -> Tensor:
        values = torch.empty(len(states), dtype=torch.float32, device=states.device)
        grads = torch.empty(states.shape, dtype=torch.float32, device=states.device) if differentiable else None
        rows = max(1, min(len(states), LOGITS_AT_ONCE // len(head.weight)))
        # One piece of memory for all pieces of work: a processor's fresh memory of this size costs as much as a softmax over it. A GPU's
        # does not, and torch does not promise that its softmax may write over what it reads.
        room = None if kernels.on_gpu(states) else torch.empty(rows, len(head.weight), dtype=torch.float32)
        with torch.autocast(states.device.type, enabled=False):
            for start in range(0, len(states), rows):
                piece = slice(start, start + rows)
                at = targets[piece, None]
                logits = head.logits(states[piece], None if room is None else room[: len(at)])
                logprobs = torch.log_softmax(logits, dim=-1, out=None if room is None else logits)
                values[piece] = logprobs.gather(1, at)[:, 0].neg_()
                if grads is not None:
                    # d nll / d logits = softmax - one-hot: made here, while they are at hand, and scaled in the backward pass.
                    probabilities = logprobs.exp_()
                    grads[piece] = head.back(probabilities.scatter_add_(1, at, torch.full_like(at, -1, dtype=torch.float32)))
        if grads is not None:
            ctx.save_for_backward(grads)
        ctx.dtype = states.dtype
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (grads,) = ctx.saved_tensors
        return (grads * grad[:, None]).to(ctx.dtype), None, None, None


@contextmanager
def exact_products(dtype: torch.dtype) -> Iterator[None]:
    """Inside, CPU products of fp32 matrices may run on bf16 units with fp32 accumulation, if `dtype` is bf16.

    A product of two bf16 numbers is exact in fp32, so for operands that were bf16 before (and are fp32 now to get an fp32 result) nothing
    is lost but the order of summation. Where the CPU has no such units, nothing changes.
    """
    if dtype is not torch.bfloat16:
        yield
        return
    flags: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = flags.fp32_precision
    flags.fp32_precision = "bf16"
    try:
        yield
    finally:
        flags.fp32_precision = before
