"""Records of imported runs as the frames of a study, under the checks of pairing that every comparison goes through."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.given import MEASURE, BenchmarkLacking, Matched, Run, matched
from olora_bench.analysis.given_frames import UNNAMED, Given, study_frames
from olora_bench.analysis.run_rows import AS_GIVEN, RunRow
from olora_bench.errors import RecordError
from olora_bench.foreign.evaluated import Key
from olora_bench.foreign.importing import run_id
from olora_bench.foreign.record import ImportedRecord, identity, table
from olora_bench.foreign.schema import Contrast as Pair
from olora_bench.foreign.schema import ForeignStudy
from olora_bench.foreign.traces import CURVE
from olora_bench.store.manifest import Contrast, Margin, PlannedRun


@dataclass(frozen=True)
class Asked:
    """What imported runs are compared as.

    Attributes:
        frames: of the study.
        found: what its scored runs share; None where none is scored.
    """

    frames: StudyFrames
    found: Matched | None


def frames_of(study: ForeignStudy, home: Path, records: Sequence[ImportedRecord], absent: Iterable[Key], problems: Sequence[str]) -> Asked:
    """The frames of an imported study.

    Args:
        home: where the records lie.
        absent: declared runs of which nothing is there.
        problems: what was not read, in words.

    Raises:
        RecordError: a record's table is gone or damaged.
        BadInput: answers of a run contradict each other.
    """
    cells = _Cells.of(study, records)
    rows = {_run(one): cells.row(one) for one in records} | {_absent_run(key): cells.absent(key) for key in absent}
    scored, left_out = _complete([one for one in records if one.scores_state == "done"], rows, study.benchmarks)
    found = matched(dict(_sides(home, scored)), choice=study.choice, paired=False) if scored else None
    if found is not None:
        found = replace(found, left_out=(*left_out, *found.left_out))
    elif all(one.scores_state == "missing" for one in records):  # of losses alone no score is lacking
        for row in rows.values():
            row.eval_state = "none" if row.eval_state == "missing" else row.eval_state
    contrasts = tuple(Contrast(arm=one.arm, reference=one.reference, kind=one.kind) for one in study.contrasts)
    margin = Margin() if study.margin is None else Margin(score=study.margin.score, loss=study.margin.loss)
    protocol = "as_given" if as_given(study, records) else "shared_lr"
    asked = Given(study.name, study.title, protocol, contrasts, margin, tuple(problems))
    nothing = Matched((), {}, (), {})
    frames = study_frames(found or nothing, rows, asked, _curves(home, records))
    damaged = [f"run {one.run_id} is not readable: {one.error}" for one in records if one.state == "unreadable"]
    damaged += ["no benchmark is left to compare: see what was left out"] if found is not None and not found.benchmarks else []
    return Asked(replace(frames, damaged=damaged), found)


def as_given(study: ForeignStudy, records: Sequence[ImportedRecord]) -> bool:
    """Whether pairs are made by seed alone: asked for, or every arm has one learning rate, and not all the same or known."""
    if study.by_seed:
        return True
    rates: dict[str, set[float | None]] = {}
    for one in records:
        rates.setdefault(one.arm, set()).add(one.lr)
    every = {rate for own in rates.values() for rate in own}
    return all(len(own) == 1 for own in rates.values()) and (len(every) > 1 or None in every)


def _label(one: ImportedRecord) -> str:
    """A side of `matched`: an arm at one rate, rank and base."""
    return "\0".join(map(str, (one.arm, one.lr, one.rank, one.base)))


def _run(one: ImportedRecord) -> Run:
    return Run(_label(one), one.seed)


def _absent_run(key: Key) -> Run:
    return Run("\0".join(map(str, ("absent", key.arm, key.lr, key.rank))), key.seed)


@dataclass(frozen=True)
class _Cells:
    """What compared runs share: the base, and the rank where every arm has the same ranks.

    A base that is not known is the one that is, where there is one; `like` is a run of each arm.
    """

    study: str
    base: str | None
    rank: int | None
    by_rank: bool
    like: Mapping[str, ImportedRecord]

    @classmethod
    def of(cls, study: ForeignStudy, records: Sequence[ImportedRecord]) -> _Cells:
        bases, ranks = {one.base for one in records if one.base}, dict[str, set[int | None]]()
        for one in records:
            ranks.setdefault(one.arm, set()).add(one.rank)
        by_rank = len({frozenset(own) for own in ranks.values()}) == 1
        base = study.base or (next(iter(bases)) if len(bases) == 1 else None)
        return cls(study.name, base, study.rank, by_rank, {one.arm: one for one in reversed(records)})

    def row(self, one: ImportedRecord) -> RunRow:
        """An imported run."""
        planned = self._planned(one.run_id, Key(one.arm, one.lr, one.seed, one.rank), one.base, one.steps)
        row = RunRow(planned, one.state, one.error, one.scores_state, one.scores_error)
        row.measured |= {"lr": float("nan")} if one.lr is None else {}
        harness = sorted({score.harness for score in one.scores.values() if score.harness})
        row.measured |= {"lm-eval": harness[0].removeprefix("lm-eval ") if harness else None, "steps": one.steps}
        row.measured |= {
            "init": str(one.adapter.get("init_lora_weights", "")) or None,
            "alpha": alpha if type(alpha := one.adapter.get("lora_alpha")) in (int, float) else None,
        }
        row.measured |= {"adapter_bytes": one.adapter_bytes, "timings_s.train": one.train_s}
        row.measured |= {f"metrics.{name}": value for name, value in one.losses.items() if name == "report_loss"}
        return row

    def absent(self, key: Key) -> RunRow:
        """A declared run of which nothing is there, where its like would be."""
        like = self.like.get(key.arm) or next(iter(self.like.values()))
        where = Key(key.arm, key.lr or like.lr, key.seed, key.rank or self.rank or like.rank, key.base or like.base)
        planned = self._planned(run_id(self.study, key), where, where.base, None)
        return RunRow(planned, "missing", "nothing of it is there", measured={"lr": float("nan")} if where.lr is None else {})

    def _planned(self, train_id: str, key: Key, base: str | None, steps: int | None) -> PlannedRun:
        model, rank = model_name(base or self.base), (key.rank or 0) if self.by_rank else 0
        cell = identity("cell", model, rank)
        eval_id, base_eval_id, length = identity("eval", train_id), identity("base", model), None if steps is None else float(steps)
        return PlannedRun(
            train_id=train_id, eval_id=eval_id, base_eval_id=base_eval_id, cell=cell, family=cell, steps=length, model=model, arm=key.arm,
            rank=rank, lr=key.lr or 0.0, seed=key.seed, stage=AS_GIVEN,
        )  # fmt: skip


def model_name(base: str | None) -> str:
    """A base as tables name it.

    >>> model_name("meta-llama/Llama-3.2-1B"), model_name(None)
    ('Llama-3.2-1B', 'model')
    """
    if base is None:
        return UNNAMED
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", base.rstrip("/").split("/")[-1]).lstrip("_.+-") or UNNAMED


def _complete(
    records: Sequence[ImportedRecord], rows: Mapping[Run, RunRow], asked: Sequence[str] | None
) -> tuple[list[ImportedRecord], list[BenchmarkLacking]]:
    """The runs that have a score of every benchmark that is asked for, or that half of them have; the others are told what they lack.
    Beside them what fewer have: the benchmark of a few runs is no reason to leave out all the others."""
    of = {one.run_id: {name for name, score in one.scores.items() if score.score is not None} for one in records}
    every = asked or list(dict.fromkeys(name for one in records for name in one.scores))
    without = {name: tuple(_run(one) for one in records if name not in of[one.run_id]) for name in every}
    few = [] if asked else [name for name, lacking in without.items() if 2 * len(lacking) > len(records)]
    complete = []
    for one in records:
        lacking = [name for name in every if name not in few and name not in of[one.run_id]]
        if lacking:
            rows[_run(one)].eval_state, rows[_run(one)].eval_reason = "missing", f"no score of {', '.join(lacking)}"
        else:
            wanted = {name: score for name, score in one.scores.items() if name in every and name not in few}
            complete.append(one.model_copy(update={"scores": wanted}))
    return [one for one in complete if one.scores], [BenchmarkLacking(name, without[name]) for name in few]


def _sides(home: Path, records: Sequence[ImportedRecord]) -> list[tuple[str, pd.DataFrame]]:
    single = all(score.single_items for one in records for score in one.scores.values())
    sides: dict[str, list[pd.DataFrame]] = {}
    for one in records:
        sides.setdefault(_label(one), []).append(_items(home, one) if single else _scores(one))
    return [(label, pd.concat(parts, ignore_index=True)) for label, parts in sides.items()]


def _items(home: Path, one: ImportedRecord) -> pd.DataFrame:
    found = table(home, one, "items")
    if found is None:
        raise RecordError(f"run {one.run_id}: its record names no items: import the study again")
    facts = {name: found["benchmark"].map({key: getattr(score, name) for key, score in one.scores.items()}) for name in MEASURE}
    found = found[found["benchmark"].isin(one.scores)]
    named = found.rename(columns={"item_id": "item"})[["benchmark", "item", "correct", "prompt", "source"]]
    return named.assign(seed=one.seed, **facts).astype({"benchmark": "category"})


def _scores(one: ImportedRecord) -> pd.DataFrame:
    rows = [{"seed": one.seed, "benchmark": name, "score": score.score, "items": score.items}
            | {fact: getattr(score, fact) for fact in MEASURE} for name, score in one.scores.items()]  # fmt: skip
    return pd.DataFrame(rows)


def _curves(home: Path, records: Sequence[ImportedRecord]) -> pd.DataFrame | None:
    parts = [found.assign(train_id=one.run_id) for one in records if (found := table(home, one, "curve")) is not None and len(found)]
    if not parts:
        return None
    whole = pd.concat(parts, ignore_index=True)
    return whole[["train_id", *CURVE]].astype({"train_id": object} | dict.fromkeys(CURVE, "float64"))


def differ(records: Sequence[ImportedRecord], contrasts: Iterable[Pair]) -> dict[str, tuple[str, ...]]:
    """In what the runs of a contrast's arms are not alike although it can move numbers: rank, the adapter's shape, bases that neither has
    in common (runs are paired within a base). What is not known does not count."""
    values: dict[str, dict[str, set[str]]] = {}
    for one in records:
        facts: dict[str, object] = {"base": one.base, "rank": one.rank} | {f"adapter.{name}": value for name, value in one.adapter.items()}
        for name, value in facts.items():
            if value is not None and name not in ("adapter.init_lora_weights", "adapter.r"):
                values.setdefault(name, {}).setdefault(one.arm, set()).add(str(value))
    found: dict[str, set[str]] = {}
    for contrast in contrasts:
        for name, of in values.items():
            own, other = of.get(contrast.arm, set()), of.get(contrast.reference, set())
            apart = own.isdisjoint(other) if name == "base" else own != other
            if own and other and apart:
                found.setdefault(name, set()).update(own | other)
    return {name: tuple(sorted(several)) for name, several in found.items()}
