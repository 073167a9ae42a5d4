"""From traces to records: what a study file names is found, read, and written down run by run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from olora_bench.errors import BadInput
from olora_bench.foreign.columns import is_name, rates, seeds
from olora_bench.foreign.evaluated import Key, Traces, evaluated, named, short
from olora_bench.foreign.files import shown, told
from olora_bench.foreign.find import matches
from olora_bench.foreign.lm_eval import check_metrics, results_below
from olora_bench.foreign.record import MAY_LACK, ImportedRecord, PartName, SourceFile, identity, write
from olora_bench.foreign.schema import ForeignStudy
from olora_bench.foreign.tables import read_scores
from olora_bench.foreign.traces import Training, training_of

MANY = 20
"""More folders that do not match are counted."""


@dataclass(frozen=True)
class Imported:
    """A study's runs, and in words what was not read: paths that no pattern matches, runs that nobody declared."""

    records: tuple[ImportedRecord, ...]
    absent: tuple[Key, ...]
    notes: tuple[str, ...]


def import_runs(study: ForeignStudy, root: Path, home: Path) -> Imported:
    """Read every run that a study names, and write its record.

    Args:
        root: the study file's folder.
        home: the study's folder of results.

    Raises:
        BadInput: no run is found, or the table of scores is not as described.
        Unreadable: a folder or the table cannot be read. Damage in a run's own files stands in its record instead.
    """
    notes: list[str] = []
    found = _found(study, root, notes)
    if study.scores is not None:
        table, digest = read_scores(root / study.scores)
        _add_rows(found, table, SourceFile(path=study.scores, sha256=digest))
    kept = {key: traces for key, traces in found.items() if _declared(study, key, notes)}
    if not kept:
        where = ", ".join([*study.runs, *([study.scores] if study.scores else [])])
        raise BadInput(f"no run is found in {root}: nothing matches {where}" + "".join(f"\n  {note}" for note in notes[:20]))
    there = dict.fromkeys(key.arm for key in kept)
    for arm in (name for one in study.contrasts for name in (one.arm, one.reference)):
        if arm not in there and arm not in (study.arms or ()):
            raise BadInput(f"contrasts: no run of {arm} is found. There: {', '.join(there)}. One that is still to come stands among arms")
    _check_seeds(study, kept)
    _check_names(study, kept.values())
    records = [_record(study, key, traces, root, home, notes) for key, traces in sorted(kept.items(), key=_order)]
    return Imported(tuple(records), tuple(_absent(study, kept)), tuple(dict.fromkeys(notes)))


def _check_seeds(study: ForeignStudy, keys: Iterable[Key]) -> None:
    """Refuse two runs of one seed where pairs are made by seed."""
    first: dict[Key, Key] = {}
    for key in keys if study.by_seed else ():
        other = first.setdefault(key._replace(lr=None), key)
        if other is not key:
            raise BadInput(f"by_seed: {named(other)} and {named(key)} are two runs of one seed: leave one out, or name the rates (lrs)")


def _check_names(study: ForeignStudy, traces: Iterable[Traces]) -> None:
    """Refuse benchmarks, tasks and metrics that no run has; where a run's results cannot be read, what it has is not known."""
    if not (study.metrics or study.benchmarks or study.accept):
        return
    every = list(traces)
    try:
        results = [one for traces in every for folder in traces.folders for one in results_below(folder)]
    except BadInput:
        return
    check_metrics("metrics", study.metrics, results)
    tables = [str(name) for traces in every if traces.rows is not None for name in traces.rows["benchmark"].dropna().unique()]
    study.choice.check([*tables, *(task for one in results for task in one.metrics)])


def _order(one: tuple[Key, Traces]) -> tuple[str, float, int, int]:
    key = one[0]
    return key.arm, key.lr or 0.0, key.rank or 0, key.seed


def _found(study: ForeignStudy, root: Path, notes: list[str]) -> dict[Key, Traces]:
    found: dict[Key, Traces] = {}
    for pattern in study.runs:
        there = matches(root, pattern)
        notes += (f"{shown(told(path, root))}/ does not match {pattern}" for path in there.others[:MANY])
        notes += [f"{len(there.others) - MANY} more folders do not match {pattern}"] if len(there.others) > MANY else []
        for folder in there.folders:
            lr, rank, base = (folder.fields.get(name) for name in ("lr", "rank", "base"))
            if (why := _no_run(folder.fields)) is not None:
                notes.append(f"{shown(told(folder.path, root))}/ does not match {pattern}: {why}")
                continue
            number = None if rank is None else int(rank)
            key = Key(folder.fields["arm"], None if lr is None else float(lr), int(folder.fields["seed"]), number, base)
            found.setdefault(key, Traces()).folders.append(folder.path)
    return found


def _no_run(fields: Mapping[str, str]) -> str | None:
    """Why a folder that matches is no run's, or None."""
    if (lr := fields.get("lr")) is not None and float(lr) == float("inf"):
        return f"lr {lr} is no finite number"
    odd = [name for name in ("arm", "base") if name in fields and not is_name(fields[name])]
    return f"{odd[0]} {fields[odd[0]]!r} is no printable text that does not begin with = + - @" if odd else None


