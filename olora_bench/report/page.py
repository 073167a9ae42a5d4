"""A study's report as one HTML file that opens from disk with no network. The same frames give the same bytes."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import pandas as pd

from olora_bench.analysis import StudyFrames, Tables, rows_of, warnings
from olora_bench.analysis.claims import NOT_TESTED
from olora_bench.analysis.comparison import Comparison
from olora_bench.analysis.frames import training_cell
from olora_bench.report.origins import Origins
from olora_bench.report.page_data import curve_data, script_json, study_data
from olora_bench.report.page_forest import forest, twins
from olora_bench.report.page_svg import count_strip
from olora_bench.report.page_words import (
    MEANINGS,
    VERDICT_MARKS,
    count_sentence,
    declared_sentences,
    details,
    headline,
    speed_sentence,
)
from olora_bench.words.comparisons import grouped, named, verdict_word
from olora_bench.words.reasons import counted

PROTOCOLS = {"shared_lr": "shared learning rate", "tuned": "tuned learning rates"}
HEADLINE_SHARE = 0.9
MANY_CELLS = 6
"""More speed-ups than this are left to their table."""
LONG = 44
"""A fact with more characters than this gets a line of its own."""
MARKS = {"supported": "✓", "not supported": "✗", "unresolved": "?", "not tested here": "–"}


def study_page(frames: StudyFrames, tables: Tables, origins: Origins) -> bytes:
    """The whole page, UTF-8.

    Args:
        frames, tables: as `load_study` and `analyse` return them, with the tables claims and published beside.
        origins: as `report.origins.origins` finds it.
    """
    body = {
        "title": escape(f"{frames.study}: {frames.title}"),
        "study": escape(frames.study),
        "heading": escape(frames.title),
        "protocol": escape(PROTOCOLS.get(frames.protocol, frames.protocol)),
        "tally": _tally(frames),
        "verdict": _verdicts(tables),
        "caveats": _caveats(warnings(frames, tables)),
        "claims": _claims(tables.get("claims", pd.DataFrame())),
        "provenance": _provenance(origins, tables.get("declared", pd.DataFrame())),
        "data": script_json(study_data(frames, tables, origins.run_pages)),
        "curves": script_json(curve_data(frames)),
    }
    return filled("page.html", body)


def filled(template: str, body: Mapping[str, str]) -> bytes:
    """A template with its style, script and content, and a policy that lets the page run this script and reach nothing else."""
    style, script = asset("page.css"), asset("page.js") if "page.js" in asset(template) else ""
    policy = f"default-src 'none'; img-src data: blob:; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    parts = {**body, "policy": escape(policy), "page.css": style, "page.js": script}
    return re.sub(r"\{\{([\w.]+)\}\}", lambda m: parts[m[1]], asset(template)).encode()


def asset(name: str) -> str:
    """A file of the page's own: template, style or script."""
    return files("olora_bench.report").joinpath("assets", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _tally(frames: StudyFrames) -> str:
    states = frames.runs["state"].value_counts(sort=False)
    seeds, cells = frames.runs["seed"].nunique(), frames.runs["cell"].map(training_cell).nunique()
    parts = [f"{len(frames.runs)} runs", f"{cells} setting{'s' * (cells != 1)}", f"{seeds} seed{'s' * (seeds != 1)}"]
    parts += [f"{count} {state}" for state, count in states.items() if state != "done"]
    return "".join(f"<li>{escape(part)}</li>" for part in parts)


def _verdicts(tables: Tables) -> str:
    """The headline, all comparisons in one forest, and each of them in words, folded but for one that alone carries the verdict."""
    groups = grouped(rows_of(tables["verdicts"]))
    rows = [row for _, mine in groups for row in mine]
    first = [row for row in rows if row["confirmatory"]]
    lead = _card(first[0], tables) if len(first) == 1 else f'<p class="headline">{escape(_overview(first))}</p>'
    folded = "".join(_folded(row, tables) for row in rows if not (len(first) == 1 and row["confirmatory"]))
    words = f'<h3 id="words-title">Each comparison in words</h3><div class="words">{folded}</div>' if folded else ""
    return lead + forest(groups) + words


def _overview(rows: Sequence[Mapping[str, Any]]) -> str:
    """How several verdicts stand, in one sentence."""
    if not rows:
        return "This study declares no comparison that carries a verdict."
    counts = ", ".join(f"{n} {word}" for word in VERDICT_MARKS if (n := sum(row["verdict"] == word for row in rows)))
    return f"{len(rows)} comparisons carry a verdict: {counts}."


def _card(row: Mapping[str, Any], tables: Tables) -> str:
    return (
        f'<article class="verdict {VERDICT_MARKS[row["verdict"]]}"><p class="eyebrow">{escape(named(row))}</p>'
        f'<p class="headline">{escape(headline(row))}</p>{twins(row)}{_facts(row, tables)}</article>'
    )


def _folded(row: Mapping[str, Any], tables: Tables) -> str:
    summary = f'{escape(named(row))} <span class="pill {row["verdict"].split()[0]}">{escape(verdict_word(row))}</span>'
    said = f"<p>{escape(headline(row))}</p>{_facts(row, tables)}"
    return f'<details class="fold"><summary>{summary}</summary><div>{said}</div></details>'


def _facts(row: Mapping[str, Any], tables: Tables) -> str:
    """Test, gaps, the count of cells, speeds and runs of a comparison."""
    mine = Comparison.of_row(row)
    speeds = mine.rows_in(tables["speedups"])
    speeds = speeds[(speeds["q"] == HEADLINE_SHARE) & (speeds["unit"] == "steps") & speeds["longest"].astype(bool)]
    parts = [f'<ul class="facts">{"".join(f"<li>{escape(line)}</li>" for line in details(row))}</ul>']
    for count in rows_of(mine.rows_in(tables["win_counts"]))[:1]:
        parts.append(f"<figure>{count_strip(count)}<figcaption>{escape(count_sentence(count))}</figcaption></figure>")
    known = [speed_sentence(r) for r in rows_of(speeds) if not pd.isna(r["speedup"])]
    if 0 < len(known) <= MANY_CELLS:
        items = "".join(f"<li>{escape(line)}</li>" for line in known)
        parts.append(f"<h3>Steps to {HEADLINE_SHARE:.0%} of {escape(row['reference'])}’s drop in held-out loss</h3><ul>{items}</ul>")
    return "".join(parts) + f'<p class="runs" data-runs="{escape(str(row["runs"]))}"></p>'


def _caveats(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<aside class="notice" aria-labelledby="caveats"><h2 id="caveats">Caveats</h2><ul>{items}</ul></aside>'


def _claims(claims: pd.DataFrame) -> str:
    if claims.empty:
        return "<p>No claims are given in results/published/claims.</p>"
    rows = rows_of(claims)
    counts = ", ".join(f"{n} {verdict}" for verdict in MARKS if (n := sum(r["verdict"] == verdict for r in rows)))
    tested = "".join(_claim(row) for row in rows if row["verdict"] != NOT_TESTED)
    untested = [_claim(row) for row in rows if row["verdict"] == NOT_TESTED]
    legend = "; ".join(f"<b>{escape(word)}</b>: {escape(meaning)}" for word, meaning in MEANINGS.items())
    told = f'<p>{escape(counts)}. <span class="quiet">{legend}.</span></p>' + (f'<ul class="claims">{tested}</ul>' if tested else "")
    if not untested:
        return told
    summary = f"{counted(len(untested), 'claim')} {NOT_TESTED}"
    return f'{told}<details class="fold" id="untested"><summary>{summary}</summary><ul class="claims">{"".join(untested)}</ul></details>'


def _claim(row: Mapping[str, Any]) -> str:
    verdict, protocol = str(row["verdict"]), str(row["protocol"])
    how = f" Protocol: {escape(PROTOCOLS.get(protocol, protocol))}." if protocol else ""
    return (
        f'<li class="claim {escape(verdict.replace(" ", "-"))}">'
        f'<div class="status"><span aria-hidden="true">{MARKS.get(verdict, "")}</span> {escape(verdict)}</div>'
        f'<div><p class="sentence">{escape(row["sentence"])}</p><p class="figure">{escape(str(row["figure"]))}</p>'
        f'<p class="quiet">{escape(row["paper"])}.{how} <span class="runs" data-runs="{escape(str(row["runs"]))}"></span></p></div></li>'
    )


def _provenance(origins: Origins, known: pd.DataFrame) -> str:
    declared = "".join(f"<p>{escape(line)}</p>" for line in declared_sentences(known))
    rows = []
    for label, values in origins.facts.items():
        told = "".join(
            f"<li>{escape(value)}"
            + (f' <span class="quiet">({n} of {origins.records} records)</span>' if n < origins.records else "")
            + "</li>"
            for value, n in values.items()
        )
        wide = ' class="wide"' if max(map(len, values)) > LONG else ""
        rows.append(f"<div{wide}><dt>{escape(label)}</dt><dd><ul>{told}</ul></dd></div>")
    commands = escape("\n".join(origins.remake))
    return (
        f'<h3>Declared</h3>{declared}<h3>Make it again</h3><pre tabindex="0" aria-label="Commands">{commands}</pre>'
        f'<h3>Measured with</h3><dl class="provenance">{"".join(rows)}</dl>'
    )
