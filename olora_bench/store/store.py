"""Where records lie and how they are written and read.

<root>/runs/<train_id>/{record.json, curve.<token>.parquet, examples.<token>.parquet, adapter.<token>.safetensors}
<root>/runs/<train_id>/evals/<eval_id>/{record.json, items.<token>.parquet, generations.<token>.parquet}
<root>/base/<model>/evals/<eval_id>/{record.json, items.<token>.parquet, ...}

A record names its parts, with their SHA-256; the token is that of the lease under which they were written. What is written under no lease
(planted, migrated) has plain names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from olora_bench.errors import BadInput, RecordError, StoreError
from olora_bench.formats import SharedColumns
from olora_bench.store.atomic import leftovers, written
from olora_bench.store.folders import (
    damaged_below,
    folder_name,
    moved,
    parts_named,
    read_arrow,
    read_record,
    read_table,
    subfolders,
    with_evaluations,
    write_record,
    write_table,
)
from olora_bench.store.inside import inside
from olora_bench.store.lease import Lease, LeaseHeld, has_leftovers, lease, read_lease
from olora_bench.store.parquet import Kind
from olora_bench.store.record import EvalRecord, Part, RunRecord
from olora_bench.store.record_parts import damage, lacks, lies_there, orphans, write_part

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

State = Literal["planned", "running", "interrupted", "done", "failed", "diverged"]


@dataclass(frozen=True)
class Beside:
    """The parts beside a record, for those who read thousands."""

    folder: Path
    parts: Mapping[Any, Part]

    def table(self, kind: Kind, columns: Sequence[str] | None = None, shared: SharedColumns | None = None) -> pa.Table | None:
        """A table, without a frame made of it; None where the record names none.

        Args:
            columns: only those, and only their values checked.
            shared: columns decoded before, which this table may share.

        Raises:
            RecordError: the table is damaged, foreign, of another schema or gone.
        """
        return read_arrow(self.folder, self.parts, kind, columns, shared)

    def damage(self, *, thorough: bool = False) -> str | None:
        """As `Store.damage`."""
        return damage(self.folder, self.parts, thorough=thorough)


@dataclass(frozen=True)
class Store:
    """The records below one results folder. A folder in which a link leads out of `root` is refused with a `RecordError`."""

    root: Path

    def run_dir(self, train_id: str) -> Path:
        """The folder of a run."""
        return inside(self.root, self.root / "runs" / folder_name(train_id))

    def run_eval_dir(self, train_id: str, eval_id: str) -> Path:
        """The folder of an evaluation of a run."""
        return inside(self.root, self.root / "runs" / folder_name(train_id) / "evals" / folder_name(eval_id))

    def base_eval_dir(self, model_name: str, eval_id: str) -> Path:
        """The folder of an evaluation of an untouched base model."""
        return inside(self.root, self.root / "base" / folder_name(model_name) / "evals" / folder_name(eval_id))

    def eval_dir(self, train_id: str | None, base: str | None, eval_id: str) -> Path:
        """The folder of an evaluation: of a run (`train_id`) or else of an untouched base (`base`)."""
        if (train_id is None) == (base is None):
            raise ValueError(f"give exactly one of train_id={train_id} and base={base}")
        return self.run_eval_dir(train_id, eval_id) if train_id is not None else self.base_eval_dir(str(base), eval_id)

    def adapter_path(self, train_id: str) -> Path:
        """Where the adapter lies that a run's record names; where it names none, a path at which none lies."""
        part = parts_named(self.run_dir(train_id), RunRecord).get("adapter")
        return self.run_dir(train_id) / ("adapter.safetensors" if part is None else part.file)

    def checkpoint_path(self, train_id: str) -> Path:
        """Where the state of an unfinished training lies, if it was kept."""
        return self.run_dir(train_id) / "checkpoint.safetensors"

    def has_checkpoint(self, train_id: str) -> bool:
        """Whether the state of an unfinished training lies there, so far as the system says."""
        with contextlib.suppress(OSError):
            return self.checkpoint_path(train_id).is_file()
        return False

    def check_writable(self) -> None:
        """Write and delete a small file, so that a folder that cannot be written is found before any work.

        Raises:
            StoreError: the results folder cannot be created or written; names the path and the system's reason.
        """
        self._clear_root()
        with written(self.root / "writable", b"olora_bench\n"):
            pass

    @contextlib.contextmanager
    def hold(self, folder: Path, *, wait: bool = False) -> Iterator[Lease]:
        """The lease of a run's folder, or of a base's evaluation; what no record there names is removed at the beginning and at the end.

        Raises:
            LeaseHeld: a live process holds it, and `wait` is false.
            StoreError: the system refuses to write.
        """
        with lease(folder, wait=wait) as held:
            held.remove(self._orphans(folder))
            try:
                yield held
            finally:
                with contextlib.suppress(StoreError, RecordError):
                    held.remove(self._orphans(folder))

    def _clear_root(self) -> None:
        for left in leftovers(self.root, deep=False):
            with contextlib.suppress(OSError):
                left.unlink()

    def tidy(self, folder: Path) -> None:
        """Remove what a killed worker left in the folder of a finished run or base's evaluation: lease, temporary files, checkpoint, parts
        that no record names; and beside the runs what it left as it tried to write. A live worker's stay."""
        self._clear_root()
        checkpoint = folder / "checkpoint.safetensors"
        with contextlib.suppress(LeaseHeld, StoreError, RecordError, OSError):  # there is another time
            if has_leftovers(folder) or checkpoint.exists() or self._orphans(folder):
                with self.hold(folder) as held:
                    held.remove([checkpoint])

    def _orphans(self, folder: Path) -> list[Path]:
        found = []
        for place, kind in with_evaluations(folder):
            with contextlib.suppress(RecordError):  # what a record that cannot be read names is not known
                found += orphans(place, parts_named(place, kind))
        return found

    def lacks(self, record: RunRecord | EvalRecord) -> bool:
        """Whether a part is gone that a record names and that is always kept: curve, losses by example, items."""
        return lacks(self.folder_of(record), record.parts)  # type: ignore[arg-type]

    def keeps(self, record: RunRecord) -> bool:
        """Whether all that a finished run's record names lies there, the adapter too, so that it need not be trained again."""
        return not self.lacks(record) and self.has_adapter(record)

    def has_adapter(self, record: RunRecord) -> bool:
        """Whether the adapter that a record names lies there."""
        return "adapter" in record.parts and lies_there(self.run_dir(record.train_id) / record.parts["adapter"].file)

    def damage(self, record: RunRecord | EvalRecord, *, thorough: bool = False) -> str | None:
        """What is wrong with the parts of a record that lie there, or None; with `thorough`, of its adapter too.

        A file is read once a process, and again when it was touched.
        """
        return Beside(self.folder_of(record), record.parts).damage(thorough=thorough)

    def mend(self, folder: Path) -> list[Path]:
        """Set aside what is damaged in a run's folder, its evaluations included, or in that of a base's evaluation: records that cannot be
        read, and parts, get the suffix `.damaged` and so are computed again. A folder that a live process works in is left alone.

        Returns:
            What was set aside.

        Raises:
            StoreError: the system refuses.
        """
        if not damaged_below(folder):
            return []
        with contextlib.suppress(LeaseHeld), lease(folder) as held:
            wrong = damaged_below(folder)
            for one in wrong:
                held.set_aside(one)
            return wrong
        return []

    def folder_of(self, record: RunRecord | EvalRecord) -> Path:
        """The folder of a record."""
        return (
            self.run_dir(record.train_id) if isinstance(record, RunRecord) else self.eval_dir(record.train_id, record.base, record.eval_id)
        )

    def write_run(self, record: RunRecord, held: Lease | None = None) -> None:
        """Write a run's record, behind the fence of its lease.

        Raises:
            LeaseLost: the lease was taken over; nothing was written.
            StoreError: the system refuses.
            RecordError: the record does not fit its schema.
        """
        write_record(record, self.run_dir(record.train_id) / "record.json", held)

    def read_run(self, train_id: str) -> RunRecord | None:
        """A run's record, or None where there is none yet.

        Raises:
            RecordError: the file is truncated, foreign, of another schema, or of another run.
        """
        record, _ = self.run_beside(train_id)
        return record

    def run_beside(self, train_id: str) -> tuple[RunRecord | None, Beside]:
        """A run's record, None where there is none yet, and what it names beside it, in a folder that is looked at once.

        Raises:
            RecordError: as for `read_run`.
        """
        folder = self.run_dir(train_id)
        record = read_record(folder / "record.json", RunRecord)
        if record is not None and record.train_id != train_id:
            raise moved(folder / "record.json", "train_id", record.train_id)
        return record, Beside(folder, {} if record is None else record.parts)

    def named_run(self, name: str) -> RunRecord:
        """The record of a run named by a person: its `train_id`, or the beginning of it that no other run shares.

        Raises:
            BadInput: no run, or more than one, is named so.
            RecordError: its record cannot be read.
        """
        runs = self.root / "runs"
        ids = [folder.name for folder in subfolders(runs)]
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

    def write_curve(self, train_id: str, curve: pd.DataFrame, held: Lease | None = None) -> Part:
        """Write a run's curve; columns as in `parquet.schema("curve")`. Belongs to the run once its record names the part.

        Raises:
            StoreError: the system refuses.
            RecordError: a column is missing, unknown or of another type.
        """
        return write_table(self.run_dir(train_id), "curve", curve, held)

    def write_examples(self, train_id: str, examples: pd.DataFrame, held: Lease | None = None) -> Part:
        """Write a run's final losses by example; columns as in `parquet.schema("examples")`. Belongs to it once its record names the part.

        Raises:
            StoreError: the system refuses.
            RecordError: a column is missing, unknown or of another type.
        """
        return write_table(self.run_dir(train_id), "examples", examples, held)

    def write_adapter(self, train_id: str, content: bytes, held: Lease | None = None) -> Part:
        """Write a run's adapter, as safetensors. Belongs to the run once its record names the part.

        Raises:
            StoreError: the system refuses.
        """
        return write_part(self.run_dir(train_id), "adapter", content, held)

    def read_curve(self, train_id: str) -> pd.DataFrame | None:
        """A run's curve, or None where there is none yet.

        Raises:
            RecordError: the file or its record is damaged, foreign or of another schema.
        """
        return read_table(self.run_dir(train_id), RunRecord, "curve")

    def write_eval(
        self, record: EvalRecord, items: pd.DataFrame | None, generations: pd.DataFrame | None = None, held: Lease | None = None
    ) -> EvalRecord:
        """Write an evaluation: first its items, then its record, so that a record always has its items; returns it with its parts.

        Args:
            record: with status `done`, `scores` counts the rows of `items` for every benchmark.
            items: columns as in `parquet.schema("items")`; None for a failed evaluation, or one without benchmarks.
            generations: columns as in `parquet.schema("generations")`; None where no text was asked for.
            held: the lease of the run, or of the base's evaluation.

        Raises:
            LeaseLost: the lease was taken over; no record was written.
            StoreError: the system refuses.
            RecordError: record or items do not fit their schema, or each other.
        """
        folder = self.folder_of(record)
        counts = {} if items is None else items["benchmark"].value_counts().to_dict()
        for benchmark, score in record.scores.items():
            if counts.get(benchmark, 0) != score.items:
                file = folder / "items.parquet"
                raise RecordError(
                    f"{file}: scores.{benchmark}.items={score.items}, but there are {counts.get(benchmark, 0)} rows of {benchmark}"
                )
        parts: dict[Any, Part] = {}
        if items is not None:
            parts["items"] = write_table(folder, "items", items, held)
        if generations is not None:
            parts["generations"] = write_table(folder, "generations", generations, held)
        record = record.model_copy(update={"parts": parts})
        write_record(record, folder / "record.json", held)
        return record

    def read_eval(self, train_id: str | None, base: str | None, eval_id: str) -> EvalRecord | None:
        """The record of an evaluation of a run or of an untouched base, or None where there is none yet.

        Raises:
            RecordError: the file is truncated, foreign, of another schema, or of another evaluation.
        """
        record, _ = self.eval_beside(train_id, base, eval_id)
        return record

    def eval_beside(self, train_id: str | None, base: str | None, eval_id: str) -> tuple[EvalRecord | None, Beside]:
        """As `run_beside`, of an evaluation.

        Raises:
            RecordError: as for `read_eval`.
        """
        folder = self.eval_dir(train_id, base, eval_id)
        record = read_record(folder / "record.json", EvalRecord)
        if record is None:
            return None, Beside(folder, {})
        for field, want in (("train_id", train_id), ("base", base), ("eval_id", eval_id)):
            if getattr(record, field) != want:
                raise moved(folder / "record.json", field, getattr(record, field))
        return record, Beside(folder, record.parts)

    def read_items(self, train_id: str | None, base: str | None, eval_id: str, columns: Sequence[str] | None = None) -> pd.DataFrame | None:
        """The items of an evaluation, or None where there are none; with `columns` only those, and only their values checked.

        Raises:
            RecordError: the file or its record is damaged, foreign or of another schema.
        """
        return read_table(self.eval_dir(train_id, base, eval_id), EvalRecord, "items", columns)

    def read_generations(self, train_id: str | None, base: str | None, eval_id: str) -> pd.DataFrame | None:
        """The generated texts of an evaluation, or None where there are none.

        Raises:
            RecordError: the file or its record is damaged, foreign or of another schema.
        """
        return read_table(self.eval_dir(train_id, base, eval_id), EvalRecord, "generations")

    def iter_runs(self) -> Iterator[RunRecord | RecordError]:
        """Every run's record in the order of their ids; a record that cannot be read comes as its error."""
        for folder in subfolders(self.root / "runs"):
            try:
                record = self.read_run(folder.name)
            except RecordError as error:
                yield error
                continue
            if record is not None:
                yield record

    def iter_evals(self) -> Iterator[EvalRecord | RecordError]:
        """Every evaluation's record, of runs and then of untouched bases; a record that cannot be read comes as its error."""
        owners: list[tuple[str | None, str | None, Path]] = [(f.name, None, f) for f in subfolders(self.root / "runs")]
        owners += [(None, f.name, f) for f in subfolders(self.root / "base")]
        for train_id, base, owner in owners:
            for folder in subfolders(owner / "evals"):
                try:
                    record = self.read_eval(train_id, base, folder.name)
                except RecordError as error:
                    yield error
                    continue
                if record is not None:
                    yield record
