"""Steps that compare a GPU's numbers with a processor's in fp32: losses, gradients, scores, restored weights, resumed trainings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from torch import nn

from olora_bench import inits
from olora_bench.data import collate, packs
from olora_bench.evaluation import Scorer, logprobs
from olora_bench.models import LmHead, PackedRows, differing, token_nll
from olora_bench.training import Checkpoints, train
from olora_bench.training.losses import Losses
from perf.gpu import Asked, Skipped
from perf.gpu.made_up import TINY, adapted, examples, experiment, parts, requests, tiny

LOSS = {torch.float32: 1e-4, torch.bfloat16: 0.02}
GRADIENT = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""How far a relative difference from fp32 on a processor may go; in bf16 both compute with the same rounded weights."""
SCORE = 1e-3
"""The same of a log-likelihood in fp32, in nats."""
DEVIATION = 1.5
"""In bf16: mean distance from fp32, as a multiple of HFLM's own."""


def syncs(asked: Asked) -> dict[str, Any]:
    """A training step, the losses of a part and a scoring pass under CUDA's sync debug mode: what waits for the GPU raises."""
    found = {}
    for name in TINY:
        one = adapted(tiny(asked, name, torch.bfloat16), experiment(asked, name))
        losses, batch = Losses(one, 2048, one.base.device), examples(8, 0)
        scorer = Scorer(one.model, one.base.tokenizer, device=asked.device)
        plans, _ = scorer._plans(requests(6, letters=20, shots=60))
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        with _read_later() as later:
            for mode in (0, 2 if asked.on_gpu else 0):  # the first time libraries start, and wait
                with _sync_debug_mode(mode, asked):
                    losses.gradient(batch, scaler)
                    losses._read(batch)
                    logprobs.continuation_logprobs(one.model, plans, budget=scorer.budget)
        found[name] = len(later)
    return {"passes": found, "debug_mode": asked.on_gpu}


@contextlib.contextmanager
def _sync_debug_mode(mode: int, asked: Asked) -> Iterator[None]:
    if asked.on_gpu:
        torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        if asked.on_gpu:
            torch.cuda.set_sync_debug_mode(0)


@contextlib.contextmanager
def _read_later() -> Iterator[list[Any]]:
    """Inside, what a scoring pass gave is kept and not waited for."""
    whole, later = logprobs._by_request, list[Any]()
    logprobs._by_request = lambda plans, found: later.extend(found) or []
    try:
        yield later
    finally:
        logprobs._by_request = whole


def architectures(asked: Asked) -> dict[str, Any]:
    """Losses and gradients of the five tiny architectures beside transformers' padded forward in fp32 on the processor."""
    found: dict[str, Any] = {}
    for name in TINY:
        for dtype in (torch.float32, torch.bfloat16):
            ours, theirs = _ours(asked, name, dtype), _by_transformers(asked, name, dtype)
            found[f"{name} {dtype}"] = {
                "loss": _apart(ours[0], theirs[0]), "gradient": max(map(_apart, ours[1], theirs[1])),
            }  # fmt: skip
    held = all(
        row["loss"] <= LOSS[dtype] and row["gradient"] <= GRADIENT[dtype]
        for key, row in found.items()
        for dtype in LOSS
        if key.endswith(str(dtype))
    )
    return {"held": held, "differences": found}


def _apart(mine: torch.Tensor, other: torch.Tensor) -> float:
    return float((mine.float() - other).norm() / (other.norm() + 1e-12))


