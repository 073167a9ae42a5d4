"""What a verdict costs, tuning included: looks, finalists and a short search, beside a fixed design of twenty blocks with a long one.

    OMP_NUM_THREADS=1 python -m simulations.price              # about ten minutes on one core; rewrites results/price.csv

Each row is a kind of study under one design, `studies` of them. In each both arms are searched anew, by `olora_bench.study.search` itself,
on curves of tune loss over learning rates that `results/smollm2` recorded, with the noise of one seed; each block then trains the
finalists about what was chosen, keeps one by its own tune part, and scores it. Arms differ by `truth` percentage points at their best
rates; a rate that is not the best costs `SLOPE` points a nat. Blocks and items bring the variances of `results/smollm2`, tuned, blocks
times `spread`.
- search_runs, seeds, runs, hours: means over studies; a study is at its full cost where it stays undecided;
- better, worse, equivalent, undecided: shares of studies; `error`: called on the wrong side of what the arms' best rates say;
- always_at_edge, at_edge: the share of arms whose best rate lies at an edge of their finalists, by the blocks of every look, of the last;
- better_foretold, worse_foretold, equivalent_foretold: what a plan says (`design.expected`) that knows the mean variances, the mean
  difference of what blocks keep, and these shares.
Kinds: `arms of smollm2`; `identical arms`: one curve for both, 0.8 decades apart, so that all that differs is where a search ends;
`noisier search`: the better arm's search has twice the noise; `judged by loss`: identical arms, judged by the held-out loss of what was
kept, `truth` in nats. That tells a few thousandths of a nat, and so tells where the search ended. One finalist is the chosen rate alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from olora_bench.analysis.choices import at_edge
from olora_bench.analysis.design import Design, Errors, Sample, Stops, expected, look_at, open_ended, sample, simulate_design
from olora_bench.analysis.estimate import Flags, Floats
from olora_bench.study.schema import Tuning
from olora_bench.study.search import finalists, search
from simulations.committed import tune_losses
from simulations.written import write

RESULTS = Path(__file__).parent / "results" / "price.csv"
ARMS = ("lora", "olora")
SEED, ITEM, ITEM_WHOLE = 0.470, 0.124, 0.0251
"""Squared percentage points, results/smollm2 tuned: between blocks; of items at 300 a benchmark; and at all that the benchmarks have.
Whole benchmarks also lower what blocks bring, by the answers that come now so, now so; that is left out."""
ITEM_DF, ITEM_NOISE = 660.0, 0.1
"""Degrees of freedom of the items' variance, and the standard deviation of its estimate, as a share of it."""
SLOPE = 6.0
"""Points lost a nat: LoRA at 3e-4 against its best rate, the steeper of the two arms there."""
NOISE, LUCK = 0.027, 0.02
"""Nats: of a search's tune loss from seed to seed; of a block's finalists one from the other."""
SHIFT = 0.8
EDGES = ("always_at_edge", "at_edge")
DIVERGED = 6.0
TRAIN, READ, SCORED, SCORED_WHOLE = 106.0, 53.0, 97.0, 1050.0
"""Seconds of one core: 64 steps; all readings of all parts' losses; scoring 300 items a benchmark, or all."""


@dataclass(frozen=True)
class Procedure:
    """How a study is made. `search_run`, `block_run`: seconds of one run of either, before scores."""

    name: str
    plan: tuple[int, ...]
    rule: Tuning
    search_run: float
    block_run: float


SHORT = Tuning(criterion="tune_loss", lrs=(1e-3, 3.16e-3, 1e-2), seeds=(0,), refinement="parabola")
LONG = Tuning(criterion="tune_loss", lrs=(1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2), shared_lr=3e-4, seeds=(0,), fresh_seeds=(10,))
LOOKS = Procedure("looks", (6, 8, 12, 16, 20), SHORT, TRAIN + READ / 3, TRAIN + READ / 8)
"""A search reads the tune part alone, a third of what is read else; a block reads its losses at the end alone, of eight times."""
FIXED = Procedure("fixed", (20,), LONG, TRAIN + READ, TRAIN + READ)
"""The search of results/smollm2, nine runs an arm where it meets an edge; every run reads all that was read there."""
PROCEDURES = (LOOKS, FIXED)


@dataclass(frozen=True)
class Kind:
    """A kind of study; see the module."""

    name: str
    truth: float
    whole: bool
    spread: float = 1.0
    margin: float = 1.0
    finalists: int = 3
    tuning_seeds: int = 1

    @property
    def by_loss(self) -> bool:
        """Judged by loss, in nats."""
        return self.name == "judged by loss"

    @property
    def alike(self) -> bool:
        """One curve for both arms."""
        return self.by_loss or self.name == "identical arms"


