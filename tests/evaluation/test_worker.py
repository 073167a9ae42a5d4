"""Scoring on the road of a run: one base for many adapters, changed weights are another base, answers are recorded."""

from __future__ import annotations

import inspect
import json
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors.torch
import torch

import olora_bench.models
from olora_bench import assets
from olora_bench.config import compose, load
from olora_bench.evaluation import scores
from olora_bench.run import worker as loaded_bases
from olora_bench.run.experiment import identified, run
from olora_bench.store import Store

TINY = ["model=tiny_tinyllama", "rank=4", "precision=fp32", "tracker=none", "recipe.steps=2", "recipe.loss_evaluations=2"]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each time a base is read from disk."""
    found: list[str] = []
    real = olora_bench.models.load_base
    monkeypatch.setattr(loaded_bases, "_BASES", {})
    monkeypatch.setattr(olora_bench.models, "load_base", lambda model, *rest: (found.append(model.name), real(model, *rest))[1])
    return found


def test_adapters_of_one_base_are_scored_on_one_load_and_the_base_once(machine: list[str], loads: list[str], tmp_path: Path) -> None:
    """Three runs: one read of the base from disk, one evaluation of it untouched, three of adapters."""
    suite = ["data=made_up", "suite=commonsense6_made_up", "suite.benchmarks=[piqa]", "suite.limit=2"]
    for arm in ("init=lora", "init=olora", "seed=1"):
        run(load(compose([*TINY, *machine, *suite, arm])))
    assert loads == ["tiny_tinyllama"]
    records = list(Store(tmp_path / "results").iter_evals())
    assert sorted(r.base or "run" for r in records) == ["run", "run", "run", "tiny_tinyllama"]  # type: ignore[union-attr]


def test_changed_weights_at_the_same_path_are_another_base(machine: list[str], tmp_path: Path, loads: list[str]) -> None:
    """One number changed in a local model's file: other ids, and the worker loads it anew."""
    shown = load(compose([*TINY, *machine, "data=made_up", "suite=commonsense6_made_up"]))
    base = olora_bench.models.load_base(shown.model, None, torch.float32, "cpu", shown.machine.cache_dir)
    loads.clear()
    folder = tmp_path / "local" / "tiny_tinyllama"
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    own = ["model.generated=null", "model.hub={id: me/tiny_tinyllama}", f"machine.local_dir={tmp_path / 'local'}", "assets=[local]"]
    asked = [*TINY, *machine, *own, "data=made_up", "suite=commonsense6_made_up"]

    def load_it() -> tuple[Any, float]:
        experiment = load(compose(asked))
        what, found = identified(experiment)
        loaded = loaded_bases.worker_base(experiment, found, assets.fetch(experiment, found))
        return what, float(loaded.model.get_output_embeddings().weight.sum())

    first, before = load_it()
    again, _ = load_it()
    assert (again.train_id, again.base_eval_id, len(loads)) == (first.train_id, first.base_eval_id, 1)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["lm_head.weight"][0, 0] += 1
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    other, after = load_it()
    assert len(loads) == 2
    assert other.base_eval_id != first.base_eval_id
    assert other.eval_id != first.eval_id
    assert after == pytest.approx(before + 1, abs=1e-2)


def test_answers_to_instructions_are_recorded(machine: list[str], tmp_path: Path) -> None:
    """A suite of generation alone: BLEU, ROUGE and the texts, of the run and of the untouched base."""
    data = ["data=alpaca_1k", "data.rows=made_up", "data.train_size=8", "data.tune_size=4", "data.report_size=4", "data.decontaminate=[]"]
    suite = ["suite=alpaca_generation", "suite.generation.max_new_tokens=5", "suite.generation.limit=3"]
    outcome = run(load(compose([*TINY, *machine, *data, *suite])))
    store = Store(tmp_path / "results")
    assert outcome.eval_id is not None
    record, texts = (
        store.read_eval(outcome.train_id, None, outcome.eval_id),
        store.read_generations(outcome.train_id, None, outcome.eval_id),
    )
    assert record is not None and texts is not None
    assert {"bleu", "rouge1", "rouge2", "rougeL", "bleu_signature"} <= record.generation.keys()
    assert len(texts) == record.generation["items"] == 3
    assert (texts["tokens"] <= 5).all()
    bases = [r for r in store.iter_evals() if getattr(r, "base", None)]
    assert len(bases) == 1
    assert not run(load(compose([*TINY, *machine, *data, *suite]))).computed


def test_the_share_that_bf16_flips_is_recorded_with_the_scores(machine: list[str], tmp_path: Path) -> None:
    """Of the untouched base and of the trained model, and the base's weights are bf16's very bits afterwards."""
    suite = ["data=made_up", "suite=commonsense6_made_up", "precision=bf16"]
    outcome = run(load(compose([*TINY, *machine, *suite])))
    (record,) = (json.loads(p.read_text()) for p in (tmp_path / "results" / "base").glob("*/evals/*/record.json"))
    for score in record["scores"].values():
        assert score["flip_items"] == 8
        assert all(0 <= share <= 1 for share in score["flips"].values())
        assert score["flips"].keys() == score["metrics"].keys()
    scored = Store(tmp_path / "results").read_eval(outcome.train_id, None, outcome.eval_id or "")
    assert scored is not None and scored.timings_s["flips"] > 0
    assert {(score.flip_items, *score.flips) for score in scored.scores.values()} == {
        (8, *score.metrics) for score in scored.scores.values()
    }
    (base,) = loaded_bases._BASES.values()
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}
    assert olora_bench.models.differing(base, [name for name, _ in base.model.named_parameters()]) == ()


