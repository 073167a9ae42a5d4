"""What is trained is the text as written, whatever the tokenizer merges or puts around it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded_tokenizers import BYTES, FAMILIES, TEMPLATES, around, make_tokenizer
from transformers import ByT5Tokenizer, CanineTokenizer, PreTrainedTokenizerBase

from olora_bench.config.compose import compose, load
from olora_bench.data import build_parts
from olora_bench.data.encoding import encode_pairs, encode_prompts, encode_requests
from olora_bench.errors import BadInput
from olora_bench.models import special_tokens

TOKENIZER = cache(make_tokenizer)
PIECES = st.sampled_from(
    ["no", "said", " lad", "Response", ":", ":\n", "\n", "\n\n", " ", "   ", "1", "407", "1990", ".", "?", " é", "☃", "e"]
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)
PROMPTS = st.tuples(st.sampled_from(["", "<s>", "### "]), TEXTS, st.sampled_from(["", ":", ":\n", ":\n    ", " is", "☃ "])).map("".join)


def trained(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    return encode_pairs(tokenizer, [(prompt, answer)])[0]


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(FAMILIES), st.sampled_from(TEMPLATES), PROMPTS, TEXTS.filter(str.strip))
def test_nothing_is_lost_and_nothing_doubled(family: str, template: str | None, prompt: str, answer: str) -> None:
    """Prompt and answer together are the tokenizer's own tokens of the text, BOS once in front where it puts it, EOS nowhere."""
    tokenizer = TOKENIZER(family, template)
    asked, answered = trained(tokenizer, prompt, answer)
    plain = tokenizer(prompt + answer, add_special_tokens=False)["input_ids"]
    stand_in = [] if (asked + answered)[:1] == plain[:1] else [tokenizer.bos_token_id]
    assert asked + answered == stand_in + plain
    assert tokenizer.decode(asked + answered, skip_special_tokens=True) == tokenizer.decode(plain, skip_special_tokens=True)
    if template is not None and template.startswith("<s>"):
        assert asked[0] == tokenizer.bos_token_id
    assert (asked + answered).count(tokenizer.bos_token_id) == max(len(stand_in), prompt.count("<s>"))
    assert tokenizer.eos_token_id not in asked + answered


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(FAMILIES), PROMPTS, TEXTS.filter(str.strip))
def test_the_answers_tokens_cover_the_answer_and_no_token_of_the_prompt_alone(family: str, prompt: str, answer: str) -> None:
    """By the tokenizer's own account of where tokens lie: the first that reaches past the prompt is the first that is supervised."""
    tokenizer = TOKENIZER(family, "<s> $A")
    asked, _ = trained(tokenizer, prompt, answer)
    places = tokenizer(prompt + answer, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    begun = int(not prompt.startswith("<s>"))
    assert all(end <= len(prompt.rstrip()) for _, end in places[: len(asked) - begun])
    if family not in BYTES:  # which leave spaces out of a place
        assert all(end > len(prompt.rstrip()) for _, end in places[len(asked) - begun :])


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(BYTES), PROMPTS, TEXTS.filter(str.strip))
def test_a_byte_level_answer_reads_as_it_was_written(family: str, prompt: str, answer: str) -> None:
    """Character for character; and the prompt's tokens are the beginning of the prompt."""
    tokenizer = TOKENIZER(family, "<s> $A")
    asked, answered = trained(tokenizer, prompt, answer)
    after = prompt[len(prompt.rstrip()) :] + answer
    assert tokenizer.decode(answered).endswith(after)
    front = tokenizer.decode(asked).removeprefix("" if prompt.startswith("<s>") else "<s>")
    assert prompt.rstrip().startswith(front.rstrip("\ufffd"))  # half a character, whose other half is the answer's


def test_a_border_token_is_the_answers() -> None:
    """':\\n' is one token: it is neither cut in two nor left out, and the prompt that is answered has it."""
    tokenizer = TOKENIZER("lines", None)
    asked, answered = trained(tokenizer, "### Response:\n", "no")
    assert tokenizer.convert_ids_to_tokens(asked + answered) == ["###", "ĠResponse", ":Ċ", "n", "o"]
    assert len(answered) == 3
    assert encode_requests(tokenizer, [("### Response:\n", "no"), ("### Response", " no")])[1] == [True, False]
    (fed,) = encode_prompts(tokenizer, ["### Response:\n"])
    assert fed == (asked + answered)[:3]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_to_be_answered_is_where_training_has_its_answer(family: str) -> None:
    """Its tokens are those of the prompt as written, less white space at the end; no EOS ends it."""
    tokenizer = TOKENIZER(family, "<s> $A </s>")
    (fed,) = encode_prompts(tokenizer, ["said:\n\n  "])
    plain = tokenizer("said:\n\n  ", add_special_tokens=False)["input_ids"]
    assert fed == [tokenizer.bos_token_id, *plain[: len(fed) - 1]]
    assert tokenizer.decode(plain[len(fed) - 1 :]).strip() == ""


