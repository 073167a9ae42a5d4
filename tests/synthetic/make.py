"""A study whose answers are known, because they are planted. Writes records and manifests through the store; nothing was trained.

    python tests/synthetic/make.py [FOLDER]        # default: tests/synthetic/results

Four studies of made-up runs (40 items a benchmark, so an item is 2.5 percentage points):
- planted: two models, six seeds. Benchmarks of olora against lora: piqa a win (+22.5 pp), boolq a loss (-10 pp), winogrande a tie in
  every seed, openbookqa too noisy to tell (+0.83 pp for syn_a, -0.83 for syn_b). Macro-average +3.125 pp, every block positive.
  syn_a reaches every loss target in half the steps; in syn_b one olora seed never does. Schedules of 10, 20 and 40 steps of syn_a:
  20 is the shortest that matches lora at 40. olora_plus (ratio 4) ends 0.1 nats below olora, BLEU 2 above, scores equal. OLoRA's init
  takes 0.4 s more, in a phase that takes 2 s more.
- searched: tuned learning rates. syn_a has both chosen and three fresh seeds; syn_b's olora is best at the highest rate tried.
- whole: all that one study may hold: searches, fresh seeds at tuned and at a shared learning rate, schedules of 10, 20 and 40 steps,
  ratios 0.25 and 4, a control, answers, adapters measured, scores checked against fp32. syn_e, tuned: olora against lora unresolved
  (+1.25 pp), its 20 steps match lora's 40; shared: olora wins (+10 pp) and 10 steps match. olora_plus_x4 beats olora on loss, BLEU and
  ROUGE, x0.25 travels half as far for 0.05 nats more; olora's B is 25 times better conditioned than lora's. syn_f: of its 40 steps
  nothing has run yet, of its 20 everything, which belongs in no headline.
- broken: one diverged, one failed, one missing, one unreadable run, one run whose scores cannot be read, one seed of one arm only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from olora_bench.identity import cell_key, digest, family_key
from olora_bench.store import EvalRecord, RunRecord, Score, Store, sealed

HERE = Path(__file__).resolve().parent / "results"
ITEMS = 40
BENCHMARKS = {"piqa": "acc_norm", "boolq": "acc", "winogrande": "acc", "openbookqa": "acc_norm"}
EFFECT = {"piqa": [8, 9, 10, 9, 8, 10], "boolq": [-3, -4, -5, -4, -3, -5], "winogrande": [0] * 6, "openbookqa": [3, -2, 1, -1, 3, -2]}
JITTER = [0, 1, -1, 2, -2, 0]
SPEED = 2.0 * np.exp([-0.10, 0.10, -0.05, 0.05, 0.15, -0.15])
START, END = 4.0, 2.0
MODELS = ("syn_a", "syn_b")


class Maker:
    """Writes runs, and remembers what a manifest says of them."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    def run(
        self, model: str, arm: str, seed: int, *, lr: float = 1e-3, steps: int = 40, ratio: float = 1.0, roles: Sequence[str] = ("shared",),
        stage: str = "grid", scored: bool = True, init: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """A manifest's entry; nothing is written yet. `init` is the arm's, where that has another name."""
        identity = identity_of(model, init or arm, seed, lr, steps, ratio)
        train_id = digest(identity)
        return {
            "train_id": train_id, "eval_id": digest({"eval": train_id}) if scored else None,
            "base_eval_id": digest({"base": model}) if scored else None, "cell": cell_key(identity),
            "family": family_key(identity), "steps": float(steps), "model": model, "arm": arm, "rank": 8, "lr": lr, "seed": seed,
            "stage": stage, "roles": list(roles), "identity": identity,
        }  # fmt: skip

    def record(
        self, entry: dict[str, Any], curve: pd.DataFrame, tune_loss: float, *, status: str = "done", torch: str = "2.13.0",
        anatomy: dict[str, Any] | None = None, keep_curve: bool = True,
    ) -> None:  # fmt: skip
        """Plant a run that ended as `status` with this curve, and an adapter that was measured where `anatomy` is given."""
        identity = entry["identity"]
        done = status == "done"
        last = float(curve["report_loss"].iloc[-1])
        known: dict[str, float | None] = {"report_loss_start": START, "tune_loss_start": START}
        known |= {"report_loss": last, "tune_loss": tune_loss} if done else {"report_loss": None, "tune_loss": None}
        parts = {"curve": self.store.write_curve(entry["train_id"], curve)} if keep_curve else {}
        self.store.write_run(
            RunRecord(
                parts=parts, train_id=entry["train_id"], arm=entry["arm"], status=status,  # type: ignore[arg-type]
                error={"diverged": "train loss is nan after step 3", "failed": "RuntimeError: planted failure"}.get(status),
                identity=identity, provenance={"packages": {"torch": torch}, "hardware": {"processor": "none"}, "device": "cpu"},
                config={
                    "model": {"name": entry["model"]}, "init": identity["init"], "rank": 8, "alpha": 4.0, "lr": entry["lr"],
                    "seed": entry["seed"], "recipe": identity["recipe"],
                },
                started_at="2026-01-31T09:30:00+00:00", finished_at="2026-01-31T09:31:00+00:00",
                timings_s={"optimise": 100.0, "init": 6.0 if entry["arm"] == "olora" else 4.0},
                tokens_per_s=1000.0, examples_per_s=10.0, base_bytes=1000, peak_bytes=3000, peak_above_base_bytes=2000,
                parameters_total=1000, parameters_trainable=10, adapter_bytes=40, steps=int(curve["step"].iloc[-1]),
                clipped_step_share=0.25,
                init={"seconds": 0.5 if entry["arm"] == "olora" else 0.1} | ({} if anatomy is None else {"anatomy": anatomy}),
                metrics=known, missing={} if done else {f"metrics.{name}": "planted" for name, value in known.items() if value is None},
            )
        )  # fmt: skip

    def score(
        self, entry: dict[str, Any], right: dict[str, int], *, base: bool = False, flipped: int | None = None, warned: str = "",
        **generation: float,
    ) -> None:  # fmt: skip
        """Plant how many of the 40 items of each benchmark were answered correctly, and how many otherwise than in fp32."""
        frames, scores = [], {}
        for name, count in right.items():
            hits = (np.arange(ITEMS) * 7) % ITEMS < count  # the same items first, in a fixed order
            gold = np.arange(ITEMS) % 2
            chosen = np.where(hits, gold, 1 - gold)
            frames.append(
                pd.DataFrame({
                    "benchmark": name, "item_id": [str(i) for i in range(ITEMS)], "gold": gold, "prediction": chosen,
                    "prediction_norm": chosen, "correct": hits, "correct_norm": hits, "loglikelihoods": [[-1.0, -2.0]] * ITEMS,
                    "lengths": [[4, 4]] * ITEMS,
                })
            )  # fmt: skip
            values = {"acc": count / ITEMS} | ({"acc_norm": count / ITEMS} if BENCHMARKS[name] == "acc_norm" else {})
            scores[name] = Score(
                metrics=values, stderr=dict.fromkeys(values, 0.05), primary=BENCHMARKS[name], items=ITEMS,  # type: ignore[arg-type]
                chance=0.25 if name == "openbookqa" else 0.5, gold_logprob=-3.0, truncated=0,
                flips={} if flipped is None else dict.fromkeys(values, flipped / ITEMS), flip_items=0 if flipped is None else ITEMS,
                warnings=[warned] if warned else [],
            )  # fmt: skip
        record = EvalRecord(
            eval_id=entry["base_eval_id"] if base else entry["eval_id"], train_id=None if base else entry["train_id"],
            base=entry["model"] if base else None, status="done", identity={}, config={}, provenance={},
            started_at="2026-01-31T09:31:00+00:00", finished_at="2026-01-31T09:32:00+00:00", scores=scores, generation=dict(generation),
        )  # fmt: skip
        self.store.write_eval(record, pd.concat(frames, ignore_index=True))

    def manifest(self, name: str, title: str, runs: list[dict[str, Any]], contrasts: list[tuple[str, str, str]], **more: Any) -> None:
        """Write a study's manifest."""
        value = {
            "schema_version": 2, "study": name, "title": title, "protocol": "shared_lr", "tuning": None, "searches": [],
            "contrasts": [{"arm": a, "reference": r, "kind": k} for a, r, k in contrasts],
            "runs": [{k: v for k, v in run.items() if k != "identity"} for run in runs],
        } | more  # fmt: skip
        path = self.store.root / name / "manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sealed(json.loads(json.dumps(value, sort_keys=True))))


