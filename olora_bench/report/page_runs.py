"""One page a run, made on request: its record, losses and scores. The text of items and answers is never in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from olora_bench.analysis.frames import Row, StudyFrames, rows_of
from olora_bench.errors import RecordError
from olora_bench.identity import run_title
from olora_bench.report.page import filled
from olora_bench.report.page_data import Curves, Series, curve_data
from olora_bench.report.page_svg import Line, curve_plot
from olora_bench.store import RunRecord, Store
from olora_bench.words.numbers import number

MANY_VALUES = 24
"""A longer part of a record is folded."""
SECTIONS = ("config", "metrics", "init", "data", "timings_s", "provenance", "missing", "identity")
FACTS = ("attempts", "started_at", "finished_at", "steps", "tokens_per_s", "examples_per_s", "clipped_step_share", "parameters_total",
         "parameters_trainable", "adapter_bytes", "base_bytes", "peak_bytes", "peak_above_base_bytes")  # fmt: skip


def run_pages_of(store: Store, frames: StudyFrames) -> Iterator[tuple[str, bytes]]:
    """(train_id, page) of every run of a study that has a readable record."""
    curves = curve_data(frames)
    scores = {str(train_id): rows_of(group) for train_id, group in frames.scores.dropna(subset=["train_id"]).groupby("train_id")}
    for run in rows_of(frames.runs.drop_duplicates("train_id")):
        try:
            record = store.read_run(run["train_id"])
        except RecordError:
            continue
        if record is not None:
            yield run["train_id"], _page(frames.study, run, record, curves, scores.get(run["train_id"], []))


def _page(study: str, run: Row, record: RunRecord, curves: Curves, scores: list[Row]) -> bytes:
    error = f'<aside class="notice"><h2>{escape(record.status)}</h2><p>{escape(record.error)}</p></aside>' if record.error else ""
    facts = {name: value for name in FACTS if (value := getattr(record, name)) is not None}
    parts = [error, _curve(curves["axes"], curves["curves"].get(record.train_id, {})), _scores(scores), _section("record", facts)]
    whole = {name: getattr(record, name) for name in SECTIONS}
    parts += [_section(name, values) for name, values in whole.items() if values]
    body = {
        "title": escape(run_title(run)),
        "study": escape(study),
        "train_id": escape(record.train_id),
        "tally": "".join(f"<li>{escape(text)}</li>" for text in (record.status, f"scores {run['eval_state']}", f"for {run['roles']}")),
        "body": "".join(parts),
    }
    return filled("run.html", body)


def _curve(axes: list[list[float]], series: Mapping[str, Series]) -> str:
    lines = [Line(name, name, axes[one[0]], one[3]) for name, one in series.items()]
    if not lines:
        return ""
    losses_said = "; ".join(f"{name} loss from {losses[0]:.4g} to {losses[-1]:.4g} nats" for _, name, _, losses in lines)
    caption = (
        f"Loss over steps, nats per supervised token: {losses_said}. Grey: train; dashed: tune part; coloured: report part (held out)."
    )
    return f"<section><h2>Losses</h2><figure>{curve_plot(lines, losses_said)}<figcaption>{escape(caption)}</figcaption></figure></section>"


def _scores(scores: list[Row]) -> str:
    if not scores:
        return ""
    head = "".join(f'<th scope="col" class="n">{name}</th>' for name in ("percent", "± s.e.", "chance", "items"))
    rows = "".join(
        f"<tr><td>{escape(s['benchmark'])}</td><td>{escape(s['metric'])}</td>"
        + "".join(f'<td class="n">{number(100 * s[key])}</td>' for key in ("value", "stderr", "chance"))
        + f'<td class="n">{s["items"]}</td></tr>'
        for s in scores
    )
    header = f'<tr><th scope="col">benchmark</th><th scope="col">metric</th>{head}</tr>'
    table = f"<table><thead>{header}</thead><tbody>{rows}</tbody></table>"
    return f'<section><h2>Scores</h2><div class="scroll" tabindex="0" role="region" aria-label="Scores">{table}</div></section>'


def _section(name: str, values: Mapping[str, object]) -> str:
    items = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in _flat(values))
    title, body = escape(name.replace("_s", ", seconds").capitalize()), f'<dl class="provenance">{items}</dl>'
    if items.count("<dt>") > MANY_VALUES:
        return f'<details class="table"><summary>{title}</summary><div>{body}</div></details>'
    return f"<section><h2>{title}</h2>{body}</section>"


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", f"{value:.6g}" if isinstance(value, float) else str(value)
