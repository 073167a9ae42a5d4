"""All figures of a study, with captions that say protocol, seeds, items and what is missing, and why any is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from olora_bench.analysis import StudyFrames, Tables, rows_of, where
from olora_bench.analysis.bands import PANEL, diverged_curves, loss_bands
from olora_bench.analysis.rates import ratio_points
from olora_bench.figures import _words, adapters, curves, rates, ratios, scores, speed
from olora_bench.figures._style import lr_text
from olora_bench.figures._words import grouped, listed, of_comparison, pages, slug
from olora_bench.report.arm_styles import ArmStyle, arm_styles

PANELS_A_FIGURE = 12
LINES_A_FOREST = 48
CELLS_A_RATE_FIGURE = 5
CELLS_A_FIGURE = 10
CELL = ("cell", "model", "rank", "setting")
ALONE = "Secondary contrasts stand beside the verdict and are not corrected for their number."


@dataclass(frozen=True)
class Captioned:
    """A figure with its file's name (no ending), its title and the caption that belongs below it."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class LeftOut:
    """A figure that a study has nothing to draw for, and why."""

    name: str
    reason: str


Drawn = Iterator[Captioned | LeftOut]


@dataclass(frozen=True)
class Sources:
    """What figures are drawn from."""

    frames: StudyFrames
    tables: Tables
    styles: Mapping[str, ArmStyle]

    def apart(self, key: Mapping[str, Any]) -> str:
        """What tells the title of a comparison from those under the study's other protocols; nothing where there is one only."""
        if self.tables["verdicts"][["role", "lr_arm"]].drop_duplicates().shape[0] < 2:
            return ""
        return ", tuned" if pd.isna(key["lr_arm"]) else f", lr {lr_text(key['lr_arm'])}"

    def captioned(self, name: str, title: str, parts: list[str], figure: Figure) -> Captioned:
        """A figure whose caption is these sentences and, last, what the study lacks."""
        told = [*parts, _words.missing(self.frames, self.tables)]
        return Captioned(name, title, " ".join(part for part in told if part), figure)


def study_figures(frames: StudyFrames, tables: Tables) -> Drawn:
    """Every figure that a study has something to show in, one after the other, and a `LeftOut` for each kind that it has nothing for."""
    sources = Sources(frames, tables, arm_styles(frames.runs["arm"]))
    for draw in KINDS:
        yield from draw(sources)


def _loss_curves(s: Sources) -> Drawn:
    pairs = s.tables["pairs"]
    bands, died = loss_bands(s.frames, pairs), diverged_curves(s.frames, pairs)
    if bands.empty:
        yield LeftOut("loss_curves", "no finished run read its held-out loss on the way")
    title = "Held-out loss along training"
    for role, mine in bands.groupby("role", sort=False):
        for name, shown in pages(f"loss_curves_{role}", [group for _, group in grouped(mine, PANEL)], PANELS_A_FIGURE):
            gone = died[(died["role"] == role) & died["cell"].isin(shown["cell"])]
            count = gone["train_id"].nunique()
            yield s.captioned(
                name,
                title,
                [
                    "Mean (line) and range (band) over seeds of the held-out loss, nats per supervised token, by optimiser step.",
                    f"A cross ends each diverged run ({count}); they are in no mean." if count else "",
                    _words.protocol(str(role), shown["lr"]),
                    _words.seeds(shown["seeds"], shown["planned"]),
                ],
                curves.loss_curves(shown, gone, s.styles, title=title),
            )


def _win_counts(s: Sources) -> Drawn:
    counts = s.tables["win_counts"]
    if counts.empty:
        yield LeftOut("win_counts", "no benchmark was scored in both arms of a comparison")
        return
    title = "Cells won, against what chance would give"
    parts = [
        "Mark: cells (model, rank, benchmark) in which the arm's mean over seeds is higher, ties apart.",
        "Grey: the central 95% of wins when whole blocks (model, seed) swap arms at random; cells share runs, so they are no coins.",
        f"Blocks: {listed(counts['blocks'])}.",
        _words.protocols(counts),
        _words.items(s.tables),
    ]
    yield s.captioned("win_counts", title, parts, scores.win_counts(counts, s.styles, title=title))


