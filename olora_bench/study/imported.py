"""`python -m olora_bench.study import STUDY.yaml`: runs that others made, read into records; and the study again from these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from olora_bench.analysis import StudyFrames
from olora_bench.analysis.complete import lacking
from olora_bench.analysis.given import Matched
from olora_bench.analysis.imported import as_given, differ, frames_of
from olora_bench.errors import BadInput
from olora_bench.foreign.importing import import_runs
from olora_bench.foreign.kept import KeptStudy, keep, read_kept
from olora_bench.foreign.record import ImportedRecord, read
from olora_bench.foreign.schema import read_study
from olora_bench.store import inside, lease
from olora_bench.study.names import FOREIGN
from olora_bench.words.judged import left_out
from olora_bench.words.numbers import rate


@dataclass(frozen=True)
class Read:
    """An imported study before its analysis: its frames, its records, its folder, and the name of its file."""

    frames: StudyFrames
    records: tuple[ImportedRecord, ...]
    home: Path
    file: str

    @property
    def lacks(self) -> list[str]:
        """What it lacks. It asks for no scores of untouched bases: nobody imports those."""
        return lacking(replace(self.frames, runs=self.frames.runs.assign(base_eval_id=None)))


def read_runs(path: Path, results_dir: Path) -> Read:
    """Read the runs that a study file names, and write their records, from which the frames are.

    Args:
        path: of the study file.
        results_dir: where records go, to `<name>/`.

    Raises:
        BadInput: the file is not as described, nothing is found, or another study ran under its name.
        StoreError: nothing can be written there.
    """
    study = read_study(path)
    home = inside(results_dir, results_dir / study.name)
    if (home / "manifest.json").exists():
        raise BadInput(f"{path}: name={study.name} is taken in {results_dir}: a study ran there under it. Choose another name")
    with lease(home, wait=True):  # of two imports under one name one comes after the other
        found = import_runs(study, path.parent, home)
        ids = tuple(one.run_id for one in found.records)
        keep(home / FOREIGN, KeptStudy(file=path.name, study=study, runs=ids, absent=found.absent, notes=found.notes))
    return stored(home)


def stored(home: Path) -> Read:
    """An imported study from its folder: the files that were read are not needed again.

    Raises:
        RecordError: a record is gone or damaged.
        BadInput: answers of a run contradict each other.
    """
    kept = read_kept(home / FOREIGN)
    records = tuple(read(home, run_id) for run_id in kept.runs)
    asked = frames_of(kept.study, home, records, kept.absent, _problems(kept, records))
    found = asked.found or Matched((), {}, (), {})
    said = [f"left out: {left_out(reason)}" for reason in found.left_out]
    said += [f"compared all the same, as the study file asks: {left_out(one)}" for one in found.accepted]
    problems = [*asked.frames.problems, *(line.replace("\0None", "").replace("\0", ", ") for line in said)]
    return Read(replace(asked.frames, problems=problems), records, home, kept.file)


def _problems(kept: KeptStudy, records: Sequence[ImportedRecord]) -> list[str]:
    """What a reader must know before believing the tables."""
    problems = [f"these {len(records)} runs were trained and scored elsewhere: nothing here was run, and what their files say is believed"]
    rates = {one.arm: sorted({rate(other.lr) for other in records if other.arm == one.arm}) for one in records}
    listed = "; ".join(f"{arm} {', '.join(own)}" for arm, own in sorted(rates.items()))
    known = any(one.lr is not None for one in records)
    said = f"learning rates are as given ({listed}): nothing says how they were chosen" if known else "no learning rate is known"
    problems.append(f"{said}, so none is called tuned")
    problems += [f"the runs do not share one {what}: {', '.join(values)}" for what, values in differ(records, kept.study.contrasts).items()]
    if not as_given(kept.study, records) and (unknown := [f"{one.arm} seed {one.seed}" for one in records if one.lr is None]):
        problems.append(f"the learning rate of {', '.join(unknown)} is not known, where that of others is: in no comparison at one rate")
    if any("report_loss" in one.losses for one in records):
        problems.append("the held-out loss is the trainer's eval_loss, over the examples that the trainer was given")
    counts = sorted({name for one in records for name, score in one.scores.items() if score.items is None})
    if counts:
        problems.append(f"how many items {', '.join(counts)} has is not known: its scores are read to a millionth")
    return [*problems, *kept.notes]
