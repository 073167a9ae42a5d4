"""Token losses against transformers' own forward pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from olora_bench.config import Model
from olora_bench.errors import BadInput
from olora_bench.models import Base, load_base, token_nll

TINY = ("tiny_llama2_7b", "tiny_mistral_7b", "tiny_gemma_2b", "tiny_tinyllama", "tiny_opt_1.3b")


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = (160, 97, 9)  # longer than the tiny Mistral's window, and padded
    ids = torch.randint(3, 259, (len(lengths), max(lengths)), generator=generator)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    supervised = (torch.rand(ids.shape, generator=generator) < 0.4) & mask.bool()
    supervised[:, 1] = True
    return ids * mask, mask, supervised


def by_transformers(model: nn.Module, ids: Tensor, mask: Tensor, supervised: Tensor) -> Tensor:
    """Mean loss of each row, one call a row, with labels."""
    labels = ids.masked_fill(~supervised, -100)
    rows = range(len(ids))
    return torch.stack([model(input_ids=ids[r : r + 1], attention_mask=mask[r : r + 1], labels=labels[r : r + 1]).loss for r in rows])


@pytest.mark.parametrize("name", TINY)
def test_equals_transformers_forward_with_labels(name: str, tiny: Callable[..., Base]) -> None:
    """Sum over count of every row is transformers' own loss, in fp32, for each of the five architectures."""
    model = tiny(name).model
    with torch.no_grad():
        nll, count = token_nll(model, *batch())
        torch.testing.assert_close(nll / count, by_transformers(model, *batch()), atol=1e-5, rtol=0)
    assert nll.dtype is torch.float32
    assert count.tolist() == batch()[2][:, 1:].sum(1).tolist()


def test_equals_transformers_with_projected_embeddings(read_model: Callable[[str], Model], tmp_path: Path) -> None:
    """OPT-350M's peculiarities: embeddings narrower than the hidden states, and norms after each block."""
    twin = read_model("tiny_opt_1.3b")
    assert twin.generated is not None
    extra = {**twin.generated.extra, "word_embed_proj_dim": 32, "do_layer_norm_before": False}
    model = twin.model_copy(update={"generated": twin.generated.model_copy(update={"extra": extra})})
    base = load_base(model, None, torch.float32, "cpu", tmp_path)
    assert base.model.get_input_embeddings().weight.shape == (260, 32)
    nll, count = token_nll(base.model, *batch())
    torch.testing.assert_close(nll / count, by_transformers(base.model, *batch()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["tiny_gemma_2b", "tiny_opt_1.3b"])
def test_equals_transformers_through_an_adapter(name: str, tiny: Callable[..., Base]) -> None:
    """With a PEFT adapter that does something, value and gradient are transformers' own."""
    model = get_peft_model(
        tiny(name).model, LoraConfig(r=4, init_lora_weights=False, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )
    model.eval()
    adapter = [p for p in model.parameters() if p.requires_grad]
    nll, count = token_nll(model, *batch())
    ours = torch.autograd.grad((nll / count).sum(), adapter)
    reference = by_transformers(model, *batch())
    theirs = torch.autograd.grad(reference.sum(), adapter)
    torch.testing.assert_close(nll / count, reference, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_padding_changes_nothing(tiny: Callable[..., Base]) -> None:
    """A row's loss is the same alone and beside a longer one."""
    ids, mask, supervised = batch()
    model = tiny("tiny_mistral_7b").model
    together, _ = token_nll(model, ids, mask, supervised)
    alone, _ = token_nll(model, ids[2:, :9], mask[2:, :9], supervised[2:, :9])
    torch.testing.assert_close(together[2:], alone, atol=1e-5, rtol=1e-6)


def test_row_without_supervision_is_zero(tiny: Callable[..., Base]) -> None:
    """Nothing supervised: sum 0 and count 0, no error."""
    ids, mask, supervised = batch()
    nll, count = token_nll(tiny("tiny_tinyllama").model, ids, mask, torch.zeros_like(supervised))
    assert nll.tolist() == [0.0] * 3
    assert count.tolist() == [0] * 3


def test_bf16_base_meets_the_head_in_fp32(tiny: Callable[..., Base]) -> None:
    """With a bf16 base the loss is that of the bf16 hidden states times the LM head in fp32, not of rounded logits."""
    model = tiny("tiny_llama2_7b", torch.bfloat16).model
    ids, mask, supervised = batch()
    nll, _ = token_nll(model, ids, mask, supervised)
    hidden = model.model(input_ids=ids, attention_mask=mask).last_hidden_state.double()
    logp = (hidden @ model.lm_head.weight.double().T).log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(nll.double(), -(logp * supervised[:, 1:]).sum(1), atol=1e-3, rtol=1e-6)


def test_foreign_head_is_refused(tiny: Callable[..., Base]) -> None:
    """An adapter on the LM head would be left out silently, so it is an error."""
    model = get_peft_model(tiny("tiny_llama2_7b").model, LoraConfig(r=4, target_modules=["lm_head"], task_type="CAUSAL_LM"))
    with pytest.raises(BadInput, match=r"has Linear as LM head: token losses need a plain torch\.nn\.Linear"):
        token_nll(model, *batch())
