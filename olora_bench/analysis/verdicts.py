"""The answer of a study: one verdict a comparison, and apart from it the paper-style count with its null band."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from olora_bench.analysis.frames import StudyFrames, mixed_provenance, rows_of, training_cell
from olora_bench.analysis.paired import LEVEL, MIN_BLOCKS, Floats, blocks_needed, detectable_of, flip_sets, holm, sign_flip
from olora_bench.analysis.pairs import COMPARISON, cells_of_both, run_ids

BLOCK = ["model", "seed"]
"""Runs of one model and one seed share data order and base: they are exchanged as a whole."""

COUNT_FLIPS_EXACT = 14
COUNT_FLIPS = 9_999
_AT_ONCE = 1024


def block_differences(differences: pd.DataFrame) -> pd.Series[float]:
    """The macro-average over benchmarks of each block, in percentage points; index BLOCK.

    A benchmark counts the same however many ranks and settings a block has: first the mean over benchmarks of each pair of runs, then
    over the block's pairs. Primary metrics only.
    """
    primary = differences[differences["primary"]]
    runs = primary.groupby([*BLOCK, "cell", "arm_id", "reference_id"], sort=True)["difference"].mean()
    return runs.groupby(level=BLOCK, sort=True).mean()


def block_losses(frames: StudyFrames, pairs: pd.DataFrame) -> pd.Series[float]:
    """The mean difference of the final held-out loss of each block, in nats per supervised token; index BLOCK; complete pairs only."""
    losses = frames.runs.drop_duplicates("train_id").set_index("train_id")["metrics.report_loss"]
    complete = pairs[pairs["pair"] == "complete"]
    difference = (complete["arm_id"].map(losses) - complete["reference_id"].map(losses)).astype(float)
    return difference.groupby([complete[name] for name in BLOCK], sort=True).mean().dropna()


def confirmatory(frames: StudyFrames, pairs: pd.DataFrame, differences: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One verdict a comparison: the macro-average over benchmarks, tested by flipping whole blocks (model, seed).

    Where a comparison's runs are asked no benchmark, their held-out loss is tested in the same way, and lower is better.

    Args:
        frames, pairs, differences: the study, its pairs and its seed differences.
        rng: used only where there are too many blocks to list all flips.

    Returns:
        One row a comparison: COMPARISON columns; blocks, models, pairs_planned, pairs_missing, diverged; judged_by (score, report_loss);
        difference, low, high (percentage points; NaN below six blocks), detectable (found with 80% power, from the spread between
        blocks); p, p_holm (of what it is judged by, over the study's confirmatory comparisons); blocks_for, blocks_against (of what it
        is judged by); loss_blocks, loss_difference, loss_low, loss_high, loss_detectable (nats), loss_p; open_searches; mixed; verdict:
        win | loss | unresolved | not enough runs | no verdict; note; runs.
    """
    rows = []
    for key, group in _comparisons(pairs):
        mine = _of(differences, key)
        blocks, losses = block_differences(mine), block_losses(frames, group)
        by_loss = _asked_no_benchmark(frames, group)
        missing = int((group["pair"] == "incomplete").sum())
        complete = int((group["pair"] == "complete").sum())
        unscored = 0 if by_loss else complete - mine[["arm_id", "reference_id"]].drop_duplicates().shape[0]
        better = -losses if by_loss else blocks
        row = dict(key) | {
            "judged_by": "report_loss" if by_loss else "score",
            "blocks": len(blocks),
            "models": group["model"].nunique(),
            "pairs_planned": len(group),
            "pairs_missing": missing + unscored,
            "diverged": int((group["pair"] == "diverged").sum()),
            "difference": float(blocks.mean()) if len(blocks) else np.nan,
            "detectable": detectable_of(np.asarray(blocks, dtype=np.float64)),
            "blocks_for": int((better > 0).sum()),
            "blocks_against": int((better < 0).sum()),
            "loss_blocks": len(losses),
            "loss_difference": float(losses.mean()) if len(losses) else np.nan,
            "loss_detectable": detectable_of(np.asarray(losses, dtype=np.float64)),
            "mixed": mixed_runs(frames, group),
            "open_searches": _open_searches(frames, key["arm"], key["reference"]) if key["role"] == "tuned" else 0,
            "runs": run_ids(group),
        }
        row |= _flipped(blocks, rng) | {f"loss_{name}": value for name, value in _flipped(losses, rng).items()}
        rows.append(row | ({"p": row["loss_p"]} if by_loss else {}))
    rows = _unopened(frames, rows) + rows  # first, where the verdict itself will stand
    frame = pd.DataFrame(rows, columns=[*COMPARISON, *_COUNTS, *_NUMBERS, "judged_by", "open_searches", "mixed", "runs"])
    frame["p_holm"] = np.nan
    family = frame["confirmatory"].astype(bool)
    if family.any():
        frame.loc[family, "p_holm"] = holm(frame.loc[family, "p"].to_numpy(dtype=float))
    judged = [_verdict(row, set(frames.runs["arm"]), _hopeless(frame[family])) for row in rows_of(frame)]
    frame["verdict"], frame["note"] = [v for v, _ in judged], [n for _, n in judged]
    return frame


