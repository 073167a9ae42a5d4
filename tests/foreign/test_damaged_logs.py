"""Logs that are damaged at random: a verdict or a message, never a traceback."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval_logs import Log
from two_sides import answers

from olora_bench.errors import BadInput
from olora_bench.judge import main
from olora_bench.study.imported import read_runs

ODD = [None, True, -1, 1e308, 10**400, "", "\ud800", "../../x", [], [[]], {}, {"a": {}}, float("nan"), "acc,none", 0.5]


def damaged(path: Path, rng: random.Random) -> None:
    """Change a value somewhere in a file, or its bytes."""
    content = path.read_bytes()
    if rng.random() < 0.3:
        at = rng.randrange(len(content))
        path.write_bytes(content[:at] + rng.choice([b"", b"\0", b"\xff", b"{", b"]", b"\n"]) + content[at + rng.randrange(9) :])
        return
    lines = content.decode().split("\n") if path.suffix == ".jsonl" else [content.decode()]
    place = rng.randrange(max(len(lines) - 1, 1))
    value = json.loads(lines[place])
    _change(value, rng)
    lines[place] = json.dumps(value)
    path.write_text("\n".join(lines), encoding="utf-8")


def _change(value: Any, rng: random.Random) -> None:
    """One leaf or branch, at any depth."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = rng.choice(keys)
        if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.7:
            value = value[key]
            continue
        value[key] = rng.choice(ODD)
        return


def _cases(count: int) -> list[Any]:
    return [pytest.param(seed, marks=[pytest.mark.slow] if seed >= 8 else []) for seed in range(count)]


@pytest.mark.parametrize("seed", _cases(120))
def test_damage_ends_in_a_verdict_or_a_message(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    for arm in ("a", "b"):
        folder = tmp_path / "runs" / arm / "seed0"
        Log({name: own[:9] for name, own in answers(0, 0.0).items()}).write(folder)
        state = {"global_step": 1, "log_history": [{"loss": 1.0, "step": 1, "learning_rate": 0.1}, {"eval_loss": 2.0, "step": 1}]}
        (folder / "trainer_state.json").write_text(json.dumps(state))
        (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "target_modules": ["q"], "base_model_name_or_path": "base"}))
    for path in rng.sample(sorted(path for path in (tmp_path / "runs").rglob("*.json*")), 2):
        damaged(path, rng)
    code = main([str(tmp_path / "runs" / "a"), str(tmp_path / "runs" / "b")])
    out = capsys.readouterr()
    assert (code == 0 and out.out) or (code == 2 and out.err and "Traceback" not in out.err)
    study = {"name": "x", "title": "t", "runs": "runs/{arm}/seed{seed}", "contrasts": [{"arm": "a", "reference": "b"}]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    try:
        assert len(read_runs(tmp_path / "study.yaml", tmp_path / "results").records) == 2
    except BadInput as error:
        assert str(error)
