"""All figures of a study, with captions that say protocol, seeds, items and what is missing, and why any is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from olora_bench.analysis import StudyFrames, Tables, where
from olora_bench.analysis.anatomy import over_rates
from olora_bench.analysis.bands import PANEL, diverged_curves, loss_bands
from olora_bench.analysis.compared import longest, primary
from olora_bench.analysis.comparison import KEYS, Comparison, comparisons
from olora_bench.analysis.cost_pairs import cost_pairs
from olora_bench.analysis.frames import JUDGED_ROLE, Row, groups_of
from olora_bench.analysis.losses import GENERATED_NAMES
from olora_bench.analysis.outcome import outcomes
from olora_bench.analysis.rates import ratio_points
from olora_bench.analysis.runs import REPORTED, has_role, with_role
from olora_bench.figures import adapters, cells, curves, rates, ratios, speed, starts
from olora_bench.figures import comparisons as forest
from olora_bench.figures._pages import pages, slug
from olora_bench.report.arm_styles import ArmStyle, arm_styles
from olora_bench.words import captions
from olora_bench.words import cells as cell_words
from olora_bench.words import comparisons as comparison_words
from olora_bench.words import costs as cost_words
from olora_bench.words import rates as rate_words
from olora_bench.words import speed as speed_words
from olora_bench.words import starts as start_words
from olora_bench.words.numbers import listed
from olora_bench.words.verdicts import against, count_caption

PANELS_A_FIGURE = 12
LINES_A_FOREST = 48
CELLS_A_RATE_FIGURE = 5
CELLS_A_FIGURE = 10


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

    def apart(self, comparison: Comparison) -> str:
        """The protocol of a comparison, for its title: figures of one comparison under several of them are told apart by it."""
        return f", {captions.at_rates(comparison.role, [] if comparison.lr is None else [comparison.lr], who='both')}"

    def missing(self, rows: pd.DataFrame, *roles: str) -> str:
        """What is missing of the rows that a figure draws, whose runs are there for these roles."""
        return captions.missing(self.frames, self.tables["not_done"], rows, roles)


def captioned(name: str, title: str, parts: Sequence[str], figure: Figure) -> Captioned:
    """A figure with a caption of these sentences; empty ones have nothing to say."""
    return Captioned(name, title, " ".join(filter(None, parts)), figure)


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
    for role, part in bands.groupby("role", sort=False):
        title = f"Held-out loss along training, {captions.at_rates(str(role), part['lr'])}"
        for name, shown in pages(f"loss_curves_{role}", [group for _, group in groups_of(part, PANEL)], PANELS_A_FIGURE):
            gone = died[(died["role"] == role) & died["cell"].isin(shown["cell"])]
            yield captioned(
                name,
                title,
                [
                    *speed_words.curve_caption(gone["train_id"].nunique()),
                    captions.protocol(str(role), shown["lr"]),
                    captions.seeds(shown["seeds"], shown["planned"]),
                    s.missing(shown, str(role)),
                ],
                curves.loss_curves(shown, gone, s.styles, title=title),
            )


def _win_counts(s: Sources) -> Drawn:
    counts = s.tables["win_counts"]
    if counts.empty:
        yield LeftOut("win_counts", "no benchmark was scored in both arms of a comparison")
        return
    alike = counts[["role", "lr_arm"]].drop_duplicates().shape[0] == 1  # else each row names its own
    protocol = f", {captions.at_rates(counts['role'].iloc[0], counts['lr_arm'])}" if alike else ""
    title = f"Cells won, against what chance would give{protocol}"
    parts = [*count_caption(listed(counts["blocks"])), captions.protocols(counts), captions.items(s.tables)]
    parts.append(s.missing(counts, *set(counts["role"])))
    yield captioned("win_counts", title, parts, cells.win_counts(counts, s.styles, title=title))


def _forests(s: Sources) -> Drawn:
    table = longest(primary(s.tables["cells"]))
    drawn = False
    for outcome in outcomes(s.tables["verdicts"]):
        comparison = outcome.comparison
        groups = [group for _, group in groups_of(comparison.rows_in(table), rates.CELL)]
        if not any(group["seeds"].gt(0).any() for group in groups):
            continue
        for name, shown in pages(f"forest_{slug(comparison)}", groups, max(1, LINES_A_FOREST // (1 + max(map(len, groups))))):
            drawn = True
            title = f"{against(comparison)}, benchmark by benchmark{s.apart(comparison)}"
            parts = [*cell_words.forest_caption(outcome, shown), captions.protocol(comparison.role, shown["cell_lr_arm"])]
            parts += [captions.seeds(shown["seeds"], shown["seeds_planned"]), captions.items(s.tables), s.missing(shown, comparison.role)]
            yield captioned(name, title, parts, cells.forest(shown, outcome, s.styles, title=title))
    if not drawn:
        yield LeftOut("forest", "no benchmark was scored in both arms of a comparison")


def _learning_rates(s: Sources) -> Drawn:
    table = s.tables["rates"]
    if "finalists" in s.tables:  # a block scores what it kept: the mean of those that kept a rate is not the rate's score
        table = table.assign(score=float("nan"))
    known = table["lr"].where(table["tune"].notna() | (table["diverged"] > 0)) if len(table) else pd.Series(dtype=float)
    several = known.groupby(table["cell"]).transform("nunique") > 1 if len(table) else pd.Series(dtype=bool)
    if not several.any():
        begun = len(table) and table["searched"].any()
        reason = "in no cell are two learning rates done yet" if begun else "only one learning rate was tried in each cell"
        yield LeftOut("learning_rates", reason)
        return
    shared = None if s.frames.tuning is None else s.frames.tuning.shared_lr
    for name, shown in pages("learning_rates", [group for _, group in groups_of(table[several], rates.CELL)], CELLS_A_RATE_FIGURE):
        title = f"Loss{' and score' if shown['score'].notna().any() else ''} by learning rate"
        far = any(rates.far_above(cell).any() for _, cell in shown.groupby("cell"))
        parts = [*rate_words.rate_caption(shown, shared, far=far), captions.items(s.tables), s.missing(shown, "tuning", *REPORTED)]
        yield captioned(name, title, parts, rates.learning_rates(shown, shared, s.styles, title=title))


def _speed_ups(s: Sources) -> Drawn:
    table = s.tables["speedups"]
    table = table[table["longest"].astype(bool) & (table["unit"] == "steps")] if len(table) else table
    if table.empty:
        yield LeftOut("speed_up", "no pair of runs read its held-out loss on the way")
    for comparison in comparisons(s.tables["verdicts"]):
        groups = [group for _, group in groups_of(comparison.rows_in(table), rates.CELL)]
        for name, shown in pages(f"speed_up_{slug(comparison)}", groups, CELLS_A_FIGURE):
            title = f"Speed-up of {comparison.arm} over {comparison.reference}{s.apart(comparison)}"
            protocol = captions.protocol(comparison.role, pd.Series([comparison.lr], dtype=float))
            parts = [*speed_words.speed_caption(comparison, shown), protocol, captions.seeds(shown["seeds"])]
            parts.append(s.missing(shown, comparison.role))
            yield captioned(name, title, parts, speed.speed_up(shown, s.styles, title=title))


def _equivalent_steps(s: Sources) -> Drawn:
    table = s.tables["equivalent_steps"]
    table = table[table.groupby([*KEYS, "family", "model", "rank"], dropna=False)["ratio"].transform("count") > 0].dropna(subset=["loss"])
    if table.empty:
        yield LeftOut("equivalent_steps", "no arm and its reference were trained to the end of schedules of several lengths")
        return
    for comparison in comparisons(s.tables["verdicts"]):
        shown = comparison.rows_in(table)
        if shown.empty:
            continue
        title = f"Equivalent steps, {against(comparison)}{s.apart(comparison)}"
        parts = [*speed_words.equivalent_caption(shown), captions.protocol(comparison.role, pd.Series([comparison.lr], dtype=float))]
        parts += [captions.seeds(shown["seeds"]), s.missing(shown, comparison.role)]
        yield captioned(f"equivalent_steps_{slug(comparison)}", title, parts, speed.equivalent_steps(shown, s.styles, title=title))


def _ratio_maps(s: Sources) -> Drawn:
    tried = ratio_points(s.frames, s.tables["rates"])
    found = [(key, part) for key, part in groups_of(tried, [*rates.CELL, "family"]) if (part[["lr", "lr_ratio"]].nunique() > 1).all()]
    if not found:
        yield LeftOut("ratio_map", "no ratio was tried at several learning rates")
    for number, (key, part) in enumerate(found, 1):
        title = f"Tuning loss by ratio, {where(key)}"
        parts = [*rate_words.ratio_map_caption(key["family"], part), s.missing(part, "tuning", *REPORTED)]
        yield captioned(f"ratio_map_{number}", title, parts, ratios.ratio_map(part, title=title))


def _ratio_profiles(s: Sources) -> Drawn:
    reported = ratio_points(s.frames, s.tables["ratios"])
    # Where no search has chosen a rate yet, the shared one is all there is.
    role = "tuned" if has_role(reported, "tuned").any() else "shared"
    reported = with_role(reported, role)
    reported = reported.assign(panel=0.0 if role == "tuned" else reported["lr"])
    several = [(key, part) for key, part in groups_of(reported, [*rates.CELL, "family", "panel"]) if part["lr_ratio"].nunique() > 1]
    found = [(key, part, _profile(part)) for key, part in several]
    if not found:
        yield LeftOut("ratio_profile", "no arm and its reference, apart in their learning-rate ratio alone, are both reported")
    for number, (key, part, profile) in enumerate(found, 1):
        title = f"What the ratio does, {where(key)}, {captions.at_rates(role, part['lr'])}"
        parts = [
            *rate_words.ratio_profile_caption(key["family"], part),
            captions.protocol(role, part["lr"]),
            captions.items(s.tables),
        ]
        parts.append(s.missing(part, role))
        yield captioned(f"ratio_profile_{number}", title, parts, ratios.ratio_profile(profile, s.styles, title=title))


MEASURES = {
    "report_loss": "Held-out loss (nats)", "score": "Score (%)", **GENERATED_NAMES,
    "travelled_a": "A travels (norm)", "travelled_b": "B travels (norm)",
}  # fmt: skip


def _profile(points: pd.DataFrame) -> pd.DataFrame:
    """One row a (arm, lr_ratio, measure) that is known, over all finished runs at whichever rates their blocks chose: what
    `ratios.ratio_profile` draws."""
    rows: list[Row] = []
    for key, group in groups_of(points, ["arm", "lr_ratio"]):
        for name, label in MEASURES.items():
            known = group[group[name].notna()] if name in group else group.iloc[:0]
            if len(known):
                rows.append(key | {"measure": label, "value": np.average(known[name], weights=known["n_runs"] - known["diverged"])})
    return pd.DataFrame(rows, columns=["arm", "lr_ratio", "measure", "value"])


def _comparisons(s: Sources) -> Drawn:
    verdicts = s.tables["verdicts"]
    known = verdicts[verdicts["difference"].notna() | verdicts["loss_difference"].notna()]
    if known.empty:
        yield LeftOut("comparisons", "no declared comparison has a pair of finished runs")
        return
    title = "Every declared comparison, arm minus reference"
    for name, shown in pages("comparisons", [row for _, row in known.groupby(level=0)], LINES_A_FOREST):
        parts = [
            *comparison_words.caption(outcomes(shown), s.frames.margin),
            captions.protocols(shown),
            captions.seeds(shown["blocks"].where(shown["blocks"] > 0, shown["loss_blocks"]) // shown["models"]),
            captions.items(s.tables),
            s.missing(shown, *set(shown["role"])),
        ]
        yield captioned(name, title, parts, forest.comparisons(shown, s.styles, s.frames.margin, title=title))


def _anatomy(s: Sources) -> Drawn:
    facts = s.tables["anatomy"]
    if facts.empty:
        yield LeftOut("anatomy", "no record holds the adapter's anatomy")
        return
    if "finalists" in s.tables:
        facts = over_rates(facts).assign(panel=0.0)
    elif s.frames.protocol == "tuned":  # each arm's own rate first: a shared one is there for comparisons of scores
        facts = facts.drop_duplicates(["model", "rank", "setting", "arm", "stage", "fact"]).assign(panel=0.0)
    else:
        facts = facts.assign(panel=facts["lr"])
    for number, (key, part) in enumerate(groups_of(facts, ["model", "rank", "setting", "panel"]), 1):
        role = JUDGED_ROLE[s.frames.protocol]
        title = f"Adapters of {where(key)}, {captions.at_rates(role, part['lr'])}"
        parts = [*cost_words.anatomy_caption(part), captions.protocol(role, part["lr"]), s.missing(part, *REPORTED)]
        yield captioned(f"anatomy_{number}", title, parts, adapters.anatomy(part, s.styles, title=title))


def _starts(s: Sources) -> Drawn:
    table = s.tables["starts"]
    if table.empty:
        measured = "fewer than two arms of one ratio of learning rates are compared with a third"
        yield LeftOut("starts", measured if len(s.tables["anatomy"]) else "no record holds what an adapter starts from")
    role = JUDGED_ROLE[s.frames.protocol]
    for number, (key, part) in enumerate(groups_of(table, ["model", "rank", "setting", "lr"]), 1):
        title = f"Held-out loss and what an init starts from, {where(key)}, {captions.at_rates(role, part['lr'])}"
        parts = [*start_words.caption(part), captions.protocol(role, part["lr"])]
        parts += [captions.seeds(part["seeds"]), s.missing(part, *REPORTED)]
        yield captioned(f"starts_{number}", title, parts, starts.starts(part, s.styles, title=title))


def _cost(s: Sources) -> Drawn:
    costs = cost_pairs(s.frames, s.tables["pairs"], s.tables["run_measures"])
    if costs.empty:
        yield LeftOut("cost", "no pair of finished runs of one harness and one kind of machine measured time or memory")
        return
    title = "What an arm costs beside its reference"
    for name, shown in pages("cost", [group for _, group in groups_of(costs, adapters.COST_GROUP)], CELLS_A_FIGURE):
        parts = [*cost_words.cost_caption(shown), s.missing(shown, *REPORTED)]
        yield captioned(name, title, parts, adapters.cost(shown, s.styles, title=title))


KINDS: tuple[Callable[[Sources], Drawn], ...] = (
    _comparisons, _loss_curves, _forests, _win_counts, _speed_ups, _equivalent_steps, _learning_rates, _ratio_maps, _ratio_profiles,
    _starts, _anatomy, _cost,
)  # fmt: skip
