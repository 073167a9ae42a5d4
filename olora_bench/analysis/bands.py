"""Held-out loss along training: the mean of an arm's seeds with the range they span, and the runs that diverged, each by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from olora_bench.analysis.frames import Row, StudyFrames, groups_of
from olora_bench.analysis.runs import at_chosen_rate, with_role

PANEL = ["role", "cell", "model", "rank", "setting", "panel_lr"]
"""What shares one pair of axes; `panel_lr` is the shared learning rate, null where each arm has its own."""


def loss_bands(frames: StudyFrames, pairs: pd.DataFrame) -> pd.DataFrame:
    """One row a (role, cell, arm, step) of the reported runs: mean and range over seeds.

    Args:
        frames: the study.
        pairs: as `pairs.pairs(frames)` returns it; cells that it knows as shorter schedules are left out.

    Returns:
        PANEL columns; arm, lr, step, tokens (mean), mean, low, high (held-out loss in nats: mean, least and greatest over the finished
        seeds), seeds (finished), planned (seeds in the manifest). A step that one of the finished seeds did not read is left out.
    """
    rows: list[pd.DataFrame] = []
    for key, group in _groups(frames, pairs):
        done = group[group["state"] == "done"]["train_id"]
        read = _readings(frames, done)
        if read.empty:
            continue
        by_step = read.groupby("step")
        band = by_step["report_loss"].agg(["mean", "min", "max", "count"]).rename(columns={"min": "low", "max": "high"})
        band["tokens"] = by_step["tokens"].mean()
        seeds = read["train_id"].nunique()
        band = band[band["count"] == seeds].drop(columns="count").reset_index()
        rows.append(band.assign(**key, seeds=seeds, planned=group["seed"].nunique()))
    columns = [*PANEL, "arm", "lr", "step", "tokens", "mean", "low", "high", "seeds", "planned"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def diverged_curves(frames: StudyFrames, pairs: pd.DataFrame) -> pd.DataFrame:
    """One row a (diverged reported run, step that read a finite held-out loss).

    Returns:
        PANEL columns; arm, lr, seed, train_id, step, loss (nats).
    """
    rows: list[pd.DataFrame] = []
    for key, group in _groups(frames, pairs):
        for run in group[group["state"] == "diverged"].to_dict("records"):
            read = _readings(frames, pd.Series([run["train_id"]]))
            read = read[np.isfinite(read["report_loss"])].rename(columns={"report_loss": "loss"})
            rows.append(read[["step", "loss"]].assign(**key, seed=run["seed"], train_id=run["train_id"]))
    columns = [*PANEL, "arm", "lr", "seed", "train_id", "step", "loss"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def _groups(frames: StudyFrames, pairs: pd.DataFrame) -> list[tuple[Row, pd.DataFrame]]:
    shorter = set(pairs[~pairs["longest"].astype(bool)]["cell"]) if len(pairs) else set()
    runs = at_chosen_rate(frames.runs[~frames.runs["cell"].isin(shorter)])
    groups = []
    for role in ("tuned", "shared"):
        reported = with_role(runs, role).drop_duplicates(["cell", "arm", "lr", "seed"])
        shown = "given" if frames.protocol == "as_given" else role  # each arm at a rate of its own, in one panel as tuned ones
        for named, group in groups_of(reported, ["cell", "model", "rank", "setting", "arm", "lr"]):
            groups.append((named | {"role": shown, "panel_lr": named["lr"] if shown == "shared" else np.nan}, group))
    return groups


def _readings(frames: StudyFrames, train_ids: pd.Series[Any]) -> pd.DataFrame:
    if "report_loss" not in frames.curves:
        return pd.DataFrame(columns=["train_id", "step", "tokens", "report_loss"])
    read = frames.curves[frames.curves["train_id"].isin(train_ids) & frames.curves["report_loss"].notna()]
    read = read[read.groupby("train_id")["step"].transform("size") > 1]  # read at its end alone, a run has no curve
    return read[["train_id", "step", "tokens", "report_loss"]]