def identity_of(model: str, arm: str, seed: int, lr: float, steps: int, ratio: float) -> dict[str, Any]:
    """What a planted run is."""
    init = {"name": arm, "lr_ratio": ratio}
    return {"model": model, "init": init, "rank": 8, "alpha": 4.0, "lr": lr, "seed": seed, "recipe": {"steps": steps}, "planted": 1}


def curve(steps: int, *, reaches_end_at: float, floor: float) -> pd.DataFrame:
    """A loss that falls in a straight line from 4 to 2 nats at step `reaches_end_at`, goes on as far as `floor`, and stays there."""
    step = np.arange(steps + 1)
    loss = np.maximum(START - (START - END) * step / reaches_end_at, floor)
    read = step % 2 == 0
    return pd.DataFrame({
        "step": step, "tokens": 100 * step, "wall_s": 2.5 * step, "train_loss": np.where(step > 0, loss, np.nan),
        "tune_loss": np.where(read, loss, np.nan), "report_loss": np.where(read, loss, np.nan), "lr": np.where(step > 0, 1e-3, np.nan),
        "grad_norm": np.where(step > 0, 1.0, np.nan),
    })  # fmt: skip


def right_answers(arm: str, model: str, seed: int) -> dict[str, int]:
    """How many items of each benchmark a run answers."""
    found = dict.fromkeys(BENCHMARKS, 20 + JITTER[seed % 6])
    if arm == "lora":
        return found
    sign = {"openbookqa": -1 if model == "syn_b" else 1}
    return {name: count + sign.get(name, 1) * EFFECT[name][seed % 6] for name, count in found.items()}