def test_flips_are_against_the_files_own_numbers(machine: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """While they are measured the weights are the file's fp32, not bf16's in fp32."""
    experiment = load(compose([*TINY, *machine, "data=made_up", "suite=commonsense6_made_up", "suite.benchmarks=[piqa]"]))
    base = olora_bench.models.load_base(experiment.model, None, torch.bfloat16, "cpu", experiment.machine.cache_dir)
    whole = olora_bench.models.load_base(experiment.model, None, torch.float32, "cpu", experiment.machine.cache_dir).model.state_dict()
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in whole.values())
    seen: list[bool] = []

    def look(model: Any, *_: object, **__: object) -> Any:
        seen.append(all(torch.equal(tensor, whole[name]) for name, tensor in model.state_dict().items()))
        return {}, items

    items = pd.DataFrame({"benchmark": ["piqa"], "item_id": ["a"], "prediction": [0], "prediction_norm": [1]})
    monkeypatch.setattr(scores, "evaluate", look)
    asked = scores.Scoring(experiment.suite, experiment.benchmarks, {}, token_budget=64)
    found = scores.measure_flips(base.model, base, asked, items, limit=100)
    assert seen == [True]
    assert found["piqa"] == {"flips": dict.fromkeys(experiment.benchmarks["piqa"].metrics, 0.0), "flip_items": 1}
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}


def test_a_trained_models_flips_are_against_its_own_weights(machine: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What an init moved into A and B is not put back while they are measured: the weights are the model's own, in fp32."""
    experiment = load(compose([*TINY, *machine, "init=olora", "data=made_up", "suite=commonsense6_made_up", "suite.benchmarks=[piqa]"]))
    base = olora_bench.models.load_base(experiment.model, None, torch.bfloat16, "cpu", experiment.machine.cache_dir)
    own = {name: tensor.clone() + 1 for name, tensor in base.model.state_dict().items()}
    base.model.load_state_dict(own)
    wrapped = torch.nn.Sequential(base.model)
    seen: list[bool] = []

    def look(model: Any, *_: object, **__: object) -> Any:
        seen.append(model is wrapped and all(torch.equal(t, own[name].float()) for name, t in base.model.state_dict().items()))
        return {}, items

    items = pd.DataFrame({"benchmark": ["piqa"], "item_id": ["a"], "prediction": [0], "prediction_norm": [1]})
    monkeypatch.setattr(scores, "evaluate", look)
    scores.measure_flips(wrapped, base, scores.Scoring(experiment.suite, experiment.benchmarks, {}, token_budget=64), items, limit=1)
    assert seen == [True]
    assert all(torch.equal(tensor, own[name]) for name, tensor in base.model.state_dict().items())


def test_fp32_that_does_not_fit_leaves_the_scores(machine: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the record says so; the weights are the ones from before, though memory ended half-way."""
    whole, asked = torch.Tensor.to, []

    def to(tensor: torch.Tensor, *given: Any, **more: Any) -> torch.Tensor:
        if given == (torch.float32,) and tensor.dtype is torch.bfloat16 and "computing_in" in {f.function for f in inspect.stack(0)[1:3]}:
            asked.append(tensor)
            if len(asked) > 2:
                raise torch.OutOfMemoryError
        return whole(tensor, *given, **more)

    monkeypatch.setattr(torch.Tensor, "to", to)
    outcome = run(
        load(compose([*TINY, *machine, "data=made_up", "suite=commonsense6_made_up", "suite.benchmarks=[piqa]", "precision=bf16"]))
    )
    scored = Store(tmp_path / "results").read_eval(outcome.train_id, None, outcome.eval_id or "")
    assert scored is not None and scored.scores["piqa"].flips == {}
    assert scored.scores["piqa"].warnings[-1] == "not compared with fp32: memory ran out on cpu"
    assert {p.dtype for base in loaded_bases._BASES.values() for p in base.model.parameters()} == {torch.bfloat16}


def test_a_run_trains_while_another_worker_scores_the_base(machine: list[str], tmp_path: Path) -> None:
    """It is trained and scored when the other gives the base up; then it scores the base itself, untouched."""
    suite = ["data=made_up", "suite=commonsense6_made_up", "suite.benchmarks=[piqa]", "suite.limit=2"]
    experiment = load(compose([*TINY, *machine, *suite, "init=olora"]))
    what, store = identified(experiment)[0], Store(tmp_path / "results")
    begun, seen = threading.Event(), list[bool]()

    def other_worker() -> None:
        with store.hold(store.base_eval_dir("tiny_tinyllama", what.base_eval_id or "")):
            begun.set()
            for _ in range(6000):
                if store.read_eval(what.train_id, None, what.eval_id or "") is not None:
                    break
                time.sleep(0.01)
            seen.append(store.read_eval(None, "tiny_tinyllama", what.base_eval_id or "") is None)

    other = threading.Thread(target=other_worker)
    other.start()
    begun.wait()
    run(experiment)
    other.join()
    assert seen == [True]
    base = store.read_eval(None, "tiny_tinyllama", what.base_eval_id or "")
    again = run(load(compose([*TINY, *machine[1:], *suite, "init=lora", f"machine.results_dir={tmp_path / 'alone'}"])))
    alone = Store(tmp_path / "alone").read_eval(None, "tiny_tinyllama", what.base_eval_id or "")
    assert again.computed and base is not None and alone is not None and base.scores == alone.scores
