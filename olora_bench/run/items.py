"""A run's benchmark items, one by one: what was answered, and the items' own text where their data lies on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from olora_bench.config import compose, machine
from olora_bench.errors import BadInput, MissingAssets
from olora_bench.store import EvalRecord, RunRecord, Store

Text = tuple[str, list[str]]
"""An item's prompt and its choices."""


def item_lines(name: str, overrides: Sequence[str] = (), *, benchmark: str | None = None, limit: int | None = None) -> Iterator[str]:
    """The items of every evaluation of a run, as lines.

    Args:
        name: the run's train_id, or its beginning.
        benchmark: only its items.
        limit: at most this many items of each benchmark.

    Raises:
        BadInput: there is no such run or no such benchmark.
        RecordError: a record or its items cannot be read.
    """
    here = machine(compose(overrides))
    store = Store(here.results_dir)
    run = store.named_run(name)
    train_id = run.train_id
    evaluations = [e for path in sorted((store.run_dir(train_id) / "evals").glob("*/record.json")) if (e := _read(store, run, path))]
    if not evaluations:
        raise BadInput(
            f"run {train_id} has no evaluation in {store.run_dir(train_id) / 'evals'}: its suite asks for none, or it is not scored yet"
        )
    there = sorted({name for one in evaluations for name in one.scores})
    if benchmark is not None and benchmark not in there:
        raise BadInput(f"run {train_id} has no items of benchmark {benchmark!r}. Allowed: {', '.join(there) or 'none'}")
    for evaluation in evaluations:
        yield from _evaluation(store, run, evaluation, here.cache_dir, benchmark, limit)


def _read(store: Store, run: RunRecord, path: Path) -> EvalRecord | None:
    return store.read_eval(run.train_id, None, path.parent.name)


def _evaluation(
    store: Store, run: RunRecord, evaluation: EvalRecord, cache_dir: Path, benchmark: str | None, limit: int | None
) -> Iterator[str]:  # fmt: skip
    items = store.read_items(run.train_id, None, evaluation.eval_id)
    if items is None:
        yield f"evaluation {evaluation.eval_id} of run {run.train_id}: {evaluation.status}, no items"
        return
    yield f"evaluation {evaluation.eval_id} of run {run.train_id} ({run.arm}): {len(items)} items"
    for name, group in items.groupby("benchmark", sort=False):
        if benchmark is not None and name != benchmark:
            continue
        texts, why = _texts(str(name), run, evaluation, cache_dir)
        yield f"\n{name}: {len(group)} items, {int(group['correct'].sum())} right, {int(group['correct_norm'].sum())} by length. {why}"
        for row in group.head(len(group) if limit is None else limit).itertuples(index=False):
            yield from _item(row, texts.get(str(row.item_id)))


def _item(row: Any, text: Text | None) -> Iterator[str]:
    """`row` is one of the store's items, with its columns as attributes."""
    verdict = f"{'right' if row.correct else 'wrong'}, by length {'right' if row.correct_norm else 'wrong'}"
    yield f"\n{row.item_id}: {verdict}; gold {row.gold}, predicted {row.prediction}, by length {row.prediction_norm}"
    choices = [""] * len(row.loglikelihoods)
    if text is not None:
        yield from (f"    {line}" for line in text[0].splitlines())
        choices = text[1]
    for number, (loglikelihood, choice) in enumerate(zip(row.loglikelihoods, choices, strict=False)):
        mark = "*" if number == row.gold else " "
        yield f"  {mark} [{number}] {loglikelihood:9.3f} nats{'  ' + choice.strip() if choice else ''}"


def _texts(name: str, run: RunRecord, evaluation: EvalRecord, cache_dir: Path) -> tuple[dict[str, Text], str]:
    """The text of a benchmark's items by id, and in words where it is from or why there is none. Nothing is fetched."""
    folder = _rows_folder(name, run, evaluation, cache_dir)
    if folder is None:
        return {}, f"The text of {name} is not on this machine: fetch it with `make assets`, then ask again"
    from olora_bench.config import load_benchmark
    from olora_bench.data.items import item_id
    from olora_bench.data.tasks import benchmark_tasks, lm_eval_quietly

    spec = load_benchmark(name)
    found: dict[str, Text] = {}
    try:
        with lm_eval_quietly():
            task = benchmark_tasks({name: spec}, {f"benchmark:{name}": folder}, 0)[name]
            for row, doc in enumerate(task.eval_docs):
                asked = [one.args for one in task.construct_requests(doc=doc, ctx=task.fewshot_context(doc, 0), metadata=(name, row, 1))]
                same = len({context for context, _ in asked}) == 1
                prompt = asked[0][0] if same else asked[0][1]
                found[item_id(doc, spec.report_split, row)] = prompt, [answer if same else context for context, answer in asked]
    except (BadInput, MissingAssets) as error:
        return {}, str(error)
    return found, f"Text from {folder}"


def _rows_folder(name: str, run: RunRecord, evaluation: EvalRecord, cache_dir: Path) -> Path | None:
    """Where this machine keeps the very rows that the run was scored on; None where it does not."""
    from olora_bench.assets import packaged
    from olora_bench.assets.check import cached_place
    from olora_bench.assets.kinds import Asset, Wanted
    from olora_bench.config import load_benchmark

    listed: Any = evaluation.provenance.get("assets") or run.provenance.get("assets") or []
    try:
        spec = load_benchmark(name)
        used = next(Asset(one["key"], one["source"], one["identity"]) for one in listed if one["key"] == f"benchmark:{name}")
    except (BadInput, StopIteration, KeyError, TypeError):
        return None
    # The record says which rows they were, this machine's conf where they would lie.
    if used.source == "packaged" and (spec.packaged is None or packaged.identity(spec.packaged) != used.identity):
        return None
    place = cached_place(Wanted(used.key, spec, used.source == "generated", (spec.report_split,)), used, cache_dir)
    return place.folder if place is not None and (place.folder / f"{spec.report_split}.parquet").is_file() else None
