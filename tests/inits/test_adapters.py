"""Adapters from PEFT: what they start from, what they change, and that they come off without a trace."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from olora_bench.config import Experiment
from olora_bench.errors import BadInput, RecordError
from olora_bench.inits import Adapted, _adapted, apply
from olora_bench.inits._adapted import _own_memory, strip
from olora_bench.inits._layers import fill, layers
from olora_bench.models import Base, differing, restore

Make = Callable[..., Experiment]
Fresh = Callable[..., Base]
TINY = ("tiny_llama2_7b", "tiny_mistral_7b", "tiny_gemma_2b", "tiny_tinyllama", "tiny_opt_1.3b")


def digest(tensors: dict[str, Tensor]) -> str:
    parts = (key.encode() + t.detach().contiguous().view(torch.uint8).numpy().tobytes() for key, t in sorted(tensors.items()))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def everything(model: PeftModel) -> str:
    """Base and adapter, every bit."""
    return digest(dict(model.state_dict()))


def layer(adapted: Adapted, name: str) -> BaseTunerLayer:
    return next(m for key, m in adapted.model.named_modules() if key.endswith(name) and isinstance(m, BaseTunerLayer))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", TINY)
def test_removed_without_a_trace(name: str, dtype: torch.dtype, experiment: Make, fresh: Fresh) -> None:
    """After OLoRA, training moves and removal, the base has the bits, modules and attributes that it was loaded with."""
    what = experiment(f"model={name}", "init=olora")
    base = fresh(what, dtype)
    bits, modules = digest(dict(base.model.state_dict())), str(base.model)
    adapted = apply(base, what)
    assert digest(dict(base.model.state_dict())) != bits
    with torch.no_grad():
        for parameter in adapted.param_groups[0]["params"]:
            parameter.add_(1)
    adapted.remove()
    assert digest(dict(base.model.state_dict())) == bits
    assert str(base.model) == modules
    assert not hasattr(base.model, "peft_config")
    assert not any(p.requires_grad for p in base.model.parameters())


def test_three_in_a_row_are_as_on_fresh_bases(experiment: Make, fresh: Fresh) -> None:
    """OLoRA, PiSSA-free LoRA and OLoRA of another rank on one base have the bits they have each on a base of their own."""
    wanted = [experiment("init=olora"), experiment("init=lora", "seed=3"), experiment("init=olora", "rank=8")]
    base = fresh(wanted[0])
    for what in wanted:
        adapted = apply(base, what)
        assert everything(adapted.model) == everything(apply(fresh(what), what).model)
        adapted.remove()


def test_changed_names_what_olora_changed(experiment: Make, fresh: Fresh) -> None:
    """LoRA changes no base weight; OLoRA those of the target modules, all and only they."""
    assert apply(fresh(experiment()), experiment()).changed == ()
    olora = apply(fresh(experiment("init=olora")), experiment("init=olora"))
    assert set(olora.changed) == {f"model.layers.{i}.self_attn.{p}.weight" for i in (0, 1) for p in ("q_proj", "v_proj")}
    assert olora.seconds > 0
    assert (olora.scale, olora.measured()["base_weights"]) == (0.5, "generated")


def test_olora_is_the_published_formula(experiment: Make, fresh: Fresh) -> None:
    """B and A are the thin QR of the first r columns (up to rounding), W becomes W - s B A, and the layer's output is as before."""
    what = experiment("init=olora", "alpha=6")
    original = fresh(what).model.get_parameter("model.layers.1.self_attn.v_proj.weight")
    found = layer(apply(fresh(what), what), "layers.1.self_attn.v_proj")
    q, _ = torch.linalg.qr(original[:, :4])
    b, a = found.lora_B["default"].weight, found.lora_A["default"].weight
    torch.testing.assert_close(b.data, q, atol=1e-5, rtol=0)
    torch.testing.assert_close(a.data, q.T @ original, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.get_base_layer().weight.data, original - 1.5 * b @ a, atol=1e-5, rtol=0)
    x = torch.randn(3, original.shape[1])
    torch.testing.assert_close(found(x), x @ original.T, atol=1e-4, rtol=1e-4)