KINDS = (
    Kind("arms of smollm2", 3.0, whole=False),
    Kind("arms of smollm2", 3.0, whole=True),
    Kind("arms of smollm2", 0.0, whole=True),
    Kind("arms of smollm2", 3.0, whole=False, spread=2.0),
    Kind("arms of smollm2", 0.0, whole=True, spread=2.0),
    Kind("identical arms", 0.0, whole=False),
    Kind("identical arms", 0.0, whole=True),
    Kind("identical arms", 1.0, whole=True),
    Kind("noisier search", 1.5, whole=True),
    Kind("judged by loss", 0.0, whole=False, margin=0.02, finalists=1),
    Kind("judged by loss", 0.0, whole=False, margin=0.02),
    Kind("judged by loss", 0.0, whole=False, margin=0.02, finalists=5),
    Kind("judged by loss", 0.0, whole=False, margin=0.02, finalists=5, tuning_seeds=2),
    Kind("judged by loss", 0.02, whole=False, margin=0.02, finalists=5),
    Kind("judged by loss", -0.02, whole=False, margin=0.02, finalists=5),
)


@cache
def curve(arm: str) -> Callable[[float], float]:
    """The mean tune loss over log10 of the learning rate, nats, as recorded; flat beyond."""
    known = {np.log10(lr): min(loss, DIVERGED) for lr, loss in tune_losses(arm).items()}
    shape = PchipInterpolator(*zip(*sorted(known.items()), strict=True))
    return lambda place: float(shape(np.clip(place, min(known), max(known))))


def curves(kind: Kind) -> dict[str, Callable[[float], float]]:
    """Of both arms, the lowest loss of either being its own."""
    if kind.alike:
        return {"lora": curve("lora"), "olora": lambda place: curve("lora")(place + SHIFT)}
    return {arm: curve(arm) for arm in ARMS}


@cache
def least(arm: str) -> float:
    """The lowest loss on a curve."""
    return min(curve(arm)(place) for place in np.linspace(-4, -1.5, 501))


def searched(kind: Kind, rule: Tuning, rng: np.random.Generator) -> tuple[dict[str, float | None], int]:
    """What one search chose for each arm, by the mean over its tuning seeds, and how many runs it took."""
    shapes, seen = curves(kind), dict[tuple[str, float], float]()

    def loss(arm: str, lr: float) -> float:
        if (arm, lr) not in seen:
            noise = NOISE * (2 if kind.name == "noisier search" and arm == "olora" else 1) / kind.tuning_seeds**0.5
            mean = shapes[arm](np.log10(lr))
            seen[arm, lr] = np.inf if mean >= DIVERGED - 0.1 else mean + noise * rng.normal()
        return seen[arm, lr]

    found = search(list(ARMS), rule, loss)
    return {one.arm: one.chosen for one in found}, kind.tuning_seeds * sum(len(one.tried) for one in found)


def excess(kind: Kind, rates: Floats, arm: str) -> Floats:
    """By how much the loss at these rates lies above the arm's lowest, nats."""
    shape, names = curves(kind)[arm], np.unique(rates)
    known = {lr: shape(np.log10(lr)) for lr in names}
    lowest = least("lora" if kind.alike else arm)
    return np.vectorize(known.__getitem__, otypes=[float])(rates) - lowest


@dataclass(frozen=True)
class Blocks:
    """What an arm's blocks came to, nats.

    Attributes:
        mean, luck: `(studies, seeds)`, of what each kept, its mean loss above the arm's lowest and its own luck.
        edges: by number of blocks, `(studies,)`, whether by these the best rate lies at an edge of the finalists.
    """

    mean: Floats
    luck: Floats
    edges: Mapping[int, Flags]


def blocks(kind: Kind, chosen: Floats, arm: str, plan: tuple[int, ...], rng: np.random.Generator) -> Blocks:
    """Train finalists about each study's chosen rate, block after block, and keep one of each."""
    near = np.array([finalists(lr, kind.finalists) for lr in chosen])
    means = np.broadcast_to(excess(kind, near, arm)[:, None, :], (len(chosen), plan[-1], kind.finalists))
    luck = LUCK * rng.normal(size=means.shape)
    best = (means + luck).argmin(axis=-1)[..., None]
    mean, own = (np.take_along_axis(one, best, axis=-1)[..., 0] for one in (means, luck))
    alone = np.zeros(len(chosen), dtype=bool)  # one finalist has no neighbours to tell an edge by
    return Blocks(mean, own, {seeds: at_edge((means + luck)[:, :seeds].mean(axis=1)) if kind.finalists > 1 else alone for seeds in plan})


