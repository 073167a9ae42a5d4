"""Blocks that choose among finalists: what each fixed choice of the rate would have come to beside what was kept, in held-out loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from olora_bench.analysis.choices import Choices
from olora_bench.analysis.columns import COMPARISON_COLUMNS, RUNS
from olora_bench.analysis.compared import Compared, mean_of
from olora_bench.analysis.comparison import BLOCK, KEYS
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import Row, StudyFrames, rows_of, training_cell
from olora_bench.analysis.held_out import HeldOut, final_losses, held_out
from olora_bench.analysis.outcome import Verdict
from olora_bench.analysis.paired import LEVEL, MIN_BLOCKS, Tested
from olora_bench.analysis.reasons import BestAtEdge, BestUnknown, GivenSearch, NoFiniteFinalist, Reason, RestsOnRate
from olora_bench.analysis.runs import AS_BLOCK, has_role, with_role

KEPT = "kept"
MOST = 5
"""Finalists that a study may have."""

FINALISTS = Table(
    "finalists",
    "a comparison whose blocks choose among finalists, once for what they kept and once for each fixed place among the finalists",
    (
        *COMPARISON_COLUMNS,
        Column("place", "which finalist of every block: the chosen rate (0), so many steps of 10^(1/4) from it, or the one that was kept",
               heading="finalist"),
        Column("blocks", "blocks (model, seed) with a held-out loss of both arms", heading="blocks"),
        Column("diverged", "pairs of which a run diverged", heading="diverged"),
        Column("loss_difference", "mean difference of the final held-out loss, arm minus reference", "nats", "loss", "3 digits signed"),
        Column("loss_low", "lower end of its 95% interval, as many seeds as the study has, whatever made it stop", "nats", "low",
               "3 digits signed"),
        Column("loss_high", "upper end of that interval", "nats", "high", "3 digits signed"),
        Column("loss_p", "of the interval's test, as it is", heading="p", form="probability"),
        Column("agrees", "whether it says of the arms what the kept ones say: better, worse, or neither at 5%", heading="as kept"),
        RUNS,
    ),
)  # fmt: skip
FINALISTS_VIEW = View(
    "finalists",
    "Fixed finalists",
    "Held-out loss (nats per token, lower is better) had every block taken the same finalist of both arms, beside what it kept: a verdict "
    "that a fixed choice turns rests on the choice of rate.",
    FINALISTS,
    ("contrast", "place", "blocks", "diverged", "loss_difference", "loss_low", "loss_high", "loss_p", "agrees"),
)


@dataclass(frozen=True)
class _Said:
    """What one choice of finalists came to."""

    place: str
    pairs: pd.DataFrame
    held: HeldOut

    @cached_property
    def mean(self) -> float:
        return mean_of(self.held.blocks)

    @cached_property
    def tested(self) -> Tested:
        return self.held.tested()

    def row(self, kept: _Said) -> dict[str, object]:
        ids = {*self.pairs["arm_id"], *self.pairs["reference_id"]}
        diverged = (self.pairs[["arm_state", "reference_state"]] == "diverged").any(axis=1)
        return {
            "place": self.place, "blocks": len(self.held.blocks), "diverged": int(diverged.sum()), "loss_difference": self.mean,
            "loss_low": self.tested.low, "loss_high": self.tested.high, "loss_p": self.tested.p, "agrees": self.side == kept.side,
            "runs": " ".join(sorted(ids)),
        }  # fmt: skip

    @property
    def side(self) -> int:
        return _side(self.mean, self.tested.p)


def _side(difference: float, p: float) -> int:
    """-1 where the arm has the lower loss at 5%, 1 where the higher, else 0."""
    return int(np.sign(difference)) if p <= LEVEL else 0


def finalists(frames: StudyFrames, compared: Sequence[Compared]) -> pd.DataFrame:
    """What each comparison of a tuned study would have come to at fixed finalists: `FINALISTS`, empty without finalists."""
    placed, losses = _placed(frames), final_losses(frames)
    rows: list[dict[str, object]] = []
    for one in compared:
        if one.comparison.role != "tuned" or placed.empty or one.pairs.empty:
            continue
        kept = _Said(KEPT, one.pairs.dropna(subset=["arm_id", "reference_id"]), replace(one.held_out, judged=False))
        arm, reference = (placed[placed["arm"] == name] for name in (one.comparison.arm, one.comparison.reference))
        pairs = _paired(arm, reference, kept.pairs)
        places = {place: pairs[pairs["place"] == place] for place in sorted(set(pairs["place"].tolist()))}
        fixed = [_Said(f"{place:+d}" if place else "0", own, _held(frames, losses, own)) for place, own in places.items()]
        rows += [one.comparison.columns | said.row(kept) for said in (kept, *fixed)]
    return FINALISTS.frame(rows)


def _placed(frames: StudyFrames) -> pd.DataFrame:
    """The finalists of the longest schedules, each with its `place` in its block: 0 is the middle rate."""
    runs = with_role(frames.runs[frames.runs["longest"]], "finalist")
    block = runs.groupby(AS_BLOCK)["lr"]
    return runs.assign(place=(block.rank() - (block.transform("size") + 1) / 2).astype(int))


def _paired(arm: pd.DataFrame, reference: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """Pairs at equal places of the blocks that are judged."""
    names = ["cell", *BLOCK, "place"]
    sides = [
        one[[*names, "train_id", "state"]].rename(columns={"train_id": f"{side}_id", "state": f"{side}_state"})
        for one, side in ((arm, "arm"), (reference, "reference"))
    ]
    return sides[0].merge(sides[1], on=names).merge(kept[["cell", *BLOCK]], on=["cell", *BLOCK]).sort_values(names)


def _held(frames: StudyFrames, losses: dict[str, float], pairs: pd.DataFrame) -> HeldOut:
    done = (pairs["arm_state"] == "done") & (pairs["reference_state"] == "done")
    return held_out(frames.examples, losses, pairs[done])


def with_finalists(frames: StudyFrames, verdicts: pd.DataFrame, compared: Sequence[Compared], table: pd.DataFrame) -> pd.DataFrame:
    """The table of verdicts, with what finalists add to the reasons: given which search, no finite finalist, a best rate at an edge, rests
    on the choice of rate.

    Args:
        compared: the comparisons, of the seeds that the verdicts stand on.
        table: as `finalists` returns it.
    """
    if table.empty:
        return verdicts
    edges = {(one.comparison.contrast, one.comparison.role): one.held_out.choices for one in compared if len(one.losses) >= MIN_BLOCKS}
    told = {tuple(key): group for key, group in table.groupby([*KEYS[:2]])}
    reasons = [
        (*row["reasons"], *_reasons(frames, row, told[row["contrast"], row["role"]], edges.get((row["contrast"], row["role"]))))
        if (row["contrast"], row["role"]) in told
        else row["reasons"]
        for row in rows_of(verdicts)
    ]
    return verdicts.assign(reasons=pd.Series(reasons, index=verdicts.index, dtype=object))


def _edges(row: Row, finalists: int, chosen: Choices) -> list[Reason]:
    """Of the arms whose best rate lies at an edge of their finalists, and of those whose best is not known."""
    by_loss, sides = row["judged_by"] != "score", (row["reference"], row["arm"])
    unknown = (chosen.reference_unknown, chosen.arm_unknown)
    edge = (chosen.reference_at_edge, chosen.arm_at_edge)
    at_edge = tuple(name for name, at, lost in zip(sides, edge, unknown, strict=True) if at and not lost)
    lost = tuple(name for name, one in zip(sides, unknown, strict=True) if one)
    more = by_loss and finalists < MOST and not Verdict(row["verdict"]).decided
    found: list[Reason] = [BestAtEdge(at_edge, by_loss, more)] if at_edge else []
    return [*found, BestUnknown(lost, by_loss)] if lost else found


def _reasons(frames: StudyFrames, row: Row, said: pd.DataFrame, chosen: Choices | None) -> list[Reason]:
    arms = row["arm"], row["reference"]
    runs = frames.runs[frames.runs["arm"].isin(arms) & frames.runs["longest"]]
    searched = frames.runs[has_role(frames.runs, "tuning") & frames.runs["cell"].map(training_cell).isin(runs["cell"].map(training_cell))]
    found: list[Reason] = [GivenSearch(tuple((arm, int((searched["arm"] == arm).sum())) for arm in arms[::-1]))]
    blocks = with_role(runs, "finalist").groupby(AS_BLOCK)["state"]
    if lost := sum(set(states) == {"diverged"} for _, states in blocks):
        found.append(NoFiniteFinalist(lost))
    found += [] if chosen is None else _edges(row, len(said) - 1, chosen)
    other = tuple((int(one["place"]), _side(one["loss_difference"], one["loss_p"])) for one in rows_of(said) if not one["agrees"])
    return [*found, RestsOnRate(row["arm"], len(said) - 1, other, row["judged_by"] == "score")] if other else found
