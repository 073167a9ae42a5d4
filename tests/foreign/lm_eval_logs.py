"""lm-eval's output files, made up: every layout since 0.4.0, without a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATE = "2026-01-02T03-04-05.678901"


@dataclass
class Log:
    """One evaluation: task -> right answers in the order of its documents."""

    answers: Mapping[str, Sequence[Any]]
    layout: str = "0.4.9"
    metric: str = "acc"
    prompt: str = "Q"
    fewshot: int = 0
    version: float = 1.0
    date: str = DATE
    base: str = "base"
    samples: bool = True
    extra: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """The results file, with its samples beside it."""
        old = self.layout < "0.4.3"
        place = folder if old else folder / "base"
        place.mkdir(parents=True, exist_ok=True)
        path = place / ("results.json" if old else f"results_{self.date}.json")
        path.write_text(json.dumps(self._results(old=old), indent=2), encoding="utf-8")
        for task in self.answers if self.samples else ():
            rows = self.rows(task, old=old)
            if old:
                (place / f"pretrained__{self.base}_{task}.jsonl").write_text(json.dumps(rows, indent=2), encoding="utf-8")
            else:
                lines = "".join(json.dumps(row) + "\n" for row in rows)
                (place / f"samples_{task}_{self.date}.jsonl").write_text(lines, encoding="utf-8")
        return path

    def rows(self, task: str, *, old: bool = False) -> list[dict[str, Any]]:
        """The samples of a task."""
        return [self._row(task, number, value, old) for number, value in enumerate(self.answers[task])]

    def _row(self, task: str, number: int, value: Any, old: bool) -> dict[str, Any]:
        doc = {"question": f"{task} {number}"}
        asked = [f"{self.prompt} {number}", " yes"]
        row = {"doc_id": number, "doc": doc, "target": "yes", "arguments": [asked], "resps": [], "filtered_resps": []}
        if not old:
            row["arguments"] = {"gen_args_0": {"arg_0": asked[0], "arg_1": asked[1]}}
            row |= {"filter": "none", "metrics": [self.metric], "doc_hash": sha(json.dumps(doc, indent=2)), "prompt_hash": sha(asked[0])}
        return row | {self.metric: value}

    def _results(self, *, old: bool) -> dict[str, Any]:
        results, samples = {}, {}
        for task, answers in self.answers.items():
            known = [value for value in answers if value == value]
            mean = sum(known) / max(len(known), 1)
            error = (mean * (1 - mean) / max(len(known) - 1, 1)) ** 0.5
            results[task] = {"alias": task, f"{self.metric},none": mean, f"{self.metric}_stderr,none": error}
            samples[task] = {"original": len(answers), "effective": len(answers)}
        names = list(self.answers)
        value = {"results": results, "configs": {name: {"task": name, "num_fewshot": self.fewshot} for name in names}}
        value |= {"versions": dict.fromkeys(names, self.version), "n-shot": dict.fromkeys(names, self.fewshot)}
        value["config"] = {"model": "hf", "model_args": f"pretrained={self.base}"}
        return value | ({} if old else {"n-samples": samples, "lm_eval_version": self.layout}) | self.extra


def sha(text: str) -> str:
    """As lm-eval's `hash_string`."""
    return hashlib.sha256(text.encode()).hexdigest()
