"""The referee on 1,000,000 item rows of lm-eval's logs: CPU seconds and peak memory. Limits: 20 s and 2 GB.

    python -m perf.judge [--rows N]

The logs are made up: two sides of six seeds and two tasks, rows of the length that PIQA's have. The command is a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from olora_bench.process.provenance import provenance
from perf.measured import measured

SECONDS, BYTES = 20.0, 2000 * 1000**2
SIDES, SEEDS, TASKS = ("one", "other"), range(6), ("piqa", "boolq")
DATE = "2026-01-02T03-04-05.678901"
WORDS = "a made-up sentence of the length that such an item's goal has, and of the answers that it may be given, which are two, "


def row(number: int, right: int) -> dict[str, Any]:
    """A row of a samples file."""
    doc = {"goal": f"{number} {WORDS}", "sol1": WORDS, "sol2": WORDS[::-1], "label": number % 2}
    asked = {f"gen_args_{choice}": {"arg_0": f"Question: {number} {WORDS}\nAnswer:", "arg_1": f" {WORDS}"} for choice in (0, 1)}
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    answers = [[["-61.25", "False"]], [["-58.75", "False"]]]
    hashes = {"doc_hash": digest, "prompt_hash": digest, "target_hash": digest}
    said = {"resps": answers, "filtered_resps": [one[0] for one in answers], "filter": "none", "metrics": ["acc"], "acc": float(right)}
    return {"doc_id": number, "doc": doc, "target": "1", "arguments": asked, **hashes, **said}


def make(root: Path, rows: int) -> int:
    """Write the logs; returns the bytes of their samples."""
    items, size = rows // (len(SIDES) * len(SEEDS) * len(TASKS)), 0
    text = [json.dumps(row(number, 7)) for number in range(items)]
    halves = [one.rsplit("7.0", 1) for one in text]
    for place, (side, seed) in enumerate(itertools.product(SIDES, SEEDS)):
        folder, rng = root / side / f"seed{seed}" / "model", np.random.default_rng(place)
        folder.mkdir(parents=True)
        results: dict[str, Any] = {}
        for task in TASKS:
            right = (rng.random(items) < 0.6).astype(int)
            results[task] = {"acc,none": float(right.mean()), "acc_stderr,none": 0.01}
            lines = "".join(f"{before}{value}.0{after}\n" for (before, after), value in zip(halves, right.tolist(), strict=True))
            size += (folder / f"samples_{task}_{DATE}.jsonl").write_text(lines, encoding="utf-8")
        facts = {"configs": {name: {} for name in TASKS}, "versions": dict.fromkeys(TASKS, 1.0), "n-shot": dict.fromkeys(TASKS, 0)}
        counts = {"n-samples": {name: {"original": items, "effective": items} for name in TASKS}}
        (folder / f"results_{DATE}.json").write_text(json.dumps({"results": results, **facts, **counts}), encoding="utf-8")
    return size


def main() -> int:
    """Exit codes: 0 the limits hold, 1 they do not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "judge.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        size = make(Path(folder), options.rows)
        found = measured("olora_bench.judge", *(str(Path(folder) / side) for side in SIDES))
    held = found["cpu_seconds"] < SECONDS and found["peak_bytes"] < BYTES
    facts = provenance(assets=[], threads=1, device="cpu")
    value = {"asked": {"rows": options.rows}, "provenance": facts, "samples_bytes": size, "judge": found}
    options.out.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    print(f"judge: {found['cpu_seconds']} s (at most {SECONDS:g}), {found['peak_bytes'] / 1e6:.0f} MB (at most {BYTES / 1e6:.0f}), "
          f"{size / 1e6:.0f} MB of samples{'' if held else '  NOT HELD'}")  # fmt: skip
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
