"""What bad input gets: what was wrong, the value, what is allowed, what to do."""

from __future__ import annotations

import pytest

from olora_bench.config import compose, load, options
from olora_bench.errors import BadInput

CASES = {
    "unknown init": (
        ["init=nope"],
        f"init=nope is unknown. Allowed: {', '.join(options('init'))}. A new one is one YAML file in conf/init/, or init/NAME.py in a "
        "folder that you give with --config-dir",
    ),
    "unknown key": (["rnk=3"], "rnk: there is no such key. Nearest: rank; `--cfg job` prints every key"),
    "unknown nested key": (["recipe.stps=3"], "recipe.stps: there is no such key. Nearest: recipe.steps; `--cfg job` prints every key"),
    "key of a node": (["epochs=3"], "epochs: there is no such key. Nearest: recipe.epochs; `--cfg job` prints every key"),
    "key like none of its node": (
        ["tracker.zzz=3"],
        f"tracker.zzz: there is no such key. Check its spelling. Keys of tracker: {', '.join(compose().tracker)}",
    ),
    "added key like another": (
        ["+recipe.stepz=3"],
        "recipe.stepz: there is no such key. Nearest: recipe.steps; `--cfg job` prints every key",
    ),
    "added key": (["+foo=1"], "foo: there is no such key. Check its spelling; `--cfg job` prints every key"),
    "rank too large": (
        ["model=smollm2_135m", "rank=200"],
        "rank=200 is larger than the smaller side of smollm2_135m's v_proj (192 x 576). Allowed: 1 to 192. "
        "Lower rank or leave v_proj out of model.target_modules",
    ),
    "reference to nothing": (
        ["rank=${nothing}"],
        "rank=${nothing}: this reference leads to no value (Interpolation key 'nothing' not found). Write the value itself, or ${KEY} with "
        "a key that `--cfg job` prints; for the characters themselves put a backslash before ${",
    ),
    "rank zero": (["rank=0"], "rank=0 is not allowed: input should be greater than or equal to 1"),
    "rank no number": (["rank=abc"], "rank='abc' is not allowed: a whole number is"),
    "seed beyond 64 bits": ([f"seed={2**70}"], "seed: a whole number of 71 bits is not allowed. Give one between -2^63 and 2^63"),
    "alpha zero": (["alpha=0"], "alpha=0 is not allowed: input should be greater than 0"),
    "lr not finite": (["lr=nan"], "lr=nan is not allowed: input should be a finite number"),
    "precision": (["precision=fp8"], "precision='fp8' is not allowed: input should be 'auto', 'fp32', 'bf16' or 'fp16'"),
    "no benchmarks": (
        ["suite.benchmarks=[]"],
        "suite.benchmarks is empty: name at least one benchmark, or use suite=none to train without scoring",
    ),
    "benchmark twice": (
        ["suite.benchmarks=[piqa,piqa]"],
        "suite.benchmarks=['piqa', 'piqa'] names a benchmark twice: name each once",
    ),
    "unknown benchmark": (
        ["suite.benchmarks=[pica]"],
        f"unknown benchmark 'pica'. Allowed: {', '.join(options('benchmark'))}; any multiple-choice task of the "
        "installed lm-eval by its name. A new one is one file in conf/benchmark/",
    ),
    "limit zero": (["suite.limit=0"], "suite.limit=0 is not allowed: input should be greater than or equal to 1"),
    "steps zero": (["recipe.steps=0"], "recipe.steps=0 is not allowed: input should be greater than or equal to 1"),
    "target module": (
        ["model=opt_1.3b", "model.target_modules=[gate_proj]"],
        "model.target_modules names gate_proj, which opt_1.3b does not have. Allowed: q_proj, k_proj, v_proj, out_proj, fc1, fc2",
    ),
    "init module": (
        ["init.module=nope"],
        "init.module=nope is no init. Allowed: {modules}. One of your own is init/nope.py in a folder that you give with --config-dir, or "
        "an entry point of the group olora_bench.inits",
    ),
    "file and repository": (
        ["data=file", "data.path=rows.jsonl", "data.hub=org/rows"],
        "data.hub=org/rows and data.path=rows.jsonl both say which rows to train on. Leave the first out, or give data.path=null",
    ),
    "file beside a mixture": (
        ["data.path=rows.jsonl"],
        "data.path=rows.jsonl is for rows of your own, and data=commonsense mixes benchmarks. Leave it out, or use data=file",
    ),
    "file beside made-up rows": (
        ["data=alpaca", "data.rows=made_up", "data.path=rows.jsonl"],
        "data.path=rows.jsonl stands beside data.rows=made_up, which reads no file. Leave one of them out",
    ),
    "file that is looked for nowhere": (
        ["data=file", "data.path=rows.jsonl", "assets=[hub]"],
        "data.path=rows.jsonl is local, and assets=[hub] looks nowhere here. Add local to assets",
    ),
    "epochs beside steps": (
        ["recipe.epochs=2", "recipe.steps=10"],
        "recipe.epochs=2 and recipe.steps=10 both say how long to train. Leave the first out, or give recipe.steps=null",
    ),
    "a preset's warm-up": (
        ["recipe=author", "recipe.warmup_ratio=0.2"],
        "recipe.warmup_ratio=0.2 and recipe.warmup_steps=100 both say how long to warm up. Leave the first out, or give "
        "recipe.warmup_steps=null",
    ),
    "repository of a random model": (
        ["model=tiny_tinyllama", "model.hub={id: org/model}"],
        "model.hub={id: org/model} and model.generated both say where the model is from. Leave the first out, or give model.generated=null",
    ),
    "rate beside finalists": (
        ["lr=1e-4", "finalists=[1e-3,1e-2]"],
        "lr=1e-4 is none of finalists=[0.001,0.01], which are trained in its place. Leave it out, or name it among them",
    ),
    "open bracket": (
        ["lr=[1"],
        "lr=[1 cannot be read: no viable alternative at input '[1'. Close its brackets and quotes; where the value is text as it stands, "
        "type \"lr='[1'\"",
    ),
    "text that is grammar": (
        ["data.prompt=Q: {question}"],
        "data.prompt=Q: {question} cannot be read: mismatched input '{'. Close its brackets and quotes; where the value is text as it "
        "stands, type \"data.prompt='Q: {question}'\"",
    ),
    "half of two words": (
        ["model=tiny", "llama"],
        "llama is no KEY=VALUE: no space around =, and a value of several words in quotes, 'KEY=TWO WORDS'",
    ),
    "no key": (["=3"], "=3 names no key. Give KEY=VALUE, without a space around ="),
    "space before the sign": (["lr = 1e-3"], "lr = 1e-3: no space before =. Type lr=1e-3"),
    "list as text": (["suite.benchmarks=piqa"], "suite.benchmarks='piqa' is not allowed: a list is: suite.benchmarks=[piqa]"),
    "list of training as text": (["data.benchmarks=boolq"], "data.benchmarks='boolq' is not allowed: a list is: data.benchmarks=[boolq]"),
    "a benchmark as a choice": (
        ["benchmark=arc_easy"],
        "benchmark=NAME is no choice. Benchmarks are named in lists: suite.benchmarks=[NAME] (to score), data.benchmarks=[NAME] (to train)",
    ),
    "device": (["machine.device=gpu"], "machine.device=gpu is not allowed: auto, cpu, cuda, or cuda:N for one of several GPUs"),
    "lr no number": (["lr=abc"], "lr='abc' is not allowed: a number is"),
    "switch": (["machine.compile=maybe"], "machine.compile='maybe' is not allowed: true or false is"),
    "number for a name": (["model=7"], "model=7 is unknown. Allowed: {models}. A new one is one YAML file in conf/model/"),
    "several values": (
        ["data.prompt=a,b"],
        "data.prompt=a,b is several values. A list is data.prompt=[a,b], text is \"data.prompt='a,b'\", and --multirun runs each in turn",
    ),
    "source": (["assets=[cloud]"], "assets.0='cloud' is not allowed: input should be 'packaged', 'local' or 'hub'"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_whole_message(case: str) -> None:
    """The complete text is compared: an untested message rots."""
    overrides, expected = CASES[case]
    from pathlib import Path

    import olora_bench.config as room

    inits = Path(room.__file__).parent.parent / "inits"
    modules = ", ".join(sorted(p.stem for p in inits.glob("*.py") if not p.stem.startswith("_")))
    with pytest.raises(BadInput) as error:
        load(compose(overrides))
    models = f"{', '.join(options('model'))} or hub:org/name, local:FOLDER"
    assert str(error.value) == expected.replace("{modules}", modules).replace("{models}", models)


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=alpaca", "data.path=rows.jsonl"],
        ["data=file", "data.path=rows.jsonl", "data.hub=null"],
        ["recipe.steps=10"],
        ["recipe=author", "recipe.warmup_steps=null", "recipe.warmup_ratio=0.2"],
        ["lr=1e-3", "finalists=[1e-3,1e-2]"],
    ],
)
def test_what_a_preset_says_gives_way(overrides: list[str]) -> None:
    load(compose(overrides))


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(BadInput) as error:
        load(compose(["lr=0", "seed=-1"]))
    assert str(error.value).splitlines() == [
        "lr=0 is not allowed: input should be greater than 0",
        "seed=-1 is not allowed: input should be greater than or equal to 0",
    ]
