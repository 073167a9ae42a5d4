"""The memory told beforehand against what autograd keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from olora_bench.config import Experiment
from olora_bench.config.memory import training_memory
from olora_bench.inits import Adapted
from olora_bench.models import LmHead, pack, packed_rows, token_nll

TOKENS = 8 * 64


def kept_bytes(adapted: Adapted) -> int:
    """What the forward pass of `TOKENS` tokens keeps for the backward pass, weights left out."""
    head = LmHead.of(adapted.model)
    held = {tensor.untyped_storage().data_ptr() for tensor in (*adapted.model.parameters(), *adapted.model.buffers(), head.wide)}
    found: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            found[storage.data_ptr()] = storage  # alive, so that no other takes its address
        return tensor

    generator = torch.Generator().manual_seed(0)
    rows = [(torch.randint(3, 259, (64,), generator=generator), torch.arange(64) == 63) for _ in range(TOKENS // 64)]
    adapted.train_mode(True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), packed_rows(adapted.model):
        token_nll(adapted.model, pack(rows), head)
    return sum(storage.nbytes() for storage in found.values())


@pytest.mark.parametrize("model", ["tiny_mistral_7b", "tiny_gemma_2b", "tiny_opt_1.3b"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "asked",
    [[], ["all"], ["recipe.dropout=0.1"], ["all", "recipe.dropout=0.1"], ["all", "init.dora=true"], ["all", "model.quantization=nf4"]],
    ids=" ".join,
)
def test_activations_told_are_those_kept(
    asked: list[str], precision: str, model: str, experiment: Callable[..., Experiment], adapt: Callable[..., Adapted]
) -> None:
    """Not less than autograd keeps, and at most half as much again, whichever way an adapter runs."""
    if "model.quantization=nf4" in asked:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra olora-bench[quant])")
    projections = f"model.target_modules=[{','.join(experiment(f'model={model}').model.shapes)}]"
    what = experiment(f"model={model}", f"precision={precision}", *(projections if one == "all" else one for one in asked))

    def told(layers: int) -> float:
        deep: Any = what.model.model_copy(update={"layers": layers})
        return training_memory(what.model_copy(update={"model": deep}), on_gpu=False, token_budget=TOKENS).activations

    kept = kept_bytes(adapt(what, torch.float32 if precision == "fp32" else torch.bfloat16))
    layers = what.model.layers
    assert kept <= told(2 * layers) - told(layers) <= 1.5 * kept


def test_attention_over_long_examples_is_told(experiment: Callable[..., Experiment]) -> None:
    """On a CPU the pairs of tokens of long examples outweigh all else that exists for a moment: told where the cutoff lets them in."""
    long, short = (
        training_memory(experiment(f"data.cutoff={cutoff}", "model=smollm2_135m"), on_gpu=False, token_budget=2048).activations
        for cutoff in (2048, 256)
    )
    assert long - short > 4 * 9 * 2048 * 1792  # one tensor of nine heads' scores
