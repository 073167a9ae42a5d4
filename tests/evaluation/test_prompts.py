"""Tokenised prompts and tries: made once, found again by digest, made again when anything that decides them is another."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_tries import requests_of
from tiny_models import TinyBase

import olora_bench.evaluation.prompts as prompts
from olora_bench.evaluation import Scorer
from olora_bench.evaluation.trie import Plan


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs were tokenised, a number a call; nothing is remembered from before."""
    calls: list[int] = []
    real = prompts.encode_requests
    monkeypatch.setattr(prompts, "encode_requests", lambda tokenizer, pairs: (calls.append(len(pairs)), real(tokenizer, pairs))[1])
    monkeypatch.setattr(prompts, "_PLANS", {})
    return calls


def plans(base: Any, cache_dir: Path | None, *, shots: int = 40, max_length: int | None = None) -> list[Plan]:
    scorer = Scorer(base.model, base.tokenizer, cache_dir=cache_dir)
    scorer.max_length = max_length or scorer.max_length
    return scorer._plans(requests_of(random.Random(2), shots=shots))[0]


def forget() -> None:
    prompts._PLANS.clear()


def same(a: Plan, b: Plan) -> bool:
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a.arrays().values(), b.arrays().values(), strict=True))


def test_prompts_are_tokenised_once_in_a_process_and_once_on_a_disk(bases: dict[str, TinyBase], count: list[int], tmp_path: Path) -> None:
    """The second adapter finds them in memory, the next process in the cache, bit for bit."""
    first = plans(bases["opt"], tmp_path)
    plans(bases["opt"], tmp_path)
    forget()
    again = plans(bases["opt"], tmp_path)
    assert len(count) == 1
    assert all(same(a, b) for a, b in zip(first, again, strict=True))


def test_other_texts_another_tokenizer_or_another_length_are_other_prompts(
    bases: dict[str, TinyBase], count: list[int], tmp_path: Path
) -> None:
    """Each is tokenised anew and kept beside the first."""
    plans(bases["opt"], tmp_path)
    plans(bases["opt"], tmp_path, shots=41)
    plans(bases["llama"], tmp_path)  # the other tokenizer
    plans(bases["opt"], tmp_path, max_length=30)
    assert len(count) == 4
    assert len(list((tmp_path / "prompts").iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign"])
def test_a_damaged_file_is_said_and_made_again(
    damage: str, bases: dict[str, TinyBase], count: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a file, one byte changed in the middle, something else altogether."""
    first = plans(bases["opt"], tmp_path)
    (file,) = (tmp_path / "prompts").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes({"cut": bytes(content[: len(content) // 2]), "flipped": bytes(content), "foreign": b"no plan"}[damage])
    forget()
    assert same(first[0], plans(bases["opt"], tmp_path)[0])
    assert len(count) == 2
    assert "tokenised again" in capsys.readouterr().err
    forget()
    assert same(first[0], plans(bases["opt"], tmp_path)[0])
    assert len(count) == 2


def test_an_adapter_does_not_change_the_prompts_name(bases: dict[str, TinyBase], count: list[int], tmp_path: Path) -> None:
    """Base and adapter of any rank share one file."""
    import copy

    from peft import LoraConfig, get_peft_model

    base = bases["mistral"]
    plans(base, tmp_path)
    adapted = get_peft_model(copy.deepcopy(base.model), LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    Scorer(adapted, base.tokenizer, cache_dir=tmp_path)._plans(requests_of(random.Random(2), shots=40))
    assert len(count) == 1
