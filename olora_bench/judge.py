"""`python -m olora_bench.judge A B`: two folders (or globs) of lm-eval's outputs, one verdict; as a function, `olora_bench.judge(a, b)`.

A and B are files, folders or globs of folders that lm-eval (0.4.0 or later) wrote results to, a run a seed. Which seed a run has is read
from its path: a part such as `seed3`, `seed_3` or `s3`; `--pattern` names another form. Without samples (`--log_samples`) scores alone are
compared, and nothing is said of new items. The difference is A minus B.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

import pandas as pd

from olora_bench.analysis.given import LeftOut, Matched, NotRead, matched
from olora_bench.analysis.judged import Judged
from olora_bench.analysis.judged import judged as judge_shared
from olora_bench.errors import BadInput, RecordError, StoreError, of_system
from olora_bench.foreign.choice import ACCEPTABLE, Choice
from olora_bench.foreign.lm_eval import check_metrics
from olora_bench.foreign.lm_eval_frames import Wanted, of_results, results_of, side_names
from olora_bench.process import terminal
from olora_bench.words.judged import left_out, nothing_left, text
from olora_bench.words.verdicts import sentence


class Judgement(Judged):
    """Two sides judged; as text, what the command prints."""

    def __str__(self) -> str:
        return text(self)


def judge(
    frame_a: pd.DataFrame, frame_b: pd.DataFrame, *, names: tuple[str, str] = ("A", "B"), seeds: Sequence[int] | None = None,
    margin: float | None = None, choice: Choice | None = None,
) -> Judgement:  # fmt: skip
    """Judge side A against side B as a study judges two arms.

    Args:
        frame_a, frame_b: one row an item and run with the columns seed, benchmark, item, correct, or one a run and benchmark with seed,
            benchmark, score; further columns as `olora_bench.foreign.columns.COLUMNS` describes them.
        names: of the sides.
        seeds: only these; by default every seed that both have.
        margin: the difference that matters, percentage points of the mean over benchmarks.
        choice: which benchmarks are compared, and in what their runs may differ; by default whatever all runs have, asked alike.

    Returns:
        The verdict with its scopes; `str` of it is the text.

    Raises:
        BadInput: a frame is not as described, or nothing is left to compare.
    """
    _check(names, margin)
    if choice is not None and not isinstance(choice, Choice):
        raise BadInput(f"choice: {type(choice).__name__} is no Choice: olora_bench.judge.Choice(benchmarks=..., accept=...)")
    if choice is not None and all(isinstance(one, pd.DataFrame) and "benchmark" in one for one in (frame_a, frame_b)):
        choice.check(str(name) for one in (frame_a, frame_b) for name in one["benchmark"].dropna().unique())
    return _judged(matched({names[0]: frame_a, names[1]: frame_b}, seeds, choice), names, margin, ())


def _check(names: tuple[str, str], margin: float | None) -> None:
    if len(names) != 2 or not all(isinstance(name, str) and name for name in names):
        raise BadInput(f"names {names!r} is not allowed: two texts, one for each side")
    if names[0] == names[1]:
        raise BadInput(f"both sides are called {names[0]!r}: give two names")
    if margin is not None and (isinstance(margin, bool | str) or not 0 < margin < 100):
        raise BadInput(f"margin {margin} is not allowed: percentage points above 0 and below 100")


def _judged(found: Matched, names: tuple[str, str], margin: float | None, before: Sequence[LeftOut]) -> Judgement:
    found = replace(found, left_out=(*before, *found.left_out))
    if not found.benchmarks:
        raise BadInput(nothing_left(found.left_out))
    return Judgement(**vars(judge_shared(found, names, margin)))


def judge_folders(a: str, b: str, options: argparse.Namespace) -> Judgement:
    """The command: read both sides, and judge.

    Raises:
        BadInput: a side holds nothing that lm-eval wrote, a file is damaged, or nothing is left to compare.
    """
    names = (options.names[0], options.names[1]) if options.names else side_names(a, b)
    _check(names, options.margin)
    metrics, accept = dict(_pair("--metric", one) for one in options.metric), dict[str, list[str]]()
    for benchmark, what in (_pair("--accept", one) for one in options.accept):
        accept.setdefault(benchmark, []).append(what)
    choice = Choice(None if options.benchmarks is None else tuple(options.benchmarks), accept)
    results = {side: results_of(side, metrics) for side in (a, b)}
    every = [one for own in results.values() for one in own]
    check_metrics("--metric", metrics, every)
    choice.check(task for one in every for task in one.metrics)
    wanted = Wanted(options.pattern, options.seeds, choice.benchmarks)
    found = [of_results(side, results[side], wanted) for side in (a, b)]
    frames = dict(zip(names, (one.frame for one in found), strict=True))
    left = [NotRead(what) for what in dict.fromkeys(what for one in found for what in one.not_read)]
    _readable(choice, [one.frame for one in found], left)
    return _judged(matched(frames, options.seeds, choice), names, options.margin, left)


def _readable(choice: Choice, frames: Sequence[pd.DataFrame], left: Sequence[LeftOut]) -> None:
    """Refuse a benchmark that was asked for and of which nothing can be read, with the reasons."""
    there = {str(name) for frame in frames for name in frame["benchmark"].unique()}
    if absent := [name for name in choice.benchmarks or () if name not in there]:
        raise BadInput(f"benchmarks: nothing of {absent[0]} can be read. {sentence('; '.join(map(left_out, left)))}")


_EXAMPLES = {"--metric": "TASK=METRIC, e.g. hellaswag=acc", "--accept": "TASK=WHAT, e.g. hellaswag=version"}


def _pair(option: str, pair: str) -> tuple[str, str]:
    task, _, value = pair.partition("=")
    if not task or not value:
        raise BadInput(f"{option} {pair} is not allowed: {_EXAMPLES[option]}")
    return task, value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    one = argparse.ArgumentParser(
        prog="python -m olora_bench.judge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    one.add_argument("a", metavar="A", help="the side that is judged: a folder, a results file, or a glob in quotes")
    one.add_argument("b", metavar="B", help="the side that it is judged against")
    one.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="only these seeds")
    one.add_argument("--margin", type=float, metavar="PP", help="the difference that matters, percentage points")
    one.add_argument("--names", nargs=2, metavar=("A", "B"), help="what to call the two sides")
    one.add_argument("--pattern", metavar="PATTERN", help="where in a path the seed stands, e.g. 'run-{seed}'; see docs/judge.md")
    one.add_argument("--benchmarks", nargs="+", metavar="TASK", help="only these tasks; a seed that lacks one of them is left out")
    by, despite = "by what a task is judged, e.g. hellaswag=acc; again for others", f"compare a task whose runs differ in WHAT ({_WHAT})"
    one.add_argument("--metric", action="append", default=[], metavar="TASK=METRIC", help=by)
    one.add_argument("--accept", action="append", default=[], metavar="TASK=WHAT", help=f"{despite} all the same; again for others")
    return one


_WHAT = ", ".join(ACCEPTABLE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the command line. Exit codes: 0 a verdict was printed, whatever it is; 2 the request cannot be carried out."""
    terminal.prepare()
    options = parser().parse_intermixed_args(arguments)
    try:
        print(judge_folders(options.a, options.b, options))
    except (BadInput, RecordError, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(of_system(error), file=sys.stderr)
        return 2
    return 0


class _Callable(ModuleType):
    """`olora_bench.judge` is a command's module and a function, whichever was imported first."""

    def __call__(self, *frames: pd.DataFrame, **options: object) -> Judgement:
        return judge(*frames, **options)  # type: ignore[arg-type]


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    sys.exit(main())
