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
    "rank no number": (["rank=abc"], "rank='abc' is not allowed: input should be a valid integer, unable to parse string as an integer"),
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
    assert str(error.value) == expected.replace("{modules}", modules)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(BadInput) as error:
        load(compose(["lr=0", "seed=-1"]))
    assert str(error.value).splitlines() == [
        "lr=0 is not allowed: input should be greater than 0",
        "seed=-1 is not allowed: input should be greater than or equal to 0",
    ]
