"""Small tokenizers of every common kind, trained here, and what they may put around a text."""

from __future__ import annotations

import random
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

# Punctuation keeps the line ends behind it, and at most three digits stand together, as in Llama 3 and Qwen.
_LINES = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
FAMILIES = ("gpt", "lines", "digits", "loose", "unigram", "metaspace", "wordpiece")
TEMPLATES = (None, "<s> $A", "$A </s>", "<s> $A </s>")
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = ("gpt", "lines", "digits", "loose")  # what such tokenizers read they can write


def corpus(rng: random.Random) -> list[str]:
    """Lines of made-up words, numbers, line ends and more than one space."""
    words = ["".join(rng.choices("abdeiklmnorstu", k=rng.randint(1, 5))) for _ in range(30)]
    ends = (" ", " ", " ", "  ", "\n", ":\n", "\n\n", ". ", "? ", " 12", " 407", "1990 ", "é ")
    return ["### Response:\n" + "".join(rng.choice(words) + rng.choice(ends) for _ in range(12)) for _ in range(60)]


def seeded_tokenizer(seed: int) -> Any:
    """Seeds 0 to 11 meet each template three times and each family at least once."""
    return make_tokenizer(FAMILIES[seed % len(FAMILIES)], TEMPLATES[seed % len(TEMPLATES)], seed)


def make_tokenizer(family: str, template: str | None, seed: int = 0) -> Any:
    rng = random.Random(f"{family} {seed}")
    raw = Tokenizer(_model(family))
    _split(raw, family)
    size, alphabet = rng.randint(330, 420), pre_tokenizers.ByteLevel.alphabet() if family in BYTES else []
    options: dict[str, Any] = {"vocab_size": size, "special_tokens": SPECIAL, "initial_alphabet": alphabet, "show_progress": False}
    trainer = {"unigram": trainers.UnigramTrainer, "wordpiece": trainers.WordPieceTrainer}.get(family, trainers.BpeTrainer)
    raw.train_from_iterator(corpus(rng), trainer(**options, **({"unk_token": "<unk>"} if family == "unigram" else {})))
    trimmed = (
        [processors.ByteLevel(trim_offsets=True)] if family in BYTES else []
    )  # leaves spaces out of a token's place, as Llama 3's does
    raw.post_processor = processors.Sequence([*trimmed, *([around(template)] if template is not None else [])])
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", model_max_length=512)


def around(template: str) -> Any:
    return processors.TemplateProcessing(single=template, special_tokens=[(t, i) for i, t in enumerate(SPECIAL) if t in template])


def _model(family: str) -> Any:
    if family == "unigram":
        return models.Unigram()
    return models.WordPiece(unk_token="<unk>") if family == "wordpiece" else models.BPE(unk_token=None if family in BYTES else "<unk>")


def _split(raw: Tokenizer, family: str) -> None:
    if family in BYTES:
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family in ("gpt", "digits"))
        before = {"lines": pre_tokenizers.Split(Regex(_LINES), "isolated"), "digits": pre_tokenizers.Digits(individual_digits=True)}
        raw.pre_tokenizer = pre_tokenizers.Sequence([before[family], plain]) if family in before else plain
        raw.decoder = decoders.ByteLevel()
    elif family == "wordpiece":
        raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        raw.decoder = decoders.WordPiece()
    else:
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(split=family == "metaspace"), decoders.Metaspace()
