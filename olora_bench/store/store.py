"""Where records lie and how they are written and read.

<root>/runs/<train_id>/{record.json, curve.parquet, adapter.safetensors}
<root>/runs/<train_id>/evals/<eval_id>/{record.json, items.parquet}
<root>/base/<model>/evals/<eval_id>/{record.json, items.parquet}
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from olora_bench.errors import BadInput, RecordError, StoreError
from olora_bench.formats import Unreadable, read_bytes
from olora_bench.store.atomic import atomic_write, cannot_write, make_folder
from olora_bench.store.lease import LeaseHeld, has_leftovers, lease, read_lease
from olora_bench.store.record import AnyRecord, EvalRecord, RunRecord, parse, to_json
from olora_bench.store.tables import arrow_table, from_parquet, to_parquet

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

State = Literal["planned", "running", "interrupted", "done", "failed", "diverged"]


@dataclass(frozen=True)
class Store:
    """The records below one results folder."""

    root: Path

    def run_dir(self, train_id: str) -> Path:
        """The folder of a run."""
        return self.root / "runs" / _folder_name(train_id)

    def run_eval_dir(self, train_id: str, eval_id: str) -> Path:
        """The folder of an evaluation of a run."""
        return self.run_dir(train_id) / "evals" / _folder_name(eval_id)

    def base_eval_dir(self, model_name: str, eval_id: str) -> Path:
        """The folder of an evaluation of an untouched base model."""
        return self.root / "base" / _folder_name(model_name) / "evals" / _folder_name(eval_id)

    def eval_dir(self, train_id: str | None, base: str | None, eval_id: str) -> Path:
        """The folder of an evaluation: of a run (`train_id`) or else of an untouched base (`base`)."""
        if (train_id is None) == (base is None):
            raise ValueError(f"give exactly one of train_id={train_id} and base={base}")
        return self.run_eval_dir(train_id, eval_id) if train_id is not None else self.base_eval_dir(str(base), eval_id)

    def adapter_path(self, train_id: str) -> Path:
        """Where a run's adapter lies, or will lie."""
        return self.run_dir(train_id) / "adapter.safetensors"

    def checkpoint_path(self, train_id: str) -> Path:
        """Where the state of an unfinished training lies, if it was kept."""
        return self.run_dir(train_id) / "checkpoint.safetensors"

    def check_writable(self) -> None:
        """Write and delete a small file, so that a folder that cannot be written is found before any work.

        Raises:
            StoreError: the results folder cannot be created or written; names the path and the system's reason.
        """
        make_folder(self.root)
        probe = self.root / ".writable.tmp"  # one name for all, so that the next check removes what a killed one left
        try:
            handle = os.open(probe, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                os.write(handle, b"olora_bench\n")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise cannot_write(self.root, error) from error
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def tidy(self, train_id: str) -> None:
        """Remove what a killed worker left in the folder of a finished run: lease, temporary files, checkpoint. A live worker's stay."""
        folder = self.run_dir(train_id)
        if has_leftovers(folder) or self.checkpoint_path(train_id).exists():
            with contextlib.suppress(LeaseHeld, StoreError), lease(folder):
                self.checkpoint_path(train_id).unlink(missing_ok=True)

    def write_run(self, record: RunRecord) -> None:
        """Write a run's record.

        Raises:
            StoreError: the system refuses.
            RecordError: the record does not fit its schema.
        """
        _write_record(record, self.run_dir(record.train_id) / "record.json")

    def read_run(self, train_id: str) -> RunRecord | None:
        """A run's record, or None where there is none yet.

        Raises:
            RecordError: the file is truncated, foreign, of another schema, or of another run.
        """
        path = self.run_dir(train_id) / "record.json"
        record = _read_record(path, RunRecord)
        if record is not None and record.train_id != train_id:
            raise _moved(path, "train_id", record.train_id)
        return record

    def named_run(self, name: str) -> RunRecord:
        """The record of a run named by a person: its `train_id`, or the beginning of it that no other run shares.

        Raises:
            BadInput: no run, or more than one, is named so.
            RecordError: its record cannot be read.
        """
        runs = self.root / "runs"
        ids = [folder.name for folder in _subfolders(runs)]
        found = [name] if name in ids else [one for one in ids if name and one.startswith(name.lower())]
        if len(found) > 1:
            raise BadInput(
                f"run {name!r} in {runs} may be {', '.join(found[:8])}{' or others' if len(found) > 8 else ''}: give more of its id"
            )
        if not found:
            raise BadInput(f"no run {name!r} in {runs}: give a train_id, which is a folder's name there, or its beginning")
        record = self.read_run(found[0])
        if record is None:
            raise BadInput(f"run {found[0]} in {runs} has no record: a worker has only just begun it, or was killed then. Run it again")
        return record

    def state(self, train_id: str) -> State:
        """How far a run is. `interrupted`: it was started, and nobody holds its lease any more.

        Raises:
            RecordError: its record cannot be read.
        """
        record = self.read_run(train_id)
        holder = read_lease(self.run_dir(train_id))
        at_work = holder is not None and holder.alive()
        if record is None or record.status == "running":
            return "running" if at_work else "planned" if record is None else "interrupted"
        return record.status

    def write_curve(self, train_id: str, curve: pd.DataFrame) -> None:
        """Write a run's curve; columns as in `tables.schema("curve")`.

        Raises:
            StoreError: the system refuses.
            RecordError: a column is missing, unknown or of another type.
        """
        path = self.run_dir(train_id) / "curve.parquet"
        atomic_write(path, to_parquet(curve, "curve", path))

    def read_curve(self, train_id: str) -> pd.DataFrame | None:
        """A run's curve, or None where there is none yet.

        Raises:
            RecordError: the file is truncated, foreign or of another schema.
        """
        return from_parquet(self.run_dir(train_id) / "curve.parquet", "curve")

    def write_eval(self, record: EvalRecord, items: pd.DataFrame | None, generations: pd.DataFrame | None = None) -> None:
        """Write an evaluation: first its items, then its record, so that a record always has its items.

        Args:
            record: with status `done`, `scores` counts the rows of `items` for every benchmark.
            items: columns as in `tables.schema("items")`; None for a failed evaluation, or one without benchmarks.
            generations: columns as in `tables.schema("generations")`; None where no text was asked for.

        Raises:
            StoreError: the system refuses.
            RecordError: record or items do not fit their schema, or each other.
        """
        folder = self.eval_dir(record.train_id, record.base, record.eval_id)
        path = folder / "items.parquet"
        content = None if items is None else to_parquet(items, "items", path)
        counts = {} if items is None else items["benchmark"].value_counts().to_dict()
        for benchmark, score in record.scores.items():
            if counts.get(benchmark, 0) != score.items:
                raise RecordError(
                    f"{path}: scores.{benchmark}.items={score.items}, but there are {counts.get(benchmark, 0)} rows of {benchmark}"
                )
        if content is not None:
            atomic_write(path, content)
        if generations is not None:
            written = folder / "generations.parquet"
            atomic_write(written, to_parquet(generations, "generations", written))
        _write_record(record, folder / "record.json")

    def read_eval(self, train_id: str | None, base: str | None, eval_id: str) -> EvalRecord | None:
        """The record of an evaluation of a run or of an untouched base, or None where there is none yet.

        Raises:
            RecordError: the file is truncated, foreign, of another schema, or of another evaluation.
        """
        path = self.eval_dir(train_id, base, eval_id) / "record.json"
        record = _read_record(path, EvalRecord)
        if record is None:
            return None
        for field, want in (("train_id", train_id), ("base", base), ("eval_id", eval_id)):
            if getattr(record, field) != want:
                raise _moved(path, field, getattr(record, field))
        return record

    def read_items(self, train_id: str | None, base: str | None, eval_id: str, columns: Sequence[str] | None = None) -> pd.DataFrame | None:
        """The items of an evaluation, or None where there are none; with `columns` only those, and only their values checked.

        Raises:
            RecordError: the file is truncated, foreign or of another schema.
        """
        return from_parquet(self.eval_dir(train_id, base, eval_id) / "items.parquet", "items", columns)

    def curve_table(self, train_id: str) -> pa.Table | None:
        """`read_curve` without a frame made of it, for those who read thousands."""
        return arrow_table(self.run_dir(train_id) / "curve.parquet", "curve")

    def items_table(self, train_id: str | None, base: str | None, eval_id: str, columns: Sequence[str]) -> pa.Table | None:
        """`read_items` without a frame made of it, for those who read thousands."""
        return arrow_table(self.eval_dir(train_id, base, eval_id) / "items.parquet", "items", columns)

    def read_generations(self, train_id: str | None, base: str | None, eval_id: str) -> pd.DataFrame | None:
        """The generated texts of an evaluation, or None where there are none.

        Raises:
            RecordError: the file is truncated, foreign or of another schema.
        """
        return from_parquet(self.eval_dir(train_id, base, eval_id) / "generations.parquet", "generations")

    def iter_runs(self) -> Iterator[RunRecord | RecordError]:
        """Every run's record in the order of their ids; a record that cannot be read comes as its error."""
        for folder in _subfolders(self.root / "runs"):
            try:
                record = self.read_run(folder.name)
            except RecordError as error:
                yield error
                continue
            if record is not None:
                yield record

    def iter_evals(self) -> Iterator[EvalRecord | RecordError]:
        """Every evaluation's record, of runs and then of untouched bases; a record that cannot be read comes as its error."""
        owners: list[tuple[str | None, str | None, Path]] = [(f.name, None, f) for f in _subfolders(self.root / "runs")]
        owners += [(None, f.name, f) for f in _subfolders(self.root / "base")]
        for train_id, base, owner in owners:
            for folder in _subfolders(owner / "evals"):
                try:
                    record = self.read_eval(train_id, base, folder.name)
                except RecordError as error:
                    yield error
                    continue
                if record is not None:
                    yield record


def _write_record(record: AnyRecord, path: Path) -> None:
    content = to_json(record)
    parse(content, type(record), path)  # model_copy does not check, and what lies there must be readable
    atomic_write(path, content)


def _read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord | None:
    try:
        content = read_bytes(path)
    except Unreadable as error:
        raise RecordError(str(error)) from error
    return None if content is None else parse(content, kind, path)


def _moved(path: Path, field: str, value: str | None) -> RecordError:
    return RecordError(f"{path}: {field}={value} does not fit the folder it lies in: it was moved or copied. Put it back where it was")


def _folder_name(name: str) -> str:
    # An id or a model's name comes from files and command lines: it must not lead out of the results folder.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
        raise RecordError(f"{name!r} is no folder name of the store: letters, digits and _ . + - are allowed, a letter or digit first")
    return name


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")) if folder.is_dir() else []
