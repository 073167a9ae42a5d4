"""Seeds and items both as samples: what a difference in score or loss says about new seeds and new items.

Every block (model, seed) answers the same items, and both arms answer them, so a paired difference has an item, a block and their
residual. For B benchmarks of I_b items and S blocks, with the mean squares of the two-way table of each benchmark,

    variance of the macro-average = s2_block / S  +  sum over b of (MS_items - MS_residual) / (S B^2 I_b)

where s2_block is the sample variance of the blocks' macro-averages (Cornfield and Tukey 1956; Clark 1973 for items of language). Only
the sum of the item parts is cut at zero. The noise of the item part is measured from the items themselves, each of which brings its own
squared deviation: most answers agree, and the formula for normal deviations gives half the noise that such differences have.

With several models the models take the place of the blocks, each with the mean over its seeds: a t over model means plus what the
models' items share. Benchmarks are not a sample: a verdict is about these benchmarks.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from olora_bench.analysis.estimate import Estimate, Floats

_ITEMS_AT_ONCE = 1024
MODELS_FOR_NEW = 5
"""With fewer models a verdict is about these models: what they are a sample of cannot be told."""


class Scope(StrEnum):
    """Which models a crossed estimate is about; all are about new seeds and new items of these benchmarks."""

    ONE_MODEL = "this model"
    THESE_MODELS = "these models"
    NEW_MODELS = "new models"


@dataclass(frozen=True)
class Crossed(Estimate):
    """An estimate over seeds and items. `units`: how many blocks, or models where there are several, its block part is measured from."""

    units: int
    models: int
    scope: Scope


def crossed(
    differences: Mapping[str, Floats] | Sequence[Floats], models: Sequence[Hashable] | None = None, *, fixed_models: bool = False
) -> Crossed:
    """The mean over benchmarks of arm minus reference, with the error that new seeds and new items (and models) bring.

    Args:
        differences: one array `(..., items, blocks)` a benchmark, paired differences in any unit: -1, 0, 1 for correct answers, their
            mean where a block has several pairs, or columns made by `by_cluster` or `linearised_ratio`. The same blocks in the same order
            in each. Leading axes are studies.
        models: the model of each block; None is one model.
        fixed_models: the mean over just these models: seeds are compared within their model, and each model's own items count. It needs
            two seeds a model. By default several models are compared with each other, which is also right for fewer than
            `MODELS_FOR_NEW`, but can show less.

    Returns:
        In the unit of the differences. The block part is NaN where there is one block (one model) only.

    Raises:
        ValueError: arrays do not fit each other, hold a NaN, or have fewer than two items; or a fixed model has one seed.
    """
    tables = _tables(differences)
    blocks = _checked(tables, models)
    groups = _groups(blocks, models)
    if fixed_models and min(len(group) for group in groups) < 2:
        raise ValueError("the error within a model needs at least two seeds of each: compare the models with each other instead")
    units, several = sum(map(len, groups)), len(groups)
    if several > 1 and not fixed_models:
        tables, units = _model_means(tables, groups), several
        groups = [np.arange(several)]
    value, block, block_df = _block_part([table.mean(axis=-2) for table in tables], groups)
    item, item_df, noise = _item_part(tables, groups)
    scope = Scope.THESE_MODELS if fixed_models and several > 1 else scope_of(several)
    return Crossed(value, block, block_df, np.maximum(item, 0.0), item_df, noise, units, several, scope)


def of_items(differences: Mapping[str, Floats] | Sequence[Floats], models: Sequence[Hashable] | None = None) -> Estimate:
    """An estimate about these trainings only and new items: what one pair of runs, or the mean of several, says of other items.

    Args:
        differences, models: as `crossed` takes them; one block is enough.
    """
    tables = _tables(differences)
    tables = _model_means(tables, _groups(_checked(tables, models), models)) if models is not None and len(set(models)) > 1 else tables
    blocks = tables[0].shape[-1]
    value = np.mean([table.mean(axis=(-2, -1)) for table in tables], axis=0)
    groups = [np.arange(blocks)]
    shares = [_squares_of_items(table, groups)[0] / ((table.shape[-2] - 1) * len(tables) ** 2) for table in tables]
    variance = np.sum([share.mean(axis=-1) for share in shares], axis=0)
    noise = np.sum([share.var(axis=-1, ddof=1) / share.shape[-1] for share in shares], axis=0)
    nothing = np.zeros(value.shape)
    return Estimate(value, nothing, nothing + np.inf, variance, _df(variance, noise), np.sqrt(noise))


def seed_variance(differences: Mapping[str, Floats] | Sequence[Floats], models: Sequence[Hashable] | None = None) -> Floats:
    """What one seed of every model adds to the variance of the mean over models; it falls with the number of seeds.

    Args:
        differences, models: as `crossed` takes them.

    Returns:
        From the spread of seeds within their model, in the squared unit of the differences; NaN where a model has one seed.
    """
    tables = _tables(differences)
    macro = np.mean([table.mean(axis=-2) for table in tables], axis=0)
    return seed_variance_of([macro[..., group] for group in _groups(macro.shape[-1], models)])


def seed_variance_of(models: Sequence[Floats]) -> Floats:
    """`seed_variance` of the seeds' own values, `(..., seeds)` a model."""
    own = [one.var(axis=-1, ddof=1) if one.shape[-1] > 1 else np.full(one.shape[:-1], np.nan) for one in models]
    return np.asarray(np.sum(own, axis=0) / len(models) ** 2)


