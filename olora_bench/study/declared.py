"""Declared first: the commit that a study's contrasts, grids and seeds have stood unchanged since, and which runs started after it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_bench.errors import BadInput
from olora_bench.formats import Unreadable, parse_yaml, read_text
from olora_bench.study.expand import find_study

if TYPE_CHECKING:
    import pandas as pd

    from olora_bench.study.locked import Since


@dataclass(frozen=True)
class Declaration:
    """The commit (40 hex digits) that declared a study, its time, and whether later commits touched the file."""

    commit: str
    committed_at: datetime
    changed_since: bool


def declared(study: str, runs: pd.DataFrame, path: Path | None = None, since: Since | None = None) -> pd.DataFrame:
    """When a study was declared, told by git, and whether its runs came after.

    The commit is the oldest from which on the file says what it says now, its title and comments apart: so whoever changes a grid or a
    contrast declares anew. Its time is the committer's, which a rebase renews.

    Args:
        study: the study's name, by which its file is looked for.
        runs: as `analysis.frames.StudyFrames.runs`; a run that another study had done already started before.
        path: the study's file, where it is known.
        since: what was locked before its runs, where that is known.

    Returns:
        One row, as `DECLARED_TABLE` describes it; commit, time and counts are null with a `reason` where git cannot tell.
    """
    from olora_bench.words.declared import (  # brings pandas; the rest of this module is asked before anything is run
        DECLARED_TABLE,
        since_text,
    )

    started = runs.drop_duplicates("train_id").set_index("train_id")["started_at"].dropna()
    row = dict.fromkeys(DECLARED_TABLE.names) | {"file": f"{study}.yaml" if path is None else path.name, "runs": len(started), "before": ""}
    row |= {} if since is None else {"locked": str(since.covers), "changes": since_text(since.changes, since.unknown)}
    try:
        path = path or find_study(study)
        by = declaring_commit(path)
    except BadInput as error:
        file = row["file"] if path is None else path.name
        return DECLARED_TABLE.frame([row | {"file": file, "reason": str(error).split(". Allowed:")[0]}])
    before = sorted(str(run) for run, at in started.items() if datetime.fromisoformat(at) < by.committed_at)
    row |= {"file": path.name, "commit": by.commit, "committed_at": by.committed_at.isoformat(timespec="seconds")}
    row |= {"changed_since": by.changed_since, "before": " ".join(before)}
    return DECLARED_TABLE.frame([row | {"runs_before": len(before), "runs_after": len(started) - len(before)}])


def declaring_commit(path: Path) -> Declaration:
    """The commit that declared a study.

    Raises:
        BadInput: git cannot tell, and why.
    """
    if _git(path, "rev-parse", "--is-shallow-repository") == "true":
        raise BadInput(f"{path.name}: the history here is cut (a shallow clone): git fetch --unshallow")
    now = declaration(read_text(path) or "")
    found: list[tuple[str, int]] = []
    for line in _git(path, "rev-list", "--timestamp", "HEAD", "--", path.name).splitlines():
        seconds, commit = line.split()
        try:
            then = declaration(_git(path, "cat-file", "blob", f"{commit}:./{path.name}"))
        except BadInput:  # the commit removed the file
            break
        if then != now:
            break
        found.append((commit, int(seconds)))
    if not found:
        raise BadInput(f"{path.name}: what it declares is not committed: commit it before its runs")
    oldest, at = found[-1]
    return Declaration(oldest, datetime.fromtimestamp(at, UTC), len(found) > 1)


def declaration(text: str) -> Any:
    """What a study file decides: everything but the title."""
    try:
        raw = parse_yaml(text, "a study file")
    except Unreadable:
        return None
    if isinstance(raw, dict) and isinstance(raw.get("study"), dict):
        raw["study"].pop("title", None)
    return raw


def _git(path: Path, *arguments: str) -> str:
    # The file may lie in somebody else's checkout, whose own .git/config could name programs: plumbing commands run none of them but to
    # fetch what a partial clone lacks, which is forbidden here.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(path.parent), *arguments]
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "", "GIT_TERMINAL_PROMPT": "0"}
    if not any((folder / ".git").exists() for folder in path.parents):
        raise BadInput(f"{path.name}: it lies in no git repository")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInput(f"{path.name}: git cannot be asked ({error.__class__.__name__})") from error
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise BadInput(f"{path.name}: git says: {reason}")
    return done.stdout.strip()
