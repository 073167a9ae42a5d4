"""The three disjoint parts of a data set as token sequences: train, tune (carved from train), report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np
from transformers import PreTrainedTokenizerBase

from olora_bench.config import Benchmark, Data, Experiment
from olora_bench.data.chat import encode_chat, written
from olora_bench.data.encoding import encode_pairs, lost
from olora_bench.data.items import Item
from olora_bench.data.selection import PARTS, Selection, select
from olora_bench.data.tasks import benchmark_tasks, file_stamp
from olora_bench.errors import BadInput
from olora_bench.models import load_tokenizer, required_eos, special_tokens


@dataclass(frozen=True)
class Example:
    """One tokenised example. `supervised` is true at the tokens whose loss counts; `group` is its benchmark or data set."""

    id: str
    group: str
    input_ids: np.ndarray
    """int32 [t]"""
    supervised: np.ndarray
    """bool [t], false at the first token, which nothing predicts"""
    truncated: bool


class PartCounts(TypedDict):
    """What a part holds and what was left out of it. `dropped_empty`: nothing supervised was left; `removed_*`: overlap with evaluation
    items, word for word or nearly; `unlabelled`: rows of the train splits without an answer; `by_group`: the examples of each benchmark."""

    examples: int
    tokens: int
    supervised_tokens: int
    truncated: int
    dropped_empty: int
    removed_exact: int
    removed_near: int
    unlabelled: int
    by_group: dict[str, int]


@dataclass(frozen=True)
class Parts:
    """Training, tuning and reporting examples; ids are disjoint. `counts` goes into the run's record; `unused` rows are in no part."""

    train: list[Example]
    tune: list[Example]
    report: list[Example]
    counts: dict[str, PartCounts] = field(default_factory=dict)
    unused: int = 0


# The last selections of this process: a worker's runs mostly share one, and rendering prompts takes longer than tokenising them.
_SELECTED: dict[str, Selection] = {}


def check(experiment: Experiment, paths: Mapping[str, Path], *, training: bool = True) -> None:
    """Check every row that an experiment reads, and choose its parts, before any model is loaded. What comes of it is kept for later.

    Args:
        training: also the rows that are trained on; else those that are scored, and those whose answers are generated.

    Raises:
        BadInput: a row is no item: names file, row, column and value. Or more items are asked for than there are.
        MissingAssets: a file is absent.
    """
    suite = experiment.suite
    benchmark_tasks({name: experiment.benchmarks[name] for name in suite.benchmarks}, paths, suite.num_fewshot)
    if training or suite.generation is not None:
        selection = _selection(experiment.data, experiment.benchmarks, paths)
        if experiment.data.template == "chat":
            _check_conversations(experiment, paths, [item for part in PARTS for item in selection.items[part]])


def _check_conversations(experiment: Experiment, paths: Mapping[str, Path], items: Sequence[Item]) -> None:
    """Write each conversation as the model's chat template does: what the template refuses is known before the model is loaded."""
    model = experiment.model
    tokenizer = load_tokenizer(model, paths.get(f"model:{model.name}"), experiment.machine.cache_dir)
    for item in items:
        written(tokenizer, item.turns, item.id)


def build_parts(experiment: Experiment, paths: Mapping[str, Path], tokenizer: PreTrainedTokenizerBase) -> Parts:
    """Tokenise the three parts of `experiment.data`.

    Which item is in which part depends on `data.split_seed` and, for train and tune, `data.block`, never on `seed`. What is trained is the
    tokenisation of the text as written, BOS in front where the tokenizer puts it. Benchmark items are lm-eval's context and gold
    continuation, and lose their beginning, but not BOS, when longer than `data.cutoff`; instructions end with EOS and lose their end;
    conversations are as the model's chat template writes them, and lose their end too.

    Args:
        paths: asset key -> folder, for `benchmark:<name>` of every benchmark that `data` names, and `data:<name>` for instructions.

    Returns:
        The parts, with their counts.

    Raises:
        BadInput: a part asks for more items than there are, or nothing is left to train on; the tokenizer puts special tokens where
            they cannot stand, or lacks one that is needed; or as `check`.
        MissingAssets: a file is absent.
    """
    data = experiment.data
    selection = _selection(data, experiment.benchmarks, paths)
    counts: dict[str, PartCounts] = {}
    built: dict[str, list[Example]] = {}
    for part in PARTS:
        items = selection.items[part]
        examples = _tokenise(items, data, tokenizer)
        built[part] = [e for e in examples if e.supervised.any()]
        if not items:
            raise _nothing_left(data, selection, part)
        if not built[part]:
            raise BadInput(
                f"data={data.name} leaves no example in its {part} part: {len(examples)} were empty after data.cutoff={data.cutoff}. "
                "Raise data.cutoff or use other data"
            )
        counts[part] = _counts(part, selection, built[part], len(examples))
    return Parts(built["train"], built["tune"], built["report"], counts, selection.unused)


