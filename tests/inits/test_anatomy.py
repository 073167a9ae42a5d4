"""What the record says of an adapter, against figures computed plainly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from olora_bench.config import Experiment, conf_dir
from olora_bench.data import Example
from olora_bench.inits import Adapted, apply
from olora_bench.inits._layers import layers
from olora_bench.models import Base, LmHead, PackedRows, pack, token_nll
from olora_bench.run import experiment as road
from olora_bench.store import RunRecord, Store

Make = Callable[..., Experiment]
Fresh = Callable[..., Base]
EXAMPLES = [Example(f"e{i}", "x", np.arange(5 + i, 25 + i, dtype=np.int32), np.arange(20) >= 8, False) for i in range(32)]


def measured(what: Experiment, base: Base) -> tuple[Adapted, dict]:
    adapted = apply(base, what, lambda: EXAMPLES, measure=True)
    with torch.no_grad():
        for parameter in adapted.param_groups[0]["params"]:
            parameter.mul_(1.5)
    return adapted, adapted.measured()["anatomy"]


def test_figures_of_olora(experiment: Make, fresh: Fresh) -> None:
    """Orthonormality, energy, overlap, conditions and distances of one layer equal numpy's, from a full SVD."""
    what = experiment("init=olora", "model.target_modules=[k_proj]", "rank=8", "alpha=6")
    weights = [fresh(what).model.get_parameter(f"model.layers.{i}.self_attn.k_proj.weight").double().numpy() for i in (0, 1)]
    adapted, found = measured(what, fresh(what))
    wanted: dict[str, list[float]] = {"energy_share": [], "overlap_left": [], "overlap_right": [], "a_condition": [], "a_norm": []}
    products = []
    for weight, (_, layer) in zip(weights, layers(adapted.model), strict=True):
        b, a = (layer.lora_B["default"].weight.data.double().numpy() / 1.5, layer.lora_A["default"].weight.data.double().numpy() / 1.5)
        u, _, vt = np.linalg.svd(weight)
        wanted["energy_share"].append(np.linalg.norm(0.75 * b @ a) ** 2 / np.linalg.norm(weight) ** 2)
        wanted["overlap_left"].append(np.linalg.norm(u[:, :8].T @ b) ** 2 / 8)
        wanted["overlap_right"].append(np.linalg.norm(vt[:8] @ np.linalg.qr(a.T)[0]) ** 2 / 8)
        wanted["a_condition"].append(np.linalg.cond(a))
        wanted["a_norm"].append(np.linalg.norm(a))
        products.append((1.5**2 - 1) * np.linalg.norm(0.75 * b @ a))
    for key, values in wanted.items():
        assert found["start"][key] == pytest.approx({"mean": np.mean(values), "min": min(values), "max": max(values)}, rel=1e-4), key
    assert found["start"]["b_off_orthonormal"]["max"] < 1e-6
    assert found["start"]["b_condition"]["max"] == pytest.approx(1, abs=1e-5)
    assert found["start"]["b_norm"]["max"] == pytest.approx(8**0.5, rel=1e-5)
    assert found["end"]["b_off_orthonormal"]["mean"] == pytest.approx(1.25, rel=1e-5)
    assert found["end"]["energy_share"]["mean"] == pytest.approx(1.5**4 * np.mean(wanted["energy_share"]), rel=1e-4)
    assert found["travelled"]["b_relative"]["mean"] == pytest.approx(0.5, rel=1e-5)
    assert found["travelled"]["product"]["mean"] == pytest.approx(np.mean(products), rel=1e-5)
    assert found["travelled"]["b"]["mean"] == pytest.approx(0.5 * 8**0.5, rel=1e-5)
    assert found["why_null"] == {}


