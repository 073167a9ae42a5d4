"""How often a verdict with looks errs, what its interval and estimate hold, and whether a plan foretells its power.

    OMP_NUM_THREADS=1 python -m simulations.looks              # about an hour on one core; rewrites results/looks.csv

Each row is a kind of study (see `simulations.study`), `studies` of them, which look at the seeds of `plan`. Shares of studies:
- called: the truth is called different at any look (for a family: any contrast, by Holm; the worst number of true ones);
- false_equivalence: a difference of exactly the margin is shown inside it at any look, the worse side, nothing else having stopped it
  before (for a family: any, by Holm);
- coverage: the least share, over true differences of 0, 1, 1.5 and 3 percentage points and a margin of 1, in which the repeated interval at
  the look where the contrast stopped, for better, worse, equivalent or the end, holds the truth; the worst contrast;
- naive: the 95% interval of one look, taken at every look, misses the truth: what looking without a price costs.
For rows `power`, at the true difference `truth` and a margin of 1: `better`, `equivalent` and `seeds` (a model, until decided), each
beside what `analysis.design` foretells from the mean variances.
`holds`: called and false_equivalence do not lie above 5%, nor coverage below 95%, by more than `Z` standard errors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from scipy import stats

from olora_bench.analysis.crossed import crossed, seed_variance
from olora_bench.analysis.design import Design, Errors, Sample, expected, sample, simulate_design
from olora_bench.analysis.paired import LEVEL
from olora_bench.analysis.sequential import Look
from simulations.study import NORMAL, Floats, Setting, studies, truth
from simulations.written import write

RESULTS = Path(__file__).parent / "results" / "looks.csv"
PLAN = (6, 8, 12, 16, 20)
MARGIN = 1.0
TRUTHS = (0.0, 1.0, 1.5, 3.0)


@dataclass(frozen=True)
class Row:
    """A kind of study and its looks; `setting.seeds` are those of the last one."""

    setting: Setting
    plan: tuple[int, ...] = PLAN


def rows() -> Iterator[Row]:
    """All rows, in the order of the table."""
    for role, item, seed in product(("tuned", "shared"), (0.25, 1.0, 4.0), (0.0, 1.0, 4.0)):
        yield Row(Setting("one model", role, seeds=20, item=item, seed=seed))
    for models, plan in ((2, (3, 6, 10)), (3, (2, 4, 6)), (4, (2, 3, 5)), (5, (2, 3, 4)), (6, (1, 2, 3))):
        for model in (0.25, 1.0, 4.0):
            yield Row(Setting("models", models=models, seeds=plan[-1], seed=0.25, model=model), plan)
    for role, seed in product(("tuned", "shared"), (0.0, 1.0)):
        yield Row(Setting("family", role, seeds=20, seed=seed, contrasts=3))
        yield Row(Setting("committed items", role, seeds=20, seed=seed, symmetric=False))
    for seed in (0.0, 1.0):
        yield Row(Setting("unequal benchmarks", seeds=20, seed=seed, items=(1200, 75, 300, 300, 75, 150)))
        yield Row(Setting("ties", seeds=20, seed=seed, item=0.25, items=(40,) * 6))
        yield Row(Setting("heavy tails", seeds=20, seed=4.0 * (1 + seed), heavy=True))
    for role in ("tuned", "shared"):
        yield Row(Setting(NORMAL, role, seeds=20, items=(300,)))
        yield Row(Setting("two looks", role, seeds=8), (6, 8))
    for role, difference in product(("tuned", "shared"), (0.0, 1.0, 2.0)):
        yield Row(Setting("power", role, seeds=20, truth=difference))
    for difference in (0.0, 1.0, 1.5):
        yield Row(Setting("power", seeds=20, seed=1.0, truth=difference))


def simulate(row: Row, count: int, seed: int = 1) -> dict[str, Any]:
    """One row of the result."""
    setting = row.setting
    rng = np.random.default_rng([seed, crc32(repr(row).encode())])
    parts = [_looks(row, batch, rng) for batch in setting.batches(count)]
    seen = [_joined([part[k] for part in parts]) for k in range(len(row.plan))]
    off = [replace(look, estimate=replace(look.estimate, value=look.estimate.value - truth(setting)[:, None])) for look in seen]
    of = sample(Design(row.plan, setting.contrasts, setting.models, MARGIN), off)
    result: dict[str, Any] = setting.columns | {"plan": " ".join(map(str, row.plan))}
    result |= {"studies": count, "block_se": _root(off[-1].estimate.block_variance), "item_se": _root(off[-1].estimate.item_variance)}
    result |= {"called": max(_called(of, true) for true in range(1, setting.contrasts + 1)), "false_equivalence": _false_equivalence(of)}
    result |= {"coverage": min(_coverage(of, difference) for difference in TRUTHS), "naive": _naive(off)}
    result["holds"] = _holds(result, count)
    return result | (_power(row, of, seen) if setting.kind == "power" else dict.fromkeys(POWER, np.nan))


POWER = ("better", "better_foretold", "equivalent", "equivalent_foretold", "seeds_until", "seeds_until_foretold")


def _looks(row: Row, count: int, rng: np.random.Generator) -> list[Look]:
    setting, found = row.setting, []
    tables = studies(setting, count, rng)
    for seeds in row.plan:
        own = [_first(table, setting, seeds) for table in tables]
        models = setting.labels(seeds)
        found.append(Look(crossed(own, models), seed_variance(own, models)))
    return found


def _first(table: Floats, setting: Setting, seeds: int) -> Floats:
    by_model = table.reshape(*table.shape[:-1], setting.models, setting.seeds)[..., :seeds]
    return by_model.reshape(*table.shape[:-1], setting.models * seeds)


def _joined(parts: list[Look]) -> Look:
    first = parts[0].estimate
    names = ("value", "block_variance", "block_df", "item_variance", "item_df", "item_noise")
    fields = {name: np.concatenate([np.broadcast_to(getattr(part.estimate, name), part.estimate.value.shape) for part in parts], axis=-1)
              for name in names}  # fmt: skip
    return Look(replace(first, **fields), np.concatenate([part.seed_variance for part in parts], axis=-1))


def _root(variance: Floats) -> float:
    return float(np.sqrt(variance.mean()))


def _called(of: Sample, true: int) -> float:
    """How often Holm calls any of `true` contrasts that it should not, the others being shown already."""
    called = [abs(value) > half for value, half in zip(of.values, of.shown[true - 1], strict=True)]
    return float(np.any(called, axis=0)[:true].any(axis=0).mean())


def _false_equivalence(of: Sample) -> float:
    sides = []
    for true, side in product(range(1, of.design.contrasts + 1), (-1, 1)):
        called = [side * value > half for value, half in zip(of.values, of.inside[true - 1], strict=True)]
        sides.append(float(np.any(called, axis=0)[:true].any(axis=0).mean()))
    return max(sides)


def _coverage(of: Sample, difference: float) -> float:
    look = of.stops(difference).look
    off, half = (np.take_along_axis(np.stack(one), look[None], axis=0)[0] for one in (of.values, of.shown[0]))
    return float((abs(off) <= half).mean(axis=-1).min())


def _naive(looks: list[Look]) -> float:
    called = [abs(look.estimate.value) > look.estimate.half_width(LEVEL) for look in looks]
    return float(np.any(called, axis=0).any(axis=0).mean())


def _holds(result: dict[str, Any], count: int) -> bool:
    most = LEVEL + Z * np.sqrt(LEVEL * (1 - LEVEL) / count)
    return bool(max(result["called"], result["false_equivalence"], 1 - result["coverage"]) <= most)


def _power(row: Row, of: Sample, seen: list[Look]) -> dict[str, float]:
    """How these studies end, beside what is foretold from their mean variances."""
    mine = expected(of, row.setting.truth)
    fresh = simulate_design(of.design, _errors(seen[-1], row), studies=10_000, seed=7)
    theirs = expected(fresh, row.setting.truth)
    pairs = ((mine.better, theirs.better), (mine.equivalent, theirs.equivalent), (mine.seeds, theirs.seeds))
    return dict(zip(POWER, (one for pair in pairs for one in pair), strict=True))


def _errors(last: Look, row: Row) -> Errors:
    of = last.estimate
    seed, item, noise = (float(one.mean()) for one in (last.seed_variance, of.item_variance, of.item_noise))
    return Errors(seed, item, item_df=float(np.median(of.item_df)), item_noise=noise)


Z = float(stats.norm.isf(0.05 / 3 / len(list(rows()))))
"""All rows together are within it with 95% probability."""


def main() -> int:
    """Simulate all rows and write the CSV."""
    return write(__doc__, RESULTS, lambda count: (simulate(row, count) for row in rows()))


if __name__ == "__main__":
    sys.exit(main())
