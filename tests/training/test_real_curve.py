"""A real pretrained model's training curve against a loop written out with transformers and torch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import get_scheduler

from olora_bench import assets, inits
from olora_bench.config import compose, load
from olora_bench.data import Parts, batch_order, build_parts, collate
from olora_bench.models import load_base, padding_id
from olora_bench.training import train

CACHE = Path(os.environ.get("OLORA_BENCH_CACHE", "~/.cache/olora_bench")).expanduser()
STEPS, BATCH, LONGEST = 62, 4, 64
CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.assets
@pytest.mark.skipif(not (CACHE / "packaged").is_dir(), reason=f"the packaged assets are not in {CACHE}: run `make assets`")
def test_a_real_curve_is_that_of_a_loop_written_out() -> None:
    """SmolLM2-135M-Instruct in fp32, 62 steps of four short examples: each step's loss within 1e-3 nats of transformers' with padding."""
    what = load(
        compose(
            [
                "model=smollm2_135m_q4", "data=commonsense", "suite=none", "tracker=none", "init=olora", "lr=1e-3", "precision=fp32",
                f"recipe.steps={STEPS}", f"recipe.batch_size={BATCH}", "recipe.loss_evaluations=2", "recipe.warmup_steps=6",
                "data.train_size=2000", "data.tune_size=4", "data.report_size=4", f"machine.cache_dir={CACHE}", "machine.device=cpu",
                f"machine.train_token_budget={3 * LONGEST}",
            ]
        )
    )  # fmt: skip
    paths = assets.fetch(what, assets.resolve(what))
    base = load_base(what.model, paths[f"model:{what.model.name}"], torch.float32, CPU, CACHE)
    whole = build_parts(what, paths, base.tokenizer)
    short = [example for example in whole.train if len(example.input_ids) <= LONGEST][: STEPS * BATCH]
    assert len(short) == STEPS * BATCH
    adapted = inits.apply(base, what)
    result = train(adapted, Parts(short, whole.tune, whole.report), what, device=CPU)
    adapted.remove()

    adapted = inits.apply(base, what)
    adapted.model.eval()
    trained = [parameter for parameter in adapted.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=what.lr, betas=what.recipe.betas, eps=what.recipe.eps, weight_decay=0.0)
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=6, num_training_steps=STEPS)
    losses = []
    for picked in batch_order(len(short), seed=what.seed, steps=STEPS, batch_size=BATCH):
        batch = collate([short[i] for i in picked], padding_id(base.tokenizer))
        labels = batch.input_ids.masked_fill(~batch.supervised, -100)
        loss = adapted.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, what.recipe.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    found = result.curve["train_loss"].to_numpy()[1:]
    np.testing.assert_allclose(found, losses, rtol=0, atol=1e-3)
    assert np.mean(found[-10:]) < np.mean(found[:10]) - 0.1, "something was learned, so a loop that does nothing would not pass"
