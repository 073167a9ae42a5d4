"""Overrides that nobody expects: each is carried out or refused in words, by the command of one run and by those of a study."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guarded import odd, own_folder, run_all  # noqa: F401  (a fixture)

from olora_bench.__main__ import main as run
from olora_bench.config import compose, options, plain
from olora_bench.errors import RunFailed
from olora_bench.study.__main__ import main as study
from tests.study_text import TWO_ARMS, study_text


def _keys(value: object, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [prefix]
    return ([prefix] if prefix else []) + [key for name, one in value.items() for key in _keys(one, f"{prefix}.{name}" if prefix else name)]


def override(rng: random.Random, keys: list[str]) -> str:
    """A line of the command line, most of them of a key that there is."""
    if rng.random() < 0.1:
        return odd(rng)
    key = rng.choice(keys) if rng.random() < 0.85 else rng.choice(["", "nothing", "model@", "model@x", "study.name", "study", "a.b.c", "é"])
    sign = rng.choice(["", "", "", "", "+", "++", "~"])
    end = f"={odd(rng)}" if sign != "~" or rng.random() < 0.3 else ""
    if key in ("model", "init", "data", "recipe", "suite") and rng.random() < 0.5:
        end = f"={rng.choice(options(key))}"
    return f"{sign}{key}{end}"


def cases(count: int, file: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    rng = random.Random(20260131)
    keys = _keys(plain(compose(["model=tiny_tinyllama", "data=made_up"])))
    keys = [key for key in keys if key] + ["model", "init", "data", "recipe", "suite", "tracker", "machine"] * 3
    for number in range(count):
        lines = [override(rng, keys) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        if number % 3 == 2:
            command = rng.choice(["plan --no-calibration", "plan --no-calibration", "status", "report"])
            yield f"study {command} {lines!r}", lambda lines=lines, command=command: study([*command.split(), str(file), *lines])
        else:
            yield f"run {lines!r}", lambda lines=lines: run(["model=tiny_tinyllama", "data=made_up", "suite=none", "rank=4", *lines])


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.fuzz)])
def test_every_override_is_taken_or_refused_in_words(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained: what passes the checks ends where its run would begin."""

    def refused(*_: object, **__: object) -> None:
        raise RunFailed("nothing is trained here")

    monkeypatch.setattr("olora_bench.run.experiment.run", refused)
    (tmp_path / "fuzz.yaml").write_text(study_text(TWO_ARMS, name="fuzz"))
    run_all(cases(count, tmp_path / "fuzz.yaml"))
