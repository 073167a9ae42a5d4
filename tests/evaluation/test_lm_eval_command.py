"""`python -m olora_bench.lm_eval`: lm-eval's own command line, with our scorer among its models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval._cli import HarnessCLI
from lm_eval.api.registry import get_model
from peft import LoraConfig, get_peft_model
from tiny_models import tiny_base

from olora_bench import lm_eval
from olora_bench.errors import BadInput
from olora_bench.evaluation import Scorer

Cli = Callable[..., subprocess.CompletedProcess[str]]
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question.strip()}}}}\\n\
A. {{{{choices[0]}}}}\\nB. {{{{choices[1]}}}}\\nC. {{{{choices[2]}}}}\\nD. {{{{choices[3]}}}}\\nAnswer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
"""As lm-eval's mmlu subjects are, on rows that lie here."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of a tiny model and of an adapter on it that does something."""
    home = tmp_path_factory.mktemp("saved")
    base = tiny_base("llama")
    base.model.save_pretrained(home / "model")
    base.tokenizer.save_pretrained(home / "model")
    config = LoraConfig(r=4, init_lora_weights=False, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    get_peft_model(base.model, config).save_pretrained(home / "adapter")
    return home / "model", home / "adapter"


def test_the_command_line_is_lm_evals_and_knows_the_scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is given reaches lm-eval's parser as it stands, and the name leads to the scorer by then."""
    seen: list[Any] = []

    def executed(self: HarnessCLI, args: Any) -> None:
        seen.append((get_model("olora_bench"), args.model, args.model_args, args.tasks))

    monkeypatch.setattr(HarnessCLI, "execute", executed)
    asked = ["run", "--model", "olora_bench", "--model_args", "pretrained=F,peft=A", "--tasks", "mmlu"]
    monkeypatch.setattr(sys, "argv", ["lm_eval", *asked])
    lm_eval.main()
    assert seen == [(Scorer, "olora_bench", {"pretrained": "F", "peft": "A"}, ["mmlu"])]


def test_a_bad_model_argument_ends_with_2_and_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def executed(self: HarnessCLI, args: Any) -> None:
        get_model("olora_bench").create_from_arg_obj({"pretraind": "F"})

    monkeypatch.setattr(HarnessCLI, "execute", executed)
    monkeypatch.setattr(sys, "argv", ["lm_eval", "run", "--model", "olora_bench", "--tasks", "mmlu"])
    with pytest.raises(SystemExit) as ended:
        lm_eval.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "model argument pretraind is unknown. Allowed: pretrained, tokenizer, device, token_budget, dtype, peft, cache_dir\n"
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("pretrained={home}/none", "pretrained={home}/none: there is no such folder. Give the folder of a model, or its name on the Hub"),
        ("pretrained={home}", "pretrained={home}: this folder has no config.json. Give the folder of a model"),
        (
            "pretrained={home}/model,peft={home}/none",
            "peft={home}/none: there is no such folder. Give the folder of an adapter, or its name on the Hub",
        ),
        ("pretrained={home}/model,peft={home}", "peft={home}: this folder has no adapter_config.json. Give the folder of an adapter"),
        (
            "pretrained={home}/model,peft=none_such",
            "peft=none_such: there is no such folder, and no adapter of that name could be had from the Hub. Give the folder of an adapter",
        ),
        (
            "pretrained=none/such",
            "pretrained=none/such: there is no such folder, and no tokenizer of that name could be had from the Hub. "
            "Give the folder of a tokenizer",
        ),
        (
            "pretrained={home}/model,tokenizer={home}/none",
            "tokenizer={home}/none: there is no such folder. Give the folder of a tokenizer, or its name on the Hub",
        ),
    ],
)
def test_an_argument_that_leads_nowhere_is_refused_in_a_sentence(
    saved: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, asked: str, said: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    home = saved[0].parent
    with pytest.raises(BadInput) as caught:
        Scorer.create_from_arg_string(asked.format(home=home))
    assert str(caught.value) == f"model argument {said.format(home=home)}"


def test_an_adapter_of_another_model_is_refused_in_a_sentence(saved: tuple[Path, Path], tmp_path: Path) -> None:
    config = json.loads((saved[1] / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["c_attn"]}))
    with pytest.raises(BadInput) as caught:
        Scorer.create_from_arg_string(f"pretrained={saved[0]},peft={tmp_path}")
    start, end = str(caught.value).split(" could not be loaded from this folder: ")
    assert start == f"model argument peft={tmp_path}: an adapter of this model"
    assert end.startswith("Target modules {'c_attn'} not found") and end.endswith(". Give the folder of an adapter of this model")


@pytest.mark.slow
def test_a_task_in_mmlus_form_scores_as_with_lm_evals_own_model(saved: tuple[Path, Path], tmp_path: Path, cli: Cli) -> None:
    """With an adapter, by two commands that differ in the model's name alone."""
    model, adapter = saved
    rows = [{"question": f"What is {n} and {n}?", "choices": [str(n + k) for k in range(4)], "answer": n % 4} for n in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text(TASK.format(name="my_mmlu", rows=tmp_path / "rows.jsonl"))
    found = {}
    for name in ("olora_bench", "hf"):
        args = ("--model_args", f"pretrained={model},peft={adapter},dtype=float32", "--tasks", "my_mmlu", "--include_path", str(tmp_path))
        more = ("--device", "cpu", "--output_path", str(tmp_path / name), "--log_samples")
        done = cli("run", "--model", name, *args, *more, module="olora_bench.lm_eval", env={"HF_DATASETS_CACHE": str(tmp_path / "cache")})
        assert done.returncode == 0, done.stderr
        samples = next((tmp_path / name).rglob("samples_my_mmlu_*.jsonl")).read_text().splitlines()
        found[name] = [[float(answer[0][0]) for answer in json.loads(line)["resps"]] for line in samples]
    for ours, theirs in zip(found["olora_bench"], found["hf"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
