"""A study's result in a few lines, for a README or a paper's page, and where it stands there."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from olora_bench.analysis import StudyFrames, Tables, rows_of, warnings
from olora_bench.errors import BadInput
from olora_bench.report.page_words import count_sentence, details, headline
from olora_bench.report.text import MANY_TABLES, begun, cell_table, how, of, of_longest, overview, schedules, what_seeds_cannot_tell

BLOCK = re.compile(r"(<!-- study ([\w.+-]+) -->\n)((?:(?!<!-- study ).)*?)(<!-- end -->)", re.DOTALL)
"""A study's extract in a page: its name, then what is replaced."""


def extract(frames: StudyFrames, tables: Tables) -> str:
    """What a study found so far: primary contrasts with their tables, then the others that have runs, then what has none yet.

    Args:
        frames, tables: as `analysis.load_study` and `analysis.analyse` return them.

    Returns:
        Markdown, the same for the same records.
    """
    parts = [f"{frames.title}: {_state(frames)}."]
    longest = of_longest(tables)
    beside, open_ones = [], []
    for key in rows_of(tables["verdicts"]):
        cells = of(longest["cells"], key)
        shown = begun(cells[cells["primary"].astype(bool)]) if len(cells) else cells
        if shown.empty and pd.isna(key["loss_difference"]) and not key["diverged"]:
            open_ones.append(f"{key['arm']} against {key['reference']} ({how(key)})")
        elif key["kind"] == "secondary":
            beside.append(f"- {_said(key, longest)}")
        else:
            parts += [_said(key, longest)]
            groups = [group for _, group in shown.groupby("cell", sort=False)]
            many = len(groups) > MANY_TABLES
            parts += [overview(groups)] if many else [cell_table(group, key["arm"], key["reference"]) for group in groups]
            limits = what_seeds_cannot_tell(shown) if (shown["seeds"] > 0).any() else ""
            parts += [limits] if limits and limits not in parts else []
    parts += ["\n".join(beside)] if beside else []
    alarms = warnings(frames, tables)
    parts += ["Mind:\n\n" + "\n".join(f"- {line}" for line in alarms)] if alarms else []
    parts += [f"No run yet that tells: {'; '.join(open_ones)}."] if open_ones else []
    return "\n\n".join(parts)


def filled(page: str, study: str, text: str) -> str:
    """A page with a study's extract put between its marks.

    Raises:
        BadInput: the page has no such marks.
    """
    if study not in {found[2] for found in BLOCK.finditer(page)}:
        marks = f"`<!-- study {study} -->` and `<!-- end -->`"
        raise BadInput(f"the page has no place for study {study}: put the lines {marks} where it belongs")
    return BLOCK.sub(lambda found: f"{found[1]}{text}\n{found[4]}" if found[2] == study else found[0], page)


def _state(frames: StudyFrames) -> str:
    counts = {str(state): int(count) for state, count in frames.runs["state"].value_counts(sort=False).items()}
    searches = frames.searches
    going_on = searches["chosen"].isna() & searches["edge"].isna()
    at_edge = int(searches["edge"].notna().sum())
    whole, done = len(frames.runs), counts.pop("done", 0)
    counts.pop("missing", 0)
    told = [f"{count} {state}" for state, count in counts.items()]
    told += [f"{at_edge} learning-rate searches ended at an edge"] if at_edge else []
    told += ["its learning-rate searches go on and will add runs"] if going_on.any() else []
    more = "".join(f"; {text}" for text in told)
    return f"all {whole} runs are done" + more if done == whole else f"{done} of the {whole} runs known so far are done{more}"


def _said(key: dict[str, Any], tables: Tables) -> str:
    _, *facts = details(key)
    counts = [count_sentence(row) for row in rows_of(of(tables["win_counts"], key))[:1]]
    shorter = schedules(tables["schedules"], key) if key["kind"] == "primary" else []
    note = f" Mind: {key['note']}." if key["note"] and key["verdict"] in ("win", "loss") else ""
    sentences = [headline(key) + note, f"{facts[0][0].upper()}{'; '.join(facts)[1:]}.", *counts, *shorter]
    rank = "the verdict" if key["confirmatory"] else "beside the verdict"
    return f"**{key['arm']} against {key['reference']}, {how(key)} ({rank}).** {' '.join(sentences)}"
