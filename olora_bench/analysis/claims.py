"""Claims of papers, and the measurement that decides each on the runs at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from olora_bench.analysis.frames import StudyFrames, rows_of
from olora_bench.analysis.paired import LEVEL, MIN_BLOCKS, holm, sign_flip

SUPPORTED, NOT_SUPPORTED, UNRESOLVED, NOT_TESTED = "supported", "not supported", "unresolved", "not tested here"
HEADLINE_SHARE = 0.9
SAME_MEMORY = 0.05
"""Peak memory within 5% counts as the same."""
NEGLIGIBLE = 0.01
"""An init that adds less than 1% of the time of training costs nothing that matters."""


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, in short, with the measurement that decides it (a key of `MEASUREMENTS`) and the contrast it is about."""

    claim: str
    paper: str
    sentence: str
    measurement: str
    arm: str
    reference: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a study says of a claim: verdict (supported | not supported | unresolved | not tested here), figure and runs."""

    verdict: str
    figure: str
    runs: str = ""


@dataclass(frozen=True)
class Evidence:
    """The tables of one contrast under the protocol that the study judges by; `all` holds the study's whole tables."""

    frames: StudyFrames
    claim: Claim
    tables: dict[str, pd.DataFrame]
    all: dict[str, pd.DataFrame]
    rng: np.random.Generator


Measurement = Callable[[Evidence], Finding]


def judge(claims: Iterable[Claim], frames: StudyFrames, tables: dict[str, pd.DataFrame], rng: np.random.Generator) -> pd.DataFrame:
    """One row a claim: claim, paper, sentence, verdict, figure (in words), protocol, runs.

    A claim about arms that the study does not compare is "not tested here".
    """
    rows = []
    for claim in claims:
        role = "tuned" if frames.protocol == "tuned" else "shared"
        mine = {name: _of(frame, claim, role) for name, frame in tables.items()}
        has_pairs = len(mine["pairs"]) > 0
        evidence = Evidence(frames, claim, mine, tables, rng)
        found = (
            MEASUREMENTS[claim.measurement](evidence)
            if has_pairs
            else Finding(NOT_TESTED, f"no {claim.arm} against {claim.reference} here")
        )
        rows.append({
            "claim": claim.claim, "paper": claim.paper, "sentence": claim.sentence, "verdict": found.verdict, "figure": found.figure,
            "protocol": frames.protocol if has_pairs else "", "runs": found.runs,
        })  # fmt: skip
    return pd.DataFrame(rows, columns=["claim", "paper", "sentence", "verdict", "figure", "protocol", "runs"])


def _of(frame: pd.DataFrame, claim: Claim, role: str) -> pd.DataFrame:
    mine = frame
    if "contrast" in frame:
        mine = mine[(mine["contrast"] == f"{claim.arm} vs {claim.reference}") & (mine["role"] == role)]
    return mine[mine["longest"].astype(bool)] if "longest" in mine else mine


def _runs(frame: pd.DataFrame) -> str:
    return " ".join(sorted({run for runs in frame["runs"] for run in str(runs).split()}))


def _tally(good: int, bad: int, open_: int) -> str:
    """A claim over several cells: it holds where any cell shows it and none the contrary."""
    return SUPPORTED if good and not bad else NOT_SUPPORTED if bad and not good else UNRESOLVED if good + bad + open_ else NOT_TESTED


