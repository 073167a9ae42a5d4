"""Our OLoRA beside PEFT's and numpy's: factors, product, residual, saved adapter, quantised bases."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from olora_bench.config import Experiment
from olora_bench.inits import apply, olora
from olora_bench.inits._layers import layers
from olora_bench.models import Base, read_weight

Make = Callable[..., Experiment]
Fresh = Callable[..., Base]
IDS = torch.arange(3, 60)[None]

# (out, in, rank): square, tall, wide, r=1, r=min, one row, one column, prime sizes.
SHAPES = [
    (64, 64, 8), (64, 64, 1), (64, 64, 64), (64, 64, 63), (200, 64, 16), (64, 200, 16), (200, 64, 64), (64, 200, 64), (333, 17, 17),
    (17, 333, 17), (17, 333, 1), (333, 17, 1), (1, 50, 1), (50, 1, 1), (1, 1, 1), (97, 101, 32), (101, 97, 32), (576, 576, 32),
    (192, 576, 32), (576, 1536, 64), (1536, 576, 64), (512, 512, 256), (31, 512, 31), (512, 31, 31),
]  # fmt: skip


def close(left: Tensor, right: Tensor, rel: float = 1e-5) -> None:
    assert (left - right).norm() <= rel * right.norm(), f"{((left - right).norm() / right.norm()).item():.1e} apart"


def from_peft(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """B, A and the residual of PEFT's own OLoRA on one layer."""
    model = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
    model[0].weight.data = weight.clone()
    config = LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=["0"], init_lora_weights="olora")
    layer = get_peft_model(model, config).base_model.model[0]
    return layer.lora_B["default"].weight.data, layer.lora_A["default"].weight.data, layer.get_base_layer().weight.data


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_factors_are_those_of_peft_and_numpy(shape: tuple[int, int, int]) -> None:
    """Same B and A up to signs, same product, same residual, B orthonormal."""
    out_features, in_features, rank = shape
    weight = torch.randn(out_features, in_features, generator=torch.Generator().manual_seed(sum(shape)))
    b, a = olora.factors("layer", weight, rank)
    peft_b, peft_a, peft_residual = from_peft(weight, rank, 0.5)
    q, r = np.linalg.qr(weight.double().numpy())
    numpy_b, numpy_a = torch.from_numpy(q[:, :rank].copy()).float(), torch.from_numpy(r[:rank].copy()).float()
    for other_b, other_a in ((peft_b, peft_a), (numpy_b, numpy_a)):
        signs = (b * other_b).sum(0).sign()
        # A column that is nearly in the span of those before it magnifies fp32's rounding in each of the three.
        close(b * signs, other_b, 1e-4)
        close(signs[:, None] * a, other_a, 1e-4)
    close(b @ a, peft_b @ peft_a)
    close(b @ a, numpy_b @ numpy_a)
    residual = weight.addmm(b, a, alpha=-0.5)
    assert (residual - peft_residual).norm() <= 1e-5 * weight.norm()
    close(b.T @ b, torch.eye(rank))


def test_dependent_columns_are_warned_of_and_stay_exact(experiment: Make, fresh: Fresh) -> None:
    """Zero and repeated first columns: a warning names each layer, B is orthonormal, the logits are as before."""
    what = experiment("init=olora", "rank=8")
    base = fresh(what)
    zero, repeated = (f"model.layers.{i}.self_attn.q_proj" for i in (0, 1))
    base.model.get_parameter(f"{zero}.weight").data[:, :3] = 0
    weight = base.model.get_parameter(f"{repeated}.weight").data
    weight[:, 5] = weight[:, 0] - 2 * weight[:, 1]
    before = base.model(IDS).logits
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapted = apply(base, what)
    said = [str(w.message) for w in caught]
    assert len(said) == 2
    assert said[0].startswith(f"{zero}: column 0 of the first 8 depends on those before it, so rounding decides")
    assert said[1].startswith(f"{repeated}: column 5 of the first 8 depends on those before it")
    for _, layer in layers(adapted.model):
        b = layer.lora_B["default"].weight.data
        close(b.T @ b, torch.eye(8))
    torch.testing.assert_close(adapted.model(IDS).logits, before, atol=1e-5, rtol=1e-5)


def test_ordinary_columns_are_not_warned_of() -> None:
    """Columns within a degree of each other are decided by their values."""
    weight = torch.randn(300, 40, generator=torch.Generator().manual_seed(0))
    weight[:, 1] = weight[:, 0] + 1e-3 * weight[:, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        olora.factors("layer", weight, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_adapter_loads_with_plain_peft(dtype: torch.dtype, experiment: Make, fresh: Fresh, tmp_path: Path) -> None:
    """PEFT repeats the QR on the pristine base and lands on our logits (fp32: 1e-5; bf16: where its residual rounds the same way)."""
    what = experiment("init=olora", "rank=8")
    adapted = apply(fresh(what, dtype), what)
    move(adapted.param_groups[0]["params"])
    adapted.model.save_pretrained(tmp_path, save_embedding_layers=False)
    loaded = PeftModel.from_pretrained(fresh(what, dtype).model, tmp_path).eval()
    near = 1e-5 if dtype is torch.float32 else 0.1
    torch.testing.assert_close(loaded(IDS).logits, adapted.model(IDS).logits, atol=near, rtol=near)


def move(parameters: list[Tensor]) -> None:
    """As if trained."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_quantised_as_peft(kind: str, experiment: Make, fresh: Fresh) -> None:
    """On 4- and 8-bit bases the residual is requantised as PEFT does: equal logits at step 0; removed, the base's own come back."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra olora-bench[quant])")
    what = experiment("init=olora", f"model.quantization={kind}", "rank=8")
    base = fresh(what)
    untouched = base.model(IDS).logits
    adapted = apply(base, what)
    assert len(adapted.changed) == 4
    ours = adapted.model(IDS).logits
    config = LoraConfig(r=8, lora_alpha=4, target_modules=["q_proj", "v_proj"], init_lora_weights="olora")
    other = get_peft_model(fresh(what).model, config).eval()
    torch.testing.assert_close(ours, other(IDS).logits, atol=1e-5, rtol=1e-5)
    for (_, mine), (_, theirs) in zip(layers(adapted.model), layers(other), strict=True):
        close(read_weight(mine.get_base_layer()), read_weight(theirs.get_base_layer()))
    adapted.remove()
    assert torch.equal(base.model(IDS).logits, untouched)
