"""A task's requests as a plan, made once: kept in memory for a worker's next adapter, and on disk by digest for the next process."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from olora_bench.data.encoding import Pair, encode_requests
from olora_bench.errors import StoreError
from olora_bench.evaluation.trie import FEWEST_ROWS, SHORTEST_PREFIX, Plan, build_plan
from olora_bench.formats import read_regular
from olora_bench.models import special_tokens
from olora_bench.process.progress import say
from olora_bench.store import atomic_write

# Part of every file's digest: raise it when the code of `trie` or `data.encoding` changes what a plan holds.
LAYOUT = 3

_DIGESTS: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()
_PLANS: dict[str, Plan] = {}


def plan_of(
    pairs: Sequence[Pair], items: Sequence[int | None], tokenizer: Any, *, max_length: int, pair_cost: float, cache_dir: Path | None
) -> Plan:
    """The plan of a task's (context, continuation) texts.

    Args:
        pairs: texts as lm-eval made them.
        items: the document of each pair.
        max_length, pair_cost: see `build_plan`.
        cache_dir: plans are kept below it, in `prompts/`; None keeps none.
    """
    name = tokenizer_digest(tokenizer)
    if name is None:  # nothing tells two such tokenizers apart
        return _build(pairs, items, tokenizer, max_length, pair_cost)
    whole = hashlib.sha256()
    whole.update(
        json.dumps([LAYOUT, SHORTEST_PREFIX, FEWEST_ROWS, name, max_length, pair_cost, list(zip(items, pairs, strict=True))]).encode()
    )
    key = whole.hexdigest()[:32]
    if key not in _PLANS:
        path = None if cache_dir is None else cache_dir / "prompts" / f"{key}.plan"
        plan = None if path is None else _read(path)
        if plan is None:
            plan = _build(pairs, items, tokenizer, max_length, pair_cost)
            if path is not None:
                _write(path, plan)
        _PLANS[key] = plan
    return _PLANS[key]


def tokenizer_digest(tokenizer: Any) -> str | None:
    """Hex digest of all that decides a fast tokenizer's tokens; None for one that is not fast."""
    if tokenizer not in _DIGESTS:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            _DIGESTS[tokenizer] = None
        else:
            state = json.loads(backend.to_str())
            for passing in ("truncation", "padding"):  # left behind by the last call
                state.pop(passing, None)
            state["special"] = [type(tokenizer).__name__, tokenizer.bos_token_id, tokenizer.eos_token_id]
            _DIGESTS[tokenizer] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    return _DIGESTS[tokenizer]


def _build(pairs: Sequence[Pair], items: Sequence[int | None], tokenizer: Any, max_length: int, pair_cost: float) -> Plan:
    encoded, merged = encode_requests(tokenizer, list(pairs))
    begin = special_tokens(tokenizer).begin
    return build_plan(encoded, list(items), merged=merged, begin=begin, max_length=max_length, pair_cost=pair_cost)


def _read(path: Path) -> Plan | None:
    try:
        digest, _, content = read_regular(path).partition(b"\n")
        if digest.decode(errors="replace") != hashlib.sha256(content).hexdigest():
            raise ValueError("its bytes are not those that were written")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Plan(**{name: arrays[name] for name in arrays.files})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        say(f"{path}: cannot be used ({error}); the prompts are tokenised again")
        return None


def _write(path: Path, plan: Plan) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, **plan.arrays())  # type: ignore[arg-type]
    content = file.getvalue()
    try:
        atomic_write(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    except StoreError as error:  # a full cache costs time next time, and no score
        say(f"tokenised prompts are not kept: {error}")
