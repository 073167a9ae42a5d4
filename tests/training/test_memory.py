"""The memory told beforehand against what autograd keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from olora_bench.config import Experiment
from olora_bench.config.memory import fitting_budget, training_memory
from olora_bench.inits import Adapted
from olora_bench.models import LmHead, PackedRows, pack, token_nll
from olora_bench.models.memory import allowed_bytes

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
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), PackedRows(adapted.model):
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


@pytest.mark.parametrize("quantization", ["null", "nf4", "int8"])
def test_weights_told_are_those_loaded(quantization: str, experiment: Callable[..., Experiment], adapt: Callable[..., Adapted]) -> None:
    """Embeddings and LM head stay as they are where projections take 4 or 8 bits; scales are told beside the bits."""
    if quantization != "null":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra olora-bench[quant])")
    what = experiment("precision=bf16", f"model.quantization={quantization}")
    told = training_memory(what, on_gpu=False).weights
    loaded = adapt(what, torch.bfloat16).base.size_bytes
    assert loaded <= told <= 1.1 * loaded


def test_attention_over_long_examples_is_told(experiment: Callable[..., Experiment]) -> None:
    """On a CPU the pairs of tokens of long examples outweigh all else that exists for a moment: told where the cutoff lets them in."""
    long, short = (
        training_memory(experiment(f"data.cutoff={cutoff}", "model=smollm2_135m"), on_gpu=False, token_budget=2048).activations
        for cutoff in (2048, 256)
    )
    assert long - short > 4 * 9 * 2048 * 1792  # one tensor of nine heads' scores


def test_an_example_longer_than_the_budget_takes_its_own_memory(experiment: Callable[..., Experiment]) -> None:
    """It is never cut: a budget below its length lowers nothing, so what does not fit is refused and not tried."""
    what = experiment("machine.train_token_budget=1024")
    told = [training_memory(what, on_gpu=False, token_budget=budget, longest=500).above_base for budget in (64, 256, 500, 512)]
    assert told[0] == told[1] == told[2] < told[3]
    assert fitting_budget(what, told[3], on_gpu=False, longest=500) == 512
    assert fitting_budget(what, told[3] - 1, on_gpu=False, longest=500) == 256
    assert fitting_budget(what, told[0] - 1, on_gpu=False, longest=500) is None


def test_a_widened_head_counts_as_memory(experiment: Callable[..., Experiment], adapt: Callable[..., Adapted]) -> None:
    """A bf16 base's LM head has a copy in fp32 on a CPU, an fp32 base's none."""
    what = experiment()
    heads = [LmHead.of(adapt(what, dtype).model) for dtype in (torch.float32, torch.bfloat16)]
    assert [head.copied_bytes for head in heads] == [0, 4 * what.model.vocab_size * what.model.hidden_size]


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_limit_is_seen(version: int, tmp_path: Path) -> None:
    """The narrowest of a group and those around it, with what files could give back; without a limit, or without groups, infinity."""
    own, root = tmp_path / "own", tmp_path / "groups"
    limit, used, files = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    own.write_text("0::/\n4:cpu,memory:/job/step\n" if version == 1 else "0::/job/step\n")
    home = root / "memory" if version == 1 else root
    assert allowed_bytes(own, root) == allowed_bytes(tmp_path / "nowhere", root) == math.inf
    for group, most in (("job", "1000"), ("job/step", "5000")):
        (home / group).mkdir(parents=True)
        for name, content in {limit: most, used: "700", "memory.stat": f"anon 600\n{files} 50"}.items():
            (home / group / name).write_text(content + "\n")
    assert allowed_bytes(own, root) == 350
    (home / "job" / limit).write_text("9223372036854771712\n" if version == 1 else "max\n")
    assert allowed_bytes(own, root) == 4350