def _add_rows(found: dict[Key, Traces], table: pd.DataFrame, file: SourceFile) -> None:
    """Give each run its rows; a row without a learning rate is of the one run of its arm and seed."""
    known = rates(table["lr"], "scores") if "lr" in table else float("nan")
    keys = table.assign(seed=seeds(table["seed"], "scores"), lr=known)
    names: Any
    for names, rows in keys.groupby(["arm", "lr", "seed"], dropna=False, sort=False):
        arm, lr, seed = names
        rate = None if lr != lr else float(lr)
        same = [key for key in found if (key.arm, key.seed) == (arm, seed) and (rate is None or key.lr in (None, rate))]
        if len(same) > 1:
            raise BadInput(f"scores: rows of {arm}, seed {seed} may be of {len(same)} runs: give their lr")
        traces = found.pop(same[0]) if same else Traces()
        key = same[0]._replace(lr=same[0].lr if rate is None else rate) if same else Key(str(arm), rate, int(seed))
        own = found.setdefault(key, traces)
        own.rows, own.table = rows.drop(columns=["arm", "lr"]), file


def _declared(study: ForeignStudy, key: Key, notes: list[str]) -> bool:
    asked: tuple[tuple[str, object, Sequence[object] | None], ...] = (
        ("arm", key.arm, study.arms), ("seed", key.seed, study.seeds), ("lr", key.lr, study.lrs),
    )  # fmt: skip
    for what, value, allowed in asked:
        if allowed is not None and value is not None and value not in allowed:
            notes.append(f"{named(key)} is not read: {what} {value} is not among {what}s")
            return False
    return True


def _absent(study: ForeignStudy, found: Mapping[Key, Traces]) -> Iterator[Key]:
    """Declared runs of which nothing is there; of a declared arm without any run those of every seed that is there."""
    rates: Sequence[float | None] = study.lrs or list(dict.fromkeys(key.lr for key in found))
    places = list(dict.fromkeys((key.rank, key.base) for key in found))
    for arm in study.arms or dict.fromkeys(key.arm for key in found):
        there = any(key.arm == arm for key in found)
        seeds = study.seeds or (() if there else tuple(sorted({key.seed for key in found})))
        own = [rate for rate in rates if study.lrs or any(key.arm == arm and key.lr == rate for key in found)] or [None]
        for lr in own:
            for key in (Key(arm, lr, seed, *place) for place in places for seed in seeds):
                if key not in found:
                    yield key


def run_id(study: str, key: Key) -> str:
    """The id of a run in its study: it stays the same when its traces change."""
    return identity("imported", study, *key)


def _record(study: ForeignStudy, key: Key, traces: Traces, root: Path, home: Path, notes: list[str]) -> ImportedRecord:
    training, error = _training(traces, root)
    scores = evaluated(study, key, traces, root, notes)
    tables: dict[PartName, pd.DataFrame] = {} if scores.items is None else {"items": scores.items}
    if training.curve is not None:
        tables["curve"] = pd.DataFrame(training.curve, dtype="float64")
    sources = [*training.sources, *scores.sources, *([traces.table] if traces.table is not None else [])]
    lr, whence = _rate(study, key, training)
    if lr is not None and training.lr is not None and training.lr > 1.01 * lr:
        notes.append(f"{named(key)}: the trainer's log rises to a learning rate of {training.lr:g}, and {whence} says {lr:g}")
    values: dict[str, Any] = {
        "lr": lr, "lr_from": whence, "rank": _rank(study, key, training), "base": key.base or study.base or training.base or scores.base,
        "steps": training.steps, "train_s": training.seconds, "adapter_bytes": training.adapter_bytes,
    }  # fmt: skip
    state: Literal["done", "diverged", "unreadable"] = "unreadable" if error else "diverged" if training.diverged else "done"
    why = "its log ends in a loss that is no finite number" if state == "diverged" else error
    record = ImportedRecord(
        run_id=run_id(study.name, key), study=study.name, arm=key.arm, seed=key.seed, **values,
        state=state, error=why, scores_state=scores.state, scores_error=scores.error,
        losses=training.losses, adapter=training.adapter, scores=scores.scores,
        sources=tuple(sources),
        missing={name: WHY[name] for name in MAY_LACK if values[name] is None},
    )  # fmt: skip
    return write(home, record, tables)


WHY = {
    "lr": "neither the path, the study file nor a trainer's log says it",
    "rank": "neither the path, the study file nor an adapter says it",
    "base": "neither the study file, an adapter nor lm-eval's peft argument says it",
    "steps": "no trainer_state.json is there",
    "train_s": "no trainer_state.json says it",
    "adapter_bytes": "no adapter's weights are there",
}


def _rate(study: ForeignStudy, key: Key, training: Training) -> tuple[float | None, str | None]:
    known = ((key.lr, "the path or table"), (study.lr.get(key.arm), "the study file"), (training.lr, "the trainer's log"))
    return next(((value, whence) for value, whence in known if value is not None), (None, None))


def _rank(study: ForeignStudy, key: Key, training: Training) -> int | None:
    given = training.adapter.get("r")
    return key.rank or study.rank or (given if type(given) is int and 0 < given < 2**31 else None)


def _training(traces: Traces, root: Path) -> tuple[Training, str | None]:
    found = Training()
    for folder in traces.folders:
        try:
            own = training_of(folder, root)
        except BadInput as error:
            return found, short(error, root)
        own.sources = [*found.sources, *own.sources]
        for name, value in vars(own).items():
            if value not in (None, {}, False):
                setattr(found, name, value)
    return found, None
