"""A training that was killed goes on from its checkpoint as if nothing had happened."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

import olora_bench.training.checkpoint as checkpoint_module
from olora_bench.config import Experiment
from olora_bench.data import Parts
from olora_bench.inits import Adapted
from olora_bench.process.preemption import Preempted
from olora_bench.store import LeaseLost, lease
from olora_bench.store.unfinished import rows_so_far
from olora_bench.training import Checkpoints, TrainResult, train
from olora_bench.training.checkpoint import Keeper
from olora_bench.training.log import Row
from olora_bench.training.losses import Losses
from tests.fixture_types import Json

Make = Callable[..., Experiment]
Adapt = Callable[..., Adapted]
CPU = torch.device("cpu")
OWNER = "0123456789abcdef"


class Killed(BaseException):
    """Stands for kill -9: nothing of the loop's own runs after it but `finally`."""


def dies_at(step: int) -> Callable[[Json], None]:
    def on_row(row: Json) -> None:
        if row["step"] == step:
            raise Killed

    return on_row


def same(one: TrainResult, other: TrainResult) -> bool:
    pd.testing.assert_frame_equal(one.curve.drop(columns="wall_s"), other.curve.drop(columns="wall_s"), check_exact=True)
    assert one.curve["wall_s"].is_monotonic_increasing and other.curve["wall_s"].is_monotonic_increasing
    facts = [(r.metrics, r.missing, r.steps, r.tokens, r.clipped_step_share, r.status, r.error) for r in (one, other)]
    return facts[0] == facts[1]


