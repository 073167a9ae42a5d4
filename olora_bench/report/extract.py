"""A study's result in a few lines, for a README or a paper's page, and where it stands there."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from olora_bench.analysis import StudyFrames, Tables, rows_of, warnings
from olora_bench.analysis.losses import GENERATED
from olora_bench.errors import BadInput
from olora_bench.report.page_words import count_sentence, details, headline
from olora_bench.report.render import NOTHING, markdown_table, number, probability, rate
from olora_bench.report.text import (
    MANY_TABLES,
    begun,
    cell_table,
    how,
    of,
    of_longest,
    overview,
    schedules,
    what_seeds_cannot_tell,
    without_each,
)

BLOCK = re.compile(r"(<!-- (study|claims) ([\w.+-]+) -->\n)((?:(?!<!-- (?:study|claims) ).)*?)(<!-- end -->)", re.DOTALL)
"""What a page shows of a study: its extract or its answers to the papers' claims, the study's name, what is replaced."""


def extract(frames: StudyFrames, tables: Tables) -> str:
    """What a study found so far: primary contrasts with their tables, then the others that have runs, then what has none yet.

    Args:
        frames, tables: as `analysis.load_study` and `analysis.analyse` return them.

    Returns:
        Markdown, the same for the same records.
    """
    parts = [f"{frames.title}: {_state(frames)}."]
    longest = of_longest(tables)
    beside, too_few, open_ones = [], [], []
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
            parts += [_said(key, longest)]
            groups = [group for _, group in shown.groupby("cell", sort=False)]
            many = len(groups) > MANY_TABLES
            parts += [overview(groups)] if many else [cell_table(group, key["arm"], key["reference"]) for group in groups]
            limits = what_seeds_cannot_tell(shown) if (shown["seeds"] > 0).any() else ""
            parts += [limits] if limits and limits not in parts else []
            parts += without_each(of(tables["left_out"], key))
    parts += _beside(beside) + _written(longest["measures"])
    alarms = warnings(frames, tables)
    parts += ["Mind:\n\n" + "\n".join(f"- {line}" for line in alarms)] if alarms else []
    parts += [f"Not enough runs yet: {'; '.join(too_few)}."] if too_few else []
    parts += [f"No run yet that tells: {'; '.join(open_ones)}."] if open_ones else []
    return "\n\n".join(parts)


def claims(tables: Tables) -> str:
    """What a study's runs say of each claim, a line each: verdict, protocol, claim, figure."""
    lines = []
    for row in rows_of(tables["claims"]):
        protocol = "" if row["verdict"] == "not tested here" else f" ({row['protocol'].replace('_', ' ')})"
        lines.append(f"- [{row['claim']}](#{row['claim']}): **{row['verdict']}**{protocol}. {row['sentence']} Here: {row['figure']}.")
    return "\n".join(lines)


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
    at_edge = int(searches["edge"].notna().sum())
    whole, done, missing = len(frames.runs), counts.pop("done", 0), counts.pop("missing", 0)
    told = [f"{count} {state}" for state, count in counts.items()]
    told += [f"{at_edge} learning-rate searches ended at an edge"] if at_edge else []
    told += ["its learning-rate searches go on and will add runs"] if going_on.any() else []
    if missing or going_on.any() or counts.keys() - {"diverged"}:
        return "; ".join([f"{done} of the {whole} runs known so far are done", *told])
    return "; ".join([f"all {whole} runs are done" if done == whole else f"all {whole} runs are over: {done} done", *told])


def _beside(keys: list[dict[str, Any]]) -> list[str]:
    """Secondary comparisons, a row each: they have no part in the verdict, and paragraphs of them would bury it."""
    if not keys:
        return []
    scored = any(not pd.isna(key["difference"]) for key in keys)
    header = ["beside the verdict", "learning rates", *(SCORED if scored else []), "held-out loss, nats", "95% interval", "reading"]
    rows = []
    for key in keys:
        row = [f"{key['arm']} - {key['reference']}", "own" if key["role"] == "tuned" else f"both {rate(key['lr_arm'])}"]
        if scored:
            row += [number(key["difference"], sign=True), _span(key["low"], key["high"], 1), f"{key['blocks_for']} of {key['blocks']}"]
            row += [probability(key["p"]), number(key["detectable"])]
        row += [number(key["loss_difference"], digits=3, sign=True), _span(key["loss_low"], key["loss_high"], 3)]
        rows.append([*row, "; ".join(filter(None, (READINGS.get(key["verdict"], key["verdict"]), key["note"])))])
    what = "of scores over benchmarks" if scored else "of the held-out loss"
    legend = f"`reading`: {what}, by the exact sign-flip test over blocks of model and seed, not corrected for the number of comparisons."
    more = " `found from`: the smallest difference that these blocks would find with 80% power." if scored else ""
    return [markdown_table(header, rows), legend + more]


SCORED = ("score, pp", "95% interval", "blocks for", "p", "found from, pp")
READINGS = {"win": "better", "loss": "worse"}


def _written(measures: pd.DataFrame) -> list[str]:
    """BLEU and ROUGE of written answers, a row a comparison, cell and measure; none where nothing was written."""
    rows = []
    for row in rows_of(measures[measures["measure"].isin(GENERATED)]):
        digits = 1 if row["measure"] == "bleu" else 3
        shown = [f"{row['arm']} - {row['reference']}", "own" if row["role"] == "tuned" else f"both {rate(row['lr_arm'])}"]
        shown += [
            ", ".join(filter(None, (row["model"], f"rank {row['rank']}", row["setting"]))),
            WRITTEN[row["measure"]],
            str(row["seeds"]),
        ]
        shown += [number(row["value_reference"], digits=digits), number(row["value_arm"], digits=digits)]
        shown += [number(row["difference"], digits=digits, sign=True), _span(row["low"], row["high"], digits), row["verdict"]]
        rows.append(shown)
    header = ["written answers", "learning rates", "cell", "measure", "seeds", "reference", "arm", "difference", "95% interval", "reading"]
    legend = "BLEU in points of 100, ROUGE as F1. `reading`: of a paired t over seeds, not corrected for the number of rows."
    return [markdown_table(header, rows), legend] if rows else []


WRITTEN = {"bleu": "BLEU", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}


def _span(low: float, high: float, digits: int) -> str:
    return NOTHING if pd.isna(low) else f"{number(low, digits=digits, sign=True)} to {number(high, digits=digits, sign=True)}"


def _said(key: dict[str, Any], tables: Tables) -> str:
    _, *facts = details(key)
    counts = [count_sentence(row) for row in rows_of(of(tables["win_counts"], key))[:1]]
    shorter = schedules(tables["schedules"], key) if key["kind"] == "primary" else []
    note = f" Mind: {key['note']}." if key["note"] and key["verdict"] in ("win", "loss") else ""
    sentences = [headline(key) + note, f"{facts[0][0].upper()}{'; '.join(facts)[1:]}.", *counts, *shorter]
    rank = "the verdict" if key["confirmatory"] else "beside the verdict"
    return f"**{key['arm']} against {key['reference']}, {how(key)} ({rank}).** {' '.join(sentences)}"
