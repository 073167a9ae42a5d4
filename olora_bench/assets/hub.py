"""`hub`: repositories of the Hugging Face Hub at a pinned commit, kept in the Hub library's own cache (HF_HOME)."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from olora_bench.assets import cache, layout, transfer
from olora_bench.config import Benchmark, Data, HubSource, Model
from olora_bench.config.lm_eval_tasks import is_lm_evals
from olora_bench.errors import MissingAssets
from olora_bench.process.progress import duration, say

Kind = Literal["model", "dataset"]
_ASKING_S = 3.0  # what one question before the work may take


def kind_of(spec: Model | Benchmark | Data) -> Kind:
    """Which kind of repository an asset is."""
    return "model" if isinstance(spec, Model) else "dataset"


def how_to_bring(spec: Model | Benchmark | Data) -> str:
    """The ways to an asset of the Hub on a machine that cannot ask it: the command that puts the repository into the Hub library's cache
    where there is a connection, and a folder."""
    source = spec.hub
    assert source is not None
    revision = f" --revision {source.revision}" if source.revision else ""
    download = f"`hf download {source.id} --repo-type {kind_of(spec)}{revision}` with a connection (and HF_HOME brought here)"
    if isinstance(spec, Benchmark) and is_lm_evals(spec):  # the same words for all tasks of a group
        return f"{download}, or its rows at <machine.local_dir>/NAME/{spec.report_split}.parquet, NAME as lm-eval calls the task"
    pin = f"model=hub:{source.id}@COMMIT" if spec.name == described_name(source.id) else "hub.revision of its YAML"
    unpinned = "" if source.revision else f"; a commit that is given ({pin}) is looked up nowhere"
    return f"{download}, or its folder below machine.local_dir{unpinned}"


def described_name(repository: str) -> str:
    """The name of a model that is known by its repository alone: no two share it."""
    return repository.replace("/", "--")


_MAY_ASK = ContextVar("_MAY_ASK", default=True)


@contextmanager
def asking_nobody() -> Iterator[None]:
    """What is not on this machine is missing: for commands that only read, whatever models a study of somebody else names."""
    token = _MAY_ASK.set(False)
    try:
        yield
    finally:
        _MAY_ASK.reset(token)


def commit_of(source: HubSource, kind: Kind) -> str:
    """The pinned commit, or today's head of an unpinned repository; where the Hub cannot be asked, the head it had last time.

    Raises:
        MissingAssets: the repository is unpinned, the Hub does not answer or may not be asked, and no head of it is kept here.
    """
    if source.revision is not None:
        return source.revision
    if _MAY_ASK.get():
        return _head(source, kind)
    if (known := last_head(source, kind)) is None:
        raise MissingAssets(f"{source.id} is unpinned, and a command that only reads asks the Hub nothing")
    return known


@functools.cache
def _head(source: HubSource, kind: Kind) -> str:
    from huggingface_hub import HfApi

    try:
        commit = HfApi().repo_info(source.id, repo_type=kind, timeout=_ASKING_S).sha
        if commit is None:
            raise transfer.NotAHub("it names no commit")
    except Exception as error:  # the client's errors are many and change between versions; each means that there is no commit
        known = last_head(source, kind)
        if known and _unreachable(error) and kept(source, kind, known) is not None:
            say(f"assets: {source.id} is unpinned and {_reason(error, source, 'main')}; taking {known}, its head when it was last asked")
            return known
        raise MissingAssets(f"{source.id} is unpinned and its commit cannot be looked up ({_reason(error, source, 'main')})") from error
    head = _home(source, kind) / "refs" / "main"
    with suppress(OSError):  # only a memory
        head.parent.mkdir(parents=True, exist_ok=True)
        head.write_text(commit, encoding="utf-8")
    return commit


def last_head(source: HubSource, kind: Kind) -> str | None:
    """The head of a repository when it was last asked for, where it is kept; asks nobody."""
    head = _home(source, kind) / "refs" / "main"
    return (head.read_text(encoding="utf-8").strip() or None) if head.is_file() else None


def _home(source: HubSource, kind: Kind) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / (f"{kind}s--" + source.id.replace("/", "--"))


def kept(source: HubSource, kind: Kind, commit: str) -> Path | None:
    """The snapshot folder if the Hub library has (some of) it, without a connection."""
    folder = _home(source, kind) / "snapshots" / commit
    return folder if folder.is_dir() else None


def lacking(folder: Path, names: Iterable[str]) -> str | None:
    """What `names` of a snapshot folder visibly lack: a file whose bytes are gone, or numbered parts. None does not mean that all is there.

    >>> lacking(Path("nowhere"), [])
    """
    names = sorted(names)
    if gone := [n for n in names if not (folder / n).is_file()]:
        return f"{gone[0]} is a link to nothing"
    for name in names:
        if (part := re.search(r"-(\d{5})-of-(\d{5})(?=[-.])", name)) is None:
            continue
        before, after = name[: part.start()], name[part.end() :].rpartition(".")[2]
        fellows = {n for n in names if n.startswith(f"{before}-") and f"-of-{part[2]}" in n and n.endswith(f".{after}")}
        if len(fellows) < int(part[2]):
            return f"it has {len(fellows)} of the {int(part[2])} parts of {before}"
    return None


def reason_unreachable(source: HubSource, kind: Kind, commit: str) -> str | None:
    """Why the repository cannot be fetched now, or None. Asks the Hub for one small file, as a download would; not about a rate limit,
    which a download waits out."""
    from huggingface_hub import constants, hf_hub_url

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    url = hf_hub_url(source.id, "config.json", repo_type=kind, revision=commit)
    for last in (False, True):
        try:
            transfer.digest_and_size(url, commit, _ASKING_S)
        except Exception as error:  # as above; the reason is shown, nothing is swallowed
            status = transfer.status_of(error)
            if status == 429 or (status == 404 and not _is(error, "RepositoryNotFoundError", "RevisionNotFoundError")):
                return None  # 404: only that file is not there
            if last or status is None or not transfer.passing(error):
                return _reason(error, source, commit)
            time.sleep(0.5)
        else:
            return None
    raise AssertionError("unreachable")


def _reason(error: Exception, source: HubSource, commit: str) -> str:
    """In words, why the Hub did not give what was asked, and what to do."""
    status, page = transfer.status_of(error), f"https://huggingface.co/{source.id}"
    wait_s = transfer.told_to_wait(error)
    if _is(error, "OfflineModeIsEnabled"):
        return "HF_HUB_OFFLINE is set"
    if _is(error, "GatedRepoError"):
        waiting = "; this login is known and not on its list yet" if status == 403 else ""
        return f"it is gated: accept its licence at {page}, then `hf auth login`{waiting}"
    if _is(error, "RevisionNotFoundError"):
        return f"the Hub has no commit {commit} of it: set its hub.revision to one of {page}/commits/main"
    if _is(error, "RepositoryNotFoundError"):
        return "the Hub does not have it, or not for this login (`hf auth login`)"
    if status in (401, 403):
        return f"the Hub refuses this login ({_first_line(error)}): `hf auth login`, and no old token in HF_TOKEN"
    if status == 429:
        again = "in some minutes" if wait_s is None else f"in {duration(wait_s)}"
        return f"the Hub limits how often it is asked from here: again {again}, or sooner after `hf auth login`, which raises the limit"
    if status is not None and (words := transfer.passing(error)) is not None:
        return f"{words}: try again later"
    if isinstance(error, (transfer.NotAHub, ValueError)):  # ValueError: an answer that is no JSON
        return f"what answers is not a Hub ({_first_line(error)}): is there a proxy or a sign-in page, or a wrong HF_ENDPOINT?"
    if isinstance(error, OSError) and error.errno is not None:
        return f"it cannot be kept ({_first_line(error)}): free space there, or set HF_HOME to a folder that can be written"
    return f"the Hub cannot be reached ({_first_line(error)})"


def _is(error: BaseException, *names: str) -> bool:
    return any(kind.__name__ in names for kind in type(error).__mro__)


def _unreachable(error: Exception) -> bool:
    return transfer.passing(error) is not None or _is(error, "OfflineModeIsEnabled")


def probe(asked: dict[str, Callable[[], str | None]], within_s: float) -> dict[str, str]:
    """Run all checks at once; one that has not answered in time is a reason too. Returns key -> reason."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # noqa: F401 (imported before the clock starts)

    answers: dict[str, str | None] = dict.fromkeys(asked, f"the Hub did not answer within {within_s:.0f} s")

    def ask(key: str) -> None:
        answers[key] = asked[key]()

    # Daemon threads: a name server that never answers must not hold up the exit.
    threads = [threading.Thread(target=ask, args=(key,), daemon=True) for key in asked]
    end = time.monotonic() + within_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return {key: reason for key, reason in list(answers.items()) if reason is not None}


