"""Before any work: is everything at hand or to be had? All that is not is listed at once, each with what brings it, within five seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from olora_bench.assets import cache, hub, layout, packaged
from olora_bench.assets.asked import commands
from olora_bench.assets.folder import misfit
from olora_bench.assets.kinds import NOWHERE, Asset, Missing, Wanted, generated_spec, wanted
from olora_bench.config import Data, Experiment, Model
from olora_bench.errors import BadInput, MissingAssets
from olora_bench.store.sealed import digest_of

ROWS_VERSION = 2  # raised whenever rows from a local folder or the Hub are written differently
_COLUMNS = ("prompt", "response", "prompt_template", "messages", "split_column", "tune_split", "report_split")
ANSWER_WITHIN_S = 3.0  # what a package index or the Hub gets to answer, so that the whole check stays below five seconds


def check(experiment: Experiment, assets: Mapping[str, Asset], *, within_s: float = ANSWER_WITHIN_S) -> None:
    """Refuse an experiment whose assets are neither in the cache nor to be fetched now.

    Args:
        assets: what `resolve` returned.
        within_s: how long a package index or the Hub may take to answer.

    Raises:
        MissingAssets: lists every one, with its reason and what brings it.
        BadInput: a local model folder is not what its YAML says.
    """
    check_all([(experiment, assets)], within_s=within_s)


def check_all(needs: Sequence[tuple[Experiment, Mapping[str, Asset]]], *, within_s: float = ANSWER_WITHIN_S) -> None:
    """As `check`, for many experiments at once: each asset is looked at once, all that is missing comes in one list.

    Raises:
        MissingAssets: as `check`.
    """
    _refuse_misfits(needs)
    refuse([experiment for experiment, _ in needs], unobtainable(needs, within_s=within_s))


def _refuse_misfits(needs: Sequence[tuple[Experiment, Mapping[str, Asset]]]) -> None:
    """Local model folders against their YAML, before any work; those of other sources are looked at where they are loaded."""
    reasons: dict[str, None] = {}
    for experiment, assets in needs:
        model, local_dir = experiment.model, experiment.machine.local_dir
        asset = assets.get(f"model:{model.name}")
        if asset is not None and asset.source == "local":
            place = layout.find_model(model, local_dir)
            reason = None if place is None else misfit(model, place)
            reasons |= {} if reason is None else {reason: None}
    if reasons:
        raise BadInput("\n".join(reasons))


def refuse(experiments: Iterable[Experiment], missing: list[Missing]) -> None:
    """Raise `MissingAssets` for a list that is not empty; assets with the same reason share its lines.

    Raises:
        MissingAssets: with that list, and the commands that fetch the experiments' assets.
    """
    if not missing:
        return
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for m in missing:
        reasons.setdefault((m.source, m.reason, m.bring), []).append(m.key)
    lines = [f"{len(missing)} asset{'s are' if len(missing) > 1 else ' is'} missing:"]
    for (source, reason, bring), keys in reasons.items():
        lines += [f"  {', '.join(keys)}", f"    source: {source}; {reason}", f"    brings it: {bring}"]
    if any(m.source != NOWHERE for m in missing):  # what no source has, no command fetches
        lines += ["Then, or with a connection, fetch all of it ahead:", *(f"  {text}" for text in commands(experiments))]
    raise MissingAssets("\n".join(lines))


def cached_place(want: Wanted, asset: Asset, cache_dir: Path) -> cache.Place | None:
    """The cache folder an asset is made into and what it is made from, or None for assets used where they lie."""
    spec = want.spec
    if asset.source == "packaged":
        assert not isinstance(spec, Data) and spec.packaged is not None
        return cache.Place(packaged.folder_of(spec.packaged, spec.name, cache_dir), packaged.spec_of(spec.packaged))
    if isinstance(spec, Model):
        return None
    made_from: dict[str, JsonValue] = {"identity": asset.identity, "splits": [*layout.splits_of(spec)], "version": ROWS_VERSION}
    if asset.source == "generated":
        made_from["rows"] = generated_spec(spec)
    columns = {k: v for k in _COLUMNS if (v := getattr(spec, k, None)) is not None}
    if columns:
        made_from["columns"] = columns
    return cache.Place(cache_dir / "rows" / f"{spec.name}-{digest_of(made_from)[:16]}", made_from)


def unobtainable(needs: Sequence[tuple[Experiment, Mapping[str, Asset]]], *, within_s: float = ANSWER_WITHIN_S) -> list[Missing]:
    """Every asset that is not in the cache and cannot be fetched now, each once."""
    absent: dict[tuple[str, str], _Absent] = {}
    local: dict[tuple[str, str], Missing] = {}
    for experiment, assets in needs:
        for key, want in wanted(experiment).items():
            if key not in assets or (seen := (key, assets[key].identity)) in absent:
                continue
            if not _at_hand(want, assets[key], experiment.machine.cache_dir):
                absent[seen] = _Absent(want, assets[key])
            if (lacks := _missing_splits(want, assets[key], experiment)) is not None:
                local[seen] = lacks
    with ThreadPoolExecutor(2) as pool:
        wheels = pool.submit(_missing_wheels, [a.want for a in absent.values() if a.asset.source == "packaged"], within_s)
        repositories = pool.submit(_missing_repositories, [a for a in absent.values() if a.asset.source == "hub"], within_s)
        return [*wheels.result(), *repositories.result(), *local.values()]


@dataclass(frozen=True)
class _Absent:
    want: Wanted
    asset: Asset


def _at_hand(want: Wanted, asset: Asset, cache_dir: Path) -> bool:
    place = cached_place(want, asset, cache_dir)
    if place is not None and cache.problem(*place, read_files=False) is None:
        return True
    if asset.source == "hub":
        return _in_hub_cache(want, commit(asset))
    return asset.source in ("generated", "local")


def _in_hub_cache(want: Wanted, commit: str) -> bool:
    spec = want.spec
    assert spec.hub is not None
    folder = hub.kept(spec.hub, hub.kind_of(spec), commit)
    if folder is None:
        return False
    if isinstance(spec, Model):
        return hub.model_problem(folder) is None
    try:
        found = layout.pick(hub.files_in(folder), spec.hub.config, layout.splits_of(spec))
    except BadInput:  # some shards of a download that was cut off
        return False
    return all(split in found for split in want.source_splits) and hub.lacking(folder, [n for hits in found.values() for n in hits]) is None


def commit(asset: Asset) -> str:
    """The commit in a Hub asset's identity."""
    return asset.identity.rpartition("@")[2].partition("#")[0]


