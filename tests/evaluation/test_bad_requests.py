"""What cannot be scored as it is: a message, or a counted and recorded truncation."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from test_evaluate import score
from test_tries import lm_eval_says
from tiny_rows import write_rows

from olora_bench.errors import BadInput
from olora_bench.evaluation import Scorer


def test_a_tokenizer_without_bos_scores_an_empty_context_after_eos(bases: dict[str, Any]) -> None:
    """As in HFLM."""
    base = bases["llama"]
    assert base.tokenizer.bos_token_id is None
    requests = [Instance("loglikelihood", {}, ("", text), 0, metadata=("odd", i, 1)) for i, text in enumerate((" amber", " barn candle"))]
    have, want = Scorer(base.model, base.tokenizer).loglikelihood(requests), lm_eval_says(base, requests)
    assert [ll for ll, _ in have] == pytest.approx([ll for ll, _ in want], abs=1e-5)


def test_a_tokenizer_with_neither_bos_nor_eos_is_refused(bases: dict[str, Any]) -> None:
    """Nothing could stand in for an empty context; the message says what to set."""
    tokenizer = copy.deepcopy(bases["llama"].tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(BadInput, match=r"neither a BOS nor an EOS token.*Set tokenizer.bos_token"):
        Scorer(bases["llama"].model, tokenizer)


@pytest.mark.parametrize(("name", "field"), [("boolq", "passage"), ("piqa", "sol2"), ("winogrande", "option1"), ("hellaswag", "endings")])
def test_rows_that_lack_a_field_are_refused_with_its_name(name: str, field: str, bases: dict[str, Any], tmp_path: Path) -> None:
    """Before anything is scored."""
    import random

    from tiny_rows import row

    rows = [row(name, random.Random(0), i, "validation") for i in range(3)]
    for one in rows:
        one.pop(field)
    write_rows(tmp_path, "validation", rows)
    with pytest.raises(BadInput, match=field):
        score(bases["llama"], {f"benchmark:{name}": tmp_path}, name)


def test_an_unknown_model_argument_is_refused(bases: dict[str, Any]) -> None:
    """lm-eval's --model_args reach the constructor; its batch size has a stand-in."""
    Scorer(bases["opt"].model, bases["opt"].tokenizer, batch_size=8, max_batch_size=None)
    with pytest.raises(BadInput, match=r"load_in_9bit is unknown. Allowed: .*token_budget"):
        Scorer(bases["opt"].model, bases["opt"].tokenizer, load_in_9bit=True)
