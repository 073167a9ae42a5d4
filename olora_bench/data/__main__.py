"""Look at data as it is trained on, before any training: `python -m olora_bench.data show data=file data.path=my_rows.jsonl`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from olora_bench.config.own_inits import without_folder
from olora_bench.errors import BadInput, StoreError
from olora_bench.process import terminal

if TYPE_CHECKING:
    from olora_bench.data import Example, Parts

SHOWN = 5
USAGE = """\
usage: python -m olora_bench.data show [--config-dir FOLDER] [KEY=VALUE ...]

Prints five examples of the train part as tokens make them, what the loss is read on between [[ and ]], and the size of each part.
Then what was left out of each and why, and how the rows add up.
Takes the overrides of `python -m olora_bench`, e.g. model=tinyllama data=file data.path=my_rows.jsonl data.prompt=question."""


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0, or 2 with the reason on standard error."""
    terminal.prepare()
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    try:
        if arguments[:1] != ["show"]:
            raise BadInput(USAGE)
        for line in _lines(without_folder(arguments[1:])):
            print(line)
    except (BadInput, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _lines(overrides: Sequence[str]) -> Iterator[str]:
    from olora_bench.assets import check, fetch, resolve
    from olora_bench.config import compose, load

    experiment = load(compose(["rank=1", *overrides, "suite=none", "tracker=none"]))  # data depend on no rank
    assets = resolve(experiment)
    check(experiment, assets)
    paths = fetch(experiment, assets)
    from olora_bench.data import build_parts
    from olora_bench.models import load_tokenizer

    model = experiment.model
    tokenizer = load_tokenizer(model, paths.get(f"model:{model.name}"), experiment.machine.cache_dir)
    parts = build_parts(experiment, paths, tokenizer)
    for example in parts.train[:SHOWN]:
        cut = ", cut" if example.truncated else ""
        yield f"--- {example.id}: {len(example.input_ids)} tokens{cut}, {int(example.supervised.sum())} of them supervised"
        yield marked(example, tokenizer)
    yield "---"
    yield from counted(parts)


LEFT_OUT: Mapping[str, str] = {
    "removed_exact": "word for word a held-out row or a benchmark's item",
    "removed_near": "nearly one",
    "unlabelled": "without an answer",
    "dropped_empty": "with nothing left to learn after data.cutoff",
}
"""Why rows are in no part that could be, by the names of `PartCounts`."""


def counted(parts: Parts) -> Iterator[str]:
    """The size of each part, what was left out of it and why; and how the rows add up."""
    kept = gone = 0
    for name, counts in parts.counts.items():
        numbers = {key: int(counts[key]) for key in LEFT_OUT}  # type: ignore[literal-required]
        kept, gone = kept + counts["examples"], gone + sum(numbers.values())
        why = ", ".join(f"{number} {LEFT_OUT[key]}" for key, number in numbers.items() if number)
        size = f"{name}: {counts['examples']} examples, {counts['supervised_tokens']} supervised tokens, {counts['truncated']} cut"
        yield size + (f"; left out: {why}" if why else "")
    unused = f" + {parts.unused} that no part asks for" if parts.unused else ""
    yield f"rows: {kept + gone + parts.unused} = {kept} examples + {gone} left out{unused}"


def marked(example: Example, tokenizer: Any) -> str:
    """An example's text, special tokens included, what the loss is read on between [[ and ]]."""
    pairs = zip(example.input_ids.tolist(), example.supervised.tolist(), strict=True)
    runs = [(supervised, [token for token, _ in run]) for supervised, run in groupby(pairs, key=lambda pair: pair[1])]
    texts = [(supervised, tokenizer.decode(ids, clean_up_tokenization_spaces=False)) for supervised, ids in runs]
    return "".join(f"[[{text}]]" if supervised else text for supervised, text in texts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
