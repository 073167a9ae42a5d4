"""`hub`: repositories of the Hugging Face Hub at a pinned commit, kept in the Hub library's own cache (HF_HOME)."""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import threading
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from olora_bench.assets import cache, layout
from olora_bench.config import Benchmark, Data, HubSource, Model
from olora_bench.errors import MissingAssets
from olora_bench.progress import Progress, say

Kind = Literal["model", "dataset"]


def kind_of(spec: Model | Benchmark | Data) -> Kind:
    """Which kind of repository an asset is."""
    return "model" if isinstance(spec, Model) else "dataset"


def how_to_bring(source: HubSource, kind: Kind) -> str:
    """The command that puts the repository into the Hub library's cache on a machine with a connection."""
    download = f"hf download {source.id} --repo-type {kind}" + (f" --revision {source.revision}" if source.revision else "")
    return f"`{download}` with a connection (and HF_HOME brought here), or its folder below machine.local_dir"


@functools.cache
def commit_of(source: HubSource, kind: Kind) -> str:
    """The pinned commit, or today's head of an unpinned repository.

    Raises:
        MissingAssets: the repository is unpinned and the Hub does not answer.
    """
    if source.revision is not None:
        return source.revision
    try:
        from huggingface_hub import HfApi

        return str(HfApi().repo_info(source.id, repo_type=kind, timeout=3).sha)
    except Exception as error:  # the client's errors are many and change between versions; each means that there is no commit
        raise MissingAssets(
            f"{source.id} is unpinned and its commit cannot be looked up ({_first_line(error)}): set its hub.revision"
        ) from error


def kept(source: HubSource, kind: Kind, commit: str) -> Path | None:
    """The snapshot folder if the Hub library has (some of) it, without a connection."""
    from huggingface_hub import constants

    prefix = f"{kind}s--" + source.id.replace("/", "--")
    folder = Path(constants.HF_HUB_CACHE) / prefix / "snapshots" / commit
    return folder if folder.is_dir() else None


def reason_unreachable(source: HubSource, kind: Kind, commit: str) -> str | None:
    """Why the repository cannot be fetched now, or None. Asks the Hub once."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        api = HfApi()
        api.repo_info(source.id, repo_type=kind, revision=commit, timeout=3)
        api.auth_check(source.id, repo_type=kind)
    except Exception as error:  # as above; the reason is shown, nothing is swallowed
        if type(error).__name__ == "GatedRepoError":
            return f"it is gated: accept its licence at https://huggingface.co/{source.id}, then `hf auth login`"
        if type(error).__name__ == "RevisionNotFoundError":
            return f"the Hub has no commit {commit} of it"
        if type(error).__name__ == "RepositoryNotFoundError":
            return "the Hub does not have it, or not for this login (`hf auth login`)"
        return f"the Hub cannot be reached ({_first_line(error)})"
    return None


def probe(asked: dict[str, Callable[[], str | None]], within_s: float) -> dict[str, str]:
    """Run all checks at once; one that has not answered in time is a reason too. Returns key -> reason."""
    answers: dict[str, str | None] = dict.fromkeys(asked, f"the Hub did not answer within {within_s:.0f} s")

    def ask(key: str) -> None:
        answers[key] = asked[key]()

    # Daemon threads: a name server that never answers must not hold up the exit.
    threads = [threading.Thread(target=ask, args=(key,), daemon=True) for key in asked]
    deadline = threading.Event()
    timer = threading.Timer(within_s, deadline.set)
    timer.daemon = True
    timer.start()
    for thread in threads:
        thread.start()
    while not deadline.is_set() and any(t.is_alive() for t in threads):
        deadline.wait(0.05)
    timer.cancel()
    return {key: reason for key, reason in list(answers.items()) if reason is not None}


def fetch_model(model: Model, source: HubSource, commit: str) -> Path:
    """The model's snapshot folder, complete and its files' digests checked once.

    Raises:
        MissingAssets: it cannot be downloaded, or the repository lacks what a model needs.
    """
    folder = kept(source, "model", commit)
    if folder is None or layout.model_problem(folder) is not None:
        folder = _download(source, "model", commit, _model_names(source, commit))
    if _drop_corrupt(layout.model_files(folder)):
        folder = _download(source, "model", commit, _model_names(source, commit))
    if (problem := layout.model_problem(folder)) is not None:
        raise MissingAssets(f"{source.id}@{commit} cannot be loaded as a model: {problem}")
    return folder


def fetch_rows(spec: Benchmark | Data, source: HubSource, commit: str) -> dict[str, list[Path]]:
    """The files of each split in the dataset's snapshot folder.

    Raises:
        MissingAssets: they cannot be downloaded, or the repository has no files that are known as splits.
    """
    names = _listed(source, "dataset", commit)
    splits = layout.pick(names, source.config, layout.splits_of(spec))
    if not splits:
        splits_wanted = ", ".join(layout.splits_of(spec))
        raise MissingAssets(
            f"{source.id}@{commit} has no <split>.parquet or .json files for {splits_wanted}; it has {', '.join(names[:8])}"
        )
    wanted = [n for hits in splits.values() for n in hits]
    folder = _download(source, "dataset", commit, wanted)
    if _drop_corrupt([folder / n for n in wanted]):
        folder = _download(source, "dataset", commit, wanted)
    return {split: [folder / n for n in hits] for split, hits in splits.items()}


def _model_names(source: HubSource, commit: str) -> list[str]:
    """The files of a model's top folder that loading reads; pickled weights only where there is nothing safer."""
    top = [n for n in _listed(source, "model", commit) if "/" not in n]

    def matching(patterns: tuple[str, ...]) -> list[str]:
        return [n for n in top if any(fnmatch(n, pattern) for pattern in patterns)]

    return matching(layout.BESIDE_WEIGHTS) + (matching(layout.WEIGHTS) or matching(layout.PICKLES))