def _counts(part: str, selection: Selection, kept: list[Example], tokenised: int) -> PartCounts:
    return {
        "examples": len(kept),
        "tokens": int(sum(len(e.input_ids) for e in kept)),
        "supervised_tokens": int(sum(e.supervised.sum() for e in kept)),
        "truncated": sum(e.truncated for e in kept),
        "dropped_empty": tokenised - len(kept),
        "removed_exact": selection.removed[part]["exact"],
        "removed_near": selection.removed[part]["near"],
        "unlabelled": selection.unlabelled if part == "train" else 0,
        "by_group": dict(sorted(Counter(e.group for e in kept).items())),
    }


def _nothing_left(data: Data, selection: Selection, part: str) -> BadInput:
    """The candidates of one part may have gone while the part before it was filled, so they are counted over all."""
    removed = sum(selection.removed.values(), Counter())
    parts = "tune and report parts" if part == "train" else "report part"
    named = dict.fromkeys((*data.benchmarks, *data.decontaminate))
    scored = f", or of {', '.join(named)}," if named else ""
    remedy = ", or leave benchmarks out of data.decontaminate" if data.decontaminate else ""
    return BadInput(
        f"data={data.name} leaves no example in its {part} part: {removed.total()} rows are those of the {parts}{scored} again "
        f"({removed['exact']} word for word, {removed['near']} nearly) and were taken out. Use data with more rows that differ{remedy}"
    )


def report_items(experiment: Experiment, paths: Mapping[str, Path]) -> list[Item]:
    """The report part as text, in its seeded order; `paths` as for `build_parts`."""
    return list(_selection(experiment.data, experiment.benchmarks, paths).items["report"])


def _selection(data: Data, benchmarks: Mapping[str, Benchmark], paths: Mapping[str, Path]) -> Selection:
    named = {name: benchmarks[name] for name in dict.fromkeys((*data.benchmarks, *data.decontaminate))}
    keys = [f"benchmark:{name}" for name in named] + ([f"data:{data.name}"] if data.kind == "instructions" else [])
    key = json.dumps(
        [data.model_dump(mode="json"), [b.model_dump(mode="json") for b in named.values()], [file_stamp(paths[k]) for k in keys]]
    )
    if key not in _SELECTED:
        while len(_SELECTED) >= 2:
            _SELECTED.pop(next(iter(_SELECTED)))
        _SELECTED[key] = select(data, named, paths)
    return _SELECTED[key]


def _tokenise(items: Sequence[Item], data: Data, tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    if data.template == "chat":
        return [_conversation(item, data, *encode_chat(tokenizer, item.turns, item.id)) for item in items]
    begin = special_tokens(tokenizer).begin
    eos = None if data.kind == "benchmarks" else required_eos(tokenizer, f"with which each example of data={data.name} ends")
    encoded = encode_pairs(tokenizer, [(item.context, item.continuation) for item in items])
    return [_example(item, context, response, data, begin, eos) for item, (context, response) in zip(items, encoded, strict=True)]


def _conversation(item: Item, data: Data, ids: list[int], answered: list[bool]) -> Example:
    """A conversation, which loses its end where it is too long."""
    supervised = np.array(answered, dtype=np.bool_) if data.supervise == "response" else np.ones(len(ids), dtype=np.bool_)
    supervised[:1] = False
    return Example(item.id, item.group, np.array(ids[: data.cutoff], np.int32), supervised[: data.cutoff], len(ids) > data.cutoff)


def _example(item: Item, context: list[int], response: list[int], data: Data, begin: int | None, eos: int | None) -> Example:
    if eos is not None and response[-1:] != [eos]:
        response = [*response, eos]
    ids = np.array(context + response, dtype=np.int32)
    supervised = np.ones(len(ids), dtype=np.bool_)
    if data.supervise == "response":
        supervised[: len(context)] = False
    gone = lost(context + response, data.cutoff, begin) if eos is None else slice(data.cutoff, None)
    truncated = len(ids) > data.cutoff
    ids, supervised = np.delete(ids, gone), np.delete(supervised, gone)
    supervised[:1] = False
    return Example(item.id, item.group, ids, supervised, truncated)
