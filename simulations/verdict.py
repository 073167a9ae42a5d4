"""How often the verdict errs, and how often it finds, where the truth is known.

    OMP_NUM_THREADS=1 python -m simulations.verdict              # about ten minutes on one core; rewrites results/verdict.csv

Each row is a kind of study (see `simulations.study`), `studies` of them. Shares of studies:
- crossed: the 95% interval of `analysis.crossed` misses the truth (for a family: any contrast is called by Holm at 5%);
- false_equivalence: one side of the 90% interval misses it, the worse side: how often a difference of exactly the margin is called
  equivalent (for a family: any of them, by Holm);
- satterthwaite: Student's t with Satterthwaite's degrees of freedom for the same variance misses it;
- blocks_t, sign_flip: what a paired t and an exact sign flip over blocks call, which take the items as given.
- better, oracle, foretold (where there is a true difference): the share called better; the share that a z test calls which knows the
  variance; and what `analysis.power` says from the mean variances.
`holds`: crossed and false_equivalence do not lie above 5% by more than `Z` standard errors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from olora_bench.analysis.crossed import crossed
from olora_bench.analysis.estimate import Estimate, of_blocks
from olora_bench.analysis.paired import LEVEL
from olora_bench.analysis.power import power
from simulations.study import NORMAL, Floats, Setting, studies, truth
from simulations.written import write

RESULTS = Path(__file__).parent / "results" / "verdict.csv"
FLIPS = 2_000
"""Sign flips drawn where there are more than 2^11."""


def settings() -> Iterator[Setting]:
    """All rows, in the order of the table."""
    for role, seeds, item, seed in product(("tuned", "shared"), (6, 8, 12, 20), (0.25, 1.0, 4.0), (0.0, 1.0, 4.0)):
        yield Setting("one model", role, seeds=seeds, item=item, seed=seed)
    sizes = ((2, 3), (2, 6), (2, 20), (3, 2), (3, 6), (4, 2), (4, 6), (5, 2), (5, 6), (6, 1), (6, 2), (6, 6))
    for (models, seeds), model in product(sizes, (0.25, 1.0, 4.0)):
        yield Setting("models", models=models, seeds=seeds, seed=0.25, model=model)
    yield Setting("models", models=6, seeds=20, item=4.0, seed=1.0, model=4.0)
    for models, seeds in ((2, 3), (3, 6), (4, 2)):
        yield Setting("these models", models=models, seeds=seeds, seed=1.0, model=1.0, fixed_models=True)
    for role, seeds, seed in product(("tuned", "shared"), (6, 8, 20), (0.0, 1.0)):
        yield Setting("family", role, seeds=seeds, seed=seed, contrasts=3)
        yield Setting("committed items", role, seeds=seeds, seed=seed, symmetric=False)
    for seeds, seed in product((6, 12), (0.0, 1.0)):
        yield Setting("unequal benchmarks", seeds=seeds, seed=seed, items=(1200, 75, 300, 300, 75, 150))
        yield Setting("ties", seeds=seeds, seed=seed, item=0.25, items=(40,) * 6)
        yield Setting("heavy tails", seeds=seeds, seed=4.0 * (1 + seed), heavy=True)
    for role, seeds in product(("tuned", "shared"), (6, 8, 12, 20)):
        yield Setting(NORMAL, role, seeds=seeds, items=(300,))
    for role, seeds, difference in product(("tuned", "shared"), (6, 8, 12), (1.0, 2.0, 3.0)):
        yield Setting("power", role, seeds=seeds, truth=difference)
    for seeds in (6, 8, 12):
        yield Setting("power", seeds=seeds, seed=1.0, truth=1.5)


def simulate(setting: Setting, count: int, seed: int = 1) -> dict[str, Any]:
    """One row of the result."""
    rng = np.random.default_rng([seed, crc32(repr(setting).encode())])
    parts = [_statistics(setting, batch, rng) for batch in setting.batches(count)]
    found = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
    row: dict[str, Any] = setting.columns | {"studies": count}
    block, item = found["block_variance"].mean(), found["item_variance"].mean()
    row |= {"block_se": np.sqrt(block), "item_se": np.sqrt(item)}
    for method in METHODS:
        row[method] = max(_family_error(found[method], size) for size in range(1, setting.contrasts + 1))
    row["holds"] = all(row[method] - Z * np.sqrt(LEVEL * (1 - LEVEL) / count) <= LEVEL for method in PROMISED)
    return row | (_found(setting, found) if setting.kind == "power" else dict.fromkeys(("better", "oracle", "foretold"), np.nan))


def _statistics(setting: Setting, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Per study: `(contrasts, studies)` numbers, and for each method `(steps, sides, contrasts, studies)`: does it call at level / step?"""
    tables = studies(setting, count, rng)
    found = crossed(tables, setting.labels(setting.seeds), fixed_models=setting.fixed_models)
    off = found.value - truth(setting)[:, None]
    blocks = np.mean([table.mean(axis=-2) for table in tables], axis=0) - truth(setting)[:, None, None]
    paired, flipped = of_blocks(blocks), _flip_p(blocks, rng)
    steps = range(1, setting.contrasts + 1)
    calls = {
        "crossed": [[abs(off) > found.half_width(LEVEL / step)] for step in steps],
        "false_equivalence": [[sign * off > found.half_width(2 * LEVEL / step) for sign in (-1, 1)] for step in steps],
        "satterthwaite": [[abs(off) > stats.t.isf(LEVEL / step / 2, found.df) * found.se] for step in steps],
        "blocks_t": [[abs(off) > paired.half_width(LEVEL / step)] for step in steps],
        "sign_flip": [[flipped <= LEVEL / step] for step in steps],
    }
    numbers = {"value": found.value, "better": found.value > found.half_width(LEVEL)}
    numbers |= {name: np.broadcast_to(getattr(found, name), found.value.shape) for name in _PARTS}
    return numbers | {name: np.array(called) for name, called in calls.items()}


