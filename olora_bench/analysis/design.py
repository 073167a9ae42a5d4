"""What a design with looks can find and what it costs, by simulating the very test that will be used: looks, Holm, margin, items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from olora_bench.analysis.crossed import seed_variance_of
from olora_bench.analysis.estimate import Estimate, Flags, Floats
from olora_bench.analysis.paired import LEVEL, POWER
from olora_bench.analysis.power import CONFIDENCE, Found
from olora_bench.analysis.sequential import Look, half_widths, unanswered

STUDIES = 10_000
"""Simulated to foretell a power: it is then known to half a percentage point."""


@dataclass(frozen=True)
class Design:
    """A family of contrasts with one reference, judged at looks.

    `plan`: seeds a model at every look. `models`: how many. `margin`: the difference that matters, or None. `at_edge`: the chances that an
    arm's best rate lies at an edge of its finalists, where it may be better than what is seen: at every look, and at a look.
    """

    plan: tuple[int, ...]
    contrasts: int = 1
    models: int = 1
    margin: float | None = None
    level: float = LEVEL
    at_edge: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Errors:
    """The variances of a contrast, in the squared unit of the difference, and how well they will be known.

    Attributes:
        seed: of the differences of one model from seed to seed.
        model: of the true differences from model to model, beyond seeds and items; no part where there is one model.
        item: of the mean, from items; it does not fall with seeds.
        item_df, item_noise: its degrees of freedom and the standard deviation of its estimate, as in `estimate.Estimate`.
        residual: the part of `seed` that comes from single items answered by chance; it falls with more items, as `item` does.
        seed_df: degrees of freedom that `seed` is known with, for `at_end`.
    """

    seed: float
    item: float
    model: float = 0.0
    item_df: float = np.inf
    item_noise: float = 0.0
    residual: float = 0.0
    seed_df: float = np.inf

    def with_items(self, times: float) -> Errors:
        """With so many times the items."""
        less = self.residual * (1 - 1 / times)
        return replace(self, seed=self.seed - less, residual=self.residual - less, item=self.item / times,
                       item_df=self.item_df * times, item_noise=self.item_noise / times**1.5)  # fmt: skip

    def at_end(self, side: int) -> Errors:
        """With both variances at the lower (-1) or upper (1) end of their 95% intervals."""
        tail = (1 - side * CONFIDENCE) / 2
        seed = self.seed if np.isinf(self.seed_df) else self.seed * self.seed_df / float(stats.chi2.ppf(tail, self.seed_df))
        item = max(self.item + side * float(stats.norm.isf((1 - CONFIDENCE) / 2)) * self.item_noise, 0.0)
        return replace(self, seed=seed, residual=min(self.residual, seed), item=item)

    def variance(self, seeds: float, models: int) -> float:
        """Of the mean over so many seeds of so many models."""
        return (self.seed / seeds + (self.model if models > 1 else 0.0)) / models + self.item


def errors_of(look: Look, seeds: int, models: int = 1, residual: float = 0.0) -> Errors:
    """What a look tells a later study of the same models.

    Args:
        look: of a study; its value plays no part.
        seeds: a model, that it has seen.
        models: how many there are.
        residual: the part of the variance between seeds that single items answered by chance bring, as `crossed.residual_variance` has it.
    """
    of, seed = look.estimate, float(look.seed_variance) * models
    model = max(float(of.block_variance) * models - seed / seeds, 0.0) if models > 1 else 0.0
    item, df, noise = float(of.item_variance), float(of.item_df), float(of.item_noise)
    return Errors(seed, item, model, df, noise, min(residual, seed), float(models * (seeds - 1)))


@dataclass(frozen=True)
class Stops:
    """Where simulated contrasts end; arrays `(contrasts, studies)`.

    `look`: at which each is decided, from 0 on; the last where it is not. `better`, `worse`: shown to differ; `equivalent`: to lie inside
    the margin, which may be both.
    """

    look: NDArray[np.int64]
    better: Flags
    worse: Flags
    equivalent: Flags

    @property
    def decided(self) -> Flags:
        return self.better | self.worse | self.equivalent


@dataclass(frozen=True)
class Sample:
    """Many studies: at each look the values `(contrasts, studies)`, and the boundaries of both questions for each of Holm's steps.

    `shown`, `inside`: by step (the level over 1, 2, ... contrasts) and look, arrays `(contrasts, studies)`. `unanswered`: at each look, the
    questions that it leaves open, `(4, contrasts, studies)` (`sequential.unanswered`).
    """

    design: Design
    values: list[Floats]
    shown: list[list[Floats]]
    inside: list[list[Floats]]
    unanswered: list[Flags]

    def stops(self, differences: ArrayLike = 0.0) -> Stops:
        """Judge the studies as `sequential.sequential` does, with these true differences added, one a contrast."""
        added = np.broadcast_to(np.asarray(differences, dtype=float), (self.design.contrasts,))[:, None]
        return _stops(self, [value + added for value in self.values])


def sample(design: Design, looks: Sequence[Look]) -> Sample:
    """Studies whose looks `(contrasts, studies)` are given.

    Args:
        looks: at each declared look what it sees.
    """
    steps = range(1, design.contrasts + 1)
    shown = [half_widths(looks, design.plan, design.level / 2 / step) for step in steps]
    inside = [half_widths(looks, design.plan, design.level / step) for step in steps] if design.margin is not None else []
    values = [look.estimate.value for look in looks]
    left = [np.stack([np.broadcast_to(one, look.estimate.value.shape) for one in unanswered(look.estimate)]) for look in looks]
    return Sample(design, values, shown, inside, left)


def simulate_design(design: Design, errors: Errors, *, studies: int = STUDIES, seed: int = 0) -> Sample:
    """Studies of no difference with these variances; `Sample.stops` adds differences, so that one sample answers for all of them."""
    return sample(design, looks_drawn(design, errors, studies, np.random.default_rng(seed)))


def looks_drawn(design: Design, errors: Errors, studies: int, rng: np.random.Generator) -> list[Look]:
    """Normal seeds, models and items; half of each contrast's variance is the common reference's."""
    size = (studies, design.models, design.plan[-1])
    seeds = np.sqrt(errors.seed) * _contrasts(design, size, rng)
    if design.models > 1:
        seeds += np.sqrt(errors.model) * _contrasts(design, (studies, design.models, 1), rng)
    items = np.sqrt(errors.item) * _contrasts(design, (studies,), rng)
    known = np.maximum(errors.item + errors.item_noise * rng.normal(size=items.shape), 0.0)
    looks = [look_at(seeds[..., :count], items, known, errors) for count in design.plan]
    if not design.at_edge[1]:
        return looks
    return [open_ended(look, edges[:1], edges[1:]) for look, edges in zip(looks, _edges(design, studies, rng), strict=True)]


def _edges(design: Design, studies: int, rng: np.random.Generator) -> Flags:
    """By look, which arms are at an edge, `(looks, 1 + contrasts, studies)`, the reference first; some are so at every other look."""
    (always, share), size = design.at_edge, (design.contrasts + 1, studies)
    luck = rng.random(size)
    sometimes = (luck < 2 * share - always) & (rng.random((len(design.plan), *size)) < 0.5)
    return np.asarray((luck < always) | sometimes)


def open_ended(look: Look, lower: Flags, higher: Flags) -> Look:
    """A look at studies in some of which the truth may lie lower, or higher, whatever is seen."""
    return replace(look, estimate=replace(look.estimate, may_be_lower=lower, may_be_higher=higher))


def _contrasts(design: Design, size: tuple[int, ...], rng: np.random.Generator) -> Floats:
    if design.contrasts == 1:
        return rng.normal(size=(1, *size))
    arms = rng.normal(size=(design.contrasts + 1, *size))
    return (arms[1:] - arms[:1]) / np.sqrt(2)


def look_at(seeds: Floats, items: Floats, known: Floats, errors: Errors) -> Look:
    """What a look sees.

    Args:
        seeds: `(..., models, seeds)`, differences without items' part.
        items: `(...)`, what the items add to each of them.
        known: `(...)`, the estimated variance of that.
        errors: how well it is known.
    """
    models, count = seeds.shape[-2:]
    within = seed_variance_of([*np.moveaxis(seeds, -2, 0)])
    means = seeds.mean(axis=-1)
    block, df = (within / count, count - 1) if models == 1 else (means.var(axis=-1, ddof=1) / models, models - 1)
    nothing = np.zeros(items.shape)
    estimate = Estimate(means.mean(axis=-1) + items, block, nothing + df, known, nothing + errors.item_df, nothing + errors.item_noise)
    return Look(estimate, within)


def _stops(of: Sample, values: Sequence[Floats]) -> Stops:
    shape = values[0].shape
    look, decided = np.full(shape, len(values) - 1), np.zeros(shape, dtype=bool)
    crossed = np.zeros((4, of.design.contrasts, *shape), dtype=bool)
    said = crossed.copy()
    for k, (value, left) in enumerate(zip(values, of.unanswered, strict=True)):
        answered = ~left[:, None]
        crossed |= _crossed(of, k, value) & answered
        said = np.where(decided, said, crossed & answered)
        now = ~decided & (_holm(said[0] | said[1]) | _holm(said[2] & said[3]))
        look[now], decided = k, decided | now
    differs = _holm(said[0] | said[1])
    return Stops(look, differs & _any(said[0], differs), differs & ~_any(said[0], differs), _holm(said[2] & said[3]))


def _crossed(of: Sample, k: int, value: Floats) -> Flags:
    """Which of the four questions a look answers, by Holm's step: `(4, steps, contrasts, studies)`."""
    shown = np.stack([of.shown[step][k] for step in range(of.design.contrasts)])
    above, below = value > shown, value < -shown
    if of.design.margin is None:
        return np.stack([above, below, np.zeros_like(above), np.zeros_like(above)])
    inside = np.stack([of.inside[step][k] for step in range(of.design.contrasts)])
    return np.stack([above, below, value < of.design.margin - inside, value > inside - of.design.margin])


