"""Simulated studies in which the truth is known: items drawn from the committed ones, seeds and models with effects of their own.

A cell (item, block) takes the answers that the item had at a random seed of results/smollm2, with a probability that makes the items'
variance the one that the records show (or a share of it); else those of a random item. So values are -1, 0 and 1, most of them 0, with
the correlation between contrasts that the records have. An item's sign is flipped at random, which makes the truth zero; `symmetric=False`
leaves the signs, and then the truth is the mean of the committed items. Four times the items' variance is a quarter of the items.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from olora_bench.analysis.crossed import crossed
from simulations import committed

CONTRASTS = {1: ("olora vs lora",), 3: ("olora_random vs olora", "olora_plus_x4 vs olora", "olora_plus_x0.25 vs olora")}
"""One contrast, or three with a common reference."""
ITEMS = 300
BLOCK_SD = 0.685
"""Percentage points: the standard deviation of a block's macro-average in results/smollm2, tuned."""
MODEL_SD = 0.5
"""Percentage points: the review's model effects; results/smollm2 has one model."""
NORMAL = "normal, errors of smollm2"
"""The kind of study whose block and item errors are exactly these, percentage points at six blocks; half the block error is residual."""
ERRORS = {"tuned": (0.280, 0.352), "shared": (0.072, 0.772)}
SHARED_BY_MODELS = 0.7
"""The chance that an item is to a model what it is to the others."""
UNEQUAL = np.array([0.5, 3.0, 1.0, 0.5, 0.5, 0.5])
"""How a seed's effect falls on the six benchmarks: in the records BoolQ moves most."""
CELLS_AT_ONCE = 400_000
"""Of one benchmark: about what a processor's cache holds."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """One kind of study. `item`, `seed` and `model` multiply variances; `seed` and `model` 0 is none beyond what items bring."""

    kind: str
    role: str = "tuned"
    models: int = 1
    seeds: int = 6
    item: float = 1.0
    seed: float = 0.0
    model: float = 0.0
    contrasts: int = 1
    truth: float = 0.0
    symmetric: bool = True
    fixed_models: bool = False
    items: tuple[int, ...] = (ITEMS,) * 6
    heavy: bool = False

    @property
    def columns(self) -> dict[str, object]:
        """As a row of results begins."""
        return asdict(self) | {"items": " ".join(map(str, self.items))}

    def batches(self, count: int) -> list[int]:
        """How many of `count` studies are made at a time."""
        size = max(int(CELLS_AT_ONCE / (self.contrasts * self.models * self.seeds * max(self.items))), 1)
        return [min(size, count - start) for start in range(0, count, size)]

    def labels(self, seeds: int) -> list[int] | None:
        """The model of each block, with so many seeds of each; None where there is one model."""
        return [model for model in range(self.models) for _ in range(seeds)] if self.models > 1 else None


@dataclass(frozen=True)
class Population:
    """What cells are drawn from: by benchmark `(contrasts, items x 6)`; `own`: the chance that a cell is its item's own."""

    tables: tuple[NDArray[np.int8], ...]
    own: float
    seeds: int


@cache
def population(role: str, contrasts: int, item: float) -> Population:
    """The committed differences, with `item` times their items' variance where that is less than one."""
    found = [committed.differences(role, contrast) for contrast in CONTRASTS[contrasts]]
    tables = [np.stack([one[name] for one in found]) for name in found[0]]
    of_items = crossed([table[0].astype(float) for table in tables])
    raw = np.sum([table[0].mean(axis=1).var(ddof=1) / (table.shape[1] * len(tables) ** 2) for table in tables])
    own = float(np.sqrt(min(1.0, item) * float(of_items.item_variance) / raw))
    return Population(tuple(table.reshape(len(table), -1) for table in tables), own, tables[0].shape[2])


def studies(setting: Setting, count: int, rng: np.random.Generator) -> list[Floats]:
    """Differences of `count` studies by benchmark: `(contrasts, count, items, blocks)`, percentage points; blocks by model, then seed."""
    if setting.kind == NORMAL:
        return [_normal(setting, count, rng)]
    people = population(setting.role, setting.contrasts, setting.item)
    effects = _effects(setting, count, rng)
    shares = UNEQUAL[: len(setting.items)]
    tables = []
    for place, items in enumerate(setting.items):
        size = max(int(items / max(setting.item, 1.0)), 2)
        cells = _cells(people.tables[place], people, setting, (count, size), rng)
        shift = effects[0] * shares[place] / shares.mean() + effects[1] + setting.truth
        tables.append(100.0 * cells + shift[:, :, None, :])
    return tables


def truth(setting: Setting) -> Floats:
    """By contrast, what the studies estimate; percentage points."""
    people = population(setting.role, setting.contrasts, setting.item)
    means = [table.mean(axis=1) for table in people.tables[: len(setting.items)]]
    return setting.truth + (np.zeros(setting.contrasts) if setting.symmetric else 100 * np.mean(means, axis=0))


def _cells(
    table: NDArray[np.int8], people: Population, setting: Setting, shape: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.int8]:
    """`(contrasts, studies, items, blocks)` of -1, 0, 1."""
    known = table.shape[1] // people.seeds
    common, flips = rng.integers(0, known, shape, dtype=np.int32), rng.integers(0, 2, shape, dtype=np.int8)
    parts = []
    for _ in range(setting.models):
        own = np.where(rng.random(shape, dtype=np.float32) < SHARED_BY_MODELS, common, rng.integers(0, known, shape, dtype=np.int32))
        item = (common if setting.models == 1 else own)[..., None]
        u = rng.random((*shape, setting.seeds), dtype=np.float32)
        keeps = u < people.own
        at = np.where(keeps, item * people.seeds + (u * (people.seeds / people.own)).astype(np.int32),
                      ((u - people.own) * (table.shape[1] / max(1 - people.own, 1e-6))).astype(np.int32))  # fmt: skip
        cells = table[:, np.clip(at, 0, table.shape[1] - 1)]
        parts.append(cells * (1 - 2 * flips)[..., None] if setting.symmetric else cells)
    return np.concatenate(parts, axis=-1)


def _normal(setting: Setting, count: int, rng: np.random.Generator) -> Floats:
    """One table, `(1, studies, items, blocks)`, that stands for the macro-average."""
    block, item = ERRORS[setting.role]
    items, own = setting.items[0], block * np.sqrt(6 / 2)
    table = own * np.sqrt(items) * rng.normal(size=(1, count, items, setting.seeds)) + own * rng.normal(size=(1, count, 1, setting.seeds))
    return table + item * np.sqrt(items) * rng.normal(size=(1, count, items, 1))


def _effects(setting: Setting, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Of seeds and of models, each `(contrasts, studies, blocks)`. The reference's are common to all contrasts, the arms' twice as wide."""
    wide = np.array([1.0] + [2.0] * setting.contrasts)
    wide = wide / np.sqrt(wide[0] ** 2 + wide[1] ** 2)

    def drawn(blocks: int) -> Floats:
        shape = (setting.contrasts + 1, count, blocks)
        one = rng.standard_t(3, shape) / np.sqrt(3) if setting.heavy else rng.normal(size=shape)
        arms = one * wide[:, None, None]
        return arms[1:] - arms[:1]

    seeds = BLOCK_SD * np.sqrt(setting.seed) * drawn(setting.models * setting.seeds)
    models = MODEL_SD * np.sqrt(setting.model) * drawn(setting.models)
    if setting.fixed_models:
        models = models - models.mean(axis=-1, keepdims=True)
    return seeds, np.repeat(models, setting.seeds, axis=-1)
