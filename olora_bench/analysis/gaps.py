"""What is not there: seeds of a cell that lack a pair, runs and scores that are not done, and what a reader must know first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from olora_bench.analysis import caveats
from olora_bench.analysis.caveats import Caveat
from olora_bench.analysis.cells import one_answer_pays
from olora_bench.analysis.columns import CELL_COLUMNS, COMPARISON_COLUMNS, PLACE, RUNS
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import Row, StudyFrames, curves_by_run, groups_of, rows_of, training_cell, where
from olora_bench.analysis.pairs import CELL, COMPARISON, run_ids, unkept
from olora_bench.analysis.provenance import mixed_provenance
from olora_bench.analysis.reasons import ArmsAbsent, SeedLacks, SourcesUnread
from olora_bench.analysis.run_rows import AS_GIVEN
from olora_bench.analysis.runs import RUN_TABLE, with_role
from olora_bench.analysis.sensitivity import insensitive
from olora_bench.store.manifest import Contrast

_BAD = ("diverged", "failed", "unreadable", "running", "missing")
_CLIPPING_GAP = 0.5

COVERAGE = Table(
    "coverage",
    "a (comparison, cell): how many of its seeds there are",
    (
        *COMPARISON_COLUMNS,
        *CELL_COLUMNS,
        Column("planned", "seeds", heading="planned"),
        Column("complete", "seeds with both runs done", heading="complete"),
        Column("diverged", "seeds of which a run diverged", heading="diverged"),
        Column("failed", "seeds of which a run failed or its record cannot be read", heading="failed"),
        Column("missing", "seeds of which a run is not there or still running", heading="missing"),
        Column("unscored", "complete, but a score is missing or failed", heading="unscored"),
        Column("lacking", "which seeds lack what", heading="gaps"),
        RUNS,
    ),
)
COVERAGE_VIEW = View(
    "coverage",
    "Planned and complete seeds",
    "Seeds of each cell: planned, complete (both runs done), and what the others lack. Shorter schedules included.",
    COVERAGE,
)
_RUN = {column.name: column for column in RUN_TABLE.columns}
NOT_DONE = Table(
    "not_done",
    "a run, or a scoring, that the other tables lack",
    (
        *(_RUN[name] for name in ("train_id", "model", "rank", "setting", "arm", "lr", "seed", "roles")),
        Column("what", "the run's state, or `scores` and theirs", heading="state"),
        Column("reason", "why it is not done", heading="reason"),
    ),
)
NOT_DONE_VIEW = View("not_done", "Missing, failed, diverged", "Runs and scores that the tables lack.", NOT_DONE)
WARNINGS = Table(
    "warnings",
    "what a reader must know before believing a table",
    (
        Column("about", "the study, or a contrast", heading="about"),
        Column("caveat", "what to know", heading="caveat"),
    ),
)
WARNING_VIEW = View("warnings", "What to know first", "Caveats: what to know before believing a table.", WARNINGS)


def coverage(pairs: pd.DataFrame) -> pd.DataFrame:
    """How much of each cell of each comparison there is: `COVERAGE`.

    Args:
        pairs: as `pairs.pairs(frames)` returns it.
    """
    rows = []
    for named, group in groups_of(pairs, [*COMPARISON, *CELL]):
        seeds = [_state(pair) for pair in rows_of(group)]
        kinds = [kind for kind, _ in seeds]
        rows.append(
            named
            | {"planned": len(group), "complete": kinds.count("complete") + kinds.count("unscored")}
            | {name: kinds.count(name) for name in ("diverged", "failed", "missing", "unscored")}
            | {"lacking": tuple(gap for _, gap in seeds if gap is not None), "runs": run_ids(group)}
        )
    return COVERAGE.frame(rows)


def _state(pair: Row) -> tuple[str, SeedLacks | None]:
    """What a seed counts as in `COVERAGE`, and what it lacks."""
    states = {side: pair[f"{side}_state"] for side in ("arm", "reference")}
    bad = tuple((pair[side], state) for side, state in states.items() if state != "done")
    if bad:
        worst = min((state for _, state in bad), key=_BAD.index)
        kind = {"diverged": "diverged", "failed": "failed", "unreadable": "failed"}.get(worst, "missing")
        return kind, SeedLacks(pair["seed"], bad, scores=False)
    scores = [(pair[side], pair[f"{side}_eval_state"]) for side in ("arm", "reference")]
    lacking = tuple((arm, state) for arm, state in scores if state not in ("done", "none"))
    return ("unscored", SeedLacks(pair["seed"], lacking, scores=True)) if lacking else ("complete", None)


def not_done(frames: StudyFrames) -> pd.DataFrame:
    """Every run that a table lacks, and every scoring that failed: `NOT_DONE`."""
    runs = frames.runs
    lacking = runs[runs["state"] != "done"].assign(what=lambda f: f["state"])
    unscored = runs[(runs["state"] == "done") & ~runs["eval_state"].isin(["done", "none"])]
    unscored = unscored.assign(what=lambda f: "scores " + f["eval_state"], reason=unscored["eval_reason"])
    return NOT_DONE.ordered(pd.concat([lacking, unscored])[NOT_DONE.names].reset_index(drop=True))


def warnings(frames: StudyFrames, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What a reader must know before believing a table: `WARNINGS`.

    Args:
        frames: the study.
        tables: its pairs, cells, scopes, run_measures, sensitivity and scoring, as `analyse` makes them.
    """
    rows = [(frames.study, caveat) for caveat in _of_study(frames)]
    rows += [(f"{one.arm} vs {one.reference}", caveat) for one in frames.contrasts for caveat in _of_contrast(frames.runs, one)]
    pairs = tables["pairs"]
    for (contrast, role), group in pairs.groupby(["contrast", "role"], sort=False) if len(pairs) else ():
        rows += [(str(contrast), caveat) for caveat in _of_pairs(str(role), group, frames, tables["run_measures"])]
    differ = mixed_provenance(frames.runs)
    told: tuple[Caveat, ...] = (
        *differ,
        *_budgets(tables["sensitivity"]),
        *_other_metric(frames),
        *_doubts(tables["scoring"]),
        *_leanings(tables["cells"]),
    )
    told += (*insensitive(frames, tables["cells"]), *_not_in_fp32(frames.scores), *_unclustered(tables["scopes"]))
    rows += [(frames.study, caveat) for caveat in told]
    return WARNINGS.frame([{"about": about, "caveat": caveat} for about, caveat in rows])


