"""What cannot be scored as it is: a message, or a counted and recorded truncation."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from test_evaluate import score
from test_tries import lm_eval_says
from tiny_models import TinyBase
from tiny_rows import write_rows

from olora_bench.errors import BadInput
from olora_bench.evaluation import Scorer


def test_a_tokenizer_without_bos_scores_an_empty_context_after_eos(bases: dict[str, TinyBase]) -> None:
    """As in HFLM."""
    base = bases["llama"]
    assert base.tokenizer.bos_token_id is None
    requests = [Instance("loglikelihood", {}, ("", text), 0, metadata=("odd", i, 1)) for i, text in enumerate((" amber", " barn candle"))]
    have, want = Scorer(base.model, base.tokenizer).loglikelihood(requests), lm_eval_says(base, requests)
    assert [ll for ll, _ in have] == pytest.approx([ll for ll, _ in want], abs=1e-5)


def test_a_tokenizer_with_neither_bos_nor_eos_is_refused(bases: dict[str, TinyBase]) -> None:
    """Nothing could stand in for an empty context; the message says what to set."""
    tokenizer = copy.deepcopy(bases["llama"].tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(BadInput, match=r"neither a BOS nor an EOS token.*Set tokenizer.bos_token"):
        Scorer(bases["llama"].model, tokenizer)


@pytest.mark.parametrize(("name", "field"), [("boolq", "passage"), ("piqa", "sol2"), ("winogrande", "option1"), ("hellaswag", "endings")])
def test_rows_that_lack_a_field_are_refused_with_its_name(name: str, field: str, bases: dict[str, TinyBase], tmp_path: Path) -> None:
    """Before anything is scored."""
    import random

    from tiny_rows import row

    rows = [row(name, random.Random(0), i, "validation") for i in range(3)]
    for one in rows:
        one.pop(field)
    write_rows(tmp_path, "validation", rows)
    with pytest.raises(BadInput, match=field):
        score(bases["llama"], {f"benchmark:{name}": tmp_path}, name)


@pytest.fixture(scope="module")
def folder(bases: dict[str, TinyBase], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its tokenizer as lm-eval's command line is given them."""
    path = tmp_path_factory.mktemp("opt")
    bases["opt"].model.save_pretrained(path)
    bases["opt"].tokenizer.save_pretrained(path)
    return path


def test_lm_evals_command_line_scores_a_folder_as_the_model_itself(bases: dict[str, TinyBase], folder: Path) -> None:
    """By `--model_args` as lm-eval reads them, its own batch sizes beside them."""
    requests = [Instance("loglikelihood", {}, ("amber", " barn"), 0, metadata=("odd", 0, 1))]
    by_name = Scorer.create_from_arg_string(
        f"pretrained={folder},token_budget=64",
        {"batch_size": 8, "max_batch_size": None, "device": None if torch.cuda.is_available() else "cuda"},
    )
    assert by_name.budget.tokens == 64
    assert by_name.loglikelihood(requests) == Scorer(bases["opt"].model, bases["opt"].tokenizer).loglikelihood(requests)


def test_an_unknown_model_argument_is_refused() -> None:
    allowed = "Allowed: pretrained, tokenizer, device, token_budget, dtype, peft, cache_dir"
    with pytest.raises(BadInput, match=f"^model argument load_in_9bit is unknown. {allowed}$"):
        Scorer.create_from_arg_obj({"pretrained": "x", "load_in_9bit": True})


def test_model_arguments_without_a_model_are_refused() -> None:
    with pytest.raises(BadInput, match=r"^model argument pretrained is missing: give the folder of a model$"):
        Scorer.create_from_arg_string("token_budget=64")