@pytest.mark.parametrize(("init", "dtype"), [("lora", torch.float32), ("olora", torch.bfloat16)])
def test_killed_at_random_steps(init: str, dtype: torch.dtype, experiment: Make, adapt: Adapt, parts: Parts, tmp_path: Path) -> None:
    """Kill and resume at five random steps of each: identical adapter bytes and curve, with dropout and clipping, once killed twice."""
    what = experiment(f"init={init}", "recipe.dropout=0.2", "recipe.max_grad_norm=0.05", "recipe.loss_evaluations=4")
    calm = adapt(what, dtype)
    undisturbed = train(calm, parts, what, device=CPU)
    rng = random.Random(init)
    for number, step in enumerate(rng.sample(range(1, 13), 5)):
        plan = Checkpoints(tmp_path / f"checkpoint{number}.safetensors", OWNER, share=rng.choice([1, 0.5, 0.1]))
        for last in (max(1, step // 2), step) if number == 0 else (step,):
            with pytest.raises(Killed):
                train(adapt(what, dtype), parts, what, device=CPU, on_row=dies_at(last), checkpoints=plan)
        told: list[Json] = []
        resumed = adapt(what, dtype)
        result = train(resumed, parts, what, device=CPU, on_row=told.append, checkpoints=plan)
        assert same(result, undisturbed)
        assert resumed.to_bytes() == calm.to_bytes()
        assert [row["step"] for row in told] == list(range(13)), "a mirror hears every row once"


def test_a_scaled_loss_trains_alike_and_its_scale_is_kept(
    experiment: Make, adapt: Adapt, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp16's loss scale, here on fp32 weights: the same curve; one that overflows at first skips steps, and a resumed run has the same."""
    what = experiment("recipe.dropout=0.2")

    def scaled() -> Adapted:
        adapted = adapt(what)
        return replace(adapted, base=replace(adapted.base, dtype=torch.float16))

    plain = train(adapt(what), parts, what, device=CPU).curve
    pd.testing.assert_frame_equal(
        train(scaled(), parts, what, device=CPU).curve.drop(columns="wall_s"), plain.drop(columns="wall_s"), atol=1e-4, rtol=1e-4
    )
    real = Losses.gradient

    def overflowing(self: Losses, examples: Any, scaler: torch.amp.GradScaler) -> torch.Tensor:
        loss = real(self, examples, scaler)
        if scaler.get_scale() > 2**13:
            next(p.grad for p in self.adapted.model.parameters() if p.grad is not None).fill_(math.inf)
        return loss

    monkeypatch.setattr(Losses, "gradient", overflowing)
    calm = scaled()
    undisturbed = train(calm, parts, what, device=CPU)
    skipped = ~np.isfinite(undisturbed.curve["grad_norm"][1:])
    assert skipped.tolist() == [True] * 3 + [False] * 9 and np.isfinite(undisturbed.curve["train_loss"][1:]).all()
    plan = Checkpoints(tmp_path / "checkpoint.safetensors", OWNER, share=1)
    for last in (2, 7):
        with pytest.raises(Killed):
            train(scaled(), parts, what, device=CPU, on_row=dies_at(last), checkpoints=plan)
    resumed = scaled()
    assert same(train(resumed, parts, what, device=CPU, checkpoints=plan), undisturbed)
    assert resumed.to_bytes() == calm.to_bytes()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_fp16_keeps_its_loss_scale(experiment: Make, adapt: Adapt, parts: Parts, tmp_path: Path) -> None:
    """The first steps of fp16 may overflow and be skipped while the scale falls: moments, scale and the GPU's random state are kept."""
    what, device = experiment("recipe.dropout=0.2"), torch.device("cuda")
    calm = adapt(what, torch.float16, "cuda")
    undisturbed = train(calm, parts, what, device=device)
    plan = Checkpoints(tmp_path / "checkpoint.safetensors", OWNER, share=1)
    for last in (2, 5):
        with pytest.raises(Killed):
            train(adapt(what, torch.float16, "cuda"), parts, what, device=device, on_row=dies_at(last), checkpoints=plan)
    resumed = adapt(what, torch.float16, "cuda")
    result = train(resumed, parts, what, device=device, checkpoints=plan)
    for column in ("train_loss", "tune_loss", "grad_norm"):
        pd.testing.assert_series_equal(result.curve[column], undisturbed.curve[column], rtol=1e-3)


def test_checkpoints_on_request(experiment: Make, adapt: Adapt, parts: Parts, tmp_path: Path) -> None:
    """Without a share nothing is written until `stop` asks; then the state is saved, and the loop is left with exit code 143."""
    what = experiment()
    path = tmp_path / "checkpoint.safetensors"
    steps: list[int] = []
    plan = Checkpoints(path, OWNER, stop=lambda: len(steps) == 5)
    with pytest.raises(Preempted) as caught:
        train(adapt(what), parts, what, device=CPU, on_row=lambda row: steps.append(row["step"]), checkpoints=plan)
    assert caught.value.code == 143
    assert state_of(path)["step"] == 4


def test_the_first_checkpoint_is_early_and_all_together_take_a_hundredth_of_the_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Steps of one second; writing takes 1.5 s: after two seconds, then every 149 s. Ten times dearer writing is ten times rarer."""
    for cost, every in ((1.5, 149), (15.0, 1485)):
        now = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda now=now: now[0])
        layer = torch.nn.Linear(2, 2)
        plan = Checkpoints(tmp_path / "checkpoint.safetensors", OWNER, share=0.01)
        keeper = Keeper(plan, layer, torch.optim.AdamW(layer.parameters()), torch.amp.GradScaler("cpu", enabled=False), CPU)
        saved: list[int] = []

        def slow(path: Path, content: bytes, now: list[float] = now, cost: float = cost) -> None:
            now[0] += cost

        monkeypatch.setattr(checkpoint_module, "atomic_write", slow)
        for step in range(1, 10_000):
            now[0] += 1
            before = now[0]
            keeper.after(step, dict)
            saved += [step] if now[0] > before else []
        assert saved[0] == 2 and {b - a for a, b in itertools.pairwise(saved)} == {every}
        assert len(saved[1:]) * cost / now[0] <= 0.01


def test_a_checkpoint_after_every_step(experiment: Make, adapt: Adapt, parts: Parts, tmp_path: Path) -> None:
    """With a share of 1; the last step is followed by the record instead."""
    what, steps = experiment(), []
    path = tmp_path / "checkpoint.safetensors"
    seen = lambda row: steps.append(state_of(path)["step"]) if row["step"] > 1 else None  # noqa: E731
    train(adapt(what), parts, what, device=CPU, on_row=seen, checkpoints=Checkpoints(path, OWNER, share=1))
    assert steps == list(range(1, 12))


def test_the_head_of_a_checkpoint_tells_the_curve_so_far(experiment: Make, adapt: Adapt, parts: Parts, tmp_path: Path) -> None:
    """To whoever only watches, without torch; of another run's, or a damaged one's, nothing."""
    what, path, rows = experiment(), tmp_path / "checkpoint.safetensors", list[Row]()
    plan = Checkpoints(path, OWNER, stop=lambda: len(rows) == 5)
    with pytest.raises(Preempted):
        train(adapt(what), parts, what, device=CPU, on_row=rows.append, checkpoints=plan)
    seen = rows_so_far(path, OWNER)
    assert [one.model_dump() for one in seen] == [{key: row[key] for key in type(seen[0]).model_fields} for row in rows]  # type: ignore[literal-required]
    assert rows_so_far(path, "f" * 16) == rows_so_far(tmp_path / "none", OWNER) == []
    path.write_bytes(path.read_bytes()[:100])
    assert rows_so_far(path, OWNER) == []


def test_a_run_that_was_taken_over_stops_at_its_next_step(experiment: Make, adapt: Adapt, parts: Parts, tmp_path: Path) -> None:
    """Nothing is published and no step is wasted; the successor's checkpoint stays."""
    what, steps = experiment(), []
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(LeaseLost), lease(tmp_path) as held:

        def lose(row: Json) -> None:
            steps.append(row["step"])
            if row["step"] == 3:
                (tmp_path / "lease.json").unlink()
                (tmp_path / "lease.json").write_text("another's")
                path.write_text("another's")
                held.beat()

        train(adapt(what), parts, what, device=CPU, on_row=lose, checkpoints=Checkpoints(path, OWNER, share=1, held=held))
    assert steps == [0, 1, 2, 3] and path.read_text() == "another's"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.safetensors", "lease.json"]


def state_of(path: Path) -> Json:
    with safetensors.safe_open(path, "pt") as file:
        return json.loads(file.metadata()["state"])


@pytest.fixture
def checkpoint(experiment: Make, adapt: Adapt, parts: Parts, tmp_path: Path) -> Checkpoints:
    """A checkpoint after step 6 of 12."""
    what = experiment()
    plan = Checkpoints(tmp_path / "checkpoint.safetensors", OWNER, share=1, writer={"packages": {"torch": "2"}})
    with pytest.raises(Killed):
        train(adapt(what), parts, what, device=CPU, on_row=dies_at(7), checkpoints=plan)
    return plan


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "cannot be used: "),
        (lambda path: path.write_bytes(b""), "cannot be used: "),
        (flip, "its bytes are not those that were written"),
        (lambda path: safetensors.torch.save_file({"a": torch.ones(1)}, path), "its bytes are not those that were written"),
    ],
    ids=["cut short", "empty", "a bit flipped", "foreign"],
)
def test_a_damaged_checkpoint_is_said_and_the_run_starts_anew(
    damage: Callable[[Path], None], reason: str, checkpoint: Checkpoints, experiment: Make, adapt: Adapt, parts: Parts,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The result is that of an undisturbed run, and the damaged file is gone."""
    damage(checkpoint.path)
    what = experiment()
    result = train(adapt(what), parts, what, device=CPU, checkpoints=replace(checkpoint, share=None))
    said = capsys.readouterr().err
    assert f"the checkpoint {checkpoint.path} cannot be used" in said and reason in said and "The run starts anew" in said
    assert same(result, train(adapt(what), parts, what, device=CPU))
    assert not checkpoint.path.exists()


def test_a_checkpoint_of_another_run_is_not_used(
    checkpoint: Checkpoints, experiment: Make, adapt: Adapt, parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of another train_id, of another adapter, or written on another kind of device."""
    content = checkpoint.path.read_bytes()
    for plan, overrides in ((replace(checkpoint, owner="f" * 16), []), (checkpoint, ["rank=2"])):
        checkpoint.path.write_bytes(content)
        what = experiment("recipe.steps=1", "recipe.warmup_steps=0", *overrides)
        assert train(adapt(what), parts, what, device=CPU, checkpoints=plan).steps == 1
    said = capsys.readouterr().err
    assert f"it is of run {OWNER}, not of ffffffffffffffff" in said
    assert "does not fit this adapter" in said


def test_who_trained_the_first_steps_is_kept_where_it_was_another(
    checkpoint: Checkpoints, experiment: Make, adapt: Adapt, parts: Parts
) -> None:
    """The provenance of earlier processes, but not where it is this process's own."""
    what = experiment()
    content = checkpoint.path.read_bytes()
    assert train(adapt(what), parts, what, device=CPU, checkpoints=checkpoint).earlier == []
    checkpoint.path.write_bytes(content)
    other = replace(checkpoint, writer={"packages": {"torch": "3"}})
    assert train(adapt(what), parts, what, device=CPU, checkpoints=other).earlier == [{"packages": {"torch": "2"}}]


def test_a_full_disk_costs_no_run(
    experiment: Make, adapt: Adapt, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint that cannot be written is said, nothing is left of it, and the training goes on to its end."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    what = experiment()
    result = train(
        adapt(what), parts, what, device=CPU, checkpoints=Checkpoints(tmp_path / "run" / "checkpoint.safetensors", OWNER, share=1)
    )
    assert result.status == "done" and list((tmp_path / "run").iterdir()) == []
    assert "no checkpoint at step 1: cannot write" in capsys.readouterr().err
