"""A study's result in a few lines, for a README or a paper's page, and where it stands there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from olora_bench.analysis import StudyFrames, Tables, rows_of, where
from olora_bench.analysis.compared import primary
from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.losses import GENERATED, GENERATED_NAMES
from olora_bench.analysis.outcome import Outcome, Verdict, outcomes
from olora_bench.errors import BadInput
from olora_bench.report.render import markdown_escape, markdown_table
from olora_bench.report.text import begun, cell_tables, limits_of, of_longest, sentences, started
from olora_bench.words import verdicts as words
from olora_bench.words.caveats import caveat_lines
from olora_bench.words.cells import EXPLORATORY
from olora_bench.words.numbers import interval, number
from olora_bench.words.reasons import counted
from olora_bench.words.speed import equivalent_lines

BLOCK = re.compile(r"(<!-- (study|claims) ([\w.+-]+) -->\n)((?:(?!<!-- (?:study|claims) ).)*?)(<!-- end -->)", re.DOTALL)
"""What a page shows of a study: its extract or its answers to the papers' claims, the study's name, what is replaced."""


def extract(frames: StudyFrames, tables: Tables) -> str:
    """What a study found so far: primary contrasts with their tables, a table of the others that have runs, one of written answers,
    caveats, and which comparisons have no runs yet.

    Args:
        frames, tables: as `analysis.load_study` and `analysis.analyse` return them.

    Returns:
        Markdown, the same for the same records.
    """
    longest = of_longest(tables)
    shown: dict[str, list[Outcome]] = {"primary": [], "secondary": [], "too few": [], "none": []}
    for outcome in outcomes(tables["verdicts"]):
        shown[_place(outcome, longest)].append(outcome)
    parts = [f"{frames.title}: {_state(frames)}."]
    for outcome in shown["primary"]:
        *sections, limits = _sections(outcome, longest)
        parts += [*sections, *([limits] if limits and limits not in parts else [])]  # what seeds cannot tell is said once
        parts += words.without_each(outcome.comparison.rows_in(tables["left_out"]))
    parts += _beside(shown["secondary"]) + _written(shown["primary"] + shown["secondary"], frames, longest["measures"])
    parts += started(frames, tables["starts"])
    caveats = caveat_lines(frames, tables)
    parts += ["Caveats:\n\n" + "\n".join(f"- {line}" for line in caveats)] if caveats else []
    parts += [f"Not enough runs yet: {'; '.join(map(words.progress, shown['too few']))}."] if shown["too few"] else []
    parts += [f"No run that could tell yet: {'; '.join(words.named(one.comparison) for one in shown['none'])}."] if shown["none"] else []
    return markdown_escape("\n\n".join(parts))


def _place(outcome: Outcome, tables: Tables) -> str:
    """Where an extract shows a comparison. Secondary ones with too few runs are named only: a figure of theirs would be quoted."""
    cells, worth = (outcome.comparison.rows_in(tables[name]) for name in ("cells", "equivalent_steps"))
    known = outcome.loss.known or outcome.diverged or worth["ratio"].notna().any()
    if begun(primary(cells)).empty and not known:
        return "none"
    if outcome.comparison.kind == "primary":
        return "primary"
    return "too few" if outcome.verdict is Verdict.TOO_FEW_RUNS else "secondary"


def _sections(outcome: Outcome, tables: Tables) -> list[str]:
    """The parts of one primary comparison: its sentences, its tables, and what its seeds cannot tell."""
    comparison = outcome.comparison
    lines = [*sentences(outcome, tables), *equivalent_lines(comparison.rows_in(tables["equivalent_steps"]))]
    cells = begun(primary(comparison.rows_in(tables["cells"])))
    return [f"**{words.title(comparison)}.** {' '.join(lines)}", *cell_tables(cells, comparison), limits_of(cells)]


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
    if study not in {place[3] for place in BLOCK.finditer(page)}:
        marks = f"`<!-- study {study} -->` (or `<!-- claims {study} -->`) and `<!-- end -->`"
        raise BadInput(f"the page has no place for study {study}: put the lines {marks} where it belongs")
    shown = {"study": text, "claims": answers}
    return BLOCK.sub(lambda place: f"{place[1]}{shown[place[2]]}\n{place[5]}" if place[3] == study else place[0], page)


def _state(frames: StudyFrames) -> str:
    counts = {str(state): int(count) for state, count in frames.runs["state"].value_counts(sort=False).items()}
    searches = frames.searches
    open_searches = (searches["chosen"].isna() & searches["edge"].isna()).any()
    at_edge = len(searches[searches["edge"].notna()].drop_duplicates(["cell", "arm"]))
    whole, done, missing = len(frames.runs), counts.pop("done", 0), counts.pop("missing", 0)
    others = [f"{count} {state}" for state, count in counts.items()]
    others += [f"{counted(at_edge, 'learning-rate search')} ended at an edge"] if at_edge else []
    others += ["its learning-rate searches go on and will add runs"] if open_searches else []
    if missing or open_searches or counts.keys() - {"diverged"}:
        return "; ".join([f"{done} of the {whole} runs known so far are done", *others])
    return "; ".join([f"all {whole} runs are done" if done == whole else f"all {whole} runs are over: {done} done", *others])


def _beside(shown: Sequence[Outcome]) -> list[str]:
    """Secondary comparisons, a row each, by what they are judged by: paragraphs of what has no part in the verdict would bury it."""
    parts = []
    for by_loss in (False, True):
        if alike := [one for one in shown if one.by_loss == by_loss]:
            parts += [markdown_table(*words.comparison_table(alike, by_loss=by_loss)), words.table_legend(alike, by_loss=by_loss)]
    return parts


def _written(shown: Sequence[Outcome], frames: StudyFrames, measures: pd.DataFrame) -> list[str]:
    """BLEU and ROUGE of written answers, a row a comparison, cell and measure; none where nothing was written."""
    measures = measures[measures["measure"].isin(GENERATED)]
    rows = [_answers(one.comparison, row, frames) for one in shown for row in rows_of(one.comparison.rows_in(measures))]
    header = [
        "written answers",
        "learning rates",
        "measure",
        "seeds",
        "base",
        "reference",
        "arm",
        "difference",
        "95% interval",
        "found from",
    ]
    star = f" {EXPLORATORY}" if any("*" in row[-2] for row in rows) else ""
    return [markdown_table([*header, "reading", "cell"], rows), WRITTEN + star] if rows else []


WRITTEN = (
    "BLEU in points of 100, ROUGE as F1. `reading`: by a paired t over new seeds, about these answers, not corrected for the number "
    "of rows. `found from`: the smallest true difference that this test finds with 80% power; a smaller one was not shown absent."
)


def _answers(comparison: Comparison, row: dict[str, Any], frames: StudyFrames) -> list[str]:
    digits = 1 if row["measure"] == "bleu" else 3
    values = [_of_base(frames, row["cell"], row["measure"]), row["value_reference"], row["value_arm"]]
    shown = [f"{comparison.arm} - {comparison.reference}", words.rates(comparison), GENERATED_NAMES[row["measure"]], str(row["seeds"])]
    shown += [number(value, digits=digits) for value in values] + [number(row["difference"], digits=digits, sign=True)]
    shown += [interval(row["low"], row["high"], digits=digits), number(row["detectable"], digits=digits)]
    return [*shown, f"{row['verdict']}{'*' if row['exploratory'] else ''}", where(row)]


def _of_base(frames: StudyFrames, cell: str, measure: str) -> float:
    """What the untouched base of a cell writes; NaN where that is not known."""
    if frames.base_generation.empty:
        return float("nan")
    evals = frames.runs.loc[frames.runs["cell"] == cell, "base_eval_id"]
    written = frames.base_generation[frames.base_generation["eval_id"].isin(evals)]
    return float(written[measure].iloc[0]) if len(written) and measure in written else float("nan")