def planted(make: Maker) -> None:
    """Clean answers: wins, losses, ties, speed-ups, a censored seed, schedules, a secondary contrast."""
    runs = []
    for model in MODELS:
        for arm in ("lora", "olora"):
            for seed in range(6):
                entry = make.run(model, arm, seed)
                never = model == "syn_b" and arm == "olora" and seed == 5
                fast = 40.0 / float(SPEED[seed])
                shape = curve(40, reaches_end_at=40.0 if arm == "lora" else fast, floor=END if arm == "lora" else 2.6 if never else 1.6)
                make.record(entry, shape, float(shape["tune_loss"].iloc[-1]))
                make.score(entry, right_answers(arm, model, seed), bleu=30.0)
                runs.append(entry)
        make.score(runs[-1], dict.fromkeys(BENCHMARKS, 18), base=True)
    for seed in range(6):
        entry = make.run("syn_a", "olora_plus", seed, ratio=4.0)
        shape = curve(40, reaches_end_at=40.0 / float(SPEED[seed]), floor=1.5 + 0.01 * JITTER[seed])
        make.record(entry, shape, 1.5)
        make.score(entry, right_answers("olora", "syn_a", seed), bleu=32.0 + 0.1 * JITTER[seed])
        runs.append(entry)
    for steps, ends in ((10, {"lora": 3.0, "olora": 2.3}), (20, {"lora": 2.5, "olora": 1.95})):
        for arm, end in ends.items():
            for seed in range(3):
                entry = make.run("syn_a", arm, seed, steps=steps, scored=False)
                shape = curve(steps, reaches_end_at=steps / 2, floor=end + 0.01 * (seed - 1) * (arm == "olora"))
                make.record(entry, shape, end)
                runs.append(entry)
    contrasts = [("olora", "lora", "primary"), ("olora_plus", "olora", "secondary")]
    make.manifest("planted", "planted answers, shared learning rate", runs, contrasts)


