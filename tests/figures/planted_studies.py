"""Studies as wide as the shipped ones, made up in a folder: the paper's 60 cells, a tuned OLoRA+ study, OLoRA's controls."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from olora_bench.identity import digest
from tests.synthetic import make as synthetic

PAPER_MODELS = ("llama2_7b", "mistral_7b", "gemma_2b", "tinyllama", "opt_1.3b")
MORE_BENCHMARKS = {"arc_challenge": "acc_norm", "hellaswag": "acc_norm"}
CONTROLS = ("lora", "lora_matched", "olora", "olora_permuted", "olora_pivoted", "olora_random", "olora_added")
RATIOS = {"olora_plus_x0.25": 0.25, "olora_plus_x0.5": 0.5, "olora": 1.0, "olora_plus_x4": 4.0, "olora_plus_x16": 16.0}
RATES = (1e-4, 3.16e-4, 1e-3, 3.16e-3)


class WideMaker(synthetic.Maker):
    """A maker of noisy runs of any model, rank and arm, with curves that bend as real ones do."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.rng = np.random.default_rng(7)

    def plant(
        self, model: str, arm: str, seed: int, *, rank: int = 32, final: float = 1.6, speed: float = 1.0, gain: float = 0.0, **how: Any
    ) -> dict[str, Any]:
        """A finished run with a curve down to `final`, scores `gain` items above 20 of 40, and an anatomy; its manifest entry."""
        entry = self.run(model, arm, seed, **how)
        entry["identity"] |= {"rank": rank}
        entry |= {"rank": rank, "train_id": digest(entry["identity"]), "cell": digest({"model": model, "rank": rank})}
        entry["eval_id"] = digest({"eval": entry["train_id"]})
        curve = synthetic.curve(40, reaches_end_at=40.0, floor=0.0)
        loss = final + (3.2 - final) * np.exp(-speed * curve["step"] / 9) + self.rng.normal(0, 0.012, len(curve)).cumsum() * 0.3
        for name in ("train_loss", "tune_loss", "report_loss"):
            curve[name] = loss.where(curve[name].notna())
        self.record(entry, curve, float(curve["tune_loss"].iloc[-1]))
        record = self.store.read_run(entry["train_id"])
        assert record is not None
        self.store.write_run(record.model_copy(update={"init": {"anatomy": anatomy(arm, self.rng)}, "peak_above_base_bytes": 812_000_000}))
        right = {name: int(np.clip(20 + gain + self.rng.normal(0, 2.2), 1, 39)) for name in synthetic.BENCHMARKS}
        self.score(entry, right, bleu=30 + 4 * (2 - final), rougeL=0.4 + 0.1 * (2 - final))
        return entry


def anatomy(arm: str, rng: np.random.Generator) -> dict[str, Any]:
    """Facts as `inits._anatomy.Anatomy` leaves them; LoRA's B starts at zero, so half of its start is null."""

    def spread(mean: float) -> dict[str, float]:
        mean *= math.exp(rng.normal(0, 0.02))
        return {"mean": mean, "min": 0.7 * mean, "max": 1.4 * mean}

    zero = arm.startswith("lora")
    start: dict[str, Any] = {
        "b_off_orthonormal": {"mean": 1.0, "min": 1.0, "max": 1.0} if zero else spread(1e-7),
        "energy_share": spread(0.0 if zero else 0.06),
        "overlap_left": None if zero else spread(0.3),
        "overlap_right": None if zero else spread(0.25),
        "b_condition": None if zero else spread(1.0),
        "a_condition": spread(1.4 if zero else 35.0),
        "a_norm": spread(3.3 if arm == "lora" else 12.0),
    }
    end = {
        "b_off_orthonormal": spread(0.9 if zero else 0.05),
        "energy_share": spread(0.01 if zero else 0.07),
        "overlap_left": spread(0.2),
        "overlap_right": spread(0.2),
        "b_condition": spread(900.0 if zero else 2.0),
        "a_condition": spread(1.6 if zero else 36.0),
    }
    travelled = {"a": spread(0.8), "b": spread(0.5), "a_relative": spread(0.1), "b_relative": None if zero else spread(0.2)}
    first = {"loss": 3.2 + (0.5 * math.exp(rng.normal(0, 0.1)) if arm == "olora_added" else 0), "loss_untouched_base": 3.2}
    return {"start": start, "end": end, "travelled": travelled, "step_0": first, "seconds": 1.0, "why_null": {}}


