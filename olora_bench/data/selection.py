"""Which items make up train, tune and report: seeded by `data.split_seed` and `data.block`, balanced over benchmarks, free of overlap."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from olora_bench.assets.columns import instructions
from olora_bench.assets.rows import read_parquet
from olora_bench.config import Benchmark, Data
from olora_bench.config.data_rules import HELD_OUT, held_out
from olora_bench.data.items import Item, benchmark_item, benchmark_items, instruction_item
from olora_bench.data.overlap import Seen
from olora_bench.data.tasks import benchmark_tasks, lm_eval_quietly
from olora_bench.errors import BadInput, MissingAssets
from olora_bench.process.progress import say
from olora_bench.seeds import derive

PARTS: Final = ("train", "tune", "report")


@dataclass(frozen=True)
class Selection:
    """The items of each part, and how many candidates were removed from it as `exact` or `near` overlap.

    `unlabelled` rows of the train splits have no answer and were never candidates; `unused` ones were, and no part asks
    for them.
    """

    items: dict[str, list[Item]]
    removed: dict[str, Counter[str]]
    unlabelled: int
    unused: int


class _Pool:
    """The rows of one train split in seeded order, handed out once each, those that overlap `seen` left out."""

    def __init__(self, rows: Iterable[int], make: Callable[[int], Item]) -> None:
        self._rows = [int(row) for row in rows]
        self._make = make

    def __len__(self) -> int:
        return len(self._rows)

    def reorder(self, order: np.ndarray) -> None:
        """Hand out what is left in another order, `(len(self),)`."""
        self._rows = [self._rows[place] for place in order]

    def take(self, count: int, seen: list[Seen], removed: Counter[str]) -> list[Item]:
        """The next `count` items, or fewer when the pool runs dry."""
        kept: list[Item] = []
        used = 0
        for row in self._rows:
            if len(kept) == count:
                break
            used += 1
            item = self._make(row)
            overlap = next((o for o in (s.overlap(item) for s in seen) if o), None)
            if overlap is None:
                kept.append(item)
            else:
                removed[overlap] += 1
        del self._rows[:used]
        return kept


def select(data: Data, benchmarks: Mapping[str, Benchmark], paths: Mapping[str, Path]) -> Selection:
    """Choose the items of the three parts.

    Removed from tune: what overlaps an item of the report split of any of `benchmarks`, or of the report part. Removed from train: that,
    and what overlaps an item of the tune part. Removed items are replaced by the next of the same split while there are any.

    Args:
        benchmarks: those that `data.benchmarks` and `data.decontaminate` name.

    Raises:
        BadInput: more items are asked for than there are, or a row is no item (`benchmark_tasks`, `assets.columns.instructions`).
        MissingAssets: a file is absent.
    """
    unlabelled = 0
    with lm_eval_quietly():
        tasks = benchmark_tasks(benchmarks, paths, 0)
        scored = {n: list(benchmark_items(t, n, benchmarks[n].report_split, t.eval_docs)) for n, t in tasks.items()}
        if data.kind == "benchmarks":
            pools = {name: _train_pool(data, name, tasks[name], paths) for name in data.benchmarks}
            unlabelled = sum(tasks[name].splits["train"].unlabelled for name in data.benchmarks)
            _check_sizes(data, sum(map(len, pools.values())), sum(len(scored[n]) for n in data.benchmarks), unlabelled)
            report = _report_part(data, {name: scored[name] for name in data.benchmarks})
            tuned, sizes, reported = pools, {"tune": data.tune_size}, list[_Pool]()
        else:
            own = {part: _instruction_pool(data, paths, part) for part in ("train", *data.own_parts)}
            report, sizes = _own_report(data, own)
            pools, tuned, reported = {data.name: own["train"]}, {data.name: own.get("tune", own["train"])}, list(own.values())
        removed = {part: Counter({"exact": 0, "near": 0}) for part in PARTS}
        seen = [Seen([*(item for items in scored.values() for item in items), *report])]
        tune = _draw(tuned, sizes["tune"], seen, removed["tune"])
        seen.append(Seen(tune))
        train = _draw(pools, data.train_size, seen, removed["train"])
    if data.train_size is not None and len(train) < data.train_size:
        say(f"data={data.name}: {len(train)} training items of the {data.train_size} asked for are left without overlap")
    unused = sum(len(pool) for pool in {id(pool): pool for pool in (*pools.values(), *tuned.values(), *reported)}.values())
    return Selection({"train": train, "tune": tune, "report": report}, removed, unlabelled, unused)


def fair_shares(total: int | None, capacities: Mapping[str, int]) -> dict[str, int]:
    """Spread `total` over pools as evenly as their sizes allow; null takes everything. Odd ones go to the first pools.

    >>> fair_shares(10, {"a": 2, "b": 100, "c": 100})
    {'a': 2, 'b': 4, 'c': 4}
    >>> fair_shares(5, {"a": 9, "b": 9})
    {'a': 3, 'b': 2}
    """
    if total is None:
        return dict(capacities)
    shares = dict.fromkeys(capacities, 0)
    left = min(total, sum(capacities.values()))
    while left:
        open_ = [name for name in capacities if shares[name] < capacities[name]]
        each, odd = divmod(left, len(open_))
        for i, name in enumerate(open_):
            given = min(capacities[name] - shares[name], each + (i < odd))
            shares[name] += given
            left -= given
    return shares


def _draw(pools: Mapping[str, _Pool], total: int | None, seen: list[Seen], removed: Counter[str]) -> list[Item]:
    """Take `total` items from the pools in fair shares; what an exhausted pool cannot give, the others do."""
    taken: dict[str, list[Item]] = {name: [] for name in pools}
    capacities = {name: len(pool) for name, pool in pools.items()}
    while True:
        shares = fair_shares(total, capacities)
        for name, pool in pools.items():
            taken[name] += pool.take(max(0, shares[name] - len(taken[name])), seen, removed)
        short = {name: len(items) for name, items in taken.items() if len(items) < shares[name]}
        if not short:
            return [item for items in taken.values() for item in items]
        capacities |= short


def _order(data: Data, name: str, split: str, count: int, *, block: bool = False) -> np.ndarray:
    """A permutation of a split's rows that no other benchmark of the mixture influences; with `block`, that of `data.block` if given."""
    drawn = [derive(data.block, "block")] if block and data.block is not None else []
    return np.random.default_rng([derive(data.split_seed, "split"), zlib.crc32(f"{name}/{split}".encode()), *drawn]).permutation(count)


