"""What is not there (seeds, runs, scores), and how far scores can be trusted (prompts cut, choices that low precision moves)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from olora_bench.analysis.cells import one_answer_pays
from olora_bench.analysis.frames import StudyFrames, mixed_provenance, rows_of, training_cell, where
from olora_bench.analysis.pairs import CELL, COMPARISON, run_ids

_BAD = ("diverged", "failed", "unreadable", "running", "missing")
_CLIPPING_GAP = 0.5


def coverage(pairs: pd.DataFrame) -> pd.DataFrame:
    """How much of each cell of each comparison there is.

    Args:
        pairs: as `pairs.pairs(frames)` returns it.

    Returns:
        One row a (comparison, cell): COMPARISON and CELL columns; planned (seeds), complete (both runs done), diverged, failed (a run
        failed or its record cannot be read), missing (a run is not there or still running), unscored (complete, but a score is missing
        or failed); gaps: which seeds lack what, in words, empty where nothing is lacking; runs.
    """
    keys = [*COMPARISON, *CELL]
    rows = []
    for key, group in pairs.groupby(keys, sort=False, dropna=False) if len(pairs) else ():
        told = [_gap(pair) for pair in rows_of(group)]
        kinds = [kind for kind, _ in told]
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"planned": len(group), "complete": kinds.count("complete") + kinds.count("unscored")}
            | {name: kinds.count(name) for name in ("diverged", "failed", "missing", "unscored")}
            | {"gaps": "; ".join(text for _, text in told if text), "runs": run_ids(group)}
        )
    return pd.DataFrame(rows, columns=[*keys, "planned", "complete", "diverged", "failed", "missing", "unscored", "gaps", "runs"])


def _gap(pair: dict[str, Any]) -> tuple[str, str]:
    states = {side: pair[f"{side}_state"] for side in ("arm", "reference")}
    bad = [(pair[side], state) for side, state in states.items() if state != "done"]
    if bad:
        worst = min((state for _, state in bad), key=_BAD.index)
        kind = {"diverged": "diverged", "failed": "failed", "unreadable": "failed"}.get(worst, "missing")
        return kind, f"seed {pair['seed']}: {', '.join(f'{arm} {state}' for arm, state in bad)}"
    scores = [(pair[side], pair[f"{side}_eval_state"]) for side in ("arm", "reference")]
    lacking = [f"{arm} scores {state}" for arm, state in scores if state not in ("done", "none")]
    return ("unscored", f"seed {pair['seed']}: {', '.join(lacking)}") if lacking else ("complete", "")


def not_done(frames: StudyFrames) -> pd.DataFrame:
    """Every run that a table lacks, and every scoring that failed: train_id, model, rank, setting, arm, lr, seed, roles, what, reason."""
    runs = frames.runs
    names = ["train_id", "model", "rank", "setting", "arm", "lr", "seed", "roles", "what", "reason"]
    lacking = runs[runs["state"] != "done"].assign(what=lambda f: f["state"])
    unscored = runs[(runs["state"] == "done") & ~runs["eval_state"].isin(["done", "none"])]
    unscored = unscored.assign(what=lambda f: "scores " + f["eval_state"], reason=unscored["eval_reason"])
    return pd.concat([lacking, unscored])[names].reset_index(drop=True)


def warnings(frames: StudyFrames, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What a reader must know before believing a table: gaps, contradictions, mixed machines, unequal seeds and budgets,
    warm-ups that never end, clipping, doubtful scores.

    Args:
        frames: the study.
        tables: its pairs, cells, run_measures, sensitivity and scoring, as `analyse` makes them.

    Returns:
        about (the study, or a contrast), sentence; one row each.
    """
    found = [(frames.study, sentence) for sentence in (*frames.problems, *frames.damaged)]
    if (frames.runs["state"] == "missing").all():
        found.append((frames.study, "no run of this study has a record yet"))
    found += [(frames.study, sentence) for sentence in _never_warm(frames)]
    arms = set(frames.runs["arm"])
    for contrast in frames.contrasts:
        name = f"{contrast['arm']} vs {contrast['reference']}"
        found += [(name, f"the study has no run of {arm}") for arm in (contrast["arm"], contrast["reference"]) if arm not in arms]
        if {contrast["arm"], contrast["reference"]} <= arms:
            found += [(name, sentence) for sentence in _one_sided(frames.runs, contrast)]
    pairs = tables["pairs"]
    for (about, role), group in pairs.groupby(["contrast", "role"], sort=False) if len(pairs) else ():
        alone = group["arm_id"].isna() | group["reference_id"].isna()
        going_on = _searched_still(frames.searches, group[alone])
        if role == "tuned" and going_on:
            found.append((str(about), f"tuned: no pair yet, the learning-rate search of {' and '.join(going_on)} goes on"))
        elif alone.any():
            found.append((str(about), f"{role}: {alone.sum()} of {len(group)} pairs (cell, seed) are of one arm only and drop out"))
        found += [(str(about), f"{role}: {sentence}") for sentence in _clipping(group[~alone & group["longest"]], tables["run_measures"])]
    found += [(frames.study, f"the runs do not share one {difference}") for difference in mixed_provenance(frames.runs)]
    found += [(frames.study, sentence) for sentence in (*_budgets(tables["sensitivity"]), *_other_metric(frames))]
    found += [(frames.study, sentence) for sentence in (*_doubts(tables["scoring"]), *_leanings(tables["cells"]))]
    return pd.DataFrame(found, columns=["about", "sentence"])


