"""The levels of a test that looks several times: error spent over the looks, and the levels that spend it.

A study may end at looks declared before it begins, numbers of seeds a model. Look j sees the first S_j seeds. All looks share the items
(and the models), so an estimate's error falls from look to look by what new seeds bring alone, and the estimates D_1, ..., D_K have the
canonical joint law of group-sequential tests with information 1 / V_j (Jennison and Turnbull 2000, Group Sequential Methods, section 3.1):

    cov(D_i, D_j) = V_j and corr(D_i, D_j) = sqrt(V_j / V_i) for i < j

How much of a level is spent by each look is fixed by S_j / S_K alone (Lan and DeMets 1983); the one-sided level at look j makes the chance
to have crossed by then, with the levels used before, what is spent. It is worked out for normal estimates, and applied to p-values of the
test that is used (the significance level approach, Jennison and Turnbull 2000, section 4.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, roots_legendre

from olora_bench.analysis.paired import Floats

SPENDING = 0.75
"""The share of the level that is spent by a share t of the seeds is t to this power: from about t = 0.22 on
between Pocock's and a straight line, before that above both."""
CLOSEST = 0.999
"""The variance at a look over that at the look before is held to be no more: looks that are closer are tested as if they were so far apart,
which asks more of them."""
_FAR = 6.5
"""Standard deviations beyond which nothing comes: one path in 10^10."""
_NODES = (24, 512)
_AT_ONCE = 2**18


def spent(looks: Sequence[int]) -> Floats:
    """The share of the level that may be spent by each look, of which the last is 1.

    Args:
        looks: numbers of seeds, ascending.

    >>> spent((5, 20)).round(3).tolist()
    [0.354, 1.0]
    """
    return np.asarray((np.array(looks, dtype=float) / looks[-1]) ** SPENDING)


def crossings(variances: ArrayLike, upper: ArrayLike, lower: ArrayLike = -np.inf) -> Floats:
    """The chance that a path first leaves at each look, and above.

    By recursive numerical integration (Armitage, McPherson and Rowe 1969), with Gauss-Legendre nodes from where a later boundary can be
    reached; right to 1e-7.

    Args:
        variances: `(..., looks)`, of the estimates, not rising.
        upper, lower: `(..., looks)`, boundaries of the standardised estimates, whose means are zero; shift them for others.

    Returns:
        `(..., looks)`.

    >>> float(2 * crossings([2.0, 1.0], [2.178, 2.178], [-2.178, -2.178]).sum().round(4))  # Pocock's two looks at 5%
    0.05
    """
    v, top, bottom = np.broadcast_arrays(*(np.asarray(one, dtype=float) for one in (variances, upper, lower)))
    shape = v.shape
    flat = [one.reshape(-1, shape[-1]) for one in (v, top, bottom)]
    return np.concatenate([_crossings(*part) for part in _parts(flat)]).reshape(shape)


def next_level(variances: ArrayLike, used: ArrayLike, may: ArrayLike) -> Floats:
    """The one-sided level at the last of these looks: with it the chance to have crossed by then is what may be spent.

    Args:
        variances: `(..., looks)`, of the estimates, as the last look knows them.
        used: `(..., looks - 1)`, the one-sided levels at the looks before.
        may: `(...)`, what may be spent by this look.

    Returns:
        `(...)`; 0 where all of it is spent, as the variances are known now, and where a variance is not known.

    >>> float(next_level([3.0, 2.0], [0.01], 0.02).round(4))
    0.015
    """
    v, levels, all_of_it = (np.asarray(one, dtype=float) for one in (variances, used, may))
    shape = np.broadcast_shapes(v.shape[:-1], levels.shape[:-1], all_of_it.shape)
    if v.shape[-1] == 1:
        return np.broadcast_to(all_of_it, shape).copy()
    flat = [np.broadcast_to(one, (*shape, one.shape[-1])).reshape(-1, one.shape[-1]) for one in (v, levels, all_of_it[..., None])]
    return np.concatenate([_next_level(v, levels, may[:, 0]) for v, levels, may in _parts(flat)]).reshape(shape)


