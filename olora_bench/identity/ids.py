"""What a run is: the values that can change its numbers, and nothing else, hashed.

An identity is a plain dict, kept in the record beside its id, so that two ids can always be told apart in words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from olora_bench.config import Benchmark, Data, Experiment, Init, Model, Recipe, Suite
from olora_bench.config.templates import TEMPLATES
from olora_bench.identity.code import init_digest

RESULTS_VERSION = 3
"""Raised whenever a change of code changes numbers; `tests/test_golden.py` fails when numbers moved and this did not."""

ANALYSIS_VERSION = 5
"""Raised whenever a change of code changes what the same records are found to say; `tests/analysis/test_version.py` fails when verdicts
moved and this did not."""

# Bytes are identified by the asset's digest or commit, so where they come from, what a licence says, and the shapes that
# follow from the weights are descriptions. Everything else in these groups is hashed.
MODEL_DESCRIBES = frozenset(
    {
        "hub",
        "local",
        "packaged",
        "shapes",
        "layers",
        "hidden_size",
        "vocab_size",
        "parameters",
        "context_length",
        "licence",
        "gated",
        "note",
    }
)
INIT_DESCRIBES = frozenset({"promises"})
DATA_DESCRIBES = frozenset({"hub", "local", "path", "tune_path", "report_path"})
RECIPE_DESCRIBES = frozenset({"name"})
BENCHMARK_DECIDES = frozenset({"task", "version", "report_split", "metrics", "chance"})

PER_BLOCK = ("block", "read")
"""Keys of `data` and `recipe` that differ between runs which are compared: the parts that a seed draws, and which losses are read."""

LATER: Mapping[str, JsonValue] = {
    "data.block": None,
    "data.messages": None,
    "data.prompt": None,
    "data.prompt_template": None,
    "data.report_share": None,
    "data.report_split": None,
    "data.response": None,
    "data.split_column": None,
    "data.tune_share": None,
    "data.tune_split": None,
    "recipe.read": "everything",
}
"""Keys that joined the schema after committed results were made, by dotted name, each with the value that all runs before had.

At that value a key enters no id, so that committed ids stay what they are. `tests/identity` fails when a new key stands in neither.
"""


def canonical_json(value: object) -> bytes:
    """The one byte string of a JSON value: sorted keys, no spaces, UTF-8, shortest floats; NaN is refused.

    >>> canonical_json({"b": 1, "a": [1.0, None]})
    b'{"a":[1.0,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(identity: Mapping[str, object]) -> str:
    """The id of an identity: the first 16 hex digits of SHA-256 over its canonical JSON."""
    return hashlib.sha256(canonical_json(identity)).hexdigest()[:16]


def _values(group: str, part: Model | Init | Data | Recipe, leave_out: frozenset[str] = frozenset()) -> dict[str, JsonValue]:
    """The deciding values of a config group."""
    values = part.model_dump(mode="json", exclude=set(leave_out))
    return {key: value for key, value in values.items() if (name := f"{group}.{key}") not in LATER or LATER[name] != value}


def _data(data: Data, benchmarks: Mapping[str, Benchmark]) -> dict[str, JsonValue]:
    values = _values("data", data, DATA_DESCRIBES)
    if data.template is not None:
        values["template_text"] = digest(TEMPLATES[data.template]._asdict())
    named = dict.fromkeys((*data.benchmarks, *data.decontaminate))
    return values | {"tasks": {name: _task(benchmarks[name], ("task", "version", "report_split")) for name in named}}


def _task(benchmark: Benchmark, keys: Iterable[str]) -> dict[str, JsonValue]:
    return benchmark.model_dump(mode="json", include=set(keys))


def _suite(suite: Suite, benchmarks: Mapping[str, Benchmark], dtype: str) -> dict[str, JsonValue]:
    # limit_seed decides nothing while every item is scored, and the order in which benchmarks are listed never does.
    found: dict[str, JsonValue] = {
        "benchmarks": {name: _task(benchmarks[name], BENCHMARK_DECIDES) for name in suite.benchmarks},
        "rows": suite.rows,
        "limit": None if suite.limit is None else {"items": suite.limit, "seed": suite.limit_seed},
        "num_fewshot": suite.num_fewshot,
        "dtype": dtype,
    }
    # Only where they decide something: ids of suites without them stay what they were.
    if suite.num_fewshot and suite.fewshot_sampler != "default":
        found["fewshot_sampler"] = suite.fewshot_sampler
    if suite.generation is not None:
        found["generation"] = suite.generation.model_dump(mode="json")
    return found


def train_identity(experiment: Experiment, assets: Mapping[str, str]) -> dict[str, JsonValue]:
    """What decides the numbers of a training run.

    Args:
        experiment: with `precision` resolved (not `auto`).
        assets: asset key -> identity (a commit, a wheel's or a content digest) of every asset that training reads.

    Raises:
        ValueError: `precision` is still `auto`: the same id would mean different numbers on different hardware.
    """
    if experiment.precision == "auto":
        raise ValueError("precision is still auto: resolve it before identifying a run")
    needed = [f"model:{experiment.model.name}", *training_assets(experiment)]
    return {
        "results_version": RESULTS_VERSION,
        "model": _values("model", experiment.model, MODEL_DESCRIBES),
        "init": _values("init", experiment.init, INIT_DESCRIBES) | {"code": init_digest(experiment.init.module)},
        "rank": experiment.rank,
        "alpha": experiment.alpha,
        "lr": experiment.lr,
        "seed": experiment.seed,
        "data": _data(experiment.data, experiment.benchmarks),
        "recipe": _values("recipe", experiment.recipe, RECIPE_DESCRIBES),
        "precision": experiment.precision,
        "assets": {key: assets[key] for key in sorted(needed)},
    }