def faster(e: Evidence) -> Finding:
    """Separately completed schedules where the study has them, else crossings inside one schedule, in steps."""
    whole = e.tables["schedules"]
    whole = whole[whole["share"] > 1]
    if len(whole):
        names = ["model", "rank", "family"]
        best = [group[group["matches"] & group["sure"]]["share"].max() for _, group in whole.groupby(names, sort=False)]
        good = sum(not pd.isna(b) for b in best)
        bad = sum(bool((group["sure"] & ~group["matches"]).all()) for _, group in whole.groupby(names, sort=False))
        least = f"; the shortest match is T/{int(np.nanmax(best))}" if good else ""
        return Finding(
            _tally(good, bad, len(best) - good - bad),
            f"shorter completed schedules match in {good} of {len(best)} settings{least}",
            _runs(whole),
        )
    mine = e.tables["speedups"]
    mine = mine[(mine["q"] == HEADLINE_SHARE) & (mine["unit"] == "steps")]
    if mine.empty:
        return Finding(NOT_TESTED, "no loss was read on the way")
    sure = (holm(mine["p"].to_numpy(dtype=float)) <= LEVEL) & mine["verdict"].isin(["faster", "slower"])
    good, bad = int((sure & (mine["verdict"] == "faster")).sum()), int((sure & (mine["verdict"] == "slower")).sum())
    known = mine[mine["bound"] != "none"]["speedup"]
    ratio = f"{np.exp(np.log(known).mean()):.2f}x (bounds included)" if len(known) and (known > 0).all() else "unknown"
    text = (
        f"steps to {HEADLINE_SHARE:.0%} of the reference's drop: {ratio}; {good} cells faster, {bad} slower, {len(mine) - good - bad} open"
    )
    return Finding(_tally(good, bad, len(mine) - good - bad), f"{text}. Inside one schedule: a hint, no proof", _runs(mine))


def win_count(e: Evidence) -> Finding:
    """The paper-style count against its null band by flipping whole blocks."""
    counts = e.tables["win_counts"]
    if counts.empty:
        return Finding(NOT_TESTED, "no cell is scored")
    verdicts = []
    for row in rows_of(counts):
        outside = row["p"] <= LEVEL and row["blocks"] >= MIN_BLOCKS
        verdicts.append(SUPPORTED if outside and row["wins"] > row["losses"] else NOT_SUPPORTED if outside else UNRESOLVED)
    text = "; ".join(
        f"{r['wins']} of {r['cells']} cells, {r['null_low']} to {r['null_high']} by chance ({r['blocks']} blocks)" for r in rows_of(counts)
    )
    return Finding(_all_or_open(verdicts), text, _runs(counts))


def _all_or_open(verdicts: list[str]) -> str:
    return verdicts[0] if len(set(verdicts)) == 1 else UNRESOLVED


def every_model(e: Evidence) -> Finding:
    """The macro-average of each model on its own; at least six seeds each, at least two models."""
    primary = e.tables["differences"]
    primary = primary[primary["primary"].astype(bool)] if len(primary) else primary
    seeds = primary.groupby(["model", "seed"])["difference"].mean() if len(primary) else pd.Series(dtype=float)
    models = list(dict.fromkeys(primary["model"])) if len(primary) else []
    if len(models) < 2:
        return Finding(NOT_TESTED, f"{len(models)} model{'s' * (len(models) != 1)}: two or more are needed")
    good = bad = 0
    parts = []
    for model in models:
        d = seeds[model].to_numpy(dtype=float)
        test = sign_flip(d, e.rng)
        # That all models gain needs no correction, since each must be shown; that some model loses does.
        good += int(float(test.p) <= LEVEL and d.mean() > 0)
        bad += int(float(test.p) <= LEVEL / len(models) and d.mean() < 0)
        parts.append(f"{model} {d.mean():+.1f} pp ({len(d)} seeds)")
    verdict = SUPPORTED if good == len(models) else NOT_SUPPORTED if bad else UNRESOLVED
    return Finding(verdict, ", ".join(parts), _runs(e.tables["cells"]))


def same_size_and_memory(e: Evidence) -> Finding:
    """Trainable parameters equal in every cell, and peak memory above the base within 5%."""
    m = e.tables["measures"]
    size, memory = (m[m["measure"] == name] for name in ("parameters_trainable", "peak_above_base_bytes"))
    if size.empty or memory.empty:
        return Finding(NOT_TESTED, "not measured")
    equal = bool((size["difference"] == 0).all())
    low, high = memory["ratio"].min(), memory["ratio"].max()
    verdict = SUPPORTED if equal and high <= 1 + SAME_MEMORY else NOT_SUPPORTED
    return Finding(
        verdict, f"parameters {'equal' if equal else 'differ'}; memory above the base {low:.2f} to {high:.2f} times", _runs(memory)
    )