def _hopeless(family: pd.DataFrame) -> str:
    """Why none of the primary comparisons can be decided, however their blocks turn out; empty where one can. One that is decided makes it
    easier for the others, so the comparison with the most blocks is asked."""
    most = family["blocks"].where(family["judged_by"] == "score", family["loss_blocks"]).max()
    if family.empty or most >= blocks_needed(len(family)):
        return ""
    return f"{most} blocks can decide none of {len(family)} primary comparisons, whatever they show: {blocks_needed(len(family))} can"


def _flipped(blocks: pd.Series[float], rng: np.random.Generator) -> dict[str, float]:
    """The interval and p of the mean of block differences by sign flips: low, high, p; NaN below `MIN_BLOCKS`."""
    if len(blocks) < MIN_BLOCKS:
        return dict.fromkeys(("low", "high", "p"), np.nan)
    test = sign_flip(np.asarray(blocks, dtype=np.float64), rng)
    return {"low": float(test.low), "high": float(test.high), "p": float(test.p)}


_COUNTS = ["blocks", "models", "pairs_planned", "pairs_missing", "diverged", "blocks_for", "blocks_against", "loss_blocks"]
_NUMBERS = ["difference", "low", "high", "detectable", "p", "loss_difference", "loss_low", "loss_high", "loss_detectable", "loss_p"]


def mixed_runs(frames: StudyFrames, group: pd.DataFrame) -> str:
    """What the runs of a group of pairs do not share although it can move numbers, in words; empty where they share everything."""
    wanted = frames.runs["train_id"].isin({*group["arm_id"].dropna(), *group["reference_id"].dropna()})
    return "; ".join(mixed_provenance(frames.runs[wanted]))


def mixed_note(mixed: str) -> list[str]:
    """A note of what is mixed, by name.

    >>> mixed_note("torch: 2.12, 2.13; threads: 2, 4")
    ['runs differ in torch, threads']
    """
    return [f"runs differ in {', '.join(part.split(':')[0] for part in mixed.split('; '))}"] if mixed else []


def _asked_no_benchmark(frames: StudyFrames, group: pd.DataFrame) -> bool:
    """Whether the runs are asked no benchmark: no suite, or one that only has them write answers."""
    if (group["arm_eval_state"].isin(["none"]) | group["reference_eval_state"].isin(["none"])).all():
        return True
    done = {e for side in ("arm", "reference") for e in group[group[f"{side}_eval_state"] == "done"][f"{side}_eval"]}
    return bool(done) and not done & set(frames.scores["eval_id"])