LOSS_AT = {
    ("syn_a", "lora"): {1e-4: 2.8, 3.16e-4: 2.2, 1e-3: 2.0, 3.16e-3: 2.4},
    ("syn_a", "olora"): {1e-4: 2.4, 3.16e-4: 2.0, 1e-3: 2.3, 3.16e-3: None},
    ("syn_b", "lora"): {1e-4: 2.8, 3.16e-4: 2.2, 1e-3: 2.0, 3.16e-3: 2.4},
    ("syn_b", "olora"): {1e-4: 2.8, 3.16e-4: 2.6, 1e-3: 2.4, 3.16e-3: 2.1},
}
CHOSEN: dict[tuple[str, str], float | None] = {
    ("syn_a", "lora"): 1e-3, ("syn_a", "olora"): 3.16e-4, ("syn_b", "lora"): 1e-3, ("syn_b", "olora"): None,
}  # fmt: skip


def searched(make: Maker) -> None:
    """A tuned study: searches with a divergence and an edge, then fresh seeds."""
    runs: list[dict[str, Any]] = []
    searches = []
    for (model, arm), losses in LOSS_AT.items():
        points = []
        for lr, loss in losses.items():
            entry = make.run(model, arm, 6, lr=lr, roles=("tuning",), stage="start")
            shape = curve(40, reaches_end_at=40.0, floor=2.0 if loss is None else loss)
            make.record(entry, shape, loss or 0.0, status="done" if loss is not None else "diverged")
            if loss is not None:
                make.score(entry, right_answers(arm, model, 6))
            runs.append(entry)
            points.append({"lr": lr, "stage": "start", "runs": [entry["train_id"]], "loss": loss, "diverged": int(loss is None)})
        chosen = CHOSEN[model, arm]
        searches.append({
            "cell": runs[-1]["cell"], "model": model, "rank": 8, "arm": arm, "points": points,
            "best": chosen or 3.16e-3, "edge": None if chosen else "high", "chosen": chosen,
        })  # fmt: skip
        for seed in (10, 11, 12) if chosen is not None else ():
            entry = make.run(model, arm, seed, lr=chosen or 0.0, roles=("tuned",), stage="fresh seeds")
            make.record(entry, curve(40, reaches_end_at=40.0, floor=2.0), 2.0)
            make.score(entry, right_answers(arm, model, seed))
            runs.append(entry)
    tuning = {"criterion": "tune_loss", "lrs": [1e-4, 3.16e-4, 1e-3, 3.16e-3], "shared_lr": None, "seeds": [6], "fresh_seeds": [10, 11, 12],
              "max_extensions": 0}  # fmt: skip
    make.manifest("searched", "planted searches", runs, [("olora", "lora", "primary")], protocol="tuned", tuning=tuning, searches=searches)


WHOLE_RATES = {
    "lora": {1e-4: 2.4, 3e-4: 2.12, 3.16e-4: 2.1, 1e-3: 2.3}, "olora": {1e-4: 2.3, 3e-4: 2.02, 3.16e-4: 2.0, 1e-3: 2.4},
    "olora_random": {1e-4: 2.3, 3e-4: 2.06, 3.16e-4: 2.05, 1e-3: 2.5}, "olora_plus_x0.25": {1e-4: 2.6, 3e-4: 2.12, 3.16e-4: 2.1, 1e-3: 2.2},
    "olora_plus_x4": {1e-4: 2.0, 3e-4: 1.93, 3.16e-4: 1.9, 1e-3: 2.6},
}  # fmt: skip
RATIOS = {"olora_plus_x0.25": 0.25, "olora_plus_x4": 4.0}
CHOSEN_WHOLE, SHARED = 3.16e-4, 3e-4
FINAL = {"lora": 2.0, "olora": 2.0, "olora_random": 2.02, "olora_plus_x0.25": 2.05, "olora_plus_x4": 1.9}
TRAVELLED = {"lora": 0.6, "olora": 1.0, "olora_random": 1.1, "olora_plus_x0.25": 0.5, "olora_plus_x4": 2.0}
CONDITION = {"lora": 50.0}
BLEU = {"olora_plus_x0.25": 29.0, "olora_plus_x4": 32.0}
GAIN = {
    "tuned": {"piqa": [2, 3, 1, 2, 3, 1], "boolq": [-1, 0, -2, -1, 0, -2]},
    "shared": {"piqa": [4, 5, 3, 4, 5, 3], "boolq": [4, 3, 5, 4, 3, 5]},
}
SHORT = {
    ("tuned", 10): {"lora": 2.4, "olora": 2.2}, ("tuned", 20): {"lora": 2.1, "olora": 1.95},
    ("shared", 10): {"lora": 2.4, "olora": 1.97}, ("shared", 20): {"lora": 2.1, "olora": 1.9},
}  # fmt: skip


