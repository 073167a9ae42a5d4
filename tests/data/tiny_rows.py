"""A few rows of every benchmark in its Hub columns, two tokenizers and the tiny models: what the data and evaluation tests are made of."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from olora_bench.config import Benchmark
from olora_bench.config.compose import load_benchmark

SIX = ("arc_challenge", "openbookqa", "boolq", "hellaswag", "piqa", "winogrande")
_LINES = (
    "amber barn candle drift ember fjord garnet hollow island jigsaw kettle lantern meadow nectar orchard pebble quarry ribbon saddle",
    "thistle umbrella velvet willow yonder zephyr anchor bramble copper dagger",
)
_WORDS = " ".join(_LINES).split()


def sentence(rng: random.Random, count: int = 9) -> str:
    return " ".join(rng.choices(_WORDS, k=count))


def row(name: str, rng: random.Random, number: int, split: str) -> dict[str, Any]:
    """One made-up row in the native columns."""
    if name in ("arc_challenge", "arc_easy", "openbookqa"):
        stem, count = ("question_stem", 4) if name == "openbookqa" else ("question", rng.choice((3, 4, 5)))
        labels = list("ABCDE"[:count]) if number % 2 else list("12345"[:count])
        choices = {"text": [sentence(rng, rng.randint(1, 5)) for _ in labels], "label": labels}
        return {"id": f"{split}_{number}", stem: sentence(rng) + "?", "choices": choices, "answerKey": rng.choice(labels)}
    if name == "boolq":
        return {"question": sentence(rng, 6), "passage": sentence(rng, 30) + ".", "idx": number, "label": rng.randint(0, 1)}
    if name == "hellaswag":
        return {
            "ind": number // 2, "activity_label": sentence(rng, 2), "ctx_a": sentence(rng) + ".", "ctx_b": "he", "ctx": "unused",
            "endings": [f" {sentence(rng, 5)} [step] {sentence(rng, 2)}." for _ in range(4)], "source_id": "activitynet", "split": split,
            "split_type": "indomain", "label": str(rng.randint(0, 3)),
        }  # fmt: skip
    if name == "piqa":
        return {"goal": sentence(rng, 7), "sol1": sentence(rng, 6) + " ", "sol2": sentence(rng, 4), "label": rng.randint(0, 1)}
    one, two = rng.sample(_WORDS, 2)
    text = f"The {one.upper()} {sentence(rng, 6)} the {two} because the _ was {sentence(rng, 3)}."
    return {"sentence": text, "option1": one, "option2": two, "answer": rng.choice("12")}


def write_rows(folder: Path, split: str, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")


def write_benchmarks(root: Path, names: tuple[str, ...] = SIX, *, train: int = 12, report: int = 6) -> dict[str, Path]:
    """Write every split of the named benchmarks; asset key -> folder."""
    paths = {}
    for name in names:
        rng = random.Random(name)
        folder = paths[f"benchmark:{name}"] = root / name
        for split in ("train", "validation", "test"):
            write_rows(folder, split, [row(name, rng, i, split) for i in range(train if split == "train" else report)])
    return paths


def read_benchmarks(names: tuple[str, ...] = SIX) -> dict[str, Benchmark]:
    return {name: load_benchmark(name) for name in names}


def _corpus() -> list[str]:
    rng = random.Random(0)
    return [f"Question: {sentence(rng, 12)}? Answer: {sentence(rng)}.\n" for _ in range(200)]


def gpt_like_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with merges and no BOS, as SmolLM2's: the boundary of a continuation falls inside merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        _corpus(), trainers.BpeTrainer(vocab_size=500, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")


def llama_like_tokenizer() -> PreTrainedTokenizerFast:
    """BPE over text whose spaces are the letter ▁, with BOS, as Llama's: a trailing space would be a token of its own."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>"]
    tokenizer.train_from_iterator(_corpus(), trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )  # fmt: skip