def _holm(crossed: Flags) -> Flags:
    """What Holm calls, from what crosses at the level over 1, 2, ... contrasts: `(steps, contrasts, studies)` to `(contrasts, studies)`."""
    called = crossed[-1].copy()
    for _ in range(len(crossed) - 1):
        left = np.maximum(len(crossed) - called.sum(axis=0), 1)
        called |= np.take_along_axis(crossed, np.broadcast_to(left - 1, called.shape)[None], axis=0)[0]
    return called


def _any(up: Flags, called: Flags) -> Flags:
    """Whether a called contrast lies above: at the most lenient level of Holm, where all that are called have crossed."""
    return np.asarray(up[0] & called)


@dataclass(frozen=True)
class Expected:
    """A design at one true difference of all its contrasts, in shares of contrasts, and seeds a model until each is decided."""

    difference: float
    better: float
    worse: float
    equivalent: float
    undecided: float
    seeds: float
    most_seeds: float


@dataclass(frozen=True)
class Foretold:
    """What a design can do.

    Attributes:
        found, found_low, found_high: the smallest true difference of one contrast, the others having none, that is called four times in
            five; and what that may be, as well as the variances are known.
        power: the chance that a contrast at the margin, the others having none, is called; NaN without a margin.
        expected: with all contrasts at no difference, at the margin, at twice it (at `found` and twice that, without a margin, where
            anything is found).
    """

    found: float
    found_low: float
    found_high: float
    power: float
    expected: tuple[Expected, ...]


