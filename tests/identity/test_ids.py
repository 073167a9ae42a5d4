"""An id is its values: what can change numbers changes it, what cannot leaves it alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olora_bench.config import Experiment, compose, load
from olora_bench.identity import base_eval_identity, cell_key, differences, digest, eval_identity, explain, family_key, ids, train_identity
from olora_bench.identity.explain import flat
from olora_bench.identity.ids import (
    DATA_DESCRIBES,
    INIT_DESCRIBES,
    MODEL_DESCRIBES,
    RECIPE_DESCRIBES,
    canonical_json,
    training_assets,
)  # fmt: skip
from tests.fixture_types import Json

BASE = ["model=tinyllama", "init=olora", "data=made_up", "suite=commonsense6_made_up", "precision=bf16"]


def experiment(*overrides: str) -> Experiment:
    return load(compose([*BASE, *overrides]))


def assets(one: Experiment) -> dict[str, str]:
    keys = [f"model:{one.model.name}", *training_assets(one), *(f"benchmark:{b}" for b in one.suite.benchmarks)]
    return {key: f"digest of {key}" for key in keys}


def train_id(one: Experiment) -> str:
    return digest(train_identity(one, assets(one)))


def eval_id(one: Experiment) -> str:
    return digest(eval_identity(train_id(one), one, assets(one)))


def base_id(one: Experiment) -> str:
    return digest(base_eval_identity(one, assets(one)))


def test_ids_are_pinned() -> None:
    """A literal that moves means that every stored result is orphaned: raise RESULTS_VERSION, or undo the change."""
    found = {
        name: train_id(load(compose(overrides)))
        for name, overrides in {
            "tinyllama olora": ["model=tinyllama", "init=olora", "precision=bf16"],
            "llama lora r64": ["model=llama2_7b", "init=lora", "rank=64", "precision=bf16", "data=alpaca"],
            "tiny": ["model=tiny_opt_1.3b", "rank=4", "precision=fp32", "data=made_up", "suite=none"],
        }.items()
    }
    assert found == PINNED


PINNED = {"tinyllama olora": "654af64dc8cfb7a3", "llama lora r64": "18bce0ed25b09c6c", "tiny": "f5fc7f66bb1dbbe2"}


@pytest.mark.parametrize(
    "override",
    ["machine.results_dir=a", "machine.cache_dir=a", "machine.device=cpu", "machine.threads=1", "machine.train_token_budget=128",
     "machine.gradient_checkpointing=true", "machine.compile=true", "finalists=[1e-3]", "criterion=tune_gold_logprob",
     "machine.eval_token_budget=128", "machine.local_dir=a", "machine.wandb_dir=a", "tracker=none", "tracker.project=other",
     "assets=[hub]", "recipe.name=renamed", "model.note=text", "model.licence=text", "model.gated=true", "exportable=[lora]"],
)  # fmt: skip
def test_what_cannot_change_numbers_is_in_no_id(override: str) -> None:
    one, other = experiment(), experiment(override)
    assert (train_id(one), eval_id(one), base_id(one)) == (train_id(other), eval_id(other), base_id(other))


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list | tuple):
        return value[:-1]
    return "x"


REAL = {"init.module": "peft", "data.template": "author_no_input"}
"""Names of files and texts that an id looks into: another that there is."""

DESCRIBES = {"model": MODEL_DESCRIBES, "init": INIT_DESCRIBES, "data": DATA_DESCRIBES, "recipe": RECIPE_DESCRIBES}
IN_NO_TRAIN_ID = {"machine", "tracker", "assets", "benchmarks", "suite", "precision", "exportable", "finalists", "criterion"}
HASHED = sorted(
    key
    for key, _ in flat(experiment().model_dump(mode="json", exclude=IN_NO_TRAIN_ID))
    if not any(key.startswith(f"{group}.{field}") for group, fields in DESCRIBES.items() for field in fields)
)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@settings(max_examples=80, deadline=None)
@given(key=st.sampled_from(HASHED))
def test_any_other_value_changes_the_train_id(key: str) -> None:
    """Values are changed behind the schema's back, so that every leaf can be tried whatever it allows."""
    one = experiment()
    values = one.model_dump(mode="python")
    *parents, last = key.split(".")
    node = values
    for part in parents:
        node = node[part]
    node[last] = REAL.get(key) or changed(node[last])
    other = one.model_copy(
        update={
            group: getattr(one, group).model_copy(update=values[group]) if hasattr(getattr(one, group), "model_copy") else values[group]
            for group in ("model", "init", "data", "recipe", "rank", "alpha", "lr", "seed")
        }
    )
    found = {**assets(one), **assets(other)}
    assert digest(train_identity(one, found)) != digest(train_identity(other, found))


KEYS = """
model: family generated name quantization target_modules trust_remote_code
init: code dora lr_ratio module name options rslora
data: benchmarks cutoff decontaminate kind name report_size rows split_seed supervise tasks template train_size tune_size
recipe: batch_size betas dropout epochs eps loss_evaluations max_grad_norm schedule steps warmup_ratio warmup_steps weight_decay
"""