@pytest.mark.parametrize("tokenizer", [ByT5Tokenizer(), CanineTokenizer()], ids=["eos", "both"])
def test_tokenizers_in_python_are_encoded_alike(tokenizer: PreTrainedTokenizerBase) -> None:
    """ByT5's puts EOS after a text, CANINE's BOS and EOS around it; neither says where a token lies."""
    asked, answered = trained(tokenizer, "ab:\n", "cd")
    assert asked + answered == tokenizer("ab:\ncd")["input_ids"][:-1]
    assert len(answered) == 3


@pytest.mark.parametrize(
    ("template", "tokens", "place", "allowed"),
    [
        ("$A <s>", "'<s>'", "after", "its EOS token ('</s>'). Set tokenizer.eos_token"),
        ("</s> $A", "'</s>'", "in front of", "its BOS token ('<s>'). Set tokenizer.bos_token"),
        ("<s> <s> $A", "'<s> <s>'", "in front of", "its BOS token ('<s>'). Set tokenizer.bos_token"),
        ("<s> $A <unk> </s>", "'<unk> </s>'", "after", "its EOS token ('</s>'). Set tokenizer.eos_token"),
    ],
)
def test_special_tokens_that_cannot_stand_are_refused(template: str, tokens: str, place: str, allowed: str) -> None:
    with pytest.raises(BadInput) as caught:
        special_tokens(make_tokenizer("gpt", template))
    assert str(caught.value) == (
        f"{type(TOKENIZER('gpt', None)).__name__} puts {tokens} {place} every text. Allowed: nothing, or once {allowed}, "
        "or correct the post-processor in tokenizer.json"
    )


def test_eos_in_front_stands_in_for_a_bos_that_is_not_there() -> None:
    """As in lm-eval, EOS is then what a text begins with."""
    tokenizer = make_tokenizer("gpt", "</s> $A")
    tokenizer.bos_token = None
    assert special_tokens(tokenizer).begin == tokenizer.eos_token_id
    assert trained(tokenizer, "no", " lad")[0][0] == tokenizer.eos_token_id


def parts_of(tokenizer: PreTrainedTokenizerBase, folder: Path, *overrides: str) -> Any:
    table = [{"instruction": f"Say word {i}", "input": "", "output": f"word {i}"} for i in range(9)]
    table += [{"instruction": "Say it", "input": "", "output": "word</s>"}]
    pq.write_table(pa.Table.from_pylist(table), folder / "train.parquet")
    sizes = ("data.train_size=6", "data.tune_size=2", "data.report_size=2", "data.decontaminate=[]")
    what = load(compose(["model=tinyllama", "suite=none", "data=alpaca", "recipe.steps=9", *sizes, *overrides]))
    return build_parts(what, {"data:alpaca": folder}, tokenizer)


@pytest.mark.parametrize("template", TEMPLATES)
def test_an_instruction_begins_with_bos_once_and_ends_with_eos_once(template: str | None, tmp_path: Path) -> None:
    """Whatever the tokenizer puts where; an answer that ends in EOS already gets no other."""
    tokenizer = TOKENIZER("lines", template)
    parts = parts_of(tokenizer, tmp_path)
    for example in (*parts.train, *parts.tune, *parts.report):
        found = example.input_ids.tolist()
        assert found.count(tokenizer.eos_token_id) == 1 and found[-1] == tokenizer.eos_token_id and example.supervised[-1]
        assert found.count(tokenizer.bos_token_id) == int(template is not None and template.startswith("<s>"))
        assert tokenizer.decode(found[:-1], skip_special_tokens=True).split("### Response:\n")[1].startswith("word")
        assert tokenizer.convert_ids_to_tokens(found)[example.supervised.argmax()] == ":Ċ"


def test_instructions_without_an_eos_to_end_with_are_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer("lines", "<s> $A")
    tokenizer.eos_token = None
    with pytest.raises(BadInput) as caught:
        parts_of(tokenizer, tmp_path)
    assert str(caught.value) == (
        f"{type(tokenizer).__name__} has no EOS token, with which each example of data=alpaca ends. Set tokenizer.eos_token"
    )


def test_an_empty_prompt_without_bos_and_eos_is_refused() -> None:
    """Only there is one of them needed."""
    tokenizer = make_tokenizer("lines", None)
    tokenizer.bos_token = tokenizer.eos_token = None
    assert len(trained(tokenizer, "no", " lad")[0]) == 2
    with pytest.raises(BadInput, match="neither a BOS nor an EOS token, one of which must stand in for an empty context"):
        trained(tokenizer, "", "lad")


def test_a_post_processor_set_later_is_heard() -> None:
    tokenizer = make_tokenizer("gpt", None)
    assert special_tokens(tokenizer).begin is None
    tokenizer.backend_tokenizer.post_processor = around("<s> $A")
    assert special_tokens(tokenizer).begin == tokenizer.bos_token_id