def residual_variance(differences: Mapping[str, Floats] | Sequence[Floats]) -> Floats:
    """The part of the variance between blocks that comes from single items answered now so, now so; more items make it smaller.

    It estimates sum over benchmarks of MS_residual / (B^2 I_b), in the squared unit of the differences, and may come out above the
    variance between blocks, of which it is a part.

    Args:
        differences: as `crossed` takes them, of one model; two blocks at least.
    """
    tables = _tables(differences)
    groups = [np.arange(_checked(tables, None))]
    parts = [
        _squares_of_items(table, groups)[1].mean(axis=-1) * table.shape[-1] / ((table.shape[-2] - 1) * len(tables) ** 2) for table in tables
    ]
    return np.asarray(np.sum(parts, axis=0))


def _tables(differences: Mapping[str, Floats] | Sequence[Floats]) -> list[Floats]:
    return [np.asarray(table) for table in (differences.values() if isinstance(differences, Mapping) else differences)]


def _groups(blocks: int, models: Sequence[Hashable] | None) -> list[NDArray[np.intp]]:
    """The places of each model's blocks."""
    labels = list(models) if models is not None else [None] * blocks
    return [np.flatnonzero([label == name for label in labels]) for name in dict.fromkeys(labels)]


def _model_means(tables: Sequence[Floats], groups: Sequence[NDArray[np.intp]]) -> list[Floats]:
    """Models in the place of blocks, each with its mean over seeds."""
    return [np.stack([table[..., group].mean(axis=-1) for group in groups], axis=-1) for table in tables]


def scope_of(models: int) -> Scope:
    """Which models a verdict over so many is about."""
    return Scope.ONE_MODEL if models < 2 else Scope.NEW_MODELS if models >= MODELS_FOR_NEW else Scope.THESE_MODELS


def _checked(tables: Sequence[Floats], models: Sequence[Hashable] | None) -> int:
    """How many blocks there are."""
    sizes = {table.shape[-1] for table in tables}
    if len(sizes) != 1 or (models is not None and {len(models)} != sizes):
        raise ValueError(f"every benchmark needs the same blocks, and each a model: blocks {sorted(sizes)}, models {models}")
    if any(table.shape[-2] < 2 for table in tables):
        raise ValueError("an item part needs at least two items of each benchmark")
    if any(np.isnan(table).any() for table in tables):
        raise ValueError("a difference is NaN: leave its block out, of every benchmark")
    return sizes.pop()


