"""Results folders in which something is damaged, foreign or in another's place: every command reads them or refuses them in words."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from guarded import ODD, own_folder, run_all  # noqa: F401  (a fixture)
from test_fuzz_studies import LINES

from olora_bench.store import EvalRecord, Part, RunRecord, Score, Store, sealed
from olora_bench.store.manifest import Lock
from olora_bench.study.__main__ import main as study
from olora_bench.study.locked import settled
from olora_bench.study.manifest import write_lock, write_manifest
from olora_bench.study.open import open_study

VALUES: list[Any] = [
    None, True, -1, 0, 2**63, 10**400, 1e308, "", "x", "a" * 5000, "../..", "\0", "\ud800", "2026-99-99", [], [[]], {},
    {"a": 1}, [None], *ODD[:20],
]  # fmt: skip


def _parts(store: Store, train_id: str) -> dict[Any, Part]:
    columns = {"step": [0, 1], "tokens": [0, 9], "wall_s": [0.0, 1.0], "train_loss": [None, 2.0], "tune_loss": [3.0, 2.0]}
    empty = {name: [None, None] for name in ("report_loss", "lr", "grad_norm")}
    examples = {"part": ["tune", "report"], "group": "g", "example_id": "0", "loss_sum": 2.0, "tokens": 1}
    return {
        "curve": store.write_curve(train_id, pd.DataFrame(columns | empty).astype(dict.fromkeys(empty, "float64"))),
        "examples": store.write_examples(train_id, pd.DataFrame(examples)),
    }


def _evaluation(store: Store, train_id: str, eval_id: str) -> None:
    items = pd.DataFrame({"benchmark": "boolq", "item_id": ["0", "1"], "gold": 1, "prediction": [0, 1], "prediction_norm": [0, 1],
                          "correct": [False, True], "correct_norm": [False, True], "loglikelihoods": [[-1.0, -2.0]] * 2,
                          "lengths": [[2, 3]] * 2})  # fmt: skip
    score = Score(metrics={"acc": 0.5}, stderr={"acc": 0.1}, primary="acc", items=2, chance=0.5, gold_logprob=-1.0, truncated=0)
    when = {"started_at": "2026-01-31T09:31:00+00:00", "finished_at": "2026-01-31T09:32:00+00:00"}
    record = EvalRecord(
        eval_id=eval_id, train_id=train_id, status="done", identity={}, config={}, provenance={}, scores={"boolq": score}, **when
    )
    store.write_eval(record, items)


def tree(folder: Path) -> Path:
    """A finished study of three seeds with curves and scores; returns its file."""
    file = folder / "fuzz.yaml"
    text = "\n".join(LINES).replace("protocol: tuned", "protocol: shared_lr").replace("[lora, olora]}", "[lora, olora], seed: [0, 1, 2]}")
    file.write_text(text[: text.index("  tuning:")] + text[text.index("  grids:") :].replace("suite: none", "suite: demo"))
    opened = open_study(file, [f"machine.results_dir={folder / 'results'}"])
    for number, job in enumerate(opened.grids().jobs):
        train_id = job.what.train_id
        facts = dict.fromkeys(("tokens_per_s", "examples_per_s"), 1.0) | dict.fromkeys(
            ("base_bytes", "peak_bytes", "peak_above_base_bytes", "parameters_total", "parameters_trainable", "adapter_bytes", "steps"), 9
        )
        record = RunRecord(
            parts=_parts(opened.store, train_id), train_id=train_id, arm=job.experiment.arm, status="done",
            identity=dict(job.what.train), config=job.experiment.published(), provenance={"packages": {"torch": "2"}},
            started_at="2026-01-31T09:30:00+00:00", finished_at="2026-01-31T09:31:00+00:00", timings_s={"train": 50.0},
            clipped_step_share=0.5, metrics={"tune_loss": 2.0 + number / 9, "report_loss": 2.0}, **facts,
        )  # fmt: skip
        opened.store.write_run(record)
        _evaluation(opened.store, train_id, job.what.eval_id or "e" * 16)
    write_manifest(opened.home, opened.grids())
    write_lock(opened.home, Lock(precision="fp32", settled=settled(opened.file)))
    return file


def _inside(value: Any, rng: random.Random) -> Any:
    """A value of JSON in which one is another, somewhere."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if isinstance(value, dict) and rng.random() < 0.1:
            del value[key]
        else:
            value[key] = _inside(value[key], rng)
        return value
    return rng.choice(VALUES)