def fetch_config(source: HubSource) -> Path:
    """A snapshot folder of a model with its config.json, and perhaps nothing else.

    Raises:
        MissingAssets: it cannot be looked up or downloaded.
    """
    commit = commit_of(source, "model")
    folder = kept(source, "model", commit)
    return folder if folder is not None and (folder / "config.json").is_file() else _download(source, "model", commit, ["config.json"])


def fetch_model(source: HubSource, commit: str) -> Path:
    """The model's snapshot folder, complete and its files' digests checked once.

    Raises:
        MissingAssets: it cannot be downloaded, or the repository lacks what a model needs.
    """
    folder = kept(source, "model", commit)
    if folder is None or model_problem(folder) or _drop_corrupt(layout.model_files(folder)):
        folder = _download(source, "model", commit, _model_names(_listed(source, "model", commit)))
    if (problem := model_problem(folder)) is not None:
        raise MissingAssets(f"{source.id}@{commit} cannot be loaded as a model: {problem}")
    return folder


def model_problem(folder: Path) -> str | None:
    """Why a snapshot folder is not a whole model, or None."""
    return layout.model_problem(folder) or lacking(folder, [p.name for p in folder.iterdir() if not p.is_dir()])


def fetch_rows(spec: Benchmark | Data, source: HubSource, commit: str) -> dict[str, list[Path]]:
    """The files of each split in the dataset's snapshot folder.

    Raises:
        MissingAssets: they cannot be downloaded, or the repository has no files that are known as splits.
    """
    names = _listed(source, "dataset", commit)
    splits = layout.pick(names, source.config, layout.splits_of(spec))
    if isinstance(spec, Data) and splits and (absent := [split for split in layout.splits_of(spec) if split not in splits]):
        raise MissingAssets(f"{source.id}@{commit} has no {' and no '.join(absent)} split; it has {', '.join(names[:8])}")
    if not splits:
        splits_wanted = ", ".join(layout.splits_of(spec))
        raise MissingAssets(
            f"{source.id}@{commit} has no <split>.parquet or .json files for {splits_wanted}; it has {', '.join(names[:8])}"
        )
    wanted = [n for hits in splits.values() for n in hits]
    if (folder := kept(source, "dataset", commit)) is not None:
        _drop_corrupt([folder / n for n in wanted if (folder / n).is_file()])
    folder = _download(source, "dataset", commit, wanted)
    if (lacks := lacking(folder, wanted)) is not None:
        raise MissingAssets(f"{source.id}@{commit} is in the Hub cache in part: {lacks}")
    return {split: [folder / n for n in hits] for split, hits in splits.items()}