def test_lora_has_no_b_to_measure_at_the_start(experiment: Make, fresh: Fresh) -> None:
    """What needs a nonzero B is null with a reason; the rest is there, and the record takes it."""
    _, found = measured(experiment("init=lora"), fresh(experiment()))
    assert found["start"]["b_condition"] is None and found["start"]["overlap_left"] is None
    assert found["why_null"]["start.overlap_left"] == "not finite in 4 of 4 layers (a factor is 0 or dependent)"
    assert found["start"]["energy_share"]["max"] == found["start"]["b_norm"]["max"] == 0
    assert found["start"]["b_off_orthonormal"]["mean"] == pytest.approx(1)
    assert found["step_0"]["grad_norm_a"] == 0 < found["step_0"]["grad_norm_b"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_step_0_against_the_untouched_base(dtype: torch.dtype, experiment: Make, fresh: Fresh) -> None:
    """The first batch's loss and gradient norm; a bf16 residual's rounding shows as a difference to the base, in fp32 there is none."""
    what = experiment("init=olora", "recipe.batch_size=32")
    base = fresh(what, dtype)
    packed = pack([(e.input_ids, e.supervised) for e in EXAMPLES])
    with torch.no_grad(), PackedRows(base.model):
        untouched = token_nll(base.model, packed, LmHead.of(base.model)).sum().item() / len(packed.reads)
    adapted = apply(base, what, lambda: EXAMPLES, measure=True)
    found = adapted.measured()["anatomy"]["step_0"]
    with PackedRows(adapted.model):
        loss = token_nll(adapted.model, packed, LmHead.of(adapted.model)).sum() / len(packed.reads)
        loss.backward()
    gradients = torch.cat([p.grad.flatten() for p in adapted.param_groups[0]["params"]])
    assert found["loss_untouched_base"] == pytest.approx(untouched, rel=1e-5)
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert found["grad_norm"] == pytest.approx(gradients.norm().item(), rel=1e-3)
    difference = abs(found["loss"] - found["loss_untouched_base"])
    assert difference < 1e-5 if dtype is torch.float32 else 0 < difference < 0.05


def test_measuring_changes_no_number(experiment: Make, fresh: Fresh) -> None:
    """Adapter and base have the same bits with and without, no gradient is left, and the generator stays where it was."""
    what = experiment("init=olora_random")
    state = torch.random.get_rng_state()
    plain, watched = apply(fresh(what), what), apply(fresh(what), what, lambda: EXAMPLES, measure=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    for (name, left), (_, right) in zip(plain.model.named_parameters(), watched.model.named_parameters(), strict=True):
        assert torch.equal(left, right), name
        assert right.grad is None


INITS = sorted(p.stem for p in (conf_dir() / "init").glob("*.yaml"))
ROADS = [[f"init={name}"] for name in INITS] + [
    ["init=olora", "model.quantization=nf4"],
    ["init=lora", "model.quantization=int8"],
    ["init=olora", "init.dora=true", "init.rslora=true"],
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.mark.parametrize("overrides", ROADS, ids=" ".join)
def test_whole_road(overrides: list[str], experiment: Make, results: Path) -> None:
    """Every init trains, is scored and recorded on a tiny model, anatomy included; LoRA and OLoRA have equal parameters and bytes."""
    if any("quantization" in o for o in overrides):
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra olora-bench[quant])")
    what = experiment(
        *overrides, "suite=commonsense6_made_up", "suite.benchmarks=[piqa]", "suite.limit=2", "data.benchmarks=[piqa]",
            "data.train_size=16", "data.tune_size=4", "data.report_size=8",
        "recipe.steps=2", "recipe.batch_size=4", "recipe.loss_evaluations=1", f"machine.results_dir={results}", "machine.threads=1",
    )  # fmt: skip
    outcome = road.run(what)
    record = Store(results).read_run(outcome.train_id)
    assert isinstance(record, RunRecord) and record.status == "done"
    assert record.init["seconds"] > 0
    anatomy = record.init["anatomy"]
    assert set(anatomy) == {"start", "end", "travelled", "step_0", "why_null", "seconds"}
    assert max(anatomy["travelled"][factor]["min"] for factor in "ab") > 0
    json.dumps(anatomy, allow_nan=False)
    if overrides == ["init=olora"]:
        lora = next(
            r for r in Store(results).iter_runs() if isinstance(r, RunRecord) and r.arm == "lora" and not r.config["model"]["quantization"]
        )
        for key in ("parameters_trainable", "parameters_total", "adapter_bytes"):
            assert getattr(lora, key) == getattr(record, key), key