def _missing_wheels(wants: list[Wanted], within_s: float) -> list[Missing]:
    sources = {w.key: w.spec.packaged for w in wants if not isinstance(w.spec, Data) and w.spec.packaged is not None}
    reasons = packaged.probe(sources.values(), within_s) if sources else {}
    return [
        Missing(key, f"packaged ({name})", reasons[name], packaged.how_to_bring(source))
        for key, source in sources.items()
        if (name := f"{source.package}=={source.version}") in reasons
    ]


def _missing_repositories(absent: list[_Absent], within_s: float) -> list[Missing]:
    asked: dict[str, Callable[[], str | None]] = {}
    found: dict[str, Missing] = {}
    for a in absent:
        source, kind = a.want.spec.hub, hub.kind_of(a.want.spec)
        assert source is not None
        asked[a.want.key] = partial(hub.reason_unreachable, source, kind, commit(a.asset))
        found[a.want.key] = Missing(a.want.key, f"hub ({source.id})", "", hub.how_to_bring(a.want.spec))
    reasons = hub.probe(asked, within_s) if asked else {}
    return [replace(found[key], reason=reason) for key, reason in reasons.items()]


def _missing_splits(want: Wanted, asset: Asset, experiment: Experiment) -> Missing | None:
    spec, local_dir = want.spec, experiment.machine.local_dir
    if asset.source != "local" or isinstance(spec, Model):
        return None
    found = layout.find_rows(spec, local_dir)
    absent = [s for s in want.source_splits if s not in found]
    if not absent:
        return None
    folder = next(iter(found.values()))[0].parent
    passed = [n for n in layout.no_rows_in(folder) if layout.split_said(n.partition(" (")[0]) in absent]
    also = f"; {', '.join(passed)} is read as no rows (allowed endings: {', '.join(layout.ENDINGS)})" if passed else ""
    reason = f"it has {', '.join(found)}, no {' and no '.join(absent)}{also}"
    return Missing(want.key, f"local ({folder})", reason, f"put {absent[0]}.parquet there, or leave local out of assets")