def _of_study(frames: StudyFrames) -> Iterator[Caveat]:
    yield from map(caveats.Problem, (*frames.problems, *frames.damaged))
    if (frames.runs["state"] == "missing").all():
        yield caveats.NoRecords()
    yield from _never_warm(frames)


def _of_contrast(runs: pd.DataFrame, contrast: Contrast) -> Iterator[Caveat]:
    arms = set(runs["arm"])
    absent = [arm for arm in (contrast.arm, contrast.reference) if arm not in arms]
    yield from (ArmsAbsent((arm,)) for arm in absent)
    shared = with_role(runs[runs["longest"]], "shared")
    cells = [set(shared[shared["arm"] == arm]["cell"]) for arm in (contrast.arm, contrast.reference)]
    if not absent and cells[0] != cells[1]:
        yield caveats.CellsOfOneArm(len(cells[0] ^ cells[1]), len(cells[0] | cells[1]))


def _of_pairs(role: str, pairs: pd.DataFrame, frames: StudyFrames, measures: pd.DataFrame) -> Iterator[Caveat]:
    """Of the pairs of one contrast and role."""
    waits = set(map(tuple, unkept(frames.runs)[["cell", "arm", "seed"]].to_numpy())) if role == "tuned" else set()
    alone = pd.Series(False, index=pairs.index)
    for side in ("arm", "reference"):
        begun = [tuple(block) in waits for block in pairs[["cell", side, "seed"]].to_numpy()]
        alone |= pairs[f"{side}_id"].isna() & ~pd.Series(begun, index=pairs.index, dtype=bool)
    going_on = _searched_still(frames.searches, pairs[alone])
    if role == "tuned" and going_on:
        yield caveats.SearchesGoOn(tuple(going_on))
    elif alone.any():
        yield caveats.PairsOfOneArm(role, int(alone.sum()), len(pairs))
    # Clipping one arm's gradient and not the other's lowers one arm's learning rate. Shorter schedules have rates of their own.
    headline = pairs[pairs["arm_id"].notna() & pairs["reference_id"].notna() & pairs["longest"]]
    share = measures.drop_duplicates("train_id").set_index("train_id")["clipped_step_share"]
    arm, reference = (float(headline[side].map(share).mean()) for side in ("arm_id", "reference_id"))
    if abs(arm - reference) >= _CLIPPING_GAP:
        yield caveats.ClippedUnequally(role, arm, reference)


