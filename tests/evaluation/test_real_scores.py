"""The real packaged model on real items beside HFLM: no random weights, prompts as they come."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM

from olora_bench import assets
from olora_bench.config import Suite, compose, load
from olora_bench.data import benchmark_tasks
from olora_bench.data.tasks import lm_eval_quietly
from olora_bench.evaluation import Scorer
from olora_bench.evaluation.scores import chosen_rows
from olora_bench.models import load_base

CACHE = Path(os.environ.get("OLORA_BENCH_CACHE", "~/.cache/olora_bench")).expanduser()
ITEMS = int(os.environ.get("OLORA_BENCH_TEST_ITEMS", "3"))


def requests_of(task: Any, name: str) -> list[Any]:
    task.set_fewshot_seed(1234)
    with lm_eval_quietly():
        task.build_all_requests(samples=chosen_rows(Suite(name="s", benchmarks=(name,), limit=ITEMS), name, len(task.eval_docs)))
    found, task._instances = list(task.instances), None
    return found


@pytest.mark.assets
@pytest.mark.skipif(not (CACHE / "packaged").is_dir(), reason=f"the packaged assets are not in {CACHE}: run `make assets`")
@pytest.mark.parametrize("shots", [0, 2])
def test_every_choice_of_real_items_equals_lm_evals(shots: int) -> None:
    """SmolLM2-135M-Instruct in fp32, seeded items of each of the six: within 1e-4 (both round: fp64 is 6e-4 away from either)."""
    experiment = load(compose(["model=smollm2_135m_q4", "tracker=none", "machine.device=cpu", f"machine.cache_dir={CACHE}"]))
    found = assets.resolve(experiment)
    paths = assets.fetch(experiment, found)
    base = load_base(experiment.model, paths["model:smollm2_135m_q4"], torch.float32, "cpu", CACHE)
    tasks = benchmark_tasks(experiment.benchmarks, paths, shots)
    for name in experiment.suite.benchmarks:
        requests = requests_of(tasks[name], name)
        want = HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=8, device="cpu").loglikelihood(requests, disable_tqdm=True)
        have = Scorer(base.model, base.tokenizer, token_budget=4096).loglikelihood(requests)
        np.testing.assert_allclose([ll for ll, _ in have], [ll for ll, _ in want], rtol=0, atol=1e-4, err_msg=name)