def _family_error(called: NDArray[np.bool_], true: int) -> float:
    """How often Holm calls any of `true` contrasts that it should not, the others being shown already; the worse of two sides."""
    return float(called[true - 1][:, :true].any(axis=1).mean(axis=-1).max())


def _flip_p(blocks: Floats, rng: np.random.Generator) -> Floats:
    """Two-sided p of the sign flip over the last axis; of `FLIPS` random flips where there are too many."""
    n = blocks.shape[-1]
    listed = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1 if n <= 12 else rng.integers(0, 2, (FLIPS, n))
    sums = np.abs(blocks @ (1.0 - 2.0 * listed).T)
    far = (sums >= np.abs(blocks.sum(axis=-1, keepdims=True)) - 1e-9).sum(axis=-1)
    return far / len(listed) if n <= 12 else (1 + far) / (1 + FLIPS)


def _found(setting: Setting, found: dict[str, Any]) -> dict[str, float]:
    """What is called better, beside the oracle's share and the foretold one, with the variances that the studies have on average."""
    mean = Estimate(*(np.asarray(found[name].mean()) for name in ("value", *_PARTS)))
    oracle = float(stats.norm.sf(stats.norm.isf(LEVEL / 2) - setting.truth / float(found["value"].std(ddof=1))))
    return {"better": float(found["better"].mean()), "oracle": oracle, "foretold": power(mean, setting.truth)}


_PARTS = ("block_variance", "block_df", "item_variance", "item_df", "item_noise")
METHODS = ("crossed", "false_equivalence", "satterthwaite", "blocks_t", "sign_flip")
PROMISED = METHODS[:2]
Z = float(stats.norm.isf(0.05 / len(PROMISED) / len(list(settings()))))
"""All rows together are within it with 95% probability."""


def main() -> int:
    """Simulate all settings and write the CSV."""
    return write(__doc__, RESULTS, lambda count: (simulate(setting, count) for setting in settings()))


if __name__ == "__main__":
    sys.exit(main())
