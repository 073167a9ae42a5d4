"""A study's report as one HTML file that opens from disk with no network. The same frames give the same bytes."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

import pandas as pd

from olora_bench.analysis import StudyFrames, Tables, rows_of
from olora_bench.analysis.claims import NOT_TESTED
from olora_bench.analysis.frames import Row, training_cell
from olora_bench.analysis.outcome import Outcome, outcomes
from olora_bench.analysis.runs import REPORTED, with_role
from olora_bench.analysis.speed import HEADLINE_SHARE, headline_speeds
from olora_bench.report.origins import Origins
from olora_bench.report.page_data import curve_data, plotted, script_json, study_data
from olora_bench.report.page_forest import forest, twins
from olora_bench.report.page_svg import count_strip
from olora_bench.report.text import of_longest
from olora_bench.words import verdicts as words
from olora_bench.words.caveats import caveat_lines
from olora_bench.words.claims import MARKS, MEANINGS
from olora_bench.words.comparisons import grouped, named, verdict_word
from olora_bench.words.declared import declared_sentences
from olora_bench.words.reasons import counted
from olora_bench.words.speed import speed_sentence

PROTOCOLS = {"shared_lr": "shared learning rate", "tuned": "tuned learning rates", "as_given": "learning rates as given"}
MANY_CELLS = 6
"""More speed-ups than this are left to their table."""
TURNED = "In every chart of differences the right favours the arm: the axis of the held-out loss, where less is better, is turned."
SCRIPTS = ("page.js", "watch.js")
LONG = 44
"""A fact with more characters than this gets a line of its own."""


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
        "caveats": _caveats(caveat_lines(frames, tables)),
        "claims": _claims(tables.get("claims", pd.DataFrame())),
        "provenance": _provenance(origins, tables.get("declared", pd.DataFrame())),
        "data": script_json(study_data(frames, tables, origins.run_pages)),
        "curves": script_json(plotted(curve_data(frames))),
    }
    return filled("page.html", body)


def filled(template: str, body: Mapping[str, str], *, more_style: str = "", reaches: str = "") -> bytes:
    """A template with its style, script and content, and a policy that lets the page run this script and reach nothing else.

    Args:
        more_style: behind that of all pages.
        reaches: a further directive of the policy, for a page that is served.
    """
    script = next((name for name in SCRIPTS if f"{{{{{name}}}}}" in asset(template)), "")
    style, code = asset("page.css") + more_style, asset(script) if script else ""
    policy = f"default-src 'none'; img-src data: blob:; style-src '{_digest(style)}'; script-src '{_digest(code)}'{reaches}"
    parts = {**body, "policy": escape(policy), "page.css": style, script: code}
    return re.sub(rb"\{\{([\w.]+)\}\}", lambda m: parts[m[1].decode()].encode(), asset(template).encode())


def asset(name: str) -> str:
    """A file of the page's own: template, style or script."""
    return files("olora_bench.report").joinpath("assets", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _tally(frames: StudyFrames) -> str:
    states = frames.runs["state"].value_counts(sort=False)
    cells = frames.runs["cell"].map(training_cell).nunique()
    parts = [counted(len(frames.runs), "run"), counted(cells, "setting"), _seeds(frames.runs)]
    parts += [f"{count} {state}" for state, count in states.items() if state != "done"]
    return "".join(f"<li>{escape(part)}</li>" for part in parts)


def _seeds(runs: pd.DataFrame) -> str:
    """How many seeds there are, apart those that only chose learning rates: these stand in no comparison."""
    reported = set(with_role(runs, *REPORTED)["seed"])
    tuning = set(with_role(runs, "tuning")["seed"]) - reported
    if not (reported and tuning):
        return counted(runs["seed"].nunique(), "seed")
    return f"{counted(len(reported), 'fresh seed')} and {counted(len(tuning), 'tuning seed')}"


def _verdicts(tables: Tables) -> str:
    """The headline, all comparisons in one forest, and each of them in words, folded but for one that alone carries the verdict."""
    longest, groups = of_longest(tables), grouped(outcomes(tables["verdicts"]))
    shown = [one for _, group in groups for one in group]
    first = [one for one in shown if one.comparison.confirmatory]
    lead = _card(first[0], longest) if len(first) == 1 else f'<p class="headline">{escape(words.overview(first))}</p>'
    folded = "".join(_folded(one, longest) for one in shown if [one] != first)
    said = f'<h3 id="words-title">Each comparison in words</h3><div class="words">{folded}</div>' if folded else ""
    turned = f'<p class="quiet">{TURNED}</p>' if any(one.loss.known for one in shown) else ""
    return lead + turned + forest(groups) + said


def _card(outcome: Outcome, tables: Tables) -> str:
    said, reasons = map(escape, words.headline_parts(outcome))
    return (
        f'<article class="verdict {words.mark(outcome.verdict)}"><p class="eyebrow">{escape(words.title(outcome.comparison))}</p>'
        f'<p class="headline">{said}</p>{f"<p>{reasons}</p>" if reasons else ""}{twins(outcome)}{_facts(outcome, tables)}</article>'
    )


def _folded(outcome: Outcome, tables: Tables) -> str:
    pill = f'<span class="pill {words.mark(outcome.verdict)}">{escape(verdict_word(outcome))}</span>'
    said = f"<p>{escape(words.headline(outcome))}</p>{_facts(outcome, tables)}"
    return f'<details class="fold"><summary>{escape(named(outcome.comparison))} {pill}</summary><div>{said}</div></details>'


def _facts(outcome: Outcome, tables: Tables) -> str:
    """Test, gaps, the count of cells, speeds and runs of a comparison."""
    comparison = outcome.comparison
    facts = words.facts(outcome, comparison.rows_in(tables["measures"]), comparison.rows_in(tables["scopes"]))
    parts = [f'<ul class="facts">{"".join(f"<li>{escape(line)}</li>" for line in facts)}</ul>']
    for count in rows_of(comparison.rows_in(tables["win_counts"])):
        parts.append(f"<figure>{count_strip(count)}<figcaption>{escape(words.count(count))}</figcaption></figure>")
    speeds = headline_speeds(comparison.rows_in(tables["speedups"]))
    known = [speed_sentence(r) for r in rows_of(speeds) if not pd.isna(r["speedup"])]
    if 0 < len(known) <= MANY_CELLS:
        items = "".join(f"<li>{escape(line)}</li>" for line in known)
        goal = f"Steps to {HEADLINE_SHARE:.0%} of {comparison.reference}’s drop in held-out loss"
        parts.append(f"<h3>{escape(goal)} (inside one schedule: a hint, uncorrected)</h3><ul>{items}</ul>")
    return "".join(parts) + f'<p class="runs" data-runs="{escape(outcome.runs)}"></p>'


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


def _claim(row: Row) -> str:
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
        told = "".join(f"<li>{escape(value)}{_share(n, origins)}</li>" for value, n in values.items())
        wide = ' class="wide"' if max(map(len, values)) > LONG else ""
        rows.append(f"<div{wide}><dt>{escape(label)}</dt><dd><ul>{told}</ul></dd></div>")
    rows += [_assets(origins)] if origins.assets else []
    commands = escape("\n".join(origins.remake))
    return (
        f'<h3>Declared</h3>{declared}<h3>Make it again</h3><pre tabindex="0" aria-label="Commands">{commands}</pre>'
        f'<h3>Measured with</h3><dl class="provenance">{"".join(rows)}</dl>'
    )


def _share(n: int, origins: Origins) -> str:
    return f' <span class="quiet">({n} of {origins.records} records)</span>' if n < origins.records else ""


def _assets(origins: Origins) -> str:
    """Each source of assets once, with all that came from it."""
    told = ""
    for source, keys in origins.assets.items():
        names = ", ".join(f"{escape(key)}{_share(n, origins)}" for key, n in keys.items())
        told += f'<li>{names}<br><span class="quiet">{escape(source)}</span></li>'
    return f'<div class="wide"><dt>Assets</dt><dd><ul>{told}</ul></dd></div>'