def _ours(asked: Asked, name: str, dtype: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
    one = adapted(tiny(asked, name, dtype), experiment(asked, name), zero=False)
    with PackedRows(one.model):
        (row,) = packs(examples(7, 0, longest=160), 4096)
        nll = token_nll(one.model, row.to(one.base.device), LmHead.of(one.model))
    return nll.detach().cpu(), [g.cpu() for g in torch.autograd.grad(nll.sum(), _trained(one.model))]


def _by_transformers(asked: Asked, name: str, dtype: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
    base = tiny(asked, name, torch.float32, "cpu")
    for parameter in base.model.parameters():
        parameter.data = parameter.data.to(dtype).float()
    model = adapted(base, experiment(asked, name), zero=False).model
    batch = collate(sorted(examples(7, 0, longest=160), key=lambda e: -len(e.input_ids)), 0)
    labels = batch.input_ids.masked_fill(~batch.supervised, -100)[:, 1:]
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[:, :-1].float()
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none", ignore_index=-100).sum(1)
    return losses.detach(), list(torch.autograd.grad(losses.sum(), _trained(model)))


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def tries(asked: Asked) -> dict[str, Any]:
    """Log-likelihoods by tries beside HFLM's: in fp32 on the processor, and in bf16 as near to those as HFLM on the device."""
    found: dict[str, Any] = {}
    made = requests(8, letters=20) + requests(8, letters=20, shots=60)
    for name in TINY:
        exact = _hflm(tiny(asked, name, torch.float32, "cpu"), made, "cpu")
        fp32 = _scored(tiny(asked, name, torch.float32), made)
        base = tiny(asked, name, torch.bfloat16)
        mine, theirs = _scored(base, made), _hflm(base, made, asked.device)
        found[name] = {
            "fp32": float(np.abs(fp32 - exact).max()),
            "bf16": float(np.abs(mine - exact).mean()), "bf16_hflm": float(np.abs(theirs - exact).mean()),
        }  # fmt: skip
    held = all(row["fp32"] <= SCORE and row["bf16"] <= DEVIATION * row["bf16_hflm"] for row in found.values())
    return {"held": held, "differences": found}


def _scored(base: Any, made: list[Any]) -> np.ndarray:
    return np.array([value for value, _ in Scorer(base.model, base.tokenizer, device=base.device).loglikelihood(made)])


def _hflm(base: Any, made: list[Any], device: str) -> np.ndarray:
    model = HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=8, device=device)
    return np.array([value for value, _ in model.loglikelihood(made, disable_tqdm=True)])


def restore(asked: Asked) -> dict[str, Any]:
    """OLoRA put on and taken off again: the base has its bits from before."""
    found = {}
    for name in TINY:
        base = tiny(asked, name, torch.bfloat16)
        names = [parameter for parameter, _ in base.model.named_parameters()]
        one = inits.apply(base, experiment(asked, name, "init=olora"))
        moved = len(one.changed)
        one.remove()
        found[name] = {"changed": moved, "left_changed": list(differing(base, names))}
    return {"held": all(row["changed"] and not row["left_changed"] for row in found.values()), "models": found}


class _Killed(Exception):
    """Stands for a kill between two steps."""


def resume(asked: Asked) -> dict[str, Any]:
    """A training killed after its third step and gone on with, beside an undisturbed one."""
    name, data = "tiny_tinyllama", parts(6, 8, longest=64)
    what = experiment(asked, name, "recipe.steps=6", "recipe.batch_size=8", "lr=1e-2")
    plan = Checkpoints(asked.folder / "checkpoint.safetensors", "0" * 16, share=1)

    def losses(*, kill: bool, kept: bool) -> list[float]:
        def on_row(row: Any) -> None:
            if kill and row["step"] == 4:
                raise _Killed

        one = adapted(tiny(asked, name, torch.bfloat16), what)
        result = train(one, data, what, device=one.base.device, on_row=on_row, checkpoints=plan if kept else None)
        return [float(loss) for loss in result.curve["train_loss"][1:]]

    with contextlib.suppress(_Killed):
        losses(kill=True, kept=True)
    gone_on, undisturbed = losses(kill=False, kept=True), losses(kill=False, kept=False)
    return {"held": np.allclose(gone_on, undisturbed, rtol=1e-3), "gone_on": gone_on, "undisturbed": undisturbed}


def out_of_memory(asked: Asked) -> dict[str, Any]:
    """A device with little memory left: the budget is halved, and losses are as before."""
    if not asked.on_gpu:
        raise Skipped("memory that runs out is simulated in the tests on a processor")
    one = adapted(tiny(asked, "tiny_tinyllama", torch.bfloat16), experiment(asked, "tiny_tinyllama"))
    batch, scaler = examples(200, 0), torch.amp.GradScaler("cpu", enabled=False)
    whole = Losses(one, 1 << 16, one.base.device)
    first = whole.gradient(batch, scaler).item()
    one.model.zero_grad()
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + (64 << 20)
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
    try:
        tight = Losses(one, 1 << 16, one.base.device)
        again = tight.gradient(batch, scaler).item()
        scorer = Scorer(one.model, one.base.tokenizer, device=asked.device, token_budget=1 << 16)
        scorer.loglikelihood(requests(300, letters=100))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return {
        "held": tight.budget.tokens < 1 << 16 and abs(first - again) <= 0.01 * abs(first),
        "tokens": tight.budget.tokens, "scoring_tokens": scorer.budget.tokens, "loss": first, "loss_again": again,
    }  # fmt: skip