def training_assets(experiment: Experiment) -> list[str]:
    """The keys of the data assets that training reads."""
    own = [f"data:{experiment.data.name}"] if experiment.data.kind == "instructions" else []
    named = dict.fromkeys((*experiment.data.benchmarks, *experiment.data.decontaminate))
    return own + [f"benchmark:{name}" for name in named]


def settings(experiment: Experiment) -> dict[str, JsonValue]:
    """What decides the numbers of an experiment and is written down before it runs.

    Its identities without rate and seed, each group's values by the name of its option, and in place of the bytes that it is made from the
    repositories that they are asked of.
    """
    model, data, suite = experiment.model, experiment.data, experiment.suite
    read = {f"benchmark:{name}": experiment.benchmarks[name].hub for name in dict.fromkeys((*data.benchmarks, *suite.benchmarks))}
    hub = {f"model:{model.name}": model.hub, f"data:{data.name}": data.hub, **read}
    return {
        "model": {model.name: _values("model", model, MODEL_DESCRIBES)},
        "init": {experiment.init.name: _values("init", experiment.init, INIT_DESCRIBES) | {"code": init_digest(experiment.init.module)}},
        "rank": experiment.rank,
        "alpha": experiment.alpha,
        "data": {data.name: _data(data, experiment.benchmarks)},
        "recipe": {experiment.recipe.name: _values("recipe", experiment.recipe, RECIPE_DESCRIBES)},
        "precision": experiment.precision,
        "suite": {suite.name: _suite(suite, experiment.benchmarks, _dtype(experiment))},
        "hub": {key: None if source is None else source.model_dump(mode="json") for key, source in hub.items()},
    }


def _dtype(experiment: Experiment) -> str:
    return experiment.suite.dtype or experiment.precision


def eval_identity(train_id: str, experiment: Experiment, assets: Mapping[str, str]) -> dict[str, JsonValue]:
    """What decides the scores of a trained run: the run, and how it is asked."""
    return {
        "results_version": RESULTS_VERSION,
        "train_id": train_id,
        "suite": _suite(experiment.suite, experiment.benchmarks, _dtype(experiment)),
        "assets": {f"benchmark:{b}": assets[f"benchmark:{b}"] for b in sorted(experiment.suite.benchmarks)},
    }


def base_eval_identity(experiment: Experiment, assets: Mapping[str, str]) -> dict[str, JsonValue]:
    """What decides the scores of the untouched base: the model's bytes, and how it is asked. Scored once for all its runs."""
    key = f"model:{experiment.model.name}"
    generates = experiment.suite.generation is not None  # then the base answers the data's report part
    read = training_assets(experiment) if generates else []
    return {
        "results_version": RESULTS_VERSION,
        **({"data": _without(_data(experiment.data, experiment.benchmarks), *PER_BLOCK)} if generates else {}),
        "base": {k: v for k, v in _values("model", experiment.model, MODEL_DESCRIBES).items() if k != "target_modules"},
        "suite": _suite(experiment.suite, experiment.benchmarks, _dtype(experiment)),
        "assets": {name: assets[name] for name in (key, *sorted({*read, *(f"benchmark:{b}" for b in experiment.suite.benchmarks)}))},
    }


def cell_identity(train: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What two runs must share to be compared: a train identity without arm (init), lr, seed, the block that goes with a seed, and which
    losses were read."""
    rest = {k: v for k, v in train.items() if k not in ("init", "lr", "seed")}
    return {k: _without(v, *PER_BLOCK) if k in ("data", "recipe") else v for k, v in rest.items()}


def _without(values: JsonValue, *keys: str) -> JsonValue:
    return {key: value for key, value in values.items() if key not in keys} if isinstance(values, dict) else values


def cell_key(train: Mapping[str, JsonValue]) -> str:
    """The id of `cell_identity`."""
    return digest(cell_identity(train))


def family_key(train: Mapping[str, JsonValue]) -> str:
    """The id of what runs share that differ in the length of training alone: a cell without `recipe.steps` and `recipe.epochs`."""
    recipe = train.get("recipe")
    rest = {k: v for k, v in recipe.items() if k not in ("steps", "epochs")} if isinstance(recipe, dict) else {}
    return cell_key({**train, "recipe": rest})


@dataclass(frozen=True)
class Identified:
    """One experiment with its ids and the values they stand for. Eval ids are null for `suite=none`; `eval_id` alone where the run is not
    scored, although others of its cell are."""

    experiment: Experiment
    train: Mapping[str, JsonValue]
    train_id: str
    evaluation: Mapping[str, JsonValue] | None
    eval_id: str | None
    base_evaluation: Mapping[str, JsonValue] | None
    base_eval_id: str | None

    def unscored(self) -> Identified:
        """The same run, of which no scores are asked."""
        return replace(self, evaluation=None, eval_id=None)


def identify(experiment: Experiment, assets: Mapping[str, str]) -> Identified:
    """Name an experiment whose precision and assets are settled.

    Args:
        experiment: with `precision` resolved.
        assets: asset key -> identity.
    """
    train = train_identity(experiment, assets)
    train_id = digest(train)
    if not experiment.suite.benchmarks and experiment.suite.generation is None:
        return Identified(experiment, train, train_id, None, None, None, None)
    evaluation = eval_identity(train_id, experiment, assets)
    base = base_eval_identity(experiment, assets)
    return Identified(experiment, train, train_id, evaluation, digest(evaluation), base, digest(base))
