"""Two long runs of the scorer, a benchmark after another, each written when it is done; the same command again goes on.

complete: every item of each benchmark through ours; metrics, standard errors, seconds.
exact: seeded items of each benchmark, every choice's log-likelihood beside HFLM's on the same fp32 model.
`python -m perf.eval_complete --help`. Ends with 1 when a log-likelihood is further than 1e-4 from HFLM's.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from olora_bench import assets
from olora_bench.config import Suite, compose, load
from olora_bench.config.memory import token_budgets
from olora_bench.data import benchmark_tasks
from olora_bench.evaluation import Scorer, Scoring, evaluate
from olora_bench.models import load_base, torch_dtype
from olora_bench.process.provenance import provenance
from perf.eval import compare, requests_of

WITHIN = 1e-4


def main() -> int:
    """One JSON file for both: part -> benchmark -> what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("complete", "exact"))
    parser.add_argument("--model", default="smollm2_135m_q4")
    parser.add_argument("--items", type=int, default=200, help="of exact: seeded items of each benchmark")
    parser.add_argument("--dtype", default="bf16", help="of complete")
    parser.add_argument("--batch-size", type=int, default=8, help="of exact: HFLM's")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "eval_complete.json")
    asked = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    experiment = load(compose([f"model={asked.model}", "tracker=none", "machine.device=cpu"]))
    paths = assets.fetch(experiment, assets.resolve(experiment))
    dtype = asked.dtype if asked.part == "complete" else "fp32"
    base = load_base(experiment.model, paths[f"model:{asked.model}"], torch_dtype(dtype), "cpu", experiment.machine.cache_dir)
    tasks = benchmark_tasks(experiment.benchmarks, paths, 0)
    _, tokens = token_budgets(experiment.machine, on_gpu=False)
    part = f"complete {dtype}" if asked.part == "complete" else f"exact {asked.items}"
    for name in sorted(experiment.suite.benchmarks, key=lambda name: len(tasks[name].eval_docs)):
        known = json.loads(asked.out.read_text()) if asked.out.exists() else {}
        if name in known.get(part, {}):
            continue
        if asked.part == "complete":
            row = complete(name, tasks, base, experiment, dtype)
        else:
            row = exact(name, tasks[name], base, asked.items, asked.batch_size, tokens)
        budget = {"eval": tokens}
        row["provenance"] = provenance(assets=[], threads=torch.get_num_threads(), device="cpu", token_budget=budget)
        known.setdefault(part, {})[name] = row
        asked.out.parent.mkdir(exist_ok=True)
        asked.out.write_text(json.dumps(known, indent=1, default=str) + "\n")
        print(name, {key: value for key, value in row.items() if key != "provenance"}, flush=True)
    rows = json.loads(asked.out.read_text())[part].values()
    if asked.part == "complete":
        print(f"{sum(row['score']['items'] for row in rows)} items in {sum(row['seconds'] for row in rows):.0f} s")
        return 0
    return int(max(row["largest_difference"] for row in rows) > WITHIN)


def complete(name: str, tasks: dict[str, Any], base: Any, experiment: Any, dtype: Any) -> dict[str, Any]:
    """Scores of every item, and the seconds from texts to metrics by the clock and of the processor."""
    began, busy = time.perf_counter(), time.process_time()
    suite, benchmarks = Suite(name="complete", benchmarks=(name,)), {name: experiment.benchmarks[name]}
    asked = Scoring(suite, benchmarks, {name: tasks[name]}, token_budgets(experiment.machine, on_gpu=False)[1])
    scores, _ = evaluate(base.model, base, asked, dtype=dtype)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - busy,
        "score": scores[name].model_dump(mode="json"),
    }


def exact(name: str, task: Any, base: Any, items: int, batch_size: int, budget: int) -> dict[str, Any]:
    """How far ours is from HFLM."""
    requests = requests_of(task, name, items)
    ours = Scorer(base.model, base.tokenizer, token_budget=budget).loglikelihood(requests)
    hflm = HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=batch_size, device="cpu")
    theirs = hflm.loglikelihood(requests, disable_tqdm=True)
    return {"items": len({request.doc_id for request in requests}), "requests": len(requests)} | compare(requests, ours, theirs)


if __name__ == "__main__":
    sys.exit(main())