def _resealed(path: Path, rng: random.Random) -> bytes:
    value = _inside(json.loads(path.read_bytes()), rng)
    try:
        return sealed(value)
    except (ValueError, AttributeError):  # no JSON, or no object
        return json.dumps(value).encode()


def _bytes(path: Path, rng: random.Random) -> bytes:
    found = bytearray(path.read_bytes())
    kind = rng.randrange(5)
    if kind == 0:
        return bytes(found[: rng.randrange(len(found))])
    if kind == 1:
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
        return bytes(found)
    return (b"", rng.randbytes(500), b'{"a":' * 100_000)[kind - 2]


def damage(path: Path, rng: random.Random) -> None:
    """Change a file's content, or put something else in its place."""
    kind = rng.random()
    if path.suffix == ".json" and kind < 0.5:
        path.write_bytes(_resealed(path, rng))
    elif kind < 0.75:
        path.write_bytes(_bytes(path, rng))
    elif kind < 0.8 and path.suffix == ".parquet":
        _believed(path, rng)
    else:
        path.unlink()
        place = rng.randrange(5)
        if place == 0:
            path.mkdir()
        elif place == 1:
            os.mkfifo(path)
        elif place < 4:
            path.symlink_to(path if place == 2 else "/dev/zero")


def _believed(path: Path, rng: random.Random) -> None:
    """Another table, whose digest the record beside it names."""
    frame = pd.read_parquet(path)
    name = rng.choice(list(frame))
    frame = rng.choice(
        [frame.drop(columns=name), frame.iloc[:0], frame.rename(columns={name: "x"}), frame.assign(**{name: "x"}), frame.iloc[:1]]
    )
    frame.to_parquet(path)
    record = json.loads((path.parent / "record.json").read_bytes())
    record["parts"][path.name.split(".")[0]] = Part.of(path.name, path.read_bytes()).model_dump()
    (path.parent / "record.json").write_bytes(sealed(record))


def foreign(root: Path, rng: random.Random) -> None:
    """Something lies there that nobody wrote here."""
    place = rng.choice([root / "runs" / "x", root / "runs" / ("0" * 16), root / "fuzz" / "overridden", root / "fuzz" / "report",
                        root / "base", root / "published", root / "\x1b[2J", next((root / "runs").iterdir()) / "lease.json"])  # fmt: skip
    if not place.exists():
        rng.choice([place.mkdir, place.touch, lambda: os.mkfifo(place), lambda: place.symlink_to("/")])()


def cases(count: int, whole: Path, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    rng = random.Random(20260202)
    results = folder / "results"
    runs = sorted(path.name for path in (whole / "runs").iterdir())
    for number in range(count):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(results)
        shutil.copytree(whole, results)
        for _ in range(rng.choice([1, 1, 2, 3])):
            files = sorted(path for path in results.rglob("*") if path.is_file() and path.suffix in (".json", ".parquet"))
            damage(rng.choice(files), rng) if rng.random() < 0.85 else foreign(results, rng)
        at = [f"machine.results_dir={results}", f"machine.cache_dir={folder / 'cache'}"]
        name = ("status", "report", "extract", "gc", "explain", "items", "plan")[number % 7]
        flags = ["--no-calibration"] if name == "plan" else []
        of = [] if name == "gc" else [rng.choice(runs)] if name in ("explain", "items") else [str(folder / "fuzz.yaml")]
        more = [] if name == "explain" and rng.random() < 0.5 else [rng.choice(runs)] if name == "explain" else at
        with contextlib.chdir(folder):
            yield f"{number}: {name}", lambda line=[name, *flags, *of, *more]: study(line)


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.fuzz)])
def test_every_damaged_tree_is_read_or_refused_in_words(count: int, tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "results").rename(tmp_path / "whole")
    run_all(cases(count, tmp_path / "whole", tmp_path))
