"""Conversations under a model's own chat template: tokens and what the assistant says are transformers' own, or they are refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from seeded_tokenizers import BYTES, FAMILIES, around, make_tokenizer

from olora_bench.assets import check, fetch, resolve
from olora_bench.config import Experiment, compose, load
from olora_bench.data import check as check_rows
from olora_bench.data.__main__ import main
from olora_bench.data.chat import encode_chat, written
from olora_bench.errors import BadInput
from olora_bench.models import load_base

CHATML = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<s>assistant\n%OPEN%{{ m['content'] }}</s>\n%CLOSE%"
    "{% else %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}%OPEN% {{ m['content'] }} {{ eos_token }}%CLOSE%"
    "{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}"
)
TEMPLATES = {"chatml": CHATML, "inst": INST}
THOUGHTS = """{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
    {%- if m.role != 'assistant' %}{{- '<s>' + m.role + '\n' + m.content + '</s>\n' }}
    {%- else %}
        {%- set thought, content = '', m.content %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<s>assistant\n' }}%OPEN%
        {%- if loop.index0 > ns.last and (loop.last or thought) %}{{- '<think>\n' + thought + '\n</think>\n\n' }}{%- endif %}
        {{- content + '</s>\n' }}%CLOSE%
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<s>assistant\n%PROMPT%' }}{%- endif %}"""
"""As Qwen3's: only what is said after the last question keeps its thoughts, and the last answer has a place for some that it lacks."""
ROLES = ("user", "assistant")
Turns = list[tuple[str, str]]


def unmarked(template: str) -> str:
    return template.replace("%OPEN%", "").replace("%CLOSE%", "")


def marked(template: str) -> str:
    return template.replace("%OPEN%", "{% generation %}").replace("%CLOSE%", "{% endgeneration %}")


def conversation(rng: random.Random) -> Turns:
    words = ["said", "no", "lad", "407", "\n", "Is it", "é", "end:\n\n"]
    turns = [(ROLES[n % 2], " ".join(rng.choices(words, k=rng.randint(1, 6))).strip() or "x") for n in range(2 * rng.randint(1, 3))]
    return [("system", "be kind"), *turns] if rng.random() < 0.5 else turns


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("family", BYTES)
def test_tokens_and_answers_are_those_that_transformers_tells_of_a_marked_template(family: str, name: str) -> None:
    """The same template without its marks, told apart here; with them, as transformers tells it."""
    rng, tokenizer = random.Random(f"{family} {name}"), make_tokenizer(family, "<s> $A")
    tokenizer.backend_tokenizer.post_processor = around("<s> $A")  # every space is in a token's place: else transformers' mask ends early
    for number in range(12):
        turns = conversation(rng)
        messages = [{"role": role, "content": text} for role, text in turns]
        tokenizer.chat_template = marked(TEMPLATES[name])
        theirs = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        wanted = theirs["input_ids"], [bool(one) for one in theirs["assistant_masks"]]
        assert encode_chat(tokenizer, turns, "a") == wanted, number
        tokenizer.chat_template = unmarked(TEMPLATES[name])
        assert encode_chat(tokenizer, turns, "a") == wanted, number
        assert any(wanted[1]) and not all(wanted[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_assistants_tokens_are_its_text_whatever_the_tokenizer(family: str) -> None:
    """Also where spaces are left out of a token's place; marked or not."""
    rng, tokenizer = random.Random(family), make_tokenizer(family, "<s> $A")
    for template in (CHATML, INST):
        turns = conversation(rng)
        found = []
        for text in (marked(template), unmarked(template)):
            tokenizer.chat_template = text
            found.append(encode_chat(tokenizer, turns, "a"))
        assert found[0] == found[1]
        if family in BYTES:
            answers = tokenizer.decode([i for i, said in zip(*found[0], strict=True) if said])
            assert all(text.strip() in answers for role, text in turns if role == "assistant")
            assert "be kind" not in answers and "[INST]" not in answers


def thinking(rng: random.Random) -> Turns:
    turns = conversation(rng)
    return [(r, f"<think>\nhm {rng.randint(0, 9)}\n</think>\n\n{t}" if r == "assistant" and rng.random() < 0.5 else t) for r, t in turns]


@pytest.mark.parametrize("family", BYTES)
def test_answers_of_a_template_that_thinks_are_those_that_transformers_tells_of_it_marked(family: str) -> None:
    """Conversations of one answer and of more, with thoughts and without, which it writes of the last answer alone."""
    rng, tokenizer = random.Random(family), make_tokenizer(family, "<s> $A")
    tokenizer.backend_tokenizer.post_processor = around("<s> $A")
    for number in range(12):
        turns = thinking(rng)
        tokenizer.chat_template = marked(THOUGHTS).replace("%PROMPT%", "")
        messages = [{"role": role, "content": text} for role, text in turns]
        theirs = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        wanted = theirs["input_ids"], [bool(one) for one in theirs["assistant_masks"]]
        tokenizer.chat_template = unmarked(THOUGHTS).replace("%PROMPT%", "")
        assert encode_chat(tokenizer, turns, "a") == wanted, number


def test_thoughts_that_the_prompt_for_an_answer_opens_are_not_learned_to_be_opened() -> None:
    rng, tokenizer = random.Random(0), make_tokenizer("gpt", None)
    for _ in range(12):
        turns, found = thinking(rng), []
        for prompt in ("", "<think>\\n"):
            tokenizer.chat_template = unmarked(THOUGHTS).replace("%PROMPT%", prompt)
            text, spans = written(tokenizer, turns, "a")
            found.append([text[start:end] for start, end in spans])
        assert found[1] == [answer.removeprefix("<think>\n") for answer in found[0]]


@pytest.mark.parametrize("puts", [None, "<s> $A", "<s> $A </s>"])
@pytest.mark.parametrize("writes", [True, False])
def test_bos_stands_where_the_template_writes_it_and_nowhere_else(puts: str | None, writes: bool) -> None:
    """Whatever the tokenizer puts around a text by itself, as transformers has it too."""
    tokenizer = make_tokenizer("gpt", puts)
    tokenizer.chat_template = unmarked(INST) if writes else unmarked(INST).replace("{{ bos_token }}", "")
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    ids, said = encode_chat(tokenizer, turns, "a")
    assert ids == tokenizer.apply_chat_template([{"role": r, "content": t} for r, t in turns], return_dict=True)["input_ids"]
    assert (ids.count(tokenizer.bos_token_id), ids.count(tokenizer.eos_token_id)) == (int(writes), 2)
    assert tokenizer.decode([i for i, one in zip(ids, said, strict=True) if one]) == " b </s> d </s>"


@pytest.mark.parametrize(
    ("template", "turns", "message"),
    [
        (
            None,
            [("user", "a"), ("assistant", "b")],
            "data.template=chat needs the model's own chat template, and its tokenizer has none. "
            "Allowed: a model that was tuned to chat, or data=file with data.prompt and data.response",
        ),
        (
            "{{ raise_exception('no system, please') }}",
            [("system", "s"), ("assistant", "b")],
            "conversation row 7: the model's chat template refuses it (TemplateError: no system, please). Correct the row, or take it out",
        ),
        (
            "{% for m in messages %}{{ m['content'] if loop.last else 'gone' }}{% endfor %}",
            [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
            "conversation row 7: the model's chat template writes the beginning of a conversation otherwise once it goes on (turn 2), "
            "so that what the assistant says cannot be told apart. Allowed: a template that marks it with {% generation %}, "
            "or conversations of one answer",
        ),
    ],
    ids=["none", "refuses", "rewrites"],
)
def test_a_template_that_cannot_tell_is_refused(template: str | None, turns: Turns, message: str) -> None:
    tokenizer = make_tokenizer("gpt", None)
    tokenizer.chat_template = template
    with pytest.raises(BadInput) as caught:
        written(tokenizer, turns, "row 7")
    assert str(caught.value) == message


def chats(n: int = 60) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"What is {i} times {i}?"},
                {"role": "assistant", "content": f"It is {i * i}, friend {i}."},
            ]
        }
        for i in range(n)
    ]


def stored(place: Path, rows: list[Any]) -> Path:
    place.write_text("\n".join(map(json.dumps, rows)))
    return place


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model that has a chat template."""
    folder = tmp_path_factory.mktemp("chatty")
    one = load(compose(["model=tiny_llama2_7b"]))
    base = load_base(one.model, None, torch.float32, "cpu", folder / "cache")
    base.tokenizer.chat_template = unmarked(CHATML)
    base.model.save_pretrained(folder / "model")
    base.tokenizer.save_pretrained(folder / "model")
    return folder / "model"


def asked(file: Path, cache_dir: Path, *overrides: str) -> Experiment:
    fixed = ["suite=none", "tracker=none", "rank=4", "precision=fp32", "data=chat", f"machine.cache_dir={cache_dir}"]
    return load(compose([*fixed, f"data.path={file}", *overrides]))


def test_show_marks_the_assistants_turns(tmp_path: Path, cache_dir: Path, chatty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = stored(tmp_path / "chats.jsonl", chats())
    overrides = [f"model=local:{chatty}", "rank=4", "data=chat", f"data.path={file}", "data.tune_share=0.1", "data.report_share=0.2"]
    assert main(["show", *overrides, f"machine.cache_dir={cache_dir}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    number = int(lines[0].split(":")[0].removeprefix("--- train-"))
    assert lines[1:6] == [
        "<s>user", f"What is {number} times {number}?</s>", "<s>assistant", f"[[It is {number * number}, friend {number}.</s>", "]]",
    ]  # fmt: skip
    assert [line.partition(",")[0] for line in lines[-4:-1]] == ["train: 42 examples", "tune: 6 examples", "report: 12 examples"]


def test_a_model_without_a_template_is_refused_before_it_is_loaded(tmp_path: Path, cache_dir: Path) -> None:
    one = asked(stored(tmp_path / "chats.jsonl", chats()), cache_dir, "model=tiny_llama2_7b")
    assets = resolve(one)
    check(one, assets)
    with pytest.raises(BadInput) as caught:
        check_rows(one, fetch(one, assets))
    assert str(caught.value).startswith("data.template=chat needs the model's own chat template, and its tokenizer has none.")


LIKE = '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("hello", f"'hello' is no list of turns. Allowed: a list like {LIKE}"),
        ([], f"[] is no list of turns. Allowed: a list like {LIKE}"),
        ([{"role": "human", "content": "x"}], "turn 1 has role 'human'. Allowed: system, user, assistant"),
        ([{"role": "assistant", "content": " "}], "turn 1 has content ' '. Allowed: text"),
        ([{"role": "user", "content": "x"}], "no turn is the assistant's, so there is nothing to learn. "
         "Allowed: one turn of the assistant or more"),
        ([{"role": "assistant", "content": "x", "tool_calls": "y"}], "turn 1 has tool_calls beside role and content, which would be left "
         "out. Allowed: role and content"),
    ],
)  # fmt: skip
def test_a_row_that_is_no_conversation_is_named(row: Any, message: str, tmp_path: Path) -> None:
    rows = [{"messages": row}] if not isinstance(row, list) or not row else [*chats(3), {"messages": row}]
    file = stored(tmp_path / "chats.jsonl", rows)
    one = asked(file, tmp_path / "cache", "model=tiny_llama2_7b")
    with pytest.raises(BadInput) as caught:
        fetch(one, resolve(one))
    assert str(caught.value) == f"{file}, row {len(rows)}: messages: {message}. Correct the row, or take it out"


def test_content_that_is_a_list_after_text_is_told_what_is_allowed(tmp_path: Path) -> None:
    turn = {"role": "assistant", "content": [{"type": "text", "text": "x"}]}
    file = stored(tmp_path / "chats.jsonl", [*chats(3), {"messages": [turn]}])
    one = asked(file, tmp_path / "cache", "model=tiny_llama2_7b")
    with pytest.raises(BadInput) as caught:
        fetch(one, resolve(one))
    assert str(caught.value) == (
        f"{file}, row 4: messages is {repr([turn])[:57]}..., which does not fit the rows before it: its content is "
        "[{'type': 'text', 'text': 'x'}]. Allowed: text, as before. Correct the row"
    )


def test_turns_under_another_name_are_said_with_the_key(tmp_path: Path) -> None:
    file = stored(tmp_path / "chats.jsonl", [{"conversations": row["messages"]} for row in chats(3)])
    one = asked(file, tmp_path / "cache", "model=tiny_llama2_7b")
    with pytest.raises(BadInput) as caught:
        fetch(one, resolve(one))
    assert str(caught.value) == (
        f"{file} has no column messages, the default of data.messages. Found: conversations. Name it: data.messages=conversations"
    )


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = stored(tmp_path / "chats.jsonl", chats(3))
    one = asked(file, tmp_path / "cache", "model=tiny_llama2_7b", "data.messages=Messages")
    with pytest.raises(BadInput) as caught:
        fetch(one, resolve(one))
    assert str(caught.value) == (
        f"{file} has no column Messages, which data.messages names. Found: messages. Rename 'messages' to 'Messages'"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=chat", "data.prompt=q"], "data.prompt=q stands beside data.template=chat, whose rows are conversations. "
         "Leave it out, or use data=file"),
        (["data=file", "data.messages=m"], "data.messages=m stands beside data.template=plain. Conversations need data=chat"),
        (["data=chat", "data.rows=made_up"], "data.template=chat stands beside data.kind=instructions data.rows=made_up, which have no "
         "conversations"),
        (["data=chat", "suite=alpaca_generation"], "suite=alpaca_generation asks for answers to instructions, and data=chat holds "
         "conversations. Allowed: data with one prompt and one answer a row, or suite.generation=null"),
    ],
)  # fmt: skip
def test_keys_that_do_not_fit_conversations_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        load(compose(["model=tiny_llama2_7b", *overrides]))
    assert str(caught.value) == message
