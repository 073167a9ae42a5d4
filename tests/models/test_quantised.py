"""Bases quantised by bitsandbytes: what they hold, and that they come back bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_losses import adapted, by_transformers, nll_of, rows

from olora_bench.config import Model
from olora_bench.models import Base, differing, load_base, pack, read_weight, restore, write_weight
from olora_bench.models.weights import is_quantised, stored

bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra olora-bench[quant])")
WEIGHT = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def load(cache_dir: Path, read_model: Callable[[str], Model]) -> Callable[..., Base]:
    def make(kind: str, dtype: torch.dtype = torch.float32) -> Base:
        model = read_model("tiny_llama2_7b").model_copy(update={"quantization": kind})
        return load_base(model, None, dtype, "cpu", cache_dir)

    return make


def bits(base: Base) -> str:
    """Every bit that decides the model's numbers, scales included."""
    found = hashlib.sha256()
    for name, module in base.model.named_modules():
        for kind, parameter in module.named_parameters(recurse=False):
            for tensor in stored(module, parameter):
                found.update(f"{name}.{kind}".encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_loaded_weights_are_the_files_quantised(kind: str, dtype: torch.dtype, load: Callable[..., Base]) -> None:
    """Projections are quantised and the LM head is not; no weight counts as differing from its file, before and after a forward pass."""
    base = load(kind, dtype)
    names = [name for name, p in base.model.named_parameters() if is_quantised(p)]
    assert len(names) == 14 and not any("lm_head" in name for name in names)
    assert differing(base, names) == ()
    before = bits(base)
    base.model(torch.arange(3, 20)[None])
    assert bits(base) == before
    assert differing(base, names) == ()


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_restored_bit_for_bit(kind: str, load: Callable[..., Base]) -> None:
    """A weight written over, before or after a forward pass, comes back with its scales; so do the logits."""
    base = load(kind)
    ids = torch.arange(3, 20)[None]
    before, logits = bits(base), base.model(ids).logits
    module = base.model.get_submodule(WEIGHT.removesuffix(".weight"))
    write_weight(module, 2 * read_weight(module))
    assert differing(base, [WEIGHT]) == (WEIGHT,)
    assert not torch.equal(base.model(ids).logits, logits)
    restore(base, [WEIGHT])
    assert bits(base) == before
    assert torch.equal(base.model(ids).logits, logits)


@pytest.mark.parametrize(("kind", "near"), [("nf4", 0.2), ("int8", 0.02)])
def test_read_weight_is_near_the_original(kind: str, near: float, load: Callable[..., Base], tiny: Callable[..., Base]) -> None:
    """Dequantised, a weight has its shape and is off by the rounding of 4 or 8 bits."""
    original = tiny("tiny_llama2_7b").model.get_parameter(WEIGHT)
    found = read_weight(load(kind).model.get_submodule(WEIGHT.removesuffix(".weight")))
    assert found.shape == original.shape and found.dtype is torch.float32
    assert (found - original).norm() < near * original.norm()


def test_packed_rows_of_a_4_bit_base_equal_transformers_with_padding(load: Callable[..., Base]) -> None:
    """Losses and gradients through an adapter on every projection: 1e-5 relative."""
    model = adapted(load("nf4").model, target_modules="all-linear")
    parameters = [p for p in model.parameters() if p.requires_grad]
    ours, theirs = nll_of(model, pack(rows())), by_transformers(model, rows())
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    pairs = (torch.autograd.grad(nll.sum(), parameters) for nll in (ours, theirs))
    for mine, other in zip(*pairs, strict=True):
        assert (mine - other).norm() <= 1e-5 * other.norm() + 1e-7