def paper(make: WideMaker) -> None:
    """Five models, two ranks, three seeds, six benchmarks."""
    runs = []
    for number, model in enumerate(PAPER_MODELS):
        for rank in (32, 64):
            for arm in ("lora", "olora"):
                faster, better = (1.5, 0.05) if arm == "olora" else (1.0, 0.0)
                runs += [
                    make.plant(model, arm, seed, rank=rank, final=1.5 + 0.1 * number - better, speed=faster, gain=faster)
                    for seed in range(3)
                ]
        make.score(runs[-1], dict.fromkeys(synthetic.BENCHMARKS, 18), base=True)
    make.manifest("paper", "the paper's cells", runs, [("olora", "lora", "primary")])


def controls(make: WideMaker) -> None:
    """Seven arms on one model, three seeds."""
    runs = [
        make.plant("smollm2_135m_q4", arm, seed, final=1.9 - 0.05 * number, gain=number / 2)
        for number, arm in enumerate(CONTROLS) for seed in range(3)
    ]  # fmt: skip
    against = [("olora", "lora", "primary"), ("lora_matched", "lora", "secondary")]
    against += [(arm, "olora", "secondary") for arm in CONTROLS if arm.startswith("olora_")]
    make.manifest("controls", "planted controls", runs, against)


def ratios(make: WideMaker) -> None:
    """Tuned ratios on both sides of 1, with the searches that chose their rates."""
    runs, searches = [], []
    for arm, ratio in {"lora": 1.0, **RATIOS}.items():
        best = {"olora_plus_x16": 3.16e-4, "olora_plus_x0.25": 3.16e-3}.get(arm, 1e-3)
        points = []
        for lr in RATES:
            off = math.log10(lr / best) ** 2
            entry = make.plant("smollm2_135m_q4", arm, 0, lr=lr, ratio=ratio, final=1.6 + 0.3 * off, roles=("tuning",), stage="start")
            runs.append(entry)
            points.append({"lr": lr, "stage": "start", "runs": [entry["train_id"]], "loss": 1.6 + 0.3 * off, "diverged": 0})
        named = {"cell": entry["cell"], "model": entry["model"], "rank": 32, "arm": arm, "points": points}
        searches.append(named | {"best": best, "edge": None, "chosen": best})
        for seed in (10, 11, 12):
            final = 1.6 + 0.02 * math.log2(ratio) ** 2
            runs.append(make.plant("smollm2_135m_q4", arm, seed, lr=best, ratio=ratio, final=final, roles=("tuned",), stage="fresh seeds"))
    tuning = {
        "criterion": "tune_loss",
        "lrs": list(RATES),
        "shared_lr": 5e-4,
        "seeds": [0],
        "fresh_seeds": [10, 11, 12],
        "max_extensions": 0,
    }
    against = [(arm, "olora", "primary") for arm in RATIOS if arm != "olora"] + [("olora", "lora", "secondary")]
    make.manifest("ratios", "planted ratios", runs, against, protocol="tuned", tuning=tuning, searches=searches)


def write(root: Path) -> None:
    """All three studies below `root`."""
    kept = dict(synthetic.BENCHMARKS)
    synthetic.BENCHMARKS.update(MORE_BENCHMARKS)
    try:
        for plant in (paper, controls, ratios):
            plant(WideMaker(root))
    finally:
        synthetic.BENCHMARKS.clear()
        synthetic.BENCHMARKS.update(kept)
