"""A GPU's way through a training step and a scoring pass, with shapes alone: nothing waits for it, nothing lies on two devices, and no more
is dispatched than before.

`operations.json` holds how much, under the versions that it names. To write it anew: WRITE_OPERATIONS=1 before this file's pytest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance

from olora_bench.config import Experiment
from olora_bench.data import Example, Parts, packs
from olora_bench.evaluation import Scorer, logprobs
from olora_bench.inits import Adapted
from olora_bench.models.memory import Budget
from olora_bench.training.losses import Losses
from perf.gpu.made_up import TINY
from tests import gpu_twins

Make = Callable[..., Experiment]
Adapt = Callable[..., Adapted]

FILE = Path(__file__).parent / "operations.json"
VERSIONS = {name: metadata.version(name) for name in ("torch", "transformers", "peft")}


def held_to(kind: str, model: str, count: int) -> None:
    """No more than the file says; a processor's build of torch is the same as a GPU's here."""
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    if "WRITE_OPERATIONS" in os.environ:
        known["versions"] = VERSIONS
        known.setdefault(kind, {})[model] = count
        FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    if known["versions"] != VERSIONS:
        pytest.skip(f"operations are counted under {known['versions']}, here are {VERSIONS}")
    assert count <= known[kind][model], f"{count} operations, {known[kind][model]} before: each costs a GPU's host some microseconds"


def packed_before(examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are laid out by the processor, from values."""
    rows = list(packs(examples, 128))
    monkeypatch.setattr("olora_bench.training.losses.packs", lambda *_: iter(rows))


@pytest.mark.parametrize("model", TINY)
def test_a_training_step_waits_for_no_gpu_and_does_not_grow(
    model: str, experiment: Make, adapt: Adapt, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and backward of a bf16 base with an adapter, one optimiser batch in two rows."""
    adapted, scaler = adapt(experiment(f"model={model}"), torch.bfloat16), torch.amp.GradScaler("cpu", enabled=False)
    packed_before(parts.train[:8], monkeypatch)
    with gpu_twins.shapes(monkeypatch, adapted.model) as seen:
        losses = Losses(adapted, 128, gpu_twins.DEVICE)
        total = losses.gradient(parts.train[:8], scaler)
        gradients = [p.grad for p in adapted.model.parameters() if p.requires_grad]
    assert all(one is not None and one.device == total.device for one in gradients)
    held_to("training step", model, seen.counts.total())


def test_part_losses_wait_for_no_gpu(experiment: Make, adapt: Adapt, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until all of a part is under way."""
    adapted = adapt(experiment(), torch.bfloat16)
    packed_before(parts.report, monkeypatch)
    with gpu_twins.shapes(monkeypatch, adapted.model):
        sums, total = Losses(adapted, 128, gpu_twins.DEVICE)._read(parts.report)
    assert (len(sums), total.device) == (len(parts.report), gpu_twins.DEVICE)


@pytest.mark.parametrize(("model", "shots"), [*((model, 1) for model in TINY), ("tiny_tinyllama", 0)])
def test_a_scoring_pass_waits_for_no_gpu_and_does_not_grow(
    model: str, shots: int, experiment: Make, adapt: Adapt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries of several lengths, behind a shared beginning or none, through an adapter; what is read is still on the device."""
    adapted = adapt(experiment(f"model={model}"), torch.bfloat16)
    front = "amber barn candle drift ember fjord garnet hollow " * shots
    asked = [
        Instance("loglikelihood", {}, (f"{front}{'why ' * item}", choice), k, metadata=("odd", item, 1))
        for item in range(1, 7)
        for k, choice in enumerate((" yes", " no", " perhaps not"))
    ]
    plans, _ = Scorer(adapted.model, adapted.base.tokenizer)._plans(asked)
    assert (len(plans[0].prefix) > 0) == bool(shots)
    found: list[logprobs._Read] = []
    monkeypatch.setattr(logprobs, "_by_request", lambda plans, read: found.extend(read) or [])
    with gpu_twins.shapes(monkeypatch, adapted.model) as seen:
        logprobs.continuation_logprobs(adapted.model, plans, budget=Budget(128, gpu_twins.DEVICE))
    assert {one.values.device for one in found} == {gpu_twins.DEVICE}
    assert sum(len(one.requests) for one in found) == len(plans[0].read_targets)
    held_to(f"scoring with {shots} shots", model, seen.counts.total())


def test_what_waits_for_a_gpu_and_what_mixes_devices_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above could not fail."""
    with gpu_twins.shapes(monkeypatch):
        there, here = torch.empty(4, device=gpu_twins.DEVICE), torch.ones(4)
        for wrong in (there.tolist, there.cpu, there.nonzero, lambda: there + here, lambda: bool(there.sum() > 0)):
            with pytest.raises((RuntimeError, AssertionError)):
                wrong()
