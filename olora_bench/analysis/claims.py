"""Claims of papers, and the measurement that decides each on the runs at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from olora_bench.analysis.convergence import HEADLINE_SHARE, headline_speeds
from olora_bench.analysis.frames import StudyFrames, rows_of
from olora_bench.analysis.paired import LEVEL, MIN_BLOCKS, holm, sign_flip

SUPPORTED, NOT_SUPPORTED, UNRESOLVED, NOT_TESTED = "supported", "not supported", "unresolved", "not tested here"
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
    """The tables of a claim's contrasts under the protocol that the study judges by; `all` holds the study's whole tables.

    `arms` are those that the claim is about: the arm it names, or else every arm of the init it names (`olora_plus_x0.25`,
    `olora_plus_x4`).
    """

    frames: StudyFrames
    claim: Claim
    role: str
    arms: tuple[str, ...]
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
        arms = _arms(claim, frames)
        mine = {name: _of(frame, arms, claim.reference, role) for name, frame in tables.items()}
        has_pairs = len(mine["pairs"]) > 0
        evidence = Evidence(frames, claim, role, arms, mine, tables, rng)
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


def _arms(claim: Claim, frames: StudyFrames) -> tuple[str, ...]:
    against = dict.fromkeys(c["arm"] for c in frames.contrasts if c["reference"] == claim.reference)
    if claim.arm in against:
        return (claim.arm,)
    inits = dict(zip(frames.runs["arm"], frames.runs["init"], strict=True))
    return tuple(arm for arm in against if inits.get(arm) == claim.arm)


def _of(frame: pd.DataFrame, arms: tuple[str, ...], reference: str, role: str) -> pd.DataFrame:
    mine = frame
    if "contrast" in frame:
        mine = mine[mine["contrast"].isin([f"{arm} vs {reference}" for arm in arms]) & (mine["role"] == role)]
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
    mine = headline_speeds(e.tables["speedups"])
    if mine.empty:
        return Finding(NOT_TESTED, "no loss was read on the way")
    sure = (holm(mine["p"].to_numpy(dtype=float)) <= LEVEL) & mine["verdict"].isin(["faster", "slower"])
    good, bad = int((sure & (mine["verdict"] == "faster")).sum()), int((sure & (mine["verdict"] == "slower")).sum())
    known = mine[mine["bound"] != "none"]["speedup"]
    ratio = f"{np.exp(np.log(known).mean()):.2f}x (bounds included)" if len(known) and (known > 0).all() else "unknown"
    text = (
        f"speed in steps to {HEADLINE_SHARE:.0%} of the reference's drop, above 1 sooner: {ratio}; {good} cells faster, {bad} slower, "
        f"{len(mine) - good - bad} open"
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
    figure = f"the init takes {max(extra['difference'].max(), 0):.2f} s more than the reference's at most, {max(share, 0):.2%} of training"
    return Finding(SUPPORTED if share <= NEGLIGIBLE else NOT_SUPPORTED, figure, _runs(extra))


def more_stable(e: Evidence) -> Finding:
    """Diverged runs over all learning rates that both arms tried, and loss spikes of the paired runs.

    Shorter schedules are left out: a spike stands above the 20 steps before it, which they hardly have.
    """
    rates = e.all["rates"]
    rates = rates[rates["longest"].astype(bool)]
    sides = {e.claim.reference: rates[rates["arm"] == e.claim.reference], e.claim.arm: rates[rates["arm"].isin(e.arms)]}
    tried = [set(zip(side["cell"], side["lr"], strict=True)) for side in sides.values()]
    both = tried[0] & tried[1]
    kept = {name: [row for row in rows_of(side) if (row["cell"], row["lr"]) in both] for name, side in sides.items()}
    died = {name: sum(int(row["diverged"]) for row in rows) for name, rows in kept.items()}
    runs = {name: sum(int(row["n_runs"]) for row in rows) for name, rows in kept.items()}
    text = ", ".join(f"{name} diverged in {died[name]} of {runs[name]} runs{_where(rows)}" for name, rows in kept.items())
    text += f" ({len({lr for _, lr in both})} learning rates that both tried)"
    counted = {name: [row for row in rows if row["spikes"] >= 0 and row["n_runs"] > row["diverged"]] for name, rows in kept.items()}
    means = {
        name: float(np.average([row["spikes"] for row in rows], weights=[row["n_runs"] - row["diverged"] for row in rows]))
        for name, rows in counted.items()
        if rows
    }
    text += "; spikes a run over these: " + ", ".join(f"{name} {mean:.1f}" for name, mean in means.items()) if means else ""
    spikes = e.tables["measures"]
    spikes = spikes[spikes["measure"] == "spikes"]
    good, bad = _shown(spikes, "lower")
    arm, reference = e.claim.arm, e.claim.reference
    table = [[died[name], runs[name] - died[name]] for name in (arm, reference)]
    if fisher_exact(table).pvalue <= LEVEL:
        fewer = died[arm] * runs[reference] < died[reference] * runs[arm]
        good, bad = good + fewer, bad + (not fewer)
    return Finding(
        _tally(good, bad, 1), text, " ".join(sorted({run for rows in kept.values() for row in rows for run in row["runs"].split()}))
    )


def _where(rows: list[dict[str, Any]]) -> str:
    lrs = sorted({row["lr"] for row in rows if row["diverged"]})
    return f" (at lr {', '.join(f'{lr:.3g}' for lr in lrs)})" if lrs else ""


def _shown(measures: pd.DataFrame, better: str) -> tuple[int, int]:
    """Cells that are better, and that are worse, after Holm over the cells."""
    sure = _sure(measures)
    return int((sure["verdict"] == better).sum()), int(sure["verdict"].isin({"lower", "higher"} - {better}).sum())


def _sure(measures: pd.DataFrame) -> pd.DataFrame:
    return measures[holm(measures["p"].to_numpy(dtype=float)) <= LEVEL]


def measure(e: Evidence) -> Finding:
    """Measures of the paired runs (options: measures, a map of name to the better direction, lower or higher), each of which must hold.

    Where the claim is about several arms (ratios), one of them is enough; Holm's family is then all arms and cells of a measure.
    """
    m = e.tables["measures"]
    wanted = {name: m[m["measure"] == name] for name in e.claim.options["measures"]}
    used = [frame for frame in wanted.values() if len(frame)]
    if not used:
        return Finding(NOT_TESTED, "; ".join(f"{name} not measured" for name in wanted))
    sure = {name: _sure(frame) for name, frame in wanted.items()}
    verdicts, parts = [], []
    for arm in e.arms:
        told, words = [], []
        for name, better in e.claim.options["measures"].items():
            cells, known = wanted[name][wanted[name]["arm"] == arm], sure[name][sure[name]["arm"] == arm]
            good, bad = int((known["verdict"] == better).sum()), int(known["verdict"].isin({"lower", "higher"} - {better}).sum())
            told.append(_tally(good, bad, len(cells) - good - bad))
            words.append(f"{name} {cells['difference'].mean():+.3f} {cells['unit'].iloc[0]}" if len(cells) else f"{name} not measured")
        every = all(verdict == SUPPORTED for verdict in told)
        verdicts.append(SUPPORTED if every else NOT_SUPPORTED if NOT_SUPPORTED in told else UNRESOLVED)
        parts.append("; ".join(words) if len(e.arms) == 1 else f"{arm}: {'; '.join(words)}")
    verdict = SUPPORTED if SUPPORTED in verdicts else NOT_SUPPORTED if set(verdicts) == {NOT_SUPPORTED} else UNRESOLVED
    return Finding(verdict, " | ".join(parts), _runs(pd.concat(used)))


def well_conditioned(e: Evidence) -> Finding:
    """The condition number of B, whose columns span the subspace that the update stays in, after training: below the reference's.

    A's stands beside it, and B's at the start: of a B that starts at 0 there is none.
    """
    m = e.tables["measures"]
    b, a = (m[m["measure"] == f"log10_{side}_condition"] for side in "ba")
    if b.empty:
        return Finding(NOT_TESTED, "the runs did not measure their adapters")
    good, bad = _shown(b, "lower")
    facts = e.all["anatomy"]
    start = facts[facts["arm"].isin(e.arms) & (facts["stage"] == "start") & (facts["fact"] == "b_condition")]["mean"]
    text = f"condition number of B after training {_power(b, 'arm')}, of {e.claim.reference} {_power(b, 'reference')}"
    text += f" (B at the start {start.mean():.3g})" if len(start) else ""
    text += f"; of A {_power(a, 'arm')} and {_power(a, 'reference')}" if len(a) else ""
    return Finding(_tally(good, bad, len(b) - good - bad), text, _runs(b))


def _power(logs: pd.DataFrame, side: str) -> str:
    return f"{10 ** logs[f'value_{side}'].mean():.3g}"


def trade_off(e: Evidence) -> Finding:
    """Ratios below 1 against ratios above: a trade-off is shown where those below travel less and end with more loss, both over blocks.

    Contradicted where those below travel no less, or where the less travelled side ends with less loss too: then it simply wins.
    """
    runs = e.all["run_measures"]
    mine = runs[runs["arm"].isin(e.arms) & runs["longest"] & (runs["state"] == "done") & runs["roles"].str.contains(e.role)]
    mine = mine.assign(travel=np.log(mine["travelled"]))
    sides = [mine[mine["lr_ratio"] < 1], mine[mine["lr_ratio"] > 1]]
    if any(side["travel"].dropna().empty for side in sides):
        return Finding(NOT_TESTED, "needs the distance that A and B travelled at ratios below and above 1")
    keys = ["cell", "model", "seed"]
    means = [side.groupby(keys)[["travel", "report_loss"]].mean() for side in sides]
    by_run = (means[0] - means[1]).dropna()
    gap = by_run.groupby(level=["model", "seed"])[["travel", "report_loss"]].mean()
    found = {name: sign_flip(gap[name].to_numpy(dtype=float), e.rng) for name in gap} if len(gap) else {}
    text = f"below 1 the adapter travels {np.exp(gap['travel'].mean()):.2f} times as far as above 1, its loss is "
    text += f"{gap['report_loss'].mean():+.3f} nats ({len(gap)} blocks)"
    ids = " ".join(sorted(set(pd.concat(sides)["train_id"])))
    if len(gap) < MIN_BLOCKS:
        return Finding(UNRESOLVED, text, ids)
    less = {name: float(test.mean) < 0 for name, test in found.items()}
    sure = {name: float(test.p) <= LEVEL for name, test in found.items()}
    refuted = sure["travel"] and (not less["travel"] or (sure["report_loss"] and less["report_loss"]))
    shown = sure["travel"] and sure["report_loss"] and less["travel"] and not less["report_loss"]
    return Finding(SUPPORTED if shown else NOT_SUPPORTED if refuted else UNRESOLVED, text, ids)


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
    changed = e.frames.runs[e.frames.runs["arm"].isin(e.arms)].get("init.changed_base_weights", pd.Series(dtype=float)).max()
    note = "" if not changed > 0 else "; the base weights change too, so a saved adapter must be converted or the same base re-initialised"
    rates = ", but for the learning rate of each" if e.role == "tuned" else ""
    text = f"{len(complete)} pairs differ in init alone{rates}; adapters {'of the same size' if same else 'differ in size'}{note}"
    return Finding(SUPPORTED if same else NOT_SUPPORTED, text, " ".join(sorted({*complete["arm_id"], *complete["reference_id"]})))


def ratios_both_sides(e: Evidence) -> Finding:
    """In every cell a ratio below and one above 1 end no worse than the reference's ratio of 1, by mean held-out loss."""
    r = e.all["ratios"]
    r = r[r["longest"].astype(bool) & r["roles"].str.contains(e.role)] if len(r) else r
    works, parts, used = [], [], []
    for cell, group in r.groupby("cell", sort=False) if len(r) else ():
        ours = group[group["arm"].isin(e.arms)]
        losses = [group[group["arm"] == e.claim.reference], ours[ours["lr_ratio"] < 1], ours[ours["lr_ratio"] > 1]]
        best = [side["report_loss"].min() for side in losses]
        if any(pd.isna(value) for value in best):
            continue
        base = e.frames.runs[e.frames.runs["cell"] == cell]["metrics.report_loss_start"].mean()
        # "Works" is taken as: learns at least 95% of what ratio 1 learns.
        works.append(all(value <= best[0] + 0.05 * (base - best[0]) for value in best[1:]))
        parts.append(f"held-out loss {best[0]:.3f} at ratio 1, best {best[1]:.3f} below and {best[2]:.3f} above it")
        used += losses
    if not works:
        return Finding(NOT_TESTED, "needs ratios below and above 1, and 1 itself")
    return Finding(SUPPORTED if all(works) else NOT_SUPPORTED if not any(works) else UNRESOLVED, "; ".join(parts), _runs(pd.concat(used)))


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
    "well_conditioned": well_conditioned,
    "trade_off": trade_off,
}
