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
from olora_bench.analysis.frames import training_cell
from olora_bench.analysis.paired import MIN_BLOCKS
from olora_bench.report.origins import Origins
from olora_bench.report.page_data import curve_data, script_json, study_data
from olora_bench.report.page_svg import count_strip, interval_strip
from olora_bench.report.page_words import (
    MEANINGS,
    VERDICT_MARKS,
    count_sentence,
    declared_sentences,
    details,
    headline,
    judged,
    speed_sentence,
)
from olora_bench.words.numbers import rate

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
        "mind": _mind(warnings(frames, tables)),
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
    frame = tables["verdicts"]
    first = rows_of(frame[frame["confirmatory"].astype(bool)])
    others = rows_of(frame[~frame["confirmatory"].astype(bool)])
    if not first:
        return '<p class="headline">This study declares no comparison that carries a verdict.</p>' + _beside(others)
    return _overview(first) + "".join(_verdict(row, tables) for row in first) + _beside(others)


def _overview(rows: Sequence[dict[str, Any]]) -> str:
    """How several verdicts stand, in one sentence; nothing where there is one."""
    if len(rows) == 1:
        return ""
    counts = ", ".join(f"{n} {word}" for word in VERDICT_MARKS if (n := sum(row["verdict"] == word for row in rows)))
    return f'<p class="headline">{len(rows)} comparisons carry a verdict: {escape(counts)}.</p>'


def _verdict(row: dict[str, Any], tables: Tables) -> str:
    counts = rows_of(_same(tables["win_counts"], row))
    speeds = _same(tables["speedups"], row)
    speeds = speeds[(speeds["q"] == HEADLINE_SHARE) & (speeds["unit"] == "steps") & speeds["longest"].astype(bool)]
    facts = "".join(f"<li>{escape(line)}</li>" for line in details(row))
    parts = [
        f'<article class="verdict {VERDICT_MARKS[row["verdict"]]}">',
        f'<p class="eyebrow">{escape(_where(row))}</p><p class="headline">{escape(headline(row))}</p>',
        f'<ul class="facts">{facts}</ul><div class="strips">',
    ]
    if strip := interval_strip(row):
        parts.append(f"<figure>{strip}<figcaption>{escape(_strip_caption(row))}</figcaption></figure>")
    for count in counts[:1]:
        parts.append(f"<figure>{count_strip(count)}<figcaption>{escape(count_sentence(count))}</figcaption></figure>")
    parts.append("</div>")
    known = [speed_sentence(r) for r in rows_of(speeds) if not pd.isna(r["speedup"])]
    if 0 < len(known) <= MANY_CELLS:
        items = "".join(f"<li>{escape(line)}</li>" for line in known)
        parts.append(f"<h3>Steps to {HEADLINE_SHARE:.0%} of {escape(row['reference'])}’s drop in held-out loss</h3><ul>{items}</ul>")
    parts.append(f'<p class="runs" data-runs="{escape(str(row["runs"]))}"></p></article>')
    return "".join(parts)


def _where(row: dict[str, Any]) -> str:
    tuned = ", tuned learning rates" if row["role"] == "tuned" else ""
    return str(row["contrast"]) + (tuned if pd.isna(row["lr_arm"]) else f", learning rate {rate(row['lr_arm'])}")


def _strip_caption(row: dict[str, Any]) -> str:
    what = judged(row)
    mean = "Mean difference in held-out loss" if what.by_loss else "Mean difference over benchmarks, primary metrics"
    return f"{mean}, with its 95% interval." if what.interval else f"{mean}. No interval: {what.blocks} of at least {MIN_BLOCKS} blocks."


def _beside(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    items = "".join(
        f'<li class="{VERDICT_MARKS[r["verdict"]]}">{escape(headline(r))} '
        f'<span class="quiet">{escape(details(r)[0])}; {escape(r["kind"])}</span>'
        f'<span class="runs" data-runs="{escape(str(r["runs"]))}"></span></li>'
        for r in rows
    )
    return f'<div class="beside"><h3>Beside the verdict</h3><ul>{items}</ul></div>'


def _same(frame: pd.DataFrame, key: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of one comparison."""
    for name in ("contrast", "role", "lr_reference", "lr_arm"):
        frame = frame[frame[name].isna()] if pd.isna(key[name]) else frame[frame[name] == key[name]]
    return frame


def _mind(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<aside class="mind" aria-label="Mind before believing a table"><h2>Mind</h2><ul>{items}</ul></aside>'


def _claims(claims: pd.DataFrame) -> str:
    if claims.empty:
        return "<p>No claims are given in results/published/claims.</p>"
    rows = rows_of(claims)
    counts = ", ".join(f"{n} {verdict}" for verdict in MARKS if (n := sum(r["verdict"] == verdict for r in rows)))
    items = "".join(map(_claim, rows))
    legend = "; ".join(f"<b>{escape(word)}</b>: {escape(meaning)}" for word, meaning in MEANINGS.items())
    return f'<p>{escape(counts)}. <span class="quiet">{legend}.</span></p><ul class="claims">{items}</ul>'


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
