"""A study's result in a few lines, for a README or a paper's page, and where it stands there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from olora_bench.analysis import StudyFrames, Tables, rows_of, where
from olora_bench.analysis.losses import GENERATED, GENERATED_NAMES
from olora_bench.errors import BadInput
from olora_bench.report.page_words import count_sentence, details, headline, judged
from olora_bench.report.render import markdown_escape, markdown_table
from olora_bench.report.text import (
    MANY_TABLES,
    begun,
    cell_table,
    how,
    of,
    of_longest,
    overview,
    what_seeds_cannot_tell,
    without_each,
)
from olora_bench.words.caveats import caveat_lines
from olora_bench.words.numbers import NOTHING, number, probability, rate
from olora_bench.words.speed import schedule_lines

BLOCK = re.compile(r"(<!-- (study|claims) ([\w.+-]+) -->\n)((?:(?!<!-- (?:study|claims) ).)*?)(<!-- end -->)", re.DOTALL)
"""What a page shows of a study: its extract or its answers to the papers' claims, the study's name, what is replaced."""


def extract(frames: StudyFrames, tables: Tables) -> str:
    """What a study found so far: primary contrasts with their tables, a table of the others that have runs, one of written answers, what
    to mind, and which comparisons have no runs yet.

    Args:
        frames, tables: as `analysis.load_study` and `analysis.analyse` return them.

    Returns:
        Markdown, the same for the same records.
    """
    parts = [f"{frames.title}: {_state(frames)}."]
    longest = of_longest(tables)
    primary, beside, too_few, open_ones = [], [], [], []
    for key in rows_of(tables["verdicts"]):
        cells = of(longest["cells"], key)
        shown = begun(cells[cells["primary"].astype(bool)]) if len(cells) else cells
        if shown.empty and pd.isna(key["loss_difference"]) and not key["diverged"]:
            open_ones.append(f"{key['arm']} against {key['reference']} ({how(key)})")
        elif key["kind"] == "secondary" and key["verdict"] == "not enough runs":
            there = key["pairs_planned"] - key["pairs_missing"] - key["diverged"]
            too_few.append(f"{key['arm']} against {key['reference']} ({how(key)}; {there} of {key['pairs_planned']} pairs)")
        elif key["kind"] == "secondary":
            beside.append(key)
        else:
            primary.append(key)
            parts += [_said(key, longest)]
            groups = [group for _, group in shown.groupby("cell", sort=False)]
            many = len(groups) > MANY_TABLES
            parts += [overview(groups)] if many else [cell_table(group, key["arm"], key["reference"]) for group in groups]
            limits = what_seeds_cannot_tell(shown) if (shown["seeds"] > 0).any() else ""
            parts += [limits] if limits and limits not in parts else []
            parts += without_each(of(tables["left_out"], key))
    parts += _beside(beside) + _written(primary + beside, frames, longest["measures"])
    alarms = caveat_lines(frames, tables)
    parts += ["Mind:\n\n" + "\n".join(f"- {line}" for line in alarms)] if alarms else []
    parts += [f"Not enough runs yet: {'; '.join(too_few)}."] if too_few else []
    parts += [f"No run yet that tells: {'; '.join(open_ones)}."] if open_ones else []
    return markdown_escape("\n\n".join(parts))


def claims(tables: Tables) -> str:
    """What a study's runs say of each claim, a line each: verdict, protocol, claim, figure."""
    lines = []
    for row in rows_of(tables["claims"]):
        protocol = "" if row["verdict"] == "not tested here" else f" ({row['protocol'].replace('_', ' ')})"
        lines.append(f"- [{row['claim']}](#{row['claim']}): **{row['verdict']}**{protocol}. {row['sentence']} Here: {row['figure']}.")
    return markdown_escape("\n".join(lines))


def filled(page: str, study: str, text: str, answers: str) -> str:
    """A page with what it shows of a study put between the marks.

    Args:
        page: Markdown.
        study: the study's name.
        text, answers: as `extract` and `claims` return them; goes between the lines `<!-- study NAME -->`, or `<!-- claims NAME -->`, and
            `<!-- end -->`.

    Raises:
        BadInput: the page has no such marks.
    """
    if study not in {found[3] for found in BLOCK.finditer(page)}:
        marks = f"`<!-- study {study} -->` (or `<!-- claims {study} -->`) and `<!-- end -->`"
        raise BadInput(f"the page has no place for study {study}: put the lines {marks} where it belongs")
    shown = {"study": text, "claims": answers}
    return BLOCK.sub(lambda found: f"{found[1]}{shown[found[2]]}\n{found[5]}" if found[3] == study else found[0], page)


