"""Answers to held-out instructions, and how near they come to the reference: BLEU and ROUGE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import nn
from transformers import GenerationConfig

from olora_bench.data.batches import chunks_by_budget
from olora_bench.data.encoding import encode_prompts, last_tokens
from olora_bench.evaluation.scores import Loaded, computing_in, in_eval_mode
from olora_bench.models import padding_id, required_eos, special_tokens
from olora_bench.models.causal import causal_model
from olora_bench.models.kernels import any_shape
from olora_bench.models.memory import Budget
from olora_bench.process.progress import Progress
from olora_bench.store.record import Json

ROUGE = ("rouge1", "rouge2", "rougeL")


class Asked(Protocol):
    """What generation needs of an item (`olora_bench.data.items.Item`)."""

    @property
    def id(self) -> str: ...
    @property
    def context(self) -> str: ...
    @property
    def continuation(self) -> str: ...


def generate(
    model: nn.Module, base: Loaded, items: Sequence[Asked], *, max_new_tokens: int, token_budget: int, dtype: torch.dtype
) -> pd.DataFrame:
    """Greedy answers, in batches with a KV cache, each up to the end-of-sequence token or `max_new_tokens`.

    Prompts are tokenised as in training. A prompt that leaves too little room loses its beginning, but not BOS, and is counted so.

    Args:
        model: the base itself or a PEFT model around it.
        base: gives tokenizer and device.
        items: `context` is the prompt, `continuation` the reference.
        token_budget: at most this many tokens, prompt, padding and answer together, at a time (one item at least); lowered when memory
            runs out.
        dtype: what the base's weights are computed in.

    Returns:
        One row an item, in order: item_id, prompt, reference, output (text), tokens (of the answer, its end left out), finished (it ended
        before the cap), truncated (the prompt lost its beginning).

    Raises:
        BadInput: the tokenizer has no EOS, or puts special tokens where they cannot stand.
    """
    tokenizer, causal = base.tokenizer, causal_model(model)
    ends = {"eos_token_id": required_eos(tokenizer, "which ends each answer"), "pad_token_id": padding_id(tokenizer)}
    room = max(1, causal.config.max_position_embeddings - max_new_tokens)
    contexts, begin = encode_prompts(tokenizer, [item.context for item in items]), special_tokens(tokenizer).begin
    fed = [last_tokens(context, room, begin) for context in contexts]
    with in_eval_mode(model), computing_in(model, dtype), _alone(causal), Progress("generate", len(items), unit="answers") as progress:
        settings = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, **ends)
        answers = _greedy(causal, settings, fed, token_budget, torch.device(base.device), progress)
    columns = {
        "item_id": [item.id for item in items],
        "prompt": [item.context for item in items],
        "reference": [item.continuation for item in items],
        "output": [tokenizer.decode(answer, skip_special_tokens=True) for answer in answers],
        "tokens": np.array([len(answer) for answer in answers], dtype=np.int64),
        "finished": [len(answer) < max_new_tokens for answer in answers],
        "truncated": [len(context) > room for context in contexts],
    }
    return pd.DataFrame(columns)


def _greedy(
    causal: Any, settings: GenerationConfig, fed: Sequence[Sequence[int]], token_budget: int, device: torch.device, progress: Progress
) -> list[list[int]]:
    """The tokens of each answer without its end; long prompts first, so that a batch has little padding."""
    most, eos, budget = settings.max_new_tokens, settings.eos_token_id, Budget(token_budget, device)
    left = sorted(range(len(fed)), key=lambda i: (-len(fed[i]), i))
    answers: dict[int, list[int]] = {}

    def written() -> tuple[list[int], list[list[int]]]:
        """The next prompts and what is written after each, as many as the budget allows."""
        chunk = next(chunks_by_budget([len(fed[i]) + most for i in left], budget.tokens))
        ids, mask = (tensor.to(device) for tensor in _left_padded([fed[i] for i in left[: len(chunk)]], settings.pad_token_id))
        with torch.no_grad(), any_shape():  # PEFT's own generate would put its copy of the folder's settings back
            found = causal.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        return left[: len(chunk)], found[:, ids.shape[1] :].tolist()

    while left:
        rows, found = budget.fitting(written)
        for i, row in zip(rows, found, strict=True):
            answers[i] = row[: row.index(eos)] if eos in row else row[:most]
        left = left[len(rows) :]
        progress.advance(len(rows))
    return [answers[i] for i in range(len(fed))]


@contextmanager
def _alone(causal: Any) -> Iterator[None]:
    """Inside, settings given to `generate` are all there are: what they leave open transformers takes from the model's folder, which may
    ask for penalties or forbid tokens."""
    before = causal.generation_config
    causal.generation_config = GenerationConfig()
    try:
        yield
    finally:
        causal.generation_config = before


def _left_padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    ids, mask = np.full((len(rows), longest), pad, dtype=np.int64), np.zeros((len(rows), longest), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, longest - len(row) :], mask[i, longest - len(row) :] = row, 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def text_metrics(outputs: Sequence[str], references: Sequence[str]) -> Json:
    """How near answers come to their references.

    Returns:
        bleu: sacrebleu's corpus BLEU in [0, 100] (Post, WMT 2018), with `bleu_signature`, its settings;
        rouge1, rouge2, rougeL: mean F1 in [0, 1] of rouge-score (Lin, 2004), with `rouge_settings`;
        items, empty (answers without a word).
    """
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU

    bleu = BLEU()
    rouge = RougeScorer(list(ROUGE), use_stemmer=False)
    found = [rouge.score(reference, output) for reference, output in zip(references, outputs, strict=True)]
    return {
        "bleu": bleu.corpus_score(list(outputs), [list(references)]).score,
        **{name: float(np.mean([one[name].fmeasure for one in found])) for name in ROUGE},
        "items": len(found),
        "empty": sum(not output.strip() for output in outputs),
        "bleu_signature": str(bleu.get_signature()),
        "rouge_settings": "rouge-score, mean F1, no stemming",
    }