def test_seed_moves_what_is_random_and_nothing_else(experiment: Make, fresh: Fresh) -> None:
    """Another seed is another LoRA and the same OLoRA; the process's generator stays where it was, and its place does not matter."""
    state = torch.random.get_rng_state()
    first = everything(apply(fresh(experiment()), experiment()).model)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(7)
    assert everything(apply(fresh(experiment()), experiment()).model) == first
    assert everything(apply(fresh(experiment()), experiment("seed=1")).model) != first
    olora = [everything(apply(fresh(experiment()), experiment("init=olora", f"seed={s}")).model) for s in (0, 1)]
    assert olora[0] == olora[1]


@pytest.mark.parametrize("init", ["lora", "olora"])
def test_adapter_is_fp32_on_a_bf16_base(init: str, experiment: Make, fresh: Fresh) -> None:
    """A and B are fp32 and alone trainable; the base stays bf16 and the output is its dtype, close to the untouched base's."""
    what = experiment(f"init={init}")
    ids = torch.arange(3, 40)[None]
    before = fresh(what, torch.bfloat16).model(ids).logits
    adapted = apply(fresh(what, torch.bfloat16), what)
    assert {p.dtype for p in adapted.model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in adapted.model.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert adapted.parameters_trainable == sum(p.numel() for p in adapted.param_groups[0]["params"]) == 2 * 4 * (128 + 64 + 16 + 64)
    assert adapted.parameters_total == what.model.parameters + adapted.parameters_trainable
    after = adapted.model(ids).logits
    assert after.dtype is torch.bfloat16
    assert (after.float() - before.float()).abs().max() < (1e-9 if init == "lora" else 0.1)


def test_experiment_sets_rank_alpha_targets_and_dropout(experiment: Make, fresh: Fresh) -> None:
    """They reach every adapter layer, and dropout acts in training mode only."""
    what = experiment("rank=8", "alpha=24", "model.target_modules=[k_proj,down_proj]", "recipe.dropout=0.25", "lr=1e-3")
    adapted = apply(fresh(what), what)
    layers = [(key.rpartition(".")[2], m) for key, m in adapted.model.named_modules() if isinstance(m, BaseTunerLayer)]
    assert {name for name, _ in layers} == {"k_proj", "down_proj"}
    assert {(m.r["default"], m.scaling["default"], m.lora_dropout["default"].p) for _, m in layers} == {(8, 3.0, 0.25)}
    assert adapted.param_groups[0]["lr"] == 1e-3
    assert not any(m.training for m in adapted.model.modules())
    adapted.train_mode(True)
    assert all(m.lora_dropout["default"].training for _, m in layers)
    adapted.train_mode(False)
    assert not any(m.training for m in adapted.model.modules())


def test_base_dropout_stays_off(experiment: Make, fresh: Fresh) -> None:
    """OPT's own dropout of 0.1 is not switched on by training."""
    what = experiment("model=tiny_opt_1.3b")
    adapted = apply(fresh(what), what)
    adapted.train_mode(True)
    ids = torch.arange(3, 40)[None]
    assert adapted.base.model.config.dropout == 0.1
    assert torch.equal(adapted.model(ids).logits, adapted.model(ids).logits)


def test_failed_init_leaves_the_base(experiment: Make, fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off at the third layer, the base is as loaded and takes the next adapter."""
    what = experiment("init=olora")
    base = fresh(what)
    bits = digest(dict(base.model.state_dict()))
    qr, calls = torch.linalg.qr, []

    def breaks(weight: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return qr(weight)

    with monkeypatch.context() as patch:
        patch.setattr(torch.linalg, "qr", breaks)
        with pytest.raises(RuntimeError, match="out of memory"):
            apply(base, what)
    assert digest(dict(base.model.state_dict())) == bits
    assert everything(apply(base, what).model) == everything(apply(fresh(what), what).model)


def test_bad_options(experiment: Make, fresh: Fresh) -> None:
    """An option that PEFT does not know, and one that has a key of its own."""
    with pytest.raises(
        BadInput, match=r"init\.options names colour, which init\.module=peft does not have\. Allowed: .*, init_lora_weights, "
    ):
        experiment("+init.options.colour=red")
    with pytest.raises(BadInput, match=r"init=lora with init\.options=.*'layers_pattern': 'h'.* is refused by PEFT: "):
        apply(fresh(experiment()), experiment("+init.options.layers_pattern=h"))
    with pytest.raises(BadInput) as error:
        experiment("+init.options.r=7", "+init.options.rank_pattern={}")
    assert str(error.value) == "init.options sets r, rank_pattern: use rank, the same for every layer"


def test_saved_adapter_comes_back(experiment: Make, fresh: Fresh, tmp_path: Path) -> None:
    """A trained OLoRA adapter, saved and loaded onto a fresh base of the same experiment, has every bit; its names are PEFT's."""
    what = experiment("init=olora")
    first = apply(fresh(what, torch.bfloat16), what)
    with torch.no_grad():
        for parameter in first.param_groups[0]["params"]:
            parameter.mul_(1.5)
    (tmp_path / "adapter.safetensors").write_bytes(first.to_bytes())
    second = apply(fresh(what, torch.bfloat16), what)
    assert everything(second.model) != everything(first.model)
    second.load(tmp_path / "adapter.safetensors")
    assert everything(second.model) == everything(first.model)
    keys = safetensors.torch.load_file(tmp_path / "adapter.safetensors").keys()
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in keys
    assert len(keys) == 8


@pytest.mark.parametrize("subtract", [False, True])
def test_a_factor_that_is_a_view_of_the_weight_trains_apart_from_it(subtract: bool, experiment: Make, fresh: Fresh) -> None:
    """In fp32 `weight[:r]` is the base's own memory: neither training nor taking s B A out may reach the other by way of it."""
    what = experiment("alpha=4")
    base = fresh(what)
    before = digest(dict(base.model.state_dict()))
    model = fill(base, what, lambda name, weight, r: (weight[:, :r], weight[:r]), subtract=subtract)
    _own_memory(model)
    weights = {name: layer.get_base_layer().weight.clone() for name, layer in layers(model)}
    starts = {name: (layer.lora_B["default"].weight.clone(), layer.lora_A["default"].weight.clone()) for name, layer in layers(model)}
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.1)
    assert all(torch.equal(layer.get_base_layer().weight, weights[name]) for name, layer in layers(model))
    restore(base, differing(base, strip(base.model)))
    assert digest(dict(base.model.state_dict())) == before
    for name, (b, a) in starts.items():
        weight = base.model.get_submodule(name).weight
        assert torch.equal(b, weight[:, :4]) and torch.equal(a, weight[:4])


def test_layers_that_were_given_one_tensor_train_apart(experiment: Make, fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    def adapt(base: Base, what: Experiment, seed: int) -> PeftModel:
        one = torch.full((4, 64), 0.5)
        return fill(base, what, lambda name, weight, r: (weight[:, :r] * 0, one), subtract=False)

    monkeypatch.setattr(_adapted, "_code", lambda module: adapt)
    what = experiment()
    factors = [layer.lora_A["default"].weight for _, layer in layers(apply(fresh(what), what).model)]
    with torch.no_grad():
        factors[0].add_(1)
    assert all(torch.equal(factor, torch.full((4, 64), 0.5)) for factor in factors[1:]) and len(factors) == 4


def test_wrong_adapter_files(experiment: Make, fresh: Fresh, tmp_path: Path) -> None:
    """Another rank's, another target's, and one cut short."""
    what = experiment()
    file = tmp_path / "adapter.safetensors"
    adapted = apply(fresh(what), what)
    for overrides in (["rank=8"], ["model.target_modules=[q_proj]"]):
        file.write_bytes(apply(fresh(what), experiment(*overrides)).to_bytes())
        with pytest.raises(RecordError, match=r"belongs to another adapter: .*lora_A\.weight does not fit \(\d+ of 8 tensors\)\. "):
            adapted.load(file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RecordError, match="is no adapter that can be read"):
        adapted.load(file)
