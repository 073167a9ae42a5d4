"""Claims about speed: how many of the reference's steps an arm's steps are worth."""

from __future__ import annotations

from olora_bench.analysis.claims import evidence
from olora_bench.analysis.claims.values import NOT_TESTED, UNRESOLVED, Asked, Finding, runs_of, tally
from olora_bench.analysis.equivalent_steps import FASTER, SLOWER, Worth
from olora_bench.analysis.frames import groups_of, rows_of
from olora_bench.analysis.paired import LEVEL, holm
from olora_bench.analysis.reasons import ExamplesDiffer, ExamplesUnread
from olora_bench.analysis.speed import HEADLINE_SHARE, headline_speeds


def faster(asked: Asked) -> Finding:
    """How many of the reference's steps the arm's are worth: from schedules of several lengths, each trained to its end, where the study
    has them. Faster is shown where the interval of the ratio lies above 1 and, over the judged lengths of all settings, Holm holds it up.
    Crossings inside one schedule are a hint and decide nothing.
    """
    worth = asked.tables["equivalent_steps"]
    worth = worth[worth["judged"].astype(bool) | (worth["seeds"] > 0)]  # of a length that has not begun there is nothing to tell
    if worth.empty:
        return _inside_one(asked)
    judged = worth[worth["judged"]]
    sides = judged["verdict"].where(holm(judged["p"].to_numpy(dtype=float)) <= LEVEL)
    good, bad = int((sides == FASTER).sum()), int((sides == SLOWER).sum())
    settings = []
    for _, setting in groups_of(worth, ["contrast", "lr_arm", "family", "model", "rank"]):
        (headline,), others = (tuple(map(Worth.of_row, rows_of(setting[setting["judged"] == is_judged]))) for is_judged in (True, False))
        settings.append(evidence.Setting(headline, others))
    these = any(isinstance(reason, (ExamplesUnread, ExamplesDiffer)) for reasons in worth["reasons"] for reason in reasons)
    found = evidence.StepsWorth(asked.claim.reference, tuple(settings), asked.claim.factor, not these, bool(asked.frames.looks))
    return Finding(tally(good, bad, len(settings) - good - bad), found, runs_of(worth))


def _inside_one(asked: Asked) -> Finding:
    own = headline_speeds(asked.tables["speedups"])
    if own.empty:
        return Finding(NOT_TESTED, evidence.Lacking("losses on the way"))
    verdicts = own["verdict"].where(holm(own["p"].to_numpy(dtype=float)) <= LEVEL)
    good, bad = int((verdicts == "faster").sum()), int((verdicts == "slower").sum())
    cells = tuple(evidence.Speed(row["speedup"], row["low"], row["high"], row["bound"]) for row in rows_of(own))
    found = evidence.SpeedInside(HEADLINE_SHARE, cells, good, bad, len(own) - good - bad, asked.claim.factor)
    return Finding(UNRESOLVED, found, runs_of(own))