def tremble(arm: str, seed: int) -> int:
    """A whole number that differs between seeds and, by seed, between arms; its mean over six seeds in a row is 0."""
    return JITTER[(seed + list(FINAL).index(arm)) % 6]


def anatomy(arm: str, seed: int) -> dict[str, Any]:
    """What the harness measures of an adapter, planted: mean, least and greatest over layers are one value."""
    trembling = 1 + 0.01 * tremble(arm, seed)

    def same(**values: float | None) -> dict[str, Any]:
        return {key: None if v is None else dict.fromkeys(("mean", "min", "max"), v * trembling) for key, v in values.items()}

    orthonormal = arm != "lora"
    facts = same(a_condition=20.0 if orthonormal else 1.5, b_condition=1.0 if orthonormal else None, energy_share=0.1 * orthonormal)
    end = same(a_condition=20.0 if orthonormal else 2.0, b_condition=CONDITION.get(arm, 2.0), energy_share=0.1)
    distance = TRAVELLED[arm] / np.sqrt(2)
    why = {} if orthonormal else {"start.b_condition": "not finite in 2 of 2 layers (a factor is 0 or dependent)"}
    return {"why_null": why, "seconds": 1.0, "start": facts, "end": end, "travelled": same(a=distance, b=distance)}


def whole(make: Maker) -> None:
    """A tuned study with everything in it, and a model whose long schedule has not run."""
    runs: list[dict[str, Any]] = []
    searches: list[dict[str, Any]] = []

    def entry(arm: str, seed: int, lr: float, steps: int, role: str, **more: Any) -> dict[str, Any]:
        init = "olora_plus" if arm in RATIOS else arm
        stage = "start" if role == "tuning" else "fresh seeds"
        one = make.run("syn_e", arm, seed, lr=lr, steps=steps, ratio=RATIOS.get(arm, 1.0), roles=(role,), stage=stage, init=init, **more)
        runs.append(one)
        return one

    def search(arm: str, steps: int) -> None:
        points = []
        for lr, loss in WHOLE_RATES[arm].items():
            one = entry(arm, 6, lr, steps, "tuning", scored=steps == 40)
            make.record(one, curve(steps, reaches_end_at=steps, floor=loss), loss, keep_curve=False)
            if steps == 40:
                make.score(one, {"piqa": 20, "boolq": 20 if lr == CHOSEN_WHOLE else 16})
            points.append({"lr": lr, "stage": "start", "runs": [one["train_id"]], "loss": loss, "diverged": 0})
        named = {"cell": runs[-1]["cell"], "model": "syn_e", "rank": 8, "arm": arm}
        searches.append(named | {"points": points, "best": CHOSEN_WHOLE, "edge": None, "chosen": CHOSEN_WHOLE})

    for arm in WHOLE_RATES:
        search(arm, 40)
        for role, lr in (("tuned", CHOSEN_WHOLE), ("shared", SHARED)):
            for seed in range(10, 16):
                one = entry(arm, seed, lr, 40, role)
                shape = curve(40, reaches_end_at=30.0, floor=FINAL[arm] + 0.005 * tremble(arm, seed))
                torch = "2.12.0" if (arm, role, seed) == ("olora_random", "tuned", 10) else "2.13.0"
                make.record(one, shape, FINAL[arm], torch=torch, anatomy=anatomy(arm, seed), keep_curve=role == "tuned")
                gain = {name: 0 if arm == "lora" else values[seed % 6] for name, values in GAIN[role].items()}
                bleu = BLEU.get(arm, 30.0) + 0.1 * tremble(arm, seed)
                generation = {"bleu": bleu, "rouge1": bleu / 100, "rouge2": bleu / 200, "rougeL": bleu / 150}
                warned = "acc 0.250 is below chance: planted" if (arm, role, seed) == ("lora", "tuned", 10) else ""
                right = {name: 20 + JITTER[seed % 6] + more for name, more in gain.items()}
                make.score(one, right, flipped=1 if arm == "lora" else 2, warned=warned, **generation)
    make.score(runs[-1], {"piqa": 18, "boolq": 18}, base=True, bleu=20.0, rouge1=0.2, rouge2=0.1, rougeL=0.15)
    for steps in (10, 20):
        for arm in ("lora", "olora"):
            search(arm, steps)
            for role, lr in (("tuned", CHOSEN_WHOLE), ("shared", SHARED)):
                for seed in range(10, 13):
                    one = entry(arm, seed, lr, steps, role, scored=False)
                    floor = SHORT[role, steps][arm] + 0.01 * (seed - 11) * (arm == "olora")
                    make.record(one, curve(steps, reaches_end_at=steps / 2, floor=floor), floor, keep_curve=False)
    for steps in (20, 40):
        for arm in ("lora", "olora"):
            runs.append(make.run("syn_f", arm, 10, lr=SHARED, steps=steps))
            if steps == 20:
                make.record(runs[-1], curve(20, reaches_end_at=20.0, floor=2.0), 2.0, keep_curve=False)
                make.score(runs[-1], {"piqa": 20, "boolq": 40 if arm == "olora" else 0})
    tuning = {"criterion": "tune_loss", "lrs": [1e-4, 3.16e-4, 1e-3], "shared_lr": SHARED, "seeds": [6],
              "fresh_seeds": list(range(10, 16)), "max_extensions": 0}  # fmt: skip
    contrasts = [("olora", "lora", "primary"), ("olora_plus_x0.25", "olora", "secondary"), ("olora_plus_x4", "olora", "secondary"),
                 ("olora_random", "olora", "secondary")]  # fmt: skip
    make.manifest("whole", "planted, everything in one study", runs, contrasts, protocol="tuned", tuning=tuning, searches=searches)


