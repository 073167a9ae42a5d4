"""Which source serves each asset of an experiment, and the identity that goes into its ids. No download, no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache as cache_once
from pathlib import Path

from olora_bench.assets import cache, hub, layout, packaged
from olora_bench.assets.check import refuse, unobtainable
from olora_bench.assets.kinds import NOWHERE, Asset, Missing, Source, Spec, Wanted, generated_spec, wanted
from olora_bench.config import Data, Experiment, HubSource, Model
from olora_bench.config.schema import AssetSource
from olora_bench.errors import MissingAssets
from olora_bench.process.progress import say
from olora_bench.store.sealed import digest_of

Settled = Callable[[], Mapping[str, str]]
"""Key -> identity of assets that came from the Hub, as records name them."""


def resolve(experiment: Experiment, settled: Settled | None = None) -> dict[str, Asset]:
    """The first source of `experiment.assets` that each asset's YAML declares.

    `local` counts as declared when its files lie below `machine.local_dir`.

    Fast, without a download: local files are read once for their digest, an unpinned Hub repository's commit is looked up.

    Args:
        settled: for those who only read: asks the Hub nothing, and takes an unpinned repository's commit from here.

    Raises:
        MissingAssets: some assets have no source among `experiment.assets`; lists these and whatever else is not to be had.
        BadInput: data and suite contradict each other.
    """
    if (unused := layout.beside(experiment.data)) is not None:
        _say_once(unused)
    if experiment.data.path is not None and (other := experiment.data.hub) is not None:
        _say_once(f"data.path={experiment.data.path} is trained on, and not data.hub={other.id} of data={experiment.data.name}")
    found: dict[str, Asset] = {}
    missing: list[Missing] = []
    for key, want in wanted(experiment).items():
        source = _source(want, experiment)
        if source is None:
            missing.append(_without_source(want, experiment))
            continue
        for folder, problem in _passed_over(want, source, experiment).items():
            _say_once(f"{key}: {folder} is passed over: {problem}; taken from: {source}")
        try:
            found[key] = Asset(key, source, _identity(want, source, experiment, settled))
        except MissingAssets as error:
            missing.append(Missing(key, "hub", str(error), hub.how_to_bring(want.spec)))
    if missing:
        refuse([experiment], missing if settled is not None else [*missing, *unobtainable([(experiment, found)])])
    return found


def _source(want: Wanted, experiment: Experiment) -> Source | None:
    if want.generated:
        return "generated"
    return next((s for s in experiment.assets if _declares(want.spec, s, experiment.machine.local_dir)), None)


def _declares(spec: Spec, source: AssetSource, local_dir: Path | None) -> bool:
    if source == "packaged":
        return not isinstance(spec, Data) and spec.packaged is not None
    if source == "hub":
        return spec.hub is not None and not (isinstance(spec, Data) and spec.path is not None)
    if isinstance(spec, Model):
        return layout.find_model(spec, local_dir) is not None
    return bool(layout.find_rows(spec, local_dir))


def _passed_over(want: Wanted, source: Source | None, experiment: Experiment) -> dict[Path, str]:
    """Local folders of the asset that come before `source` and cannot be used, each with the reason."""
    spec, local_dir, asked = want.spec, experiment.machine.local_dir, experiment.assets
    if want.generated or "local" not in asked:
        return {}
    if source == "local" or (source in asked and asked.index("local") > asked.index(source)):
        return {}
    if isinstance(spec, Model):
        absent = {} if source is None or spec.local is None else layout.absent(Path(local_dir or "", spec.local))
        return layout.passed_over(spec, local_dir) | absent
    return {} if local_dir is None else layout.rows_passed_over(spec, local_dir)


@cache_once
def _say_once(text: str) -> None:
    say(text)


def _without_source(want: Wanted, experiment: Experiment) -> Missing:
    spec, local_dir = want.spec, experiment.machine.local_dir
    everywhere: tuple[AssetSource, ...] = ("packaged", "local", "hub")
    declared = [s for s in everywhere if _declares(spec, s, None)]
    if isinstance(spec, Model):
        name = spec.local or (spec.hub.id if spec.hub else spec.name)
    else:
        name = f"{spec.local or spec.name}/<split>.parquet"
    placed = local_dir is not None or Path(name).is_absolute()
    place = Path(local_dir or "<machine.local_dir>", name)
    sources = ",".join(experiment.assets)
    own = ["give it with data.path=FILE"] if isinstance(spec, Data) and spec.hub is None else []
    ways = (
        own
        + ([f"add {' or '.join(declared)} to assets"] if declared else [])
        + [f"put it at {place}" + ("" if placed else " and set machine.local_dir (or OLORA_BENCH_LOCAL)")]
    )
    seen = _passed_over(want, None, experiment)
    why = "".join(f"; {folder} is passed over: {problem}" for folder, problem in seen.items())
    if seen:
        folder = next(iter(seen))
        step = f"complete {folder}" if isinstance(spec, Model) else f"unpack, convert or rename it to e.g. {folder}/train.jsonl"
        ways = [step, *ways[:-1]]
    return Missing(
        want.key,
        NOWHERE,
        f"none of assets=[{sources}] has it" + ("" if placed else " (machine.local_dir, or OLORA_BENCH_LOCAL, is not set)") + why,
        ", or ".join(ways),
    )


def _identity(want: Wanted, source: Source, experiment: Experiment, settled: Settled | None) -> str:
    spec, machine = want.spec, experiment.machine
    if source == "generated":
        return f"generated:{digest_of(generated_spec(spec))}"
    if source == "packaged":
        assert not isinstance(spec, Data) and spec.packaged is not None
        return packaged.identity(spec.packaged)
    if source == "hub":
        assert spec.hub is not None
        commit = hub.commit_of(spec.hub, hub.kind_of(spec)) if settled is None else _settled(want, spec.hub, settled)
        return f"{spec.hub.id}@{commit}" + (f"#{spec.hub.config}" if spec.hub.config else "")
    return f"sha256:{local_digest(spec, machine.local_dir, machine.cache_dir)}"


def _settled(want: Wanted, source: HubSource, settled: Settled) -> str:
    """The commit of a repository, without asking the Hub: the pinned one, that of the records, or its head when it was last asked.

    Raises:
        MissingAssets: none is known here.
    """
    if source.revision is not None:
        return source.revision
    named = re.fullmatch(rf"{re.escape(source.id)}@([0-9a-f]{{40}})(?:#.*)?", settled().get(want.key, ""))
    commit = named[1] if named else hub.last_head(source, hub.kind_of(want.spec))
    if commit is None:
        raise MissingAssets(f"{source.id} is unpinned, and no run of this study has settled its commit")
    return commit


def local_digest(spec: Spec, local_dir: Path | None, cache_dir: Path) -> str:
    """SHA-256 over the content that loading reads: a model's files by name, rows by split, whatever their files are called."""
    if isinstance(spec, Model):
        folder = layout.find_model(spec, local_dir)
        assert folder is not None
        return digest_of([[p.name, cache.known_sha256(p, cache_dir)] for p in layout.model_files(folder)])
    rows = layout.find_rows(spec, local_dir)
    return digest_of({split: [cache.known_sha256(p, cache_dir) for p in files] for split, files in rows.items()})