def _listed(source: HubSource, kind: Kind, commit: str) -> list[str]:
    from huggingface_hub import HfApi

    try:
        return sorted(HfApi().list_repo_files(source.id, repo_type=kind, revision=commit))
    except Exception as error:
        folder = kept(source, kind, commit)
        if folder is not None:  # brought here by hand, no connection
            return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        raise MissingAssets(f"{source.id}@{commit}: {_first_line(error)}. {how_to_bring(source, kind)}") from error


def _download(source: HubSource, kind: Kind, commit: str, names: list[str]) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    say(f"assets: {source.id}@{commit[:8]} from the Hub")

    def get(**more: Any) -> str:
        return str(snapshot_download(source.id, repo_type=kind, revision=commit, allow_patterns=names, **more))

    try:
        planned = snapshot_download(source.id, repo_type=kind, revision=commit, allow_patterns=names, dry_run=True)
        total = sum(file.file_size or 0 for file in planned if file.will_download)
        blobs = Path(constants.HF_HUB_CACHE) / (f"{kind}s--" + source.id.replace("/", "--")) / "blobs"
        before = _bytes_in(blobs)
        with concurrent.futures.ThreadPoolExecutor(1) as pool, Progress(f"downloading {source.id}", total, unit="bytes") as progress:
            work = pool.submit(get)
            while not work.done():
                concurrent.futures.wait([work], timeout=1.0)
                progress.advance(min(_bytes_in(blobs) - before, total) - progress.done)
            return Path(work.result())
    except Exception as error:
        raise MissingAssets(f"{source.id}@{commit} cannot be downloaded: {_first_line(error)}. {how_to_bring(source, kind)}") from error


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.glob("*") if folder.is_dir() else ():
        try:
            total += path.stat().st_size
        except OSError:  # finished and renamed just now
            continue
    return total


def _drop_corrupt(files: Iterable[Path]) -> bool:
    """Delete what does not have the digest that the Hub library's cache names it by (SHA-256, or git's SHA-1). True when something was."""
    dropped = False
    for link in files:
        blob = link.resolve()
        if blob.parent.name != "blobs":
            continue
        digest = cache.sha256_here(blob) if len(blob.name) == 64 else _git_sha1(blob) if len(blob.name) == 40 else blob.name
        if digest != blob.name:
            say(f"assets: {link.name} in the Hub cache is corrupt ({digest[:12]}... instead of {blob.name[:12]}...); fetching it again")
            link.unlink()
            blob.unlink()
            dropped = True
    return dropped


def _git_sha1(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