def negligible_init(e: Evidence) -> Finding:
    """The init's extra seconds as a share of training."""
    m = e.tables["measures"]
    extra = m[m["measure"] == "init_seconds"]
    train = m[m["measure"] == "train_seconds"]
    if extra.empty or train.empty:
        return Finding(NOT_TESTED, "not measured")
    share = float((extra["difference"].to_numpy() / train["value_arm"].to_numpy()).max())
    figure = f"init adds {extra['difference'].max():.2f} s at most, {share:.2%} of training"
    return Finding(SUPPORTED if share <= NEGLIGIBLE else NOT_SUPPORTED, figure, _runs(extra))


def more_stable(e: Evidence) -> Finding:
    """Diverged runs over all learning rates that both arms tried, and loss spikes of the paired runs."""
    rates = e.all["rates"]
    sides = {name: rates[rates["arm"] == name] for name in (e.claim.arm, e.claim.reference)}
    both = set(zip(sides[e.claim.arm]["cell"], sides[e.claim.arm]["lr"], strict=True)) & set(
        zip(sides[e.claim.reference]["cell"], sides[e.claim.reference]["lr"], strict=True)
    )
    died = {name: int(sum(r["diverged"] for r in rows_of(side) if (r["cell"], r["lr"]) in both)) for name, side in sides.items()}
    tried = {name: int(sum(r["n_runs"] for r in rows_of(side) if (r["cell"], r["lr"]) in both)) for name, side in sides.items()}
    spikes = e.tables["measures"]
    spikes = spikes[spikes["measure"] == "spikes"]
    text = ", ".join(f"{name} diverged in {died[name]} of {tried[name]} runs" for name in sides)
    text += "".join(
        f"; spikes a run {e.claim.reference} {r['value_reference']:.1f}, {e.claim.arm} {r['value_arm']:.1f}" for r in rows_of(spikes)[:1]
    )
    good, bad = _shown(spikes, "lower")
    table = [[died[name], tried[name] - died[name]] for name in sides]
    if fisher_exact(table).pvalue <= LEVEL:
        fewer = died[e.claim.arm] * tried[e.claim.reference] < died[e.claim.reference] * tried[e.claim.arm]
        good, bad = good + fewer, bad + (not fewer)
    return Finding(_tally(good, bad, 1), text, _runs(spikes))


def _shown(measures: pd.DataFrame, better: str) -> tuple[int, int]:
    """Cells that are better, and that are worse, after Holm over the cells."""
    sure = measures[holm(measures["p"].to_numpy(dtype=float)) <= LEVEL]
    return int((sure["verdict"] == better).sum()), int(sure["verdict"].isin({"lower", "higher"} - {better}).sum())


def measure(e: Evidence) -> Finding:
    """Measures of the paired runs (options: measures, a map of name to the better direction, lower or higher)."""
    m = e.tables["measures"]
    good = bad = open_ = 0
    parts = []
    used = []
    for name, better in e.claim.options["measures"].items():
        mine = m[m["measure"] == name]
        if mine.empty:
            parts.append(f"{name} not measured")
            open_ += 1
            continue
        used.append(mine)
        cells = _shown(mine, better)
        good, bad, open_ = good + cells[0], bad + cells[1], open_ + len(mine) - sum(cells)
        parts.append(f"{name} {mine['difference'].mean():+.3f} {mine['unit'].iloc[0]}")
    if not used:
        return Finding(NOT_TESTED, "; ".join(parts))
    verdict = _tally(good, bad, open_)
    missing = len(used) < len(e.claim.options["measures"])
    return Finding(UNRESOLVED if verdict == SUPPORTED and missing else verdict, "; ".join(parts), _runs(pd.concat(used)))


