"""Token losses, with logits computed only where they are read."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F

from olora_bench.errors import BadInput


def token_nll(model: nn.Module, input_ids: Tensor, attention_mask: Tensor, supervised: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of the supervised tokens of each row, in nats.

    Token t is predicted from the tokens before it, so a supervised first token counts nowhere, as in transformers' own loss.
    Hidden states meet the LM head in fp32, whatever the base's dtype, and only at the positions that predict a supervised token.

    Args:
        model: a causal language model of transformers, or a PEFT model around one.
        input_ids: token ids [n, t], int64, padded on the right.
        attention_mask: 1 at tokens, 0 at padding [n, t].
        supervised: true at the tokens whose loss is wanted [n, t].

    Returns:
        nll_sum: [n], fp32, the sum over each row's supervised tokens; differentiable.
        count: [n], int64, how many there are.

    Raises:
        BadInput: the model has no plain linear LM head.
    """
    causal: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    head = causal.get_output_embeddings()
    if type(head) is not nn.Linear:
        raise BadInput(f"{type(causal).__name__} has {type(head).__name__} as LM head: token losses need a plain torch.nn.Linear there")
    hidden = causal.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    wanted = supervised[:, 1:].bool()
    logits = F.linear(hidden[:, :-1][wanted].float(), head.weight.float(), None if head.bias is None else head.bias.float())
    nll = torch.zeros(wanted.shape, dtype=torch.float32, device=logits.device)
    nll[wanted] = F.cross_entropy(logits, input_ids[:, 1:][wanted], reduction="none")
    return nll.sum(1), wanted.sum(1)