def test_a_new_key_at_its_default_enters_no_id() -> None:
    """Keys of results_version 3. Do not add one here: give a new key in `ids.LATER` the value that all runs before it had."""
    found = train_identity(one := experiment(), assets(one))
    assert {group: sorted(found[group]) for group in ("model", "init", "data", "recipe")} == {
        group: keys.split() for group, keys in (line.split(": ") for line in KEYS.split("\n") if line)
    }


def test_a_key_that_came_later_is_in_an_id_only_off_its_first_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "LATER", {"recipe.dropout": 0.0})
    usual, other = (train_identity(e, assets(e))["recipe"] for e in (experiment(), experiment("recipe.dropout=0.1")))
    assert "dropout" not in usual and other["dropout"] == 0.1


@pytest.mark.parametrize("override", ["data.block=10", "recipe.read=tune", "recipe.read=final"])
def test_a_block_and_what_is_read_make_another_run_of_the_same_cell_and_family(override: str) -> None:
    one, other = (train_identity(e, assets(e)) for e in (experiment(), experiment(override)))
    assert digest(one) != digest(other)
    assert (cell_key(one), family_key(one)) == (cell_key(other), family_key(other))


@pytest.mark.parametrize("suite", ["commonsense6", "alpaca_generation"])
def test_a_block_leaves_the_untouched_bases_evaluation_as_it_is(suite: str) -> None:
    one, other = experiment("data=alpaca_1k", f"suite={suite}"), experiment("data=alpaca_1k", f"suite={suite}", "data.block=10")
    assert base_id(one) == base_id(other) and eval_id(one) != eval_id(other)


def test_another_prompt_under_a_templates_name_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    before = train_id(one := experiment("data=alpaca_1k"))
    monkeypatch.setitem(ids.TEMPLATES, "author_with_input", ids.TEMPLATES["author_with_input"]._replace(without_input="{instruction} "))
    assert train_id(one) != before


def with_benchmark(one: Experiment, name: str, change: Json) -> Experiment:
    return one.model_copy(update={"benchmarks": one.benchmarks | {name: one.benchmarks[name].model_copy(update=change)}})


@pytest.mark.parametrize("change", [{"version": 9.0}, {"task": "other"}, {"report_split": "test"}])
def test_another_task_under_a_benchmarks_name_is_another_run_and_another_evaluation(change: Json) -> None:
    one = experiment("suite.benchmarks=[piqa]")
    trained_on, asked = with_benchmark(one, "boolq", change), with_benchmark(one, "piqa", change)
    assert train_id(trained_on) != train_id(one) and base_id(trained_on) == base_id(one)
    assert base_id(asked) != base_id(one)


def test_other_bytes_are_another_run() -> None:
    one = experiment()
    moved = assets(one) | {"model:tinyllama": "another commit"}
    assert digest(train_identity(one, moved)) != train_id(one)
    assert digest(base_eval_identity(one, moved)) != base_id(one)


@pytest.mark.parametrize("override", ["suite.limit=4", "suite.benchmarks=[piqa]", "suite.num_fewshot=5", "suite.dtype=fp32"])
def test_asking_differently_changes_the_evaluation_and_not_the_run(override: str) -> None:
    """Raising a limit or adding a benchmark retrains nothing."""
    one, other = experiment(), experiment(override)
    assert train_id(one) == train_id(other)
    assert eval_id(one) != eval_id(other) and base_id(one) != base_id(other)


def test_the_order_of_benchmarks_and_an_unused_limit_seed_are_in_no_id() -> None:
    one = experiment("suite.benchmarks=[piqa,boolq]", "suite.limit=null")
    other = experiment("suite.benchmarks=[boolq,piqa]", "suite.limit=null", "suite.limit_seed=5")
    assert eval_id(one) == eval_id(other)


def test_arms_learning_rates_and_seeds_share_a_cell_and_ranks_do_not() -> None:
    def cell(*overrides: str) -> str:
        one = experiment(*overrides)
        return cell_key(train_identity(one, assets(one)))

    assert cell() == cell("init=lora", "lr=1", "seed=9")
    assert cell() != cell("rank=16")


def test_auto_precision_has_no_id() -> None:
    with pytest.raises(ValueError, match="precision is still auto: resolve it before identifying a run"):
        train_id(experiment("precision=auto"))


def test_explain_lists_what_went_in_and_what_differs() -> None:
    one, other = (train_identity(e, assets(e)) for e in (experiment(), experiment("lr=0.01")))
    assert "init.name" in explain(one) and "olora" in explain(one)
    assert explain(one, other) == "lr: 0.0003 -> 0.01"
    assert explain(one, one) == "no difference: the same identity"
    assert [d.key for d in differences(one, {k: v for k, v in one.items() if k != "seed"})] == ["seed"]


def test_canonical_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        canonical_json({"lr": float("nan")})