def _state(frames: StudyFrames) -> str:
    counts = {str(state): int(count) for state, count in frames.runs["state"].value_counts(sort=False).items()}
    searches = frames.searches
    going_on = searches["chosen"].isna() & searches["edge"].isna()
    at_edge = len(searches[searches["edge"].notna()].drop_duplicates(["cell", "arm"]))
    whole, done, missing = len(frames.runs), counts.pop("done", 0), counts.pop("missing", 0)
    told = [f"{count} {state}" for state, count in counts.items()]
    told += [f"{at_edge} learning-rate searches ended at an edge"] if at_edge else []
    told += ["its learning-rate searches go on and will add runs"] if going_on.any() else []
    if missing or going_on.any() or counts.keys() - {"diverged"}:
        return "; ".join([f"{done} of the {whole} runs known so far are done", *told])
    return "; ".join([f"all {whole} runs are done" if done == whole else f"all {whole} runs are over: {done} done", *told])


def _beside(keys: list[dict[str, Any]]) -> list[str]:
    """Secondary comparisons, a row each, by what they are judged by: paragraphs of what has no part in the verdict would bury it."""
    parts = []
    for by_loss in (False, True):
        mine = [(key, judged(key)) for key in keys if judged(key).by_loss == by_loss]
        unit = "nats" if by_loss else "pp"
        header = ["beside the verdict", "learning rates", f"held-out loss, {unit}" if by_loss else f"score, {unit}", "95% interval"]
        header += ["blocks for", "p", f"found from, {unit}", *([] if by_loss else ["held-out loss, nats", "95% interval"]), "reading"]
        rows = []
        for key, what in mine:
            row = [
                f"{key['arm']} - {key['reference']}",
                _rates_of(key),
                what.text(what.value),
                _span(what.low, what.high, 3 if by_loss else 1),
            ]
            row += [f"{key['blocks_for']} of {what.blocks}", probability(key["p"]), what.text(what.detectable, sign=False)]
            if not by_loss:
                row += [number(key["loss_difference"], digits=3, sign=True), _span(key["loss_low"], key["loss_high"], 3)]
            rows.append([*row, "; ".join(filter(None, (READINGS.get(key["verdict"], key["verdict"]), key["note"])))])
        if rows:
            parts += [
                markdown_table(header, rows),
                f"`reading`: of the {'loss' if by_loss else 'score'}, by the exact sign-flip test over blocks of model and seed, not "
                "corrected for the number of comparisons. `found from`: the smallest difference that these blocks find with 80% power.",
            ]
    return parts


READINGS = {"win": "better", "loss": "worse"}


def _written(keys: list[dict[str, Any]], frames: StudyFrames, measures: pd.DataFrame) -> list[str]:
    """BLEU and ROUGE of written answers, a row a comparison, cell and measure; none where nothing was written."""
    rows = []
    for key in keys:
        for row in rows_of(of(measures[measures["measure"].isin(GENERATED)], key)):
            digits = 1 if row["measure"] == "bleu" else 3
            values = [_of_base(frames, row["cell"], row["measure"]), row["value_reference"], row["value_arm"]]
            shown = [f"{row['arm']} - {row['reference']}", _rates_of(row), GENERATED_NAMES[row["measure"]], str(row["seeds"])]
            shown += [number(value, digits=digits) for value in values] + [number(row["difference"], digits=digits, sign=True)]
            shown += [_span(row["low"], row["high"], digits), f"{row['verdict']}{'*' if row['exploratory'] else ''}", where(row)]
            rows.append(shown)
    header = ["written answers", "learning rates", "measure", "seeds", "base", "reference", "arm", "difference", "95% interval", "reading"]
    star = " * exploratory: 3 to 5 seeds." if any("*" in row[-2] for row in rows) else ""
    legend = "BLEU in points of 100, ROUGE as F1. `reading`: by a paired t over seeds, not corrected for the number of rows."
    return [markdown_table([*header, "cell"], rows), legend + star] if rows else []


def _of_base(frames: StudyFrames, cell: str, measure: str) -> float:
    """What the untouched base of a cell writes; NaN where that is not known."""
    if frames.base_generation.empty:
        return float("nan")
    evals = frames.runs.loc[frames.runs["cell"] == cell, "base_eval_id"]
    mine = frames.base_generation[frames.base_generation["eval_id"].isin(evals)]
    return float(mine[measure].iloc[0]) if len(mine) and measure in mine else float("nan")


def _rates_of(key: Mapping[str, Any]) -> str:
    return "own" if key["role"] == "tuned" else f"both {rate(key['lr_arm'])}"


def _span(low: float, high: float, digits: int) -> str:
    return NOTHING if pd.isna(low) else f"{number(low, digits=digits, sign=True)} to {number(high, digits=digits, sign=True)}"


def _said(key: dict[str, Any], tables: Tables) -> str:
    _, *facts = details(key)
    counts = [count_sentence(row) for row in rows_of(of(tables["win_counts"], key))[:1]]
    shorter = schedule_lines(tables["schedules"], key) if key["kind"] == "primary" else []
    note = f" Mind: {key['note']}." if key["note"] and key["verdict"] in ("win", "loss") else ""
    sentences = [headline(key) + note, f"{facts[0][0].upper()}{'; '.join(facts)[1:]}.", *counts, *shorter]
    rank = "the verdict" if key["confirmatory"] else "beside the verdict"
    return f"**{key['arm']} against {key['reference']}, {how(key)} ({rank}).** {' '.join(sentences)}"
