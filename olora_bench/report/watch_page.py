"""A study while it runs, as one page: what is done, who runs what, losses as they come. Its script only asks again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from olora_bench.process.progress import duration
from olora_bench.report.arm_styles import ArmStyle, arm_styles
from olora_bench.report.page import PROTOCOLS, asset, filled
from olora_bench.report.page_svg import Line, curve_plot
from olora_bench.words.reasons import counted

CHARTS = {"train": "Train loss", "report": "Held-out loss", "tune": "Loss on the tune part"}
WIDTH, HEIGHT = 360, 240
REACHES = "; connect-src 'self'"
"""The page may ask its own server again."""
STATES = ("running", "interrupted", "failed", "unreadable", "diverged", "missing", "done")
"""The order in which runs are listed: what wants a look comes first."""


@dataclass(frozen=True)
class Progress:
    """How far a run is. `steps` are the planned ones, `left_s` the seconds of training that are left, as far as its pace so far tells."""

    phase: str
    step: int | None = None
    steps: float | None = None
    left_s: float | None = None


@dataclass(frozen=True)
class WatchedRun:
    """A run as the page shows it. `curve`: by part, steps and losses in nats per supervised token. `where`: who runs it."""

    train_id: str
    title: str
    arm: str
    state: str
    reason: str = ""
    where: str = ""
    since_s: float | None = None
    progress: Progress | None = None
    curve: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    loss: float | None = None


@dataclass(frozen=True)
class Watched:
    """A study at a moment. `arms`: all it has. `left`: the time left, in words. `look`: what it can decide next, a sentence each. `notes`:
    what else there is to say of it."""

    study: str
    title: str
    protocol: str
    arms: Sequence[str]
    runs: Sequence[WatchedRun]
    left: str = ""
    look: Sequence[str] = ()
    notes: Sequence[str] = ()


def watch_page(one: Watched) -> bytes:
    """The page, UTF-8. The same state gives the same bytes but for the times that have passed."""
    styles = arm_styles(one.arms)
    body = {
        "title": escape(f"{_count(one, 'done')} of {len(one.runs)} · {one.study}"),
        "study": escape(one.study),
        "protocol": escape(PROTOCOLS.get(one.protocol, one.protocol)),
        "heading": escape(one.title),
        "tally": "".join(f"<li>{escape(text)}</li>" for text in _tally(one)),
        "overall": _bar(len(_over(one)), len(one.runs), "Runs that are over"),
        "running": _running(one),
        "charts": _charts(one, styles),
        "look": "".join(f"<p>{escape(line)}</p>" for line in one.look) or "<p>This study declares no contrast that is decided.</p>",
        "notes": _notes(one),
        "runs": _table(one),
    }
    return filled("watch.html", body, more_style=asset("watch.css") + _arm_style(styles), reaches=REACHES)


def trouble_page(study: str, reason: str) -> bytes:
    """The page where the study cannot be read, with the reason: it asks again like any other."""
    body = dict.fromkeys(("protocol", "tally", "overall", "running", "charts", "look", "runs"), "")
    notice = f'<aside class="notice"><h2>This study cannot be read now</h2><p>{escape(reason)}</p></aside>'
    said = {**body, "title": escape(study), "study": escape(study), "heading": escape(study), "notes": notice}
    return filled("watch.html", said, more_style=asset("watch.css"), reaches=REACHES)


def _over(one: Watched) -> list[WatchedRun]:
    return [run for run in one.runs if run.state in ("done", "diverged")]


def _count(one: Watched, state: str) -> int:
    return sum(run.state == state for run in one.runs)


def _tally(one: Watched) -> Iterator[str]:
    yield f"{_count(one, 'done')} of {counted(len(one.runs), 'run')} done"
    yield from (f"{count} {state}" for state in STATES if state != "done" and (count := _count(one, state)))
    if one.left:
        yield one.left


def _bar(value: float, of: float, label: str) -> str:
    return f'<progress value="{value:g}" max="{max(of, value, 1):g}" aria-label="{escape(label)}"></progress>'


def _running(one: Watched) -> str:
    running = [run for run in one.runs if run.state == "running"]
    if not running:
        return '<p class="lead">No worker is at it now.</p>'
    return f'<ul class="workers">{"".join(map(_worker, running))}</ul>'


def _worker(run: WatchedRun) -> str:
    """One run that is worked on: what, where, how far."""
    at, facts = run.progress or Progress("starting"), [run.where]
    facts += [f"for {duration(run.since_s)}"] if run.since_s is not None else []
    last = run.curve.get("train", ((), ()))[1]
    done = f"step {at.step:,} of {at.steps:,.0f}" if at.step is not None and at.steps else ""
    losses = [f"train loss {last[-1]:.3f}"] if last else []
    left = [f"about {duration(at.left_s)} of training left"] if at.left_s is not None else []
    told = " · ".join([at.phase, *([done] if done else []), *losses, *left])
    bar = _bar(at.step or 0, at.steps, f"Steps of {run.title}") if at.steps and done else ""
    return (
        f'<li class="card"><h3>{escape(run.title)}</h3><p>{escape(told)}</p>{bar}'
        f'<p class="quiet"><span class="mono">{escape(run.train_id)}</span> · {escape(", ".join(facts))}</p></li>'
    )


def _charts(one: Watched, styles: Mapping[str, ArmStyle]) -> str:
    """A chart for each loss that some run has: those that run now over those that are done."""
    order = sorted((run for run in one.runs if run.curve), key=lambda run: run.state == "running")
    classes = {arm: f"arm{number}" for number, arm in enumerate(styles)}
    drawn = "".join(_chart(name, title, order, classes) for name, title in CHARTS.items())
    if not drawn and any(run.state == "interrupted" for run in one.runs):
        return '<p class="lead">The losses of a run that was interrupted are shown again as soon as the study goes on with it.</p>'
    if not drawn:
        return '<p class="lead">No loss has been read yet. A run shows its first ones some seconds after it begins to train.</p>'
    shown = dict.fromkeys(run.arm for run in order)
    legend = "".join(f'<li><svg width="26" height="8" aria-hidden="true">{_sample(classes[arm])}</svg>{escape(arm)}</li>' for arm in shown)
    return f'<ul class="legend">{legend}</ul><div class="charts">{drawn}</div>'


def _sample(kind: str) -> str:
    return f'<line class="curve {kind}" x1="0" y1="4" x2="26" y2="4"/>'


def _chart(name: str, title: str, runs: Sequence[WatchedRun], classes: Mapping[str, str]) -> str:
    def kind(run: WatchedRun) -> str:
        return classes[run.arm] + ("" if run.state == "running" else " over")

    lines = [Line(kind(run), f"{run.title}, {run.state}", *run.curve[name]) for run in runs if name in run.curve]
    running = [f"{run.title} at {run.curve[name][1][-1]:.3f}" for run in runs if name in run.curve and run.state == "running"]
    told = f"{title} over steps; running now: {'; '.join(running) or 'none'}"
    plot = curve_plot(lines, told, width=WIDTH, height=HEIGHT)
    return f'<figure class="card"><h3>{title}</h3>{plot}</figure>' if plot else ""


def _notes(one: Watched) -> str:
    if not one.notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in one.notes)
    return f'<aside class="notice" aria-labelledby="notes-title"><h2 id="notes-title">To know</h2><ul>{items}</ul></aside>'


def _table(one: Watched) -> str:
    rows = sorted(one.runs, key=lambda run: STATES.index(run.state) if run.state in STATES else 0)
    return "".join(map(_row, rows))


def _row(run: WatchedRun) -> str:
    loss = "–" if run.loss is None else f"{run.loss:.3f}"
    return (
        f'<tr><th scope="row">{escape(run.title)}</th><td><span class="pill {escape(run.state)}">{escape(run.state)}</span></td>'
        f'<td class="n">{loss}</td><td class="long">{escape(run.reason or run.where)}</td><td class="mono">{escape(run.train_id)}</td></tr>'
    )


def _arm_style(styles: Mapping[str, ArmStyle]) -> str:
    """The arms' colours and dashes, on a light page and on a dark one."""

    def rules(colours: Sequence[str], more: Sequence[str]) -> str:
        return "".join(f".watch-page .arm{n} {{ stroke: {colour};{more[n]} }}\n" for n, colour in enumerate(colours))

    shown = list(styles.values())
    dark = rules([style.on_dark for style in shown], [""] * len(shown))
    return f"{rules([style.colour for style in shown], list(map(_dashes, shown)))}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _dashes(style: ArmStyle) -> str:
    return f" stroke-dasharray: {style.svg_dashes};" if style.svg_dashes else ""