def _model_names(names: list[str]) -> list[str]:
    """The files of a model's top folder that loading reads, weights last; pickled weights only where there is nothing safer, and of
    several copies the one that transformers loads."""
    top = [n for n in names if "/" not in n]

    def matching(patterns: tuple[str, ...]) -> list[str]:
        return [n for n in top if any(fnmatch(n, pattern) for pattern in patterns)]

    safe = matching(layout.WEIGHTS)
    weights = [n for n in safe if n.startswith("model")] or safe or matching(layout.PICKLES)
    return sorted([*matching(layout.BESIDE_WEIGHTS), *weights], key=lambda n: not n.endswith(".json"))


def _listed(source: HubSource, kind: Kind, commit: str) -> list[str]:
    """The repository's files; those that are kept here where the Hub cannot be asked."""
    from huggingface_hub import constants

    folder = kept(source, kind, commit)
    url = f"{constants.ENDPOINT}/api/{kind}s/{source.id}/tree/{commit}?recursive=True&expand=False"
    try:
        return transfer.names_at(url) if folder is not None else transfer.patiently(lambda: transfer.names_at(url))
    except Exception as error:
        if folder is not None:  # brought here before, no connection
            return files_in(folder)
        raise MissingAssets(f"{source.id}@{commit}: {_reason(error, source, commit)}") from error