def _verdict(row: dict[str, Any], arms: set[str], hopeless: str) -> tuple[str, str]:
    absent = [arm for arm in (row["arm"], row["reference"]) if arm not in arms]
    if absent:
        return "not enough runs", f"the study has no run of {' or of '.join(absent)}"
    notes = [f"{row['pairs_missing']} of {row['pairs_planned']} pairs missing"] if row["pairs_missing"] else []
    notes += mixed_note(row["mixed"])
    by_loss = row["judged_by"] == "report_loss"
    notes += ["by held-out loss: no benchmark is asked"] if by_loss else []
    blocks, gain = (row["loss_blocks"], -row["loss_difference"]) if by_loss else (row["blocks"], row["difference"])
    if row["open_searches"]:
        return "no verdict", ", ".join([*notes, f"{row['open_searches']} learning-rate searches open or at an edge"])
    if row["diverged"]:
        return "unresolved", ", ".join([*notes, f"{row['diverged']} of {row['pairs_planned']} pairs diverged"])
    if blocks < MIN_BLOCKS:
        return "not enough runs", ", ".join([*notes, f"{blocks} of at least {MIN_BLOCKS} blocks (model, seed)"])
    p = row["p_holm"] if row["confirmatory"] else row["p"]
    notes += [hopeless] if row["confirmatory"] and hopeless else []
    return "unresolved" if p > LEVEL else "win" if gain > 0 else "loss", ", ".join(notes)


