"""The language model that lm-eval talks to: same tokens and same numbers as its HFLM, batched by padded tokens."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import resolve_max_length
from torch import nn

from olora_bench.data.encoding import Pair, encode_pairs, prefix_token_id
from olora_bench.evaluation.logprobs import continuation_logprobs
from olora_bench.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A worker scores many runs on the same prompts: each is tokenised once, and kept under a digest of its text.
_ENCODED: WeakKeyDictionary[Any, dict[bytes, tuple[np.ndarray, np.ndarray]]] = WeakKeyDictionary()


@register_model("olora_bench")
class Scorer(LM):
    """lm-eval's interface to a transformers or PEFT model.

    Attributes:
        truncated: (lm-eval task, document) of items of which some prompt lost its beginning.
        empty: the same of items of which some choice adds no token.
    """

    def __init__(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, *, device: torch.device, token_budget: int) -> None:
        super().__init__()
        self.model, self.tokenizer, self.token_budget = model, tokenizer, token_budget
        self._device = device
        self.max_length = resolve_max_length(model.config, tokenizer)
        self.truncated: set[tuple[str | None, int | None]] = set()
        self.empty: set[tuple[str | None, int | None]] = set()

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy) of each request's continuation, as lm-eval's HFLM computes them.

        A prompt that does not fit `max_length` loses its beginning.
        """
        fed: list[tuple[list[int], list[int]]] = []
        for request, (context, continuation) in zip(requests, self._encode([r.args for r in requests]), strict=True):
            whole = [*context, *continuation] if context else [prefix_token_id(self.tokenizer), *continuation]
            item = (request.task_name, request.doc_id)
            if len(whole) > self.max_length + 1:
                self.truncated.add(item)
            if not continuation:
                self.empty.add(item)
            inputs = whole[-(self.max_length + 1) :][:-1]
            fed.append((inputs, continuation[-len(inputs) :]) if continuation else (whole[-self.max_length :], []))
        with Progress("score", len(fed), unit="choices") as progress:
            return continuation_logprobs(self.model, fed, token_budget=self.token_budget, device=self._device, on_batch=progress.advance)

    def _encode(self, pairs: list[Pair]) -> list[tuple[list[int], list[int]]]:
        known = _ENCODED.setdefault(self.tokenizer, {})
        keys = [hashlib.blake2b("\0".join((str(len(c)), c, k)).encode(), digest_size=16).digest() for c, k in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in known}
        for key, (context, continuation) in zip(new, encode_pairs(self.tokenizer, list(new.values())), strict=True):
            known[key] = (np.array(context, dtype=np.int32), np.array(continuation, dtype=np.int32))
        return [(known[key][0].tolist(), known[key][1].tolist()) for key in keys]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Not needed by a multiple-choice benchmark."""
        raise NotImplementedError("olora_bench scores multiple-choice benchmarks only")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Not needed by a multiple-choice benchmark."""
        raise NotImplementedError("olora_bench scores multiple-choice benchmarks only")