def broken(make: Maker) -> None:
    """Every way in which a run can be absent from a table."""
    runs = [make.run("syn_c", arm, seed) for arm in ("lora", "olora") for seed in range(7)]
    runs += [make.run("syn_d", arm, seed) for arm in ("lora", "olora") for seed in range(3) if (arm, seed) != ("lora", 2)]
    fate = {("olora", 0): "diverged", ("olora", 1): "failed", ("lora", 2): "missing", ("olora", 3): "unreadable", ("lora", 4): "unscored"}
    for entry in runs:
        what = fate.get((entry["arm"], entry["seed"])) if entry["model"] == "syn_c" else None
        if what == "missing":
            continue
        shape = curve(40, reaches_end_at=40.0, floor=2.0)
        make.record(entry, shape, 2.0, status=what if what in ("diverged", "failed") else "done")
        if what not in ("diverged", "failed"):
            make.score(entry, right_answers(entry["arm"], entry["model"], entry["seed"]))
        folder = make.store.run_dir(entry["train_id"])
        if what == "unreadable":
            path = folder / "record.json"
            path.write_bytes(sealed(json.loads(path.read_text()) | {"schema_version": 3}))
        if what == "unscored":
            path = folder / "evals" / entry["eval_id"] / "record.json"
            path.write_text(path.read_text().replace('"gold_logprob": -3.0', '"gold_logprob": NaN'))
    make.manifest("broken", "planted gaps", runs, [("olora", "lora", "primary")])


def main(root: Path) -> None:
    """Write all four studies below `root`."""
    make = Maker(root)
    planted(make)
    searched(make)
    whole(make)
    broken(make)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