def _never_warm(frames: StudyFrames) -> list[caveats.NeverWarm]:
    """Runs that ended before they reached their learning rate, as their curves have it."""
    if "lr" not in frames.curves:
        return []
    ours = frames.runs["stage"] != AS_GIVEN  # a stranger's log has a row now and then, and its highest rate may lie between two
    done = frames.runs[(frames.runs["state"] == "done") & ours].drop_duplicates("train_id").set_index("train_id")["lr"]
    reached = pd.Series({train_id: np.fmax.reduce(curve["lr"]) for train_id, curve in curves_by_run(frames.curves)}, dtype=float) / done
    cold = reached[reached < 1 - 1e-6]
    return [caveats.NeverWarm(len(cold), len(done), float(cold.min()), float(cold.max()))] if len(cold) else []


def _searched_still(searches: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """The arms of these pairs whose search in the pairs' cells has neither chosen a learning rate nor ended at an edge."""
    cells = {training_cell(cell) for cell in pairs["cell"]}
    arms = {arm for name in ("arm", "reference") for arm in pairs[name]}
    theirs = searches["cell"].isin(cells) & searches["arm"].isin(arms)
    return list(dict.fromkeys(searches[theirs & searches["chosen"].isna() & searches["edge"].isna()]["arm"]))


def _budgets(sensitivity: pd.DataFrame) -> Iterator[caveats.BudgetsDiffer]:
    for _, group in sensitivity.groupby(PLACE, sort=False) if len(sensitivity) else ():
        if group["tuning_runs"].nunique() > 1:
            yield caveats.BudgetsDiffer(where(group.iloc[0]), tuple((row["arm"], row["tuning_runs"]) for row in rows_of(group)))


def _other_metric(frames: StudyFrames) -> Iterator[caveats.ChosenByOther]:
    if frames.tuning is not None and len(frames.scores) and frames.searches["chosen"].notna().any():
        yield caveats.ChosenByOther(frames.tuning.criterion)


def _doubts(scoring: pd.DataFrame) -> Iterator[caveats.ScoresWarn | caveats.LowPrecision]:
    warned = scoring[scoring["warned"].map(bool)] if len(scoring) else scoring
    for row in rows_of(warned.drop_duplicates("benchmark")):
        yield caveats.ScoresWarn(row["benchmark"], row["arm"], row["warned"])
    flips = scoring[scoring["flips"].notna()]
    if len(flips):
        worst = max(rows_of(flips), key=lambda row: float(row["flips"]))
        yield caveats.LowPrecision(worst["flips"], worst["arm"], worst["benchmark"], worst["flip_items"])


def _leanings(cells: pd.DataFrame) -> Iterator[caveats.BelowOneAnswer]:
    """Benchmarks on which one answer pays, and no arm's mean reaches what it scores."""
    scored = cells[cells["primary"].astype(bool) & cells["longest"].astype(bool) & (cells["seeds"] > 0)] if len(cells) else cells
    for (model, benchmark), group in scored.groupby(["model", "benchmark"], sort=False) if len(scored) else ():
        best, constant = group[["score_arm", "score_reference"]].to_numpy(dtype=float).max(), group["constant"].max()
        if one_answer_pays(group).any() and best < constant:
            yield caveats.BelowOneAnswer(str(benchmark), str(model), best, constant)


def _not_in_fp32(scores: pd.DataFrame) -> Iterator[caveats.NotComparedWithFp32]:
    """Of a base that was scored in fp32 there are no flips, nor of what was trained from it."""
    compared = scores.assign(compared=scores["flips"].notna()).groupby(["train_id", "base", "eval_id"], dropna=False)["compared"].any()
    trained = compared[compared.index.get_level_values("base").isna()]
    if compared[compared.index.get_level_values("base").notna()].any() and not trained.all():
        yield caveats.NotComparedWithFp32(int((~trained).sum()), len(trained))


def _unclustered(scopes: pd.DataFrame) -> Iterator[SourcesUnread]:
    if any(isinstance(reason, SourcesUnread) for reasons in scopes["reasons"] for reason in reasons):
        yield SourcesUnread()
