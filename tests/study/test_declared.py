"""The commit that declared a study, told by real repositories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from olora_bench.study.declared import declared
from olora_bench.words.declared import declared_sentences

STUDY = "study:\n  title: {title}\n  contrasts: [{{arm: olora, reference: lora, kind: primary}}]\n  grids: [{{seed: {seeds}}}]\n"
Commit = Callable[[str, str], str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


@pytest.fixture
def commit(file: Path) -> Commit:
    """Write the study file and commit it at a time of day; gives the commit."""
    git(file, "init", "-q")

    def make(content: str, at: str) -> str:
        file.write_text(content)
        git(file, "add", file.name)
        git(file, "commit", "-qm", "x", at=f"2026-01-31T{at}:00+00:00")
        return git(file, "rev-parse", "HEAD")

    return make


def git(file: Path, *arguments: str, at: str = "2026-01-31T00:00:00+00:00") -> str:
    who = {f"GIT_{role}_{what}": "x@x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **who, "GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}
    done = subprocess.run(["git", "-C", str(file.parent), *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def runs(*times: str) -> pd.DataFrame:
    started = [f"2026-01-31T{time}:00+00:00" if time else None for time in times]
    return pd.DataFrame({"train_id": [f"r{i}" for i in range(len(times))], "started_at": pd.Series(started, dtype=object)})


def test_title_and_comments_declare_nothing_and_seeds_do(file: Path, commit: Commit) -> None:
    """Committed at 8, seeds added at 9, retitled at 10: declared at 9."""
    commit(STUDY.format(title="a", seeds="[0]"), "08:00")
    seeds = commit(STUDY.format(title="a", seeds="[0, 1]"), "09:00")
    commit("# why\n" + STUDY.format(title="b", seeds="[0, 1]"), "10:00")
    table = declared("mine", runs("08:30", "09:30", "10:30", ""), file)
    row = table.iloc[0]
    assert (row["commit"], row["committed_at"], row["changed_since"]) == (seeds, "2026-01-31T09:00:00+00:00", True)
    assert (row["runs"], row["runs_before"], row["runs_after"], row["before"]) == (3, 1, 2, "r0")
    assert declared_sentences(table) == [
        f"What mine.yaml declares (contrasts, grids, seeds) has stood unchanged since commit {seeds} of 2026-01-31T09:00:00+00:00.",
        "Of 3 runs with a record 2 started after that commit, 1 before it.",
        "Later commits changed only its title or comments.",
    ]


def test_a_grid_taken_back_is_declared_anew(file: Path, commit: Commit) -> None:
    commit(STUDY.format(title="a", seeds="[0]"), "08:00")
    commit(STUDY.format(title="a", seeds="[0, 1]"), "09:00")
    back = commit(STUDY.format(title="a", seeds="[0]"), "10:00")
    row = declared("mine", runs("09:30"), file).iloc[0]
    assert row["commit"] == back and row["runs_before"] == 1 and not row["changed_since"]


def test_what_is_not_committed_is_not_declared(file: Path, commit: Commit) -> None:
    commit(STUDY.format(title="a", seeds="[0]"), "08:00")
    file.write_text(STUDY.format(title="a", seeds="[0, 1]"))
    row = declared("mine", runs("09:30"), file).iloc[0]
    assert row["commit"] is None and row["runs_after"] is None
    assert row["reason"] == "mine.yaml: what it declares is not committed: commit it before its runs"


def test_outside_git_and_without_a_file_there_is_a_reason(file: Path) -> None:
    file.write_text(STUDY.format(title="a", seeds="[0]"))
    row = declared("mine", runs("09:30"), file).iloc[0]
    assert row["commit"] is None and row["reason"] == "mine.yaml: it lies in no git repository"
    table = declared("nowhere", runs("09:30"))
    assert declared_sentences(table) == ["The commit that declared this study is not known: no study 'nowhere'."]


GPG = """#!/bin/sh
case "$*" in *--verify*) touch {ran};; esac
cat > /dev/null
printf '\\n[GNUPG:] SIG_CREATED \\n' >&2
printf -- '-----BEGIN PGP SIGNATURE-----\\nx\\n-----END PGP SIGNATURE-----\\n'
"""


def test_a_checkout_of_somebody_else_runs_no_program_of_its_config(file: Path, commit: Commit, tmp_path: Path) -> None:
    """Its .git/config has signatures checked by a program of its own, which `git log` would run."""
    (tmp_path / "gpg").write_text(GPG.format(ran=tmp_path / "ran"))
    (tmp_path / "gpg").chmod(0o755)
    git(file, "init", "-q")
    for key, value in {"gpg.program": f"{tmp_path}/gpg", "commit.gpgSign": "true", "log.showSignature": "true"}.items():
        git(file, "config", key, value)
    seeds = commit(STUDY.format(title="a", seeds="[0]"), "08:00")
    assert declared("mine", runs("09:30"), file).iloc[0]["commit"] == seeds
    assert not (tmp_path / "ran").exists()
    git(file, "log", "--format=%H")
    assert (tmp_path / "ran").exists(), "the trap is one"


def test_a_cut_history_cannot_tell(file: Path, commit: Commit, tmp_path: Path) -> None:
    commit(STUDY.format(title="a", seeds="[0]"), "08:00")
    commit(STUDY.format(title="b", seeds="[0]"), "09:00")
    git(file, "clone", "-q", "--depth", "1", f"file://{tmp_path}", str(tmp_path / "shallow"))
    row = declared("mine", runs(), tmp_path / "shallow" / "mine.yaml").iloc[0]
    assert row["commit"] is None and "a shallow clone" in row["reason"]