def _unopened(frames: StudyFrames, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A declared primary contrast that no pair of runs answers yet has a row too."""
    role = "tuned" if frames.protocol == "tuned" else "shared"
    there = {row["contrast"] for row in rows if row["role"] == role}
    missing = [c for c in frames.contrasts if c["kind"] == "primary" and f"{c['arm']} vs {c['reference']}" not in there]
    numbers, counts = dict.fromkeys(("lr_reference", "lr_arm", *_NUMBERS), np.nan), dict.fromkeys(_COUNTS, 0)
    told = {"role": role, "confirmatory": True, "judged_by": "nothing", "mixed": "", "runs": ""}
    return [
        {**c, "contrast": f"{c['arm']} vs {c['reference']}", **told, **numbers, **counts}
        | {"open_searches": _open_searches(frames, c["arm"], c["reference"])}
        for c in missing
    ]


def _open_searches(frames: StudyFrames, arm: str, reference: str) -> int:
    """Searches of the two arms, in the cells that the comparison is judged by, that chose nothing."""
    cells = {training_cell(cell) for cell in cells_of_both(frames.runs[frames.runs["longest"]], arm, reference)}
    mine = frames.searches[frames.searches["arm"].isin([arm, reference]) & frames.searches["cell"].isin(cells)]
    searches = mine.drop_duplicates(["cell", "arm"])
    return int(searches["chosen"].isna().sum())


def left_out(pairs: pd.DataFrame, differences: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The macro-average again without each benchmark in turn: whether one of them carries a verdict.

    Args:
        pairs, differences: the study's pairs and seed differences.
        rng: used only where there are too many blocks to list all flips.

    Returns:
        One row a (comparison, benchmark) where there are two or more: COMPARISON columns; benchmark (left out); blocks, blocks_for,
        blocks_against; difference, low, high (percentage points; NaN below six blocks), p (uncorrected: it describes, and decides
        nothing); runs.
    """
    rows = []
    for key, group in _comparisons(pairs):
        mine = _of(differences, key)
        mine = mine[mine["primary"]]
        names = list(dict.fromkeys(mine["benchmark"]))
        for name in names if len(names) > 1 else ():
            blocks = block_differences(mine[mine["benchmark"] != name])
            counts = {"blocks": len(blocks), "blocks_for": int((blocks > 0).sum()), "blocks_against": int((blocks < 0).sum())}
            rows.append(
                key | {"benchmark": name, "difference": float(blocks.mean()), "runs": run_ids(group)} | counts | _flipped(blocks, rng)
            )
    columns = ["benchmark", "blocks", "blocks_for", "blocks_against", "difference", "low", "high", "p", "runs"]
    return pd.DataFrame(rows, columns=[*COMPARISON, *columns])


def win_counts(pairs: pd.DataFrame, differences: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The paper-style count (higher mean wins a cell), and what the same runs would count were the arms the same.

    Args:
        pairs, differences: the study's pairs and seed differences.
        rng: draws the flips where there are too many blocks to list them.

    Returns:
        One row a comparison: COMPARISON columns; cells (with a score), wins, losses, ties, tied (their names); blocks; null_low,
        null_high: the central 95% of wins when whole blocks (model, seed) change sign; p (two-sided, of wins minus losses in that null);
        p_coins: what a sign test over cells would claim, were they independent; runs.
    """
    rows = []
    for key, group in _comparisons(pairs):
        mine = _of(differences, key)
        mine = mine[mine["primary"]]
        seeds = mine.pivot_table(index=["model", "rank", "setting", "cell", "benchmark"], columns="seed", values="difference", sort=True)
        if seeds.empty:
            continue
        models = seeds.index.get_level_values("model")
        blocks = [(m, s) for m in dict.fromkeys(models) for s in seeds.columns if seeds.loc[models == m, s].notna().any()]
        table = np.zeros((len(seeds), len(blocks)))
        for column, (model, seed) in enumerate(blocks):
            table[:, column] = np.where(models == model, seeds[seed].fillna(0.0), 0.0)
        wins, losses, null = count_with_null(table, rng)
        low, high = np.quantile(null[:, 0], [LEVEL / 2, 1 - LEVEL / 2], method="inverted_cdf")
        tied = [f"{m} r{r} {b}" for (m, r, _, _, b), row in zip(seeds.index, table, strict=True) if abs(row.sum()) < 1e-9]
        margin = np.abs(null[:, 0] - null[:, 1]) >= abs(wins - losses)
        rows.append(
            key
            | {"cells": len(seeds), "wins": wins, "losses": losses, "ties": len(tied), "tied": "; ".join(tied), "blocks": len(blocks)}
            | {"null_low": int(low), "null_high": int(high), "p": float(margin.mean())}
            | {"p_coins": float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0, "runs": run_ids(group)}
        )
    names = [*COMPARISON, "cells", "wins", "losses", "ties", "tied", "blocks", "null_low", "null_high", "p", "p_coins", "runs"]
    return pd.DataFrame(rows, columns=names)


def count_with_null(table: Floats, rng: np.random.Generator, *, flips: int = COUNT_FLIPS) -> tuple[int, int, Any]:
    """Wins and losses of cells, and the same after flipping blocks.

    Args:
        table: `(cells, blocks)`, a cell's difference in each block, 0 where the block has none: its row sum decides the cell.
        rng: draws `flips` flips where there are too many blocks (more than `COUNT_FLIPS_EXACT`) to list all.

    Returns:
        wins, losses, and `(flips, 2)` wins and losses under each flip, the unflipped one first.

    >>> count_with_null(np.array([[1.0], [2.0]]), np.random.default_rng(0))[2].tolist()
    [[2, 0], [0, 2]]
    """
    blocks = table.shape[1]
    unflipped = np.zeros((1, blocks), dtype=bool)
    sets = np.vstack([unflipped, flip_sets(blocks, rng, exact_up_to=COUNT_FLIPS_EXACT, draws=flips)])
    slack, counts = 1e-9, []
    for part in np.array_split(sets, -(-len(sets) // _AT_ONCE)):
        sums = np.where(part, -1.0, 1.0) @ table.T
        counts.append(np.stack([(sums > slack).sum(axis=1), (sums < -slack).sum(axis=1)], axis=1))
    null = np.concatenate(counts)
    return int(null[0, 0]), int(null[0, 1]), null


def _comparisons(pairs: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    if pairs.empty:
        return []
    found = pairs[pairs["longest"].astype(bool)].groupby(COMPARISON, sort=False, dropna=False)
    return [(dict(zip(COMPARISON, key, strict=True)), group) for key, group in found]


def _of(differences: pd.DataFrame, key: dict[str, Any]) -> pd.DataFrame:
    mine = differences[differences["longest"].astype(bool)]
    for name, value in key.items():
        mine = mine[mine[name].isna()] if value != value else mine[mine[name] == value]
    return mine