def foretold(design: Design, errors: Errors, *, studies: int = STUDIES, seed: int = 0) -> Foretold:
    """What a design can find with these variances, and when it will end."""
    of = simulate_design(design, errors, studies=studies, seed=seed)
    least, power = found_from(of), float("nan") if design.margin is None else power_at(of, design.margin)
    low, high = _found_at_ends(design, errors, studies, seed)
    unit = least if design.margin is None else design.margin
    return Foretold(least, low, high, power, tuple(expected(of, one) for one in (0.0, unit, 2 * unit) if np.isfinite(one)))


def found(design: Design, errors: Errors, *, studies: int = STUDIES) -> Found:
    """The smallest difference of one contrast found four times in five, and what that may be, as well as the variances are known."""
    return Found(found_from(simulate_design(design, errors, studies=studies)), *_found_at_ends(design, errors, studies, 0))


def _found_at_ends(design: Design, errors: Errors, studies: int, seed: int) -> tuple[float, float]:
    less, more = (simulate_design(design, errors.at_end(side), studies=max(studies // 5, 1), seed=seed) for side in (-1, 1))
    return found_from(less), found_from(more)


def expected(of: Sample, difference: float) -> Expected:
    """How a design ends with all contrasts at a true difference."""
    stops = of.stops(difference)
    alike, seeds = stops.equivalent & ~stops.better & ~stops.worse, np.array(of.design.plan)[stops.look]
    better, worse, equivalent, undecided = (float(one.mean()) for one in (stops.better, stops.worse, alike, ~stops.decided))
    return Expected(difference, better, worse, equivalent, undecided, float(seeds.mean()), float(seeds.max(axis=0).mean()))


def power_at(of: Sample, difference: float) -> float:
    """The chance that one contrast with a true difference is called on its side, the others having none."""
    alone = np.zeros(of.design.contrasts)
    alone[0] = difference
    return float(of.stops(alone).better[0].mean())


def found_from(of: Sample, *, wanted: float = POWER) -> float:
    """The smallest difference of one contrast, the others having none, that is called with the wanted power."""
    last, *earlier = (4 * float(np.nanmedian(look)) for look in reversed(of.shown[-1]))
    if not last > 0:
        return float("nan")
    # a study that ends for equivalence at its first look finds no more than that look alone, whose boundary is the farthest
    most = next((one for one in (last, max([last, *filter(np.isfinite, earlier)])) if power_at(of, one) >= wanted), float("inf"))
    if np.isinf(most):
        return most
    return float(optimize.bisect(lambda difference: power_at(of, difference) - wanted, 0.0, most, xtol=1e-4 * most))


@dataclass(frozen=True)
class Change:
    """What a changed design finds four times in five, with its looks, and how it ends at no difference."""

    plan: tuple[int, ...]
    found: float
    at_none: Expected


def information(design: Design, errors: Errors) -> tuple[float, ...]:
    """At each look, the share of the last look's information that it has: where it is near 1, seeds are no bottleneck and items are."""
    last = errors.variance(design.plan[-1], design.models)
    return tuple(last / errors.variance(seeds, design.models) for seeds in design.plan)


def changed(design: Design, errors: Errors, *, items: float = 1.0, seeds: float = 1.0, studies: int = STUDIES) -> Change:
    """What so many times the items, or the seeds at every look, would find.

    More items are scored for the runs that there are; more seeds are trained.
    """
    plan = tuple(round(seeds * count) for count in design.plan)
    of = simulate_design(replace(design, plan=plan), errors.with_items(items), studies=studies)
    return Change(plan, found_from(of), expected(of, 0.0))
