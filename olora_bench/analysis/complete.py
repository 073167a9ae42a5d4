"""Whether a study is complete: by this `run`, `report`, `figures` and `extract` exit with 0, and `status` by the same of each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from olora_bench.store import OVER

if TYPE_CHECKING:
    from olora_bench.analysis import StudyFrames


def lacking(frames: StudyFrames) -> list[str]:
    """What a study lacks, in words; nothing where it is complete.

    It is complete once every run of its manifest is done or diverged, the done ones have the scores that are asked of them, untouched bases
    theirs, no search for a learning rate goes on, no block or look is waited for, and nothing that was read is damaged.
    """
    runs = frames.runs
    scored = runs["eval_state"].isin(["done", "none"]) | ((runs["state"] == "diverged") & (runs["eval_state"] != "unreadable"))
    states = runs.loc[~runs["state"].isin(OVER), "state"].value_counts(sort=False)
    scores = runs.loc[runs["state"].isin(OVER) & ~scored, "eval_state"].value_counts(sort=False)
    asked = dict.fromkeys(zip(runs["model"], runs["base_eval_id"], strict=True))
    there = set(zip(frames.base_generation.get("base", ()), frames.base_generation.get("eval_id", ()), strict=True))
    searches = frames.searches
    open_ones = searches[searches["chosen"].isna() & searches["edge"].isna()].drop_duplicates(["cell", "arm"])
    return [
        *(f"{count} of {len(runs)} runs {state}" for state, count in states.items()),
        *(f"scores of {count} runs {state}" for state, count in scores.items()),
        *(f"no scores of the untouched base {model}" for model, eval_id in asked if eval_id is not None and (model, eval_id) not in there),
        *([f"{len(open_ones)} learning-rate searches go on"] if len(open_ones) else []),
        *(["further runs are handed out once these are finished"] if not frames.settled and not len(open_ones) else []),
        *frames.damaged,
    ]


def lacking_text(lacks: Sequence[str]) -> str:
    """One line of what a study lacks."""
    return f"Not complete: {'; '.join(lacks)}."
