"""Whether a study's report still says what its records say, told by times alone, as make does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import olora_bench
from olora_bench.store import Store
from olora_bench.study.files import read_manifest
from olora_bench.study.names import report_dir, study_dir


def standing_report(results_dir: Path, study: str, overrides: Sequence[str] = ()) -> tuple[str, bool] | None:
    """The report as it lies there, and whether every run of it is done; None where it has to be made again.

    It stands while its page lies beside it and it is newer than the manifest, every record that the manifest names (all of them there),
    and this package's code.
    """
    home = study_dir(results_dir, study, overrides)
    report = report_dir(home, results_dir) / "report.md"
    manifest = read_manifest(results_dir, study, overrides)
    if manifest is None or not report.exists() or not report.with_name("index.html").exists():
        return None
    store, made = Store(results_dir), report.stat().st_mtime_ns
    try:
        if any(path.stat().st_mtime_ns >= made for path in _inputs(store, home, manifest)):
            return None
    except FileNotFoundError:
        return None
    states = {record.status if (record := store.read_run(run["train_id"])) else None for run in manifest["runs"]}
    return report.read_text(encoding="utf-8").rstrip("\n"), states == {"done"}


def _inputs(store: Store, home: Path, manifest: dict[str, Any]) -> Iterator[Path]:
    yield home / "manifest.json"
    package = Path(olora_bench.__file__).parent
    yield from package.rglob("*.py")
    yield from (package / "report" / "assets").iterdir()
    evaluations = set()
    for run in manifest["runs"]:
        yield store.run_dir(run["train_id"]) / "record.json"
        if run["eval_id"] is not None:
            evaluations |= {(run["train_id"], None, run["eval_id"]), (None, run["model"], run["base_eval_id"])}
    for train_id, base, eval_id in evaluations:
        yield store.eval_dir(train_id, base, eval_id) / "record.json"
