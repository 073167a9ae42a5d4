"""A folder's tokenizer at load: refused before its weights are read, and otherwise left as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import processors
from transformers import PreTrainedTokenizerBase

from olora_bench.config import Model
from olora_bench.errors import BadInput
from olora_bench.models import Base, load_base, padding_id
from olora_bench.models import base as base_room

Change = Callable[[PreTrainedTokenizerBase], None]


@pytest.fixture
def load(
    tiny: Callable[..., Base], read_model: Callable[[str], Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Base]:
    """A tiny model from a folder in Hub layout whose tokenizer was changed."""

    def load(change: Change, *, weights: bool = True) -> Base:
        base = tiny("tiny_tinyllama")
        folder = shutil.copytree(base.folder, tmp_path / "hub")
        (folder / "built.json").unlink()
        change(base.tokenizer)
        base.tokenizer.save_pretrained(folder)
        if not weights:
            monkeypatch.setattr(base_room, "_weights", None)
        model = read_model("tiny_tinyllama").model_copy(update={"generated": None})
        return load_base(model, folder, torch.float32, "cpu", tmp_path / "cache")

    return load


def test_a_tokenizer_with_bos_at_the_end_is_refused_before_the_weights_are_read(load: Callable[..., Base]) -> None:
    def change(tokenizer: PreTrainedTokenizerBase) -> None:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A <s>", special_tokens=[("<s>", 1)])

    with pytest.raises(BadInput, match=r"puts '<s>' after every text\. Allowed: nothing, or once its EOS token \('</s>'\)"):
        load(change, weights=False)


def test_a_tokenizer_without_a_padding_token_stays_without(load: Callable[..., Base]) -> None:
    """So that what is exported has the tokenizer of its base; rows are filled up with EOS."""

    def change(tokenizer: PreTrainedTokenizerBase) -> None:
        tokenizer.pad_token = None

    tokenizer = load(change).tokenizer
    assert tokenizer.pad_token is None
    assert padding_id(tokenizer) == tokenizer.eos_token_id