def _forests(s: Sources) -> Drawn:
    cells = s.tables["cells"]
    cells = cells[cells["primary"].astype(bool) & cells["longest"].astype(bool)] if len(cells) else cells
    drawn = False
    for overall in rows_of(s.tables["verdicts"]):
        mine = of_comparison(cells, overall)
        if mine.empty or not mine["seeds"].gt(0).any():
            continue
        groups = [group for _, group in grouped(mine, CELL)]
        for name, shown in pages(f"forest_{slug(overall)}", groups, max(1, LINES_A_FOREST // (1 + max(map(len, groups))))):
            drawn = True
            title = f"{overall['arm']} against {overall['reference']}, cell by cell{s.apart(overall)}"
            parts = _forest_parts(s, overall, shown)
            yield s.captioned(name, title, parts, scores.forest(shown, overall, s.styles, title=title))
    if not drawn:
        yield LeftOut("forest", "no benchmark was scored in both arms of a comparison")


def _forest_parts(s: Sources, overall: Mapping[str, Any], shown: pd.DataFrame) -> list[str]:
    why = f" ({overall['note']})" if overall["note"] else ""
    judge = "Holm over the declared family" if shown["p_holm"].notna().any() else "each cell's own p, not corrected for their number,"
    return [
        f"{overall['arm']} minus {overall['reference']} in accuracy (primary metric), 95% interval by a paired t over seeds; filled, in "
        f"the winner's colour, where {judge} gives a verdict, grey and open otherwise.",
        "Fewer than 3 seeds, or equal differences, give no interval." if shown["low"].isna().any() else "",
        "3 to 5 seeds: exploratory." if shown["exploratory"].astype(bool).any() else "",
        "×n: n pairs have a diverged run, so the cell is unresolved." if shown["diverged"].gt(0).any() else "",
        f"Diamond: mean over benchmarks, interval by sign flips of {overall['blocks']} blocks (model, seed), from six blocks on; "
        f"verdict: {overall['verdict']}{why}.",
        _words.protocol(overall["role"], shown["cell_lr_arm"]),
        _words.seeds(shown["seeds"], shown["seeds_planned"]),
        _words.items(s.tables),
    ]


def _learning_rates(s: Sources) -> Drawn:
    table = s.tables["rates"]
    known = table["lr"].where(table["tune"].notna() | (table["diverged"] > 0)) if len(table) else pd.Series(dtype=float)
    several = known.groupby(table["cell"]).transform("nunique") > 1 if len(table) else pd.Series(dtype=bool)
    if not several.any():
        begun = len(table) and table["searched"].any()
        reason = "in no cell are two learning rates done yet" if begun else "only one learning rate was tried in each cell"
        yield LeftOut("learning_rates", reason)
        return
    shared = (s.frames.tuning or {}).get("shared_lr")
    for name, shown in pages("learning_rates", [group for _, group in grouped(table[several], CELL)], CELLS_A_RATE_FIGURE):
        scored = bool(shown["score"].notna().any())
        title = f"Loss{' and score' * scored} by learning rate"
        what = f"Tuning criterion (as a loss){' and mean accuracy over benchmarks' * scored}"
        parts = [
            f"{what} at each learning rate, means over runs. Ring: the arm's best.",
            "Arrow: that optimum is the last rate tried on its side, so no tuned verdict." if shown["edge"].notna().any() else "",
            "Cross: a run diverged there." if shown["diverged"].gt(0).any() else "",
            "Triangle: a loss far above the panel." if any(rates.far_above(cell).any() for _, cell in shown.groupby("cell")) else "",
            f"Dotted: the shared rate {lr_text(shared)}." if shared is not None else "",
            f"Rates tried by an arm: {listed(shown.groupby(['cell', 'arm'])['lr'].nunique())}. Runs at a rate: {listed(shown['n_runs'])}.",
            _words.items(s.tables),
        ]
        yield s.captioned(name, title, parts, rates.learning_rates(shown, shared, s.styles, title=title))


def _speed_ups(s: Sources) -> Drawn:
    table = s.tables["speedups"]
    table = table[table["longest"].astype(bool) & (table["unit"] == "steps")] if len(table) else table
    if table.empty:
        yield LeftOut("speed_up", "no pair of runs read its held-out loss on the way")
    for overall in rows_of(s.tables["verdicts"]):
        groups = [group for _, group in grouped(of_comparison(table, overall), CELL)]
        for name, shown in pages(f"speed_up_{slug(overall)}", groups, CELLS_A_FIGURE):
            title = f"Speed-up of {overall['arm']} over {overall['reference']}{s.apart(overall)}"
            parts = _speed_parts(overall, shown)
            yield s.captioned(name, title, parts, speed.speed_up(shown, s.styles, title=title))


def _speed_parts(overall: Mapping[str, Any], shown: pd.DataFrame) -> list[str]:
    arm, reference = overall["arm"], overall["reference"]
    notes = sorted({part for note in shown["note"] for part in str(note).split(", ") if part.startswith(("coarse", "the loss was not"))})
    return [
        f"Steps in which {reference} loses the given share of its own drop in held-out loss, over the steps in which {arm} gets as far "
        "(first sustained crossing); geometric mean over seed pairs with its 95% interval, filled where the order is resolved.",
        "An arrow, ≤ or ≥: seeds that never get there make it a bound; unknown: both arms have such seeds."
        if (shown["bound"] != "exact").any()
        else "",
        "Inside one decaying schedule this is a hint; separately completed schedules decide.",
        *[f"{note[0].upper()}{note[1:]}." for note in notes],
        _words.protocol(overall["role"], pd.Series([overall["lr_arm"]])),
        _words.seeds(shown["seeds"]),
    ]


def _schedules(s: Sources) -> Drawn:
    table = s.tables["schedules"].dropna(subset=["loss_reference", "loss_arm"])
    shorter = table[table["share"] > 1]["contrast"]
    table = table[table["contrast"].isin(shorter)]
    if table.empty:
        yield LeftOut("schedules", "no schedule of T/4 or T/2 steps was completed beside T")
        return
    # Tuned cells each have rates of their own; a shared rate is a comparison of its own.
    lrs = table["lr_arm"].where(table["role"] == "shared")
    for key, shown in grouped(table.assign(lr_arm=lrs), ["contrast", "role", "arm", "reference", "lr_arm"]):
        arm, reference = key["arm"], key["reference"]
        title = f"Completed schedules, {arm} against {reference}{s.apart(key)}"
        parts = [
            f"Final held-out loss (nats per supervised token) of {arm} trained to the end of T/4, T/2 and T steps, {reference} at T "
            f"(line; open: {reference}'s own shorter schedules). Bars: 95% interval of the difference, by a paired t, around {reference}'s "
            "mean; filled where it lies beside 0.",
            "Ring: the shortest schedule that matches.",
            _words.protocol(key["role"], shown["lr_arm"]),
            _words.seeds(shown["seeds"]),
        ]
        yield s.captioned(f"schedules_{slug(key)}", title, parts, speed.schedules(shown, s.styles, title=title))


def _ratio_maps(s: Sources) -> Drawn:
    tried = ratio_points(s.frames, s.tables["rates"])
    found = [(key, mine) for key, mine in grouped(tried, [*CELL, "family"]) if mine["lr"].nunique() > 1 and mine["lr_ratio"].nunique() > 1]
    if not found:
        yield LeftOut("ratio_map", "no ratio was tried at several learning rates")
    for number, (key, mine) in enumerate(found, 1):
        title = f"Tuning loss by ratio, {where(key)}"
        parts = [
            f"{key['family']} with B's learning rate a multiple of A's; ratio 1 is {key['family']} itself. Number and tint: the tuning "
            "criterion as a loss, mean over runs (far ones share the darkest tint); framed: each ratio's best rate; cross: diverged; "
            "blank: not tried.",
            f"Runs a tile: {listed(mine['n_runs'])}.",
        ]
        yield s.captioned(f"ratio_map_{number}", title, parts, ratios.ratio_map(mine, title=title))


def _ratio_profiles(s: Sources) -> Drawn:
    reported = ratio_points(s.frames, s.tables["ratios"])
    # Where no search has chosen a rate yet, the shared one is all there is.
    role = "tuned" if reported["roles"].str.contains("tuned").any() else "shared"
    reported = reported[reported["roles"].str.contains(role)]
    reported = reported.assign(panel=0.0 if role == "tuned" else reported["lr"])
    several = [(key, mine) for key, mine in grouped(reported, [*CELL, "family", "panel"]) if mine["lr_ratio"].nunique() > 1]
    found = [(key, mine, _profile(mine, s.tables["anatomy"])) for key, mine in several]
    if not found:
        yield LeftOut("ratio_profile", "no arm and its reference, apart in their learning-rate ratio alone, are both reported")
    for number, (key, mine, profile) in enumerate(found, 1):
        title = f"What the ratio does, {where(key)}"
        parts = [
            f"{key['family']} with B's learning rate a multiple of A's: below 1 (left of the line) is OLoRA+'s refinement, above 1 "
            "exploration. A ratio also changes the mean step size. Travels: Frobenius norm of a factor's change, mean over layers.",
            f"Means over {listed(mine['n_runs'])} seeds.",
            _words.protocol(role, mine["lr"]),
            _words.items(s.tables),
        ]
        yield s.captioned(f"ratio_profile_{number}", title, parts, ratios.ratio_profile(profile, s.styles, title=title))


MEASURES = {"report_loss": "Held-out loss (nats)", "score": "Score (%)", "bleu": "BLEU", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2",
            "rougeL": "ROUGE-L"}  # fmt: skip


def _profile(points: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """One row a (arm, lr_ratio, measure) that is known: what `ratios.ratio_profile` draws."""
    rows: list[dict[str, Any]] = []
    travelled = facts[(facts["stage"] == "travelled") & facts["fact"].isin(["a", "b"])]
    for r in rows_of(points.drop_duplicates(["arm", "lr_ratio"])):
        named = {"arm": r["arm"], "lr_ratio": r["lr_ratio"]}
        rows += [named | {"measure": label, "value": r[name]} for name, label in MEASURES.items() if name in r and not pd.isna(r[name])]
        same = pd.Series(True, index=travelled.index)
        for name in ("model", "rank", "setting", "arm", "lr"):
            same &= travelled[name] == r[name]
        rows += [named | {"measure": f"{f['fact'].upper()} travels (norm)", "value": f["mean"]} for f in rows_of(travelled[same])]
    return pd.DataFrame(rows, columns=["arm", "lr_ratio", "measure", "value"])


def _controls(s: Sources) -> Drawn:
    verdicts = s.tables["verdicts"]
    if (verdicts["kind"] == "primary").all():
        yield LeftOut("controls", "the study declares no secondary contrast")
        return
    losses = s.tables["measures"]
    losses = losses[(losses["measure"] == "report_loss") & losses["longest"].astype(bool)] if len(losses) else losses
    found = [
        (key, mine)
        for key, mine in grouped(verdicts, ["role", "lr_arm"])
        if mine["difference"].notna().any() or any(len(of_comparison(losses, row)) for row in rows_of(mine))
    ]
    if not found:
        yield LeftOut("controls", "no declared comparison has a pair of finished runs")
    for key, mine in found:
        title = f"Declared comparisons, arm minus reference{s.apart(key)}"
        suffix = "" if len(found) == 1 else f"_{key['role']}" if pd.isna(key["lr_arm"]) else f"_lr{lr_text(key['lr_arm'])}"
        there = pd.concat([of_comparison(losses, row) for row in rows_of(mine)])
        parts = [
            "Left: held-out loss (nats per supervised token; left of 0 the arm is better), paired by seed, 95% interval of a paired t.",
            "Right: mean accuracy over benchmarks (percentage points), 95% interval by sign flips of blocks (model, seed), from six on.",
            f"Arrows point to where the arm is better. Filled: the interval excludes 0. {ALONE}",
            _words.protocol(key["role"], pd.Series([key["lr_arm"]])),
            _words.seeds(there["seeds"]),
            _words.items(s.tables),
        ]
        yield s.captioned(f"controls{suffix}", title, parts, scores.effects(there, mine, s.styles, title=title))


def _anatomy(s: Sources) -> Drawn:
    facts = s.tables["anatomy"]
    if facts.empty:
        yield LeftOut("anatomy", "no record holds the adapter's anatomy")
        return
    if s.frames.protocol == "tuned":  # each arm's own rate first: a shared one is there for comparisons of scores
        facts = facts.drop_duplicates(["model", "rank", "setting", "arm", "stage", "fact"]).assign(panel=0.0)
    else:
        facts = facts.assign(panel=facts["lr"])
    for number, (key, mine) in enumerate(grouped(facts, ["model", "rank", "setting", "panel"]), 1):
        title = f"Adapters of {where(key)}"
        parts = [
            "Open: as the init left them; filled: trained; thin line: least to greatest of the layers after training. B from orthonormal: "
            "|BᵀB − I| / √r. Energy share: |sBA|² / |W|². Overlap: the share of B's columns (A's rows) that lies in W's top r left (right) "
            "singular directions. Condition: greatest by least singular value. A factor that is 0 has none of these. Travels: norm "
            "(Frobenius) of the change.",
            f"Means over layers and {listed(mine['n_runs'])} runs.",
            _words.protocol(s.frames.protocol, mine["lr"]),
        ]
        yield s.captioned(f"anatomy_{number}", title, parts, adapters.anatomy(mine, s.styles, title=title))


def _cost(s: Sources) -> Drawn:
    costs = s.tables["costs"]
    if costs.empty or costs[["train_seconds", "peak_above_base_bytes", "init_share"]].isna().all(axis=None):
        yield LeftOut("cost", "no finished run measured time or memory")
        return
    title = "What an arm costs"
    for name, shown in pages("cost", [group for _, group in grouped(costs, CELL[1:])], CELLS_A_FIGURE):
        # Peak memory is also the allocator's and the harness's: only runs of one kind compare.
        mixed = s.frames.runs.loc[s.frames.runs["state"] == "done", "harness"].nunique() > 1
        shown = shown.assign(peak_above_base_bytes=float("nan")) if mixed else shown
        parts = [
            f"Time of optimising{'' if mixed else ', peak memory above the loaded base,'} and the init's share of init and training.",
            "Memory is left out: the runs were made by several versions of the harness, which use it differently." if mixed else "",
            f"Means over finished runs ({listed(shown['n_runs'])} an arm). Machine: {listed(s.frames.runs['processor'])}.",
        ]
        yield s.captioned(name, title, parts, adapters.cost(shown, s.styles, title=title))


KINDS: tuple[Callable[[Sources], Drawn], ...] = (
    _loss_curves, _forests, _win_counts, _speed_ups, _schedules, _learning_rates, _ratio_maps, _ratio_profiles, _controls, _anatomy, _cost,
)  # fmt: skip