def simulate(kind: Kind, procedure: Procedure, count: int, seed: int = 1) -> dict[str, Any]:
    """One row of the result."""
    rng = np.random.default_rng([seed, crc32(repr((kind, procedure.name)).encode())])
    made = [searched(kind, procedure.rule, rng) for _ in range(count)]
    open_ones = np.array([None in chosen.values() for chosen, _ in made])
    found = {arm: blocks(kind, np.array([chosen[arm] or 1e-3 for chosen, _ in made]), arm, procedure.plan, rng) for arm in ARMS}
    seeds, errors = _differences(kind, found, rng)
    always = float(np.mean([np.all([*one.edges.values()], axis=0) for one in found.values()]))
    edges = always, float(np.mean([one.edges[procedure.plan[-1]] for one in found.values()]))
    stops = _sample(kind, procedure, found, seeds, errors, rng).stops(kind.truth)
    row: dict[str, Any] = {"kind": kind.name, "truth": kind.truth, "items": "all" if kind.whole else "300", "spread": kind.spread}
    row |= {"finalists": kind.finalists, "tuning_seeds": kind.tuning_seeds, "margin": kind.margin, "design": procedure.name}
    row |= {"studies": count, "open": float(open_ones.mean())}
    row |= _cost(kind, procedure, np.array([runs for _, runs in made]), np.where(open_ones, 0, np.array(procedure.plan)[stops.look[0]]))
    return row | _ends(kind, stops, open_ones) | dict(zip(EDGES, edges, strict=True)) | _foretold(kind, procedure, seeds, errors, edges)


def _cost(kind: Kind, procedure: Procedure, searching: NDArray[np.int64], seeds: NDArray[np.int64]) -> dict[str, float]:
    trained = len(ARMS) * seeds
    scored = SCORED_WHOLE if kind.whole else SCORED
    hours = searching * procedure.search_run + trained * (kind.finalists * procedure.block_run + scored)
    runs = searching + kind.finalists * trained
    named = {"search_runs": searching, "seeds": seeds, "runs": runs, "hours": hours / 3600}
    return {name: float(each.mean()) for name, each in named.items()}


def _ends(kind: Kind, stops: Stops, open_ones: Flags) -> dict[str, float]:
    better, worse, inside = (one[0] & ~open_ones for one in (stops.better, stops.worse, stops.equivalent))
    wrong = better | worse if kind.truth == 0 else (worse if kind.truth > 0 else better) | (inside & (abs(kind.truth) >= kind.margin))
    shares = {"better": better, "worse": worse, "equivalent": inside & ~better & ~worse, "undecided": ~stops.decided[0] | open_ones}
    return {name: float(each.mean()) for name, each in (shares | {"error": wrong}).items()}


def _differences(kind: Kind, found: Mapping[str, Blocks], rng: np.random.Generator) -> tuple[Floats, Errors]:
    """`(studies, seeds)`, olora against lora, higher is better, before the truth is added; with what is known of the items."""
    gain = found["lora"].mean - found["olora"].mean
    if kind.by_loss:
        return gain + found["lora"].luck - found["olora"].luck, Errors(0.0, 0.0)
    item = ITEM_WHOLE if kind.whole else ITEM
    errors = Errors(SEED * kind.spread, item, item_df=ITEM_DF, item_noise=ITEM_NOISE * item)
    return SLOPE * gain + np.sqrt(errors.seed) * rng.normal(size=gain.shape), errors


def _sample(
    kind: Kind, procedure: Procedure, found: Mapping[str, Blocks], seeds: Floats, errors: Errors, rng: np.random.Generator
) -> Sample:
    items = np.sqrt(errors.item) * rng.normal(size=(1, len(seeds)))
    known = np.maximum(errors.item + errors.item_noise * rng.normal(size=items.shape), 0.0)
    looks = [look_at(seeds[None, :, None, :count], items, known, errors) for count in procedure.plan]
    if kind.by_loss:
        edges = [[found[arm].edges[count][None] for arm in ARMS] for count in procedure.plan]
        looks = [open_ended(look, lower=reference, higher=arm) for look, (reference, arm) in zip(looks, edges, strict=True)]
    return sample(Design(procedure.plan, margin=kind.margin), looks)


def _foretold(kind: Kind, procedure: Procedure, seeds: Floats, errors: Errors, edges: tuple[float, float]) -> dict[str, float]:
    """What a plan says that knows the mean variances."""
    known = replace(errors, seed=float(seeds.var(axis=1, ddof=1).mean()))
    design = Design(procedure.plan, margin=kind.margin, at_edge=edges if kind.by_loss else (0.0, 0.0))
    fresh = simulate_design(design, known, seed=7)
    told = expected(fresh, kind.truth + float(seeds.mean()))
    return {f"{name}_foretold": getattr(told, name) for name in ("better", "worse", "equivalent")}


def main() -> int:
    """Simulate all rows and write the CSV."""
    return write(__doc__, RESULTS, lambda count: (simulate(kind, procedure, count) for kind in KINDS for procedure in PROCEDURES))


if __name__ == "__main__":
    sys.exit(main())