def files_in(folder: Path) -> list[str]:
    """The names in a snapshot folder, links to nothing among them."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def _download(source: HubSource, kind: Kind, commit: str, names: list[str]) -> Path:
    """The snapshot folder with these files in it, which appear there all together and after their digests were checked."""
    from huggingface_hub import hf_hub_url

    home = _home(source, kind)
    folder = home / "snapshots" / commit
    absent = [n for n in names if not (folder / n).is_file()]
    if not absent:
        return folder
    if not _MAY_ASK.get():
        raise MissingAssets(f"{source.id}@{commit}: {', '.join(absent)} not on this machine, and a command that only reads fetches nothing")
    say(f"assets: {source.id}@{commit[:8]} from the Hub")
    try:
        urls = {name: hf_hub_url(source.id, name, repo_type=kind, revision=commit) for name in absent}
        files = [transfer.describe(name, url, commit, home / "blobs") for name, url in urls.items()]
        for _ in range(2):
            transfer.receive(list({file.digest: file for file in files}.values()), source.id)
            if not (wrong := _drop_corrupt([file.blob for file in files], {f.digest: f.name for f in files})):
                break
        else:
            raise MissingAssets(
                f"{source.id}@{commit}: {', '.join(wrong)} came twice with another digest than the Hub says: something on the way "
                "changes it. Try another network or HF_ENDPOINT"
            )
        for file in files:
            _link(folder / file.name, file.blob)
    except MissingAssets:
        raise
    except Exception as error:
        raise MissingAssets(f"{source.id}@{commit} cannot be downloaded: {_reason(error, source, commit)}") from error
    return folder


def _link(pointer: Path, blob: Path) -> None:
    """As the Hub library does it, so that each finds what the other brought."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except FileExistsError:  # another process was first
        return
    except OSError:  # a file system without links
        shutil.copyfile(blob, pointer)


def _drop_corrupt(files: Iterable[Path], names: dict[str, str] | None = None) -> list[str]:
    """Delete what does not have the digest that the Hub library's cache names it by (SHA-256, or git's SHA-1). Returns their names.

    Args:
        names: blob -> its file's name, where `files` are not links.
    """
    dropped = []
    for link in files:
        blob = link.resolve()
        if blob.parent.name != "blobs" or not blob.is_file():
            continue
        digest = cache.sha256_here(blob) if len(blob.name) == 64 else _git_sha1(blob) if len(blob.name) == 40 else blob.name
        if digest != blob.name:
            name = (names or {}).get(blob.name, link.name)
            wrong = f"{digest[:12]}... instead of {blob.name[:12]}..."
            say(f"assets: {name} in the Hub cache is corrupt ({wrong}); deleted, to be fetched again")
            link.unlink()
            blob.unlink(missing_ok=True)
            dropped.append(name)
    return dropped


def _git_sha1(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