def _never_warm(frames: StudyFrames) -> list[str]:
    """Runs that ended before they reached their learning rate, as their curves have it."""
    if "lr" not in frames.curves:
        return []
    done = frames.runs[frames.runs["state"] == "done"].drop_duplicates("train_id").set_index("train_id")["lr"]
    reached = frames.curves.groupby("train_id")["lr"].max() / done
    cold = reached[reached < 1 - 1e-6]
    if cold.empty:
        return []
    low, high = (f"{100 * share:.3g}%" for share in (cold.min(), cold.max()))
    at = low if low == high else f"{low} to {high}"
    return [f"{len(cold)} of {len(done)} runs ended at {at} of their learning rate: their warm-up was as long as their training"]


def _searched_still(searches: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """The arms of these pairs whose search in the pairs' cells has neither chosen a learning rate nor ended at an edge."""
    cells = {training_cell(cell) for cell in pairs["cell"]}
    arms = {arm for name in ("arm", "reference") for arm in pairs[name]}
    mine = searches[searches["cell"].isin(cells) & searches["arm"].isin(arms) & searches["chosen"].isna() & searches["edge"].isna()]
    return list(dict.fromkeys(mine["arm"]))


def _one_sided(runs: pd.DataFrame, contrast: dict[str, str]) -> list[str]:
    shared = runs[runs["roles"].str.contains("shared") & runs["longest"]]
    cells = [set(shared[shared["arm"] == contrast[side]]["cell"]) for side in ("arm", "reference")]
    alone_in = len(cells[0] ^ cells[1])
    return [f"{alone_in} of {len(cells[0] | cells[1])} cells run one arm only: left out"] if alone_in else []


def _clipping(pairs: pd.DataFrame, measures: pd.DataFrame) -> list[str]:
    """Clipping one arm's gradient and not the other's lowers one arm's learning rate: said from a gap of half of all steps on.

    `pairs` holds those of the headline: shorter schedules have rates of their own.
    """
    share = measures.set_index("train_id")["clipped_step_share"]
    arm, reference = (float(pairs[side].map(share).mean()) for side in ("arm_id", "reference_id"))
    if not abs(arm - reference) >= _CLIPPING_GAP:
        return []
    return [f"the gradient was clipped in {arm:.0%} of the arm's steps and in {reference:.0%} of the reference's: part of the difference"]


def _budgets(sensitivity: pd.DataFrame) -> list[str]:
    found = []
    for _, group in sensitivity.groupby(["model", "rank", "setting"], sort=False) if len(sensitivity) else ():
        if group["tuning_runs"].nunique() > 1:
            told = ", ".join(f"{row['arm']} {row['tuning_runs']}" for row in rows_of(group))
            found.append(f"{where(group.iloc[0])}: the arms' learning rates were searched with unequal numbers of runs: {told}")
    return found


def _other_metric(frames: StudyFrames) -> list[str]:
    if frames.tuning is None or frames.scores.empty or frames.searches["chosen"].isna().all():
        return []
    criterion = frames.tuning["criterion"]
    return [
        f"learning rates were chosen by {criterion}, and scores are another measure: the table learning_rates shows both at each of them"
    ]


def _doubts(scoring: pd.DataFrame) -> list[str]:
    found = []
    for benchmark, group in scoring[scoring["warnings"] != ""].groupby("benchmark", sort=False) if len(scoring) else ():
        found.append(f"scores of {benchmark} carry warnings, as of {group['arm'].iloc[0]}: {group['warnings'].iloc[0]}. All: table scoring")
    flips = scoring[scoring["flips"].notna()]
    if len(flips):
        worst = max(rows_of(flips), key=lambda row: row["flips"])
        found.append(
            f"scored in low precision, up to {worst['flips']:.1f}% of items are answered otherwise than in fp32 "
            f"({worst['arm']} on {worst['benchmark']}, {worst['flip_items']} items compared): see the table scoring"
        )
    return found


def _leanings(cells: pd.DataFrame) -> list[str]:
    """Benchmarks on which one answer pays, and no arm's mean reaches what it scores."""
    found = []
    scored = cells[cells["primary"].astype(bool) & cells["longest"].astype(bool) & (cells["seeds"] > 0)] if len(cells) else cells
    for (model, benchmark), group in scored.groupby(["model", "benchmark"], sort=False) if len(scored) else ():
        best, constant = group[["score_arm", "score_reference"]].to_numpy(dtype=float).max(), group["constant"].max()
        if one_answer_pays(group).any() and best < constant:
            found.append(
                f"on {benchmark} no arm's mean of {model} ({best:.1f} at most) reaches what the same answer to every item scores "
                f"({constant:.1f}): a difference there may be a leaning towards that answer; table grid, gave: how often each arm gave it"
            )
    return found


BASE = "base"


def scoring(frames: StudyFrames) -> pd.DataFrame:
    """One row a (model, arm, benchmark, metric) of the scored runs, and of the untouched bases as an arm called "base".

    Returns:
        model, arm, benchmark, metric, n_evals, items, truncated (items whose prompt was cut, the greatest), flips and flips_max (percent
        of `flip_items` items whose choice differs from fp32's, the mean and the greatest; NaN where not measured), flip_items, warnings
        (each once, with the number of evaluations that gave it), runs (none for a base).
    """
    runs = frames.runs.drop_duplicates("train_id").set_index("train_id")
    scores = frames.scores.assign(
        model=frames.scores["base"].fillna(frames.scores["train_id"].map(runs["model"])),
        arm=frames.scores["train_id"].map(runs["arm"]).where(frames.scores["base"].isna(), BASE),
    )
    rows: list[dict[str, Any]] = []
    keys = ["model", "arm", "benchmark", "metric"]
    for key, group in scores.groupby(keys, sort=False):
        said = Counter(text for texts in group["warnings"] for text in texts.split(" | ") if text)
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"n_evals": len(group), "items": int(group["items"].max()), "truncated": int(group["truncated"].max())}
            | {"flips": 100 * float(group["flips"].mean()), "flips_max": 100 * float(group["flips"].max())}
            | {"flip_items": int(group["flip_items"].max())}
            | {"warnings": "; ".join(f"{text} ({count} of {len(group)})" for text, count in said.items())}
            | {"runs": " ".join(sorted(group["train_id"].dropna()))}
        )
    return pd.DataFrame(rows, columns=[*keys, "n_evals", "items", "truncated", "flips", "flips_max", "flip_items", "warnings", "runs"])