def most_gain_on(e: Evidence) -> Finding:
    """The mean gain on the named benchmarks (options: benchmarks) minus that on the others, flipped by whole blocks."""
    named = set(e.claim.options["benchmarks"])
    d = e.tables["differences"]
    d = d[d["primary"].astype(bool)] if len(d) else d
    there = set(d["benchmark"]) if len(d) else set()
    if not named <= there or there == named:
        return Finding(NOT_TESTED, f"needs {', '.join(sorted(named))} and others, scored")
    sides = [d[d["benchmark"].isin(named) == inside].groupby(["model", "seed"])["difference"].mean() for inside in (True, False)]
    gap = (sides[0] - sides[1]).dropna().to_numpy(dtype=float)
    text = f"{sides[0].mean():+.1f} pp there, {sides[1].mean():+.1f} pp elsewhere, {len(gap)} blocks"
    p = float(sign_flip(gap, e.rng).p)
    sure = len(gap) >= MIN_BLOCKS and p <= LEVEL
    return Finding(
        UNRESOLVED if not sure else SUPPORTED if gap.mean() > 0 else NOT_SUPPORTED, f"{text}, p {p:.2g}", _runs(e.tables["cells"])
    )


def init_alone(e: Evidence) -> Finding:
    """Compared runs share everything but init and lr by construction; the adapter has the same bytes."""
    pairs = e.tables["pairs"]
    complete = pairs[pairs["pair"] == "complete"]
    if complete.empty:
        return Finding(NOT_TESTED, "no complete pair")
    bytes_ = e.frames.runs.set_index("train_id")["adapter_bytes"]
    same = bool((complete["arm_id"].map(bytes_) == complete["reference_id"].map(bytes_)).all())
    changed = e.frames.runs[e.frames.runs["arm"] == e.claim.arm].get("init.changed_base_weights", pd.Series(dtype=float)).max()
    note = "" if not changed > 0 else "; the base weights change too, so a saved adapter must be converted or the same base re-initialised"
    text = f"{len(complete)} pairs differ in init alone; adapters {'of the same size' if same else 'differ in size'}{note}"
    return Finding(SUPPORTED if same else NOT_SUPPORTED, text, " ".join(sorted({*complete["arm_id"], *complete["reference_id"]})))


def ratios_both_sides(e: Evidence) -> Finding:
    """A ratio below and one above 1 each end no worse than the reference, by the mean held-out loss of their cells."""
    r = e.all["ratios"]
    if r.empty:
        return Finding(NOT_TESTED, "no learning-rate ratio was varied")
    init = e.frames.runs[e.frames.runs["arm"] == e.claim.reference]["init"].dropna()
    plain = r[(r["lr_ratio"] == 1) & r["arm"].eq(e.claim.reference)]["report_loss"].mean()
    base = e.frames.runs["metrics.report_loss_start"].mean()
    below, above = (r[(r["lr_ratio"] < 1)], r[(r["lr_ratio"] > 1)])
    if below.empty or above.empty or np.isnan(plain) or init.empty:
        return Finding(NOT_TESTED, "needs ratios below and above 1, and 1 itself")
    best = below["report_loss"].min(), above["report_loss"].min()
    text = f"held-out loss {plain:.3f} at ratio 1, best {best[0]:.3f} below and {best[1]:.3f} above it"
    # "Works" is taken as: learns at least 95% of what ratio 1 learns.
    works = [value <= plain + 0.05 * (base - plain) for value in best]
    return Finding(SUPPORTED if all(works) else NOT_SUPPORTED, text, _runs(pd.concat([below, above])))


def not_measured(e: Evidence) -> Finding:
    """The records hold nothing that could decide it (options: needs says what would)."""
    return Finding(NOT_TESTED, f"needs {e.claim.options['needs']}")


MEASUREMENTS: dict[str, Measurement] = {
    "faster": faster,
    "win_count": win_count,
    "every_model": every_model,
    "same_size_and_memory": same_size_and_memory,
    "negligible_init": negligible_init,
    "more_stable": more_stable,
    "measure": measure,
    "most_gain_on": most_gain_on,
    "init_alone": init_alone,
    "ratios_both_sides": ratios_both_sides,
    "not_measured": not_measured,
}