def _train_pool(data: Data, name: str, task: object, paths: Mapping[str, Path]) -> _Pool:
    docs = task.training_docs()  # type: ignore[attr-defined]
    if docs is None:
        raise MissingAssets(
            f"data={data.name} trains on {name}: {Path(paths[f'benchmark:{name}']) / 'train.parquet'} is missing. "
            f"Run `make assets`, put the file there, or leave {name} out of data.benchmarks"
        )
    return _Pool(_order(data, name, "train", len(docs), block=True), lambda row: benchmark_item(task, name, docs[row], "train", row))


def _report_part(data: Data, scored: Mapping[str, list[Item]]) -> list[Item]:
    shares = fair_shares(data.report_size, {name: len(items) for name, items in scored.items()})
    return [items[row] for name, items in scored.items() for row in _order(data, name, "report", len(items))[: shares[name]]]


def _own_report(data: Data, own: Mapping[str, _Pool]) -> tuple[list[Item], dict[str, int | None]]:
    """The report part of instruction data, and how many items each held-out part takes. Drawn from what is trained on where it has no rows
    of its own; then the rest is in the order of the block."""
    pool = own["train"]
    sizes = {part: held_out(data, part, len(pool)) for part in HELD_OUT}
    drawn = {part: 0 if part in own else int(sizes[part] or 0) for part in HELD_OUT}
    for part in HELD_OUT:
        if part in own and (sizes[part] or 0) > len(own[part]):
            raise BadInput(
                f"data.{part}_size={sizes[part]} is more than the {len(own[part])} rows of its {part} part. Lower it, or set null"
            )
    _check_drawn(data, drawn, len(pool))
    source = own.get("report", pool)
    report = source.take(len(source) if sizes["report"] is None else sizes["report"], [], Counter())
    if data.block is not None:
        pool.reorder(_order(data, data.name, "train", len(pool), block=True))
    return report, sizes


def _check_drawn(data: Data, drawn: Mapping[str, int], rows: int) -> None:
    """Whether the file that is trained on has so many rows beside those that it is asked for."""
    if drawn["report"] > rows:
        raise BadInput(f"data.report_size={drawn['report']} is more than the {rows} items of data={data.name}. Lower it")
    wanted, left = drawn["tune"] + (data.train_size or 1), rows - drawn["report"]
    if wanted > left and data.train_size is None:
        raise _nothing_left(data, rows, drawn["tune"], drawn["report"])
    if wanted > left:
        raise BadInput(
            f"data.train_size={data.train_size} and data.tune_size={drawn['tune']} need {wanted} items, "
            f"data={data.name} has {left} for them. Lower them"
        )


def _nothing_left(data: Data, rows: int, tune: int, report: int) -> BadInput:
    """Where all is to be trained on that the held-out parts leave."""
    taken = " and ".join(f"data.{part}_size={count}" for part, count in (("tune", tune), ("report", report)) if count)
    lower = " or ".join(f"data.{part}_size" for part, count in (("tune", tune), ("report", report)) if count)
    leave = "leave" if tune and report else "leaves"
    return BadInput(f"{taken} {leave} nothing to train on of the {rows} items of data={data.name}. Lower {lower}, or use more rows")


def _instruction_pool(data: Data, paths: Mapping[str, Path], part: str) -> _Pool:
    path = Path(paths[f"data:{data.name}"]) / f"{part}.parquet"
    if not path.is_file():
        raise MissingAssets(f"data={data.name}: {path} is missing. Run `make assets`, or put the file there")
    table, template = read_parquet(path), data.template
    assert template is not None
    rows = (table if template == "chat" else instructions(table, path)).to_pylist()
    # A part with rows of its own is drawn as a block draws it: only a size makes an order matter there.
    order = _order(data, data.name, part, len(rows), block=part == "tune")
    return _Pool(order, lambda row: instruction_item(template, data.name, rows[row], part, row))


def _check_sizes(data: Data, trainable: int, reportable: int, unlabelled: int) -> None:
    """Whether a mixture of benchmarks has so many items."""
    if (data.report_size or 0) > reportable:
        raise BadInput(f"data.report_size={data.report_size} is more than the {reportable} items of data={data.name}. Lower it")
    wanted = (data.tune_size or 0) + (data.train_size or 1)
    if wanted > trainable and data.train_size is None:
        raise _nothing_left(data, trainable, data.tune_size or 0, 0)
    if wanted > trainable:
        without = f" ({unlabelled} rows have no answer)" if unlabelled else ""
        raise BadInput(
            f"data.train_size={data.train_size} and data.tune_size={data.tune_size} need {wanted} items, "
            f"data={data.name} has {trainable} for them{without}. Lower them"
        )