def _parts(arrays: list[Floats]) -> list[list[Floats]]:
    """Some studies at a time, so that a step's matrices stay small."""
    size = max(_AT_ONCE // _NODES[0] ** 2 // 4, 1)
    return [[one[start : start + size] for one in arrays] for start in range(0, max(len(arrays[0]), 1), size)]


def _next_level(variances: Floats, used: Floats, may: Floats) -> Floats:
    upper = -ndtri(used)
    least = -ndtri(may)  # the boundary cannot be lower: to lie above it is to have crossed
    gone, nodes, mass, rho, sd = _walk(variances, np.concatenate([upper, least[:, None]], axis=1), np.full_like(variances, -np.inf))
    left = may - gone.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        boundary, most = least.copy(), -ndtri(np.clip(left, 1e-300, None))
        for _ in range(60):
            distance = (rho * nodes - boundary[:, None]) / sd
            above = (mass * ndtr(distance)).sum(axis=1)
            density = (mass * np.exp(-0.5 * distance**2)).sum(axis=1) / (sd[:, 0] * np.sqrt(2 * np.pi))
            step = np.where(density > 0, above * np.log(above / left) / density, 0.0)  # Newton's for the logarithm, which is concave
            boundary = np.clip(boundary + np.nan_to_num(step), least, most)
            if np.abs(np.nan_to_num(step[left > 0])).max(initial=0.0) < 1e-10:
                break
    return np.where((left > 0) & np.isfinite(mass).all(axis=1), ndtr(-boundary), 0.0)


def _crossings(variances: Floats, upper: Floats, lower: Floats) -> Floats:
    first = ndtr(-upper[:, :1])
    if variances.shape[1] == 1:
        return first
    gone, nodes, mass, rho, sd = _walk(variances, upper, lower)
    return np.concatenate([gone, (mass * ndtr((rho * nodes - upper[:, -1:]) / sd)).sum(axis=1, keepdims=True)], axis=1)


def _walk(variances: Floats, upper: Floats, lower: Floats) -> tuple[Floats, ...]:
    """Up to the look before the last: chances to have left above by look, nodes with the mass that is left, and the step to the last."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.clip(variances[:, 1:] / variances[:, :-1], 1e-12, CLOSEST)
    rho, sd = np.sqrt(ratio)[..., None], np.sqrt(1 - ratio)[..., None]
    low, high = _range(ratio, upper, lower)
    points = _count(high - low, sd[..., 0])
    gone = [ndtr(-upper[:, 0])]
    nodes, weights = _spread(low[:, 0], high[:, 0], points)
    mass = weights * np.exp(-0.5 * nodes**2) / np.sqrt(2 * np.pi)
    for j in range(1, variances.shape[1] - 1):
        mean = rho[:, j - 1] * nodes
        gone.append((mass * ndtr((mean - upper[:, j : j + 1]) / sd[:, j - 1])).sum(axis=1))
        after, weights = _spread(low[:, j], high[:, j], points)
        kernel = (after[:, :, None] - mean[:, None, :]) / sd[:, j - 1][..., None]
        density = np.einsum("sij,sj->si", np.exp(-0.5 * kernel**2), mass) / (sd[:, j - 1] * np.sqrt(2 * np.pi))
        nodes, mass = after, weights * density
    return np.stack(gone, axis=1), nodes, mass, rho[:, -1], sd[:, -1]


def _range(ratio: Floats, upper: Floats, lower: Floats) -> tuple[Floats, Floats]:
    """Between which values a path goes on and can still leave above later."""
    high = np.minimum(upper[:, :-1], np.maximum(_FAR, np.where(np.isfinite(upper), upper, 0).max(axis=1, keepdims=True) + 2))
    low = np.empty_like(high)
    for j in range(ratio.shape[1]):
        kept = np.cumprod(ratio[:, j:], axis=1)
        reach = (upper[:, j + 1 :] - _FAR * np.sqrt(1 - kept)) / np.sqrt(kept)
        low[:, j] = np.maximum(lower[:, j], np.maximum(reach.min(axis=1), -_FAR))
    return np.minimum(low, high - 1e-6), high


def _count(width: Floats, sd: Floats) -> int:
    """Nodes that resolve the narrowest step."""
    narrow = np.minimum(sd, np.concatenate([sd[:, :1], sd[:, :-1]], axis=1))
    return int(np.clip(8 + 2.5 * np.nanmax(width / narrow, initial=0.0), *_NODES))


def _spread(low: Floats, high: Floats, points: int) -> tuple[Floats, Floats]:
    nodes, weights = _legendre(points)
    half = (high - low)[:, None] / 2
    return low[:, None] + half * (1 + nodes), half * weights


@lru_cache(maxsize=64)
def _legendre(points: int) -> tuple[Floats, Floats]:
    nodes, weights = roots_legendre(points)
    return nodes, weights
