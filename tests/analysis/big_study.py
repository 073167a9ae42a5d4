"""A made-up study of any size, as large as real ones on disk, and how long its tables take.

    python tests/analysis/big_study.py [RUNS]      # default: 600

Five models, two ranks, two arms; 400 steps with their losses read 20 times, at the end kept of 1000 examples; six benchmarks with as many
items as the real ones.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from olora_bench.identity import cell_key, digest, family_key
from olora_bench.report import table_files
from olora_bench.store import EvalRecord, Part, RunRecord, Score, Store, sealed
from olora_bench.study.names import Home
from olora_bench.study.report import analysed

ITEMS = {"arc_challenge": 1172, "openbookqa": 500, "boolq": 3270, "hellaswag": 10042, "piqa": 1838, "winogrande": 1267}
STEPS = 400


def make(root: Path, runs: int) -> None:
    """Write a study `big` of at least so many runs below `root`."""

    store, rng = Store(root), np.random.default_rng(0)
    items, shape = _items(rng), _curve(rng)
    first: dict[str, Path] = {}
    entries = []
    for seed in range(-(-runs // 20)):
        for model in "abcde":
            for rank in (32, 64):
                for arm in ("lora", "olora"):
                    entries.append(_run(store, rng, items, shape, first, (model, rank, arm, seed)))
    contrasts = [{"arm": "olora", "reference": "lora", "kind": "primary"}]
    manifest = {"schema_version": 2, "study": "big", "title": "made up", "protocol": "shared_lr", "tuning": None, "searches": []}
    (root / "big").mkdir(parents=True)
    (root / "big" / "manifest.json").write_bytes(sealed(manifest | {"contrasts": contrasts, "runs": entries}))


def _curve(rng: np.random.Generator) -> pd.DataFrame:
    step = np.arange(STEPS + 1)
    loss = 4 - 2 * step / STEPS + rng.normal(0, 0.1, len(step))
    read = step % (STEPS // 20) == 0
    held = {name: np.where(read, 4 - 2 * step / STEPS, np.nan) for name in ("tune_loss", "report_loss")}
    return pd.DataFrame({"step": step, "tokens": 100 * step, "wall_s": 2.5 * step, "train_loss": np.where(step > 0, loss, np.nan), **held,
                         "lr": np.where(step > 0, 1e-3, np.nan), "grad_norm": np.where(step > 0, 1.0, np.nan)})  # fmt: skip


def _examples(rng: np.random.Generator) -> pd.DataFrame:
    part, tokens = np.repeat(["tune", "report"], 500), rng.integers(1, 200, 1000)
    return pd.DataFrame({"part": part, "group": "x", "example_id": [f"{i}" for i in range(1000)], "loss_sum": 2.0 * tokens,
                         "tokens": tokens})  # fmt: skip


def _items(rng: np.random.Generator) -> pd.DataFrame:
    parts = []
    for name, count in ITEMS.items():
        right = rng.random(count) < 0.6
        gold = np.arange(count) % 2
        chosen = np.where(right, gold, 1 - gold)
        parts.append(
            pd.DataFrame({"benchmark": name, "item_id": [f"{name}/{i}" for i in range(count)], "gold": gold, "prediction": chosen,
                          "prediction_norm": chosen, "correct": right, "correct_norm": right,
                          "loglikelihoods": list(rng.normal(-20, 5, (count, 4))), "lengths": [[12, 15, 9, 20]] * count})
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _run(
    store: Store, rng: np.random.Generator, items: pd.DataFrame, shape: pd.DataFrame, first: dict[str, Path], who: tuple[str, int, str, int]
) -> dict[str, object]:
    model, rank, arm, seed = who
    identity = {"model": model, "init": {"name": arm, "lr_ratio": 1.0}, "rank": rank, "lr": 1e-3, "seed": seed, "recipe": {"steps": STEPS}}
    train_id = digest(identity)
    eval_id, base_id = digest({"eval": train_id}), digest({"base": model})
    loss = 2.0 + 0.01 * rng.normal()
    curve = _once(store.run_dir(train_id) / "curve.parquet", first, lambda: store.write_curve(train_id, shape))
    examples = _once(store.run_dir(train_id) / "examples.parquet", first, lambda: store.write_examples(train_id, _examples(rng)))
    store.write_run(
        RunRecord(
            parts={"curve": curve, "examples": examples},
            train_id=train_id, arm=arm, status="done", identity=identity, config={"model": {"name": model}, **identity},
            provenance={"packages": {"torch": "2.13.0"}}, started_at="2026-01-31T09:30:00+00:00", finished_at="2026-01-31T09:31:00+00:00",
            timings_s={"optimise": 100.0, "init": 0.5}, tokens_per_s=1.0, examples_per_s=1.0, base_bytes=1, peak_bytes=3,
            peak_above_base_bytes=2, parameters_total=9, parameters_trainable=1, adapter_bytes=4, steps=STEPS, clipped_step_share=0.2,
            metrics={"report_loss_start": 4.0, "tune_loss_start": 4.0, "report_loss": loss, "tune_loss": loss},
        )
    )  # fmt: skip
    folder = store.eval_dir(train_id, None, eval_id)
    chance = {"arc_challenge": 0.25, "openbookqa": 0.25, "hellaswag": 0.25}
    scores = {
        name: Score(
            metrics={"acc": min(1.0, 0.6 + 0.01 * rng.normal())}, stderr={"acc": 0.01}, primary="acc", items=count,
            chance=chance.get(name, 0.5), gold_logprob=-20.0, truncated=0,
        )
        for name, count in ITEMS.items()
    }  # fmt: skip
    record = EvalRecord(
        eval_id=eval_id, train_id=train_id, status="done", identity={}, config={}, provenance={}, started_at="2026-01-31T09:31:00+00:00",
        finished_at="2026-01-31T09:32:00+00:00", scores=scores,
    )  # fmt: skip
    if "items.parquet" in first:  # the items of all runs are one file's bytes: only their size on disk matters here
        folder.mkdir(parents=True)
        shutil.copyfile(first["items.parquet"], folder / "items.parquet")
        from olora_bench.store.record import to_json

        items_part = Part.of("items.parquet", (folder / "items.parquet").read_bytes())
        (folder / "record.json").write_bytes(to_json(record.model_copy(update={"parts": {"items": items_part}})))
    else:
        store.write_eval(record, items)
        first["items.parquet"] = folder / "items.parquet"
    return {"train_id": train_id, "eval_id": eval_id, "base_eval_id": base_id, "cell": cell_key(identity), "family": family_key(identity),
            "steps": float(STEPS), "model": model, "arm": arm, "rank": rank, "lr": 1e-3, "seed": seed, "stage": "grid",
            "roles": ["shared"]}  # fmt: skip


def _once(path: Path, first: dict[str, Path], write: object) -> Part:
    if path.name in first:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(first[path.name], path)
    else:
        write()  # type: ignore[operator]
        first[path.name] = path
    return Part.of(path.name, path.read_bytes())


def seconds(root: Path) -> tuple[float, float]:
    """(reading the records, reading and every table as CSV, Markdown and LaTeX), in seconds."""
    from olora_bench.analysis import load_study
    from olora_bench.study.manifest import read_manifest

    manifest = read_manifest(Home(root, "big"))
    assert manifest is not None
    began = time.perf_counter()
    load_study(Store(root), manifest)
    read = time.perf_counter() - began
    began = time.perf_counter()
    table_files(analysed(Home(root, "big")).tables)
    return read, time.perf_counter() - began


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), wanted)
        reading, tables = seconds(Path(folder))
        print(f"{wanted} runs: records read in {reading:.1f} s; read and all tables written in {tables:.1f} s")