def _block_part(means: Sequence[Floats], groups: Sequence[NDArray[np.intp]]) -> tuple[Floats, Floats, Floats]:
    """Estimate, its variance from blocks and its degrees of freedom: by Satterthwaite over groups, which is S - 1 for one group."""
    macro = np.mean(means, axis=0)
    value = np.mean([macro[..., group].mean(axis=-1) for group in groups], axis=0)
    parts, dfs = [], []
    for group in groups:
        n = len(group)
        spread = macro[..., group].var(axis=-1, ddof=1) if n > 1 else np.full(value.shape, np.nan)
        parts.append(spread / (n * len(groups) ** 2))
        dfs.append(max(n - 1, 1))
    variance = np.sum(parts, axis=0)
    if len(groups) == 1:
        return value, variance, np.full(value.shape, float(dfs[0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        df = variance**2 / np.sum([part**2 / df for part, df in zip(parts, dfs, strict=True)], axis=0)
    return value, variance, np.where(np.isnan(df), float(sum(dfs)), df)


def _item_part(tables: Sequence[Floats], groups: Sequence[NDArray[np.intp]]) -> tuple[Floats, Floats, Floats]:
    """What items add to the variance (it may be below zero), its degrees of freedom, and its standard deviation.

    Degrees of freedom are those of the items' own mean square, before the residuals' is taken off: that difference may be zero.
    """
    item, whole, noise = 0.0, 0.0, 0.0
    for table in tables:
        items = table.shape[-2]
        squares, residuals = _squares_of_items(table, groups)
        scale = (items - 1) * len(tables) ** 2
        item = item + (squares - residuals).mean(axis=-1) / scale
        whole = whole + squares.mean(axis=-1) / scale
        noise = noise + (squares - residuals).var(axis=-1, ddof=1) / (items * scale**2)
    return np.asarray(item), _df(np.asarray(whole), np.asarray(noise)), np.sqrt(np.asarray(noise))


def _df(variance: Floats, noise: Floats) -> Floats:
    """Degrees of freedom of a variance whose estimate has the variance `noise`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(noise > 0, 2 * variance**2 / noise, np.inf)


def _squares_of_items(table: Floats, groups: Sequence[NDArray[np.intp]]) -> tuple[Floats, Floats]:
    """Each item's squared deviation from its benchmark's mean, and what its residuals over blocks make of that: `(..., items)`.

    Over items - 1 the mean of their difference is (MS_items - MS_residual) / (S I).
    """
    deviations, residuals = [], []
    for group in groups:
        mine = table if len(group) == table.shape[-1] else table[..., group]
        means, own, squares = mine.mean(axis=-2, keepdims=True), [], []
        for start in range(0, mine.shape[-2], _ITEMS_AT_ONCE):
            centred = mine[..., start : start + _ITEMS_AT_ONCE, :] - means
            own.append(centred.mean(axis=-1))
            squares.append(np.einsum("...is,...is->...i", centred, centred))
        deviations.append(np.concatenate(own, axis=-1))
        left = np.concatenate(squares, axis=-1) - len(group) * deviations[-1] ** 2
        residuals.append(left / (len(group) * max(len(group) - 1, 1) * len(groups) ** 2))
    return np.mean(deviations, axis=0) ** 2, np.sum(residuals, axis=0)


def by_cluster(differences: Floats, clusters: Sequence[Hashable]) -> Floats:
    """Items that share a passage or a source as one unit each, so that they count once.

    Args:
        differences: `(items, blocks)`.
        clusters: the cluster of each item.

    Returns:
        `(clusters, blocks)`, in order of appearance, for `crossed`. A column's mean is still the mean over its items: a cluster's row is
        that mean plus the sum of its items' deviations from it, over the mean cluster size (the delta method for clusters of unequal
        size). Without two items in one cluster it is `differences`.

    Raises:
        ValueError: there is not one cluster an item.
    """
    d = np.asarray(differences, dtype=float)
    if len(clusters) != d.shape[0]:
        raise ValueError(f"{d.shape[0]} items have {len(clusters)} clusters: there must be one an item")
    places = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    index = np.array([places[name] for name in clusters])
    if len(places) == len(d):
        return d
    sizes = np.bincount(index).astype(float)
    sums = np.zeros((len(places), d.shape[1]))
    np.add.at(sums, index, d)
    return linearised_ratio(sums, sizes)


def linearised_ratio(sums: Floats, counts: Floats) -> Floats:
    """The parts that examples have in a ratio of sums, so that the ratio is their mean: the held-out loss per token by example.

    For R = sum(sums) / sum(counts) of a block, an example's part is R + (sum - R count) / mean(count): the delta method (Cochran 1977,
    Sampling Techniques, section 6.3). The item part of a loss is `crossed([linearised_ratio(arm, n) - linearised_ratio(reference, n)])`.

    Args:
        sums: `(examples, blocks)`, e.g. an arm's loss summed over each example's supervised tokens, nats.
        counts: `(examples,)` or `(examples, blocks)`, e.g. those tokens' number.

    Returns:
        `(examples, blocks)`; each column's mean is that block's ratio, e.g. nats per token.

    >>> linearised_ratio(np.array([[2.0], [6.0]]), np.array([1.0, 3.0]))
    array([[2.],
           [2.]])
    """
    s = np.asarray(sums, dtype=float)
    n = np.asarray(counts, dtype=float)
    n = n[:, None] if n.ndim == 1 else n
    ratio = s.sum(axis=0) / n.sum(axis=0)
    return ratio + (s - ratio * n) / n.mean(axis=0)
