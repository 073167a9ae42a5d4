"""Token losses of packed rows against transformers' own forward pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from olora_bench.config import Model
from olora_bench.errors import BadInput
from olora_bench.models import Base, LmHead, Packed, PackedRows, load_base, pack, token_nll
from olora_bench.models.attention import Pattern, by_torchs_kernel, layout_of, packed_attention
from olora_bench.models.compiled import compiled
from olora_bench.models.fused import _cheaper

TINY = ("tiny_llama2_7b", "tiny_mistral_7b", "tiny_gemma_2b", "tiny_tinyllama", "tiny_opt_1.3b")
LENGTHS = (160, 97, 96, 9, 9, 8, 2)  # longer than the tiny Mistral's window, equal ones, and one that is hardly there
Rows = list[tuple[Tensor, Tensor]]


def rows() -> Rows:
    generator = torch.Generator().manual_seed(0)
    made = []
    for length in LENGTHS:
        supervised = torch.rand(length, generator=generator) < 0.4
        supervised[1] = True
        made.append((torch.randint(3, 259, (length,), generator=generator), supervised))
    return made


def nll_of(model: nn.Module, packed: Packed, **options: object) -> Tensor:
    with PackedRows(model, **options):  # type: ignore[arg-type]
        return token_nll(model, packed, LmHead.of(model))


def by_transformers(model: nn.Module, sequences: Rows) -> Tensor:
    """Each example's summed loss by transformers' forward over all of them, padded on the right, with labels one row at a time."""
    longest = max(len(ids) for ids, _ in sequences)
    ids, mask, labels = (torch.full((len(sequences), longest), fill) for fill in (0, 0, -100))
    for row, (tokens, supervised) in enumerate(sequences):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
        labels[row, : len(tokens)] = tokens.masked_fill(~supervised, -100)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none", ignore_index=-100)
    return losses.sum(1)


def adapted(model: nn.Module, **options: Any) -> nn.Module:
    """With an adapter that does something on every projection that all architectures have."""
    asked: dict[str, Any] = {"target_modules": ["q_proj", "v_proj", "k_proj"], **options}
    return get_peft_model(model, LoraConfig(r=4, init_lora_weights=False, task_type="CAUSAL_LM", **asked)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("options", [{}, {"checkpointing": True}], ids=["plain", "checkpointing"])
def test_losses_and_gradients_equal_transformers_with_padding(name: str, options: dict[str, bool], tiny: Callable[..., Base]) -> None:
    """On each of the five architectures, in fp32, through an adapter: 1e-5 relative."""
    model = adapted(tiny(name).model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    ours, theirs = nll_of(model, pack(rows()), **options), by_transformers(model, rows())
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    if options:
        with PackedRows(model, checkpointing=True):
            gradients = torch.autograd.grad(token_nll(model, pack(rows()), LmHead.of(model)).sum(), parameters)
    else:
        gradients = torch.autograd.grad(ours.sum(), parameters)
    reference = torch.autograd.grad(theirs.sum(), parameters)
    for mine, other in zip(gradients, reference, strict=True):
        assert (mine - other).norm() <= 1e-5 * other.norm() + 1e-7


@pytest.mark.parametrize("name", ["tiny_tinyllama", "tiny_mistral_7b", "tiny_gemma_2b", "tiny_opt_1.3b"])
# With rsLoRA an alpha that leaves the scale at 2: larger random adapters lift transformers' own rounding over 1e-5.
@pytest.mark.parametrize("options", [{}, {"use_rslora": True, "lora_alpha": 4}, {"use_dora": True}], ids=["lora", "rslora", "dora"])
def test_adapters_of_any_kind_on_every_projection(name: str, options: dict[str, Any], tiny: Callable[..., Base]) -> None:
    """Plain, with another scale, with magnitudes beside A and B: losses and every gradient are transformers' and PEFT's, 1e-5 relative."""
    model = adapted(tiny(name).model, target_modules="all-linear", **options)
    parameters = [p for p in model.parameters() if p.requires_grad]
    ours, theirs = nll_of(model, pack(rows())), by_transformers(model, rows())
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    pairs = (torch.autograd.grad(nll.sum(), parameters) for nll in (ours, theirs))
    for mine, other in zip(*pairs, strict=True):
        assert (mine - other).norm() <= 1e-5 * other.norm() + 1e-7


@pytest.mark.parametrize("name", ["tiny_tinyllama", "tiny_mistral_7b"])
def test_bf16_gradients_are_as_near_to_fp32_as_transformers(name: str, tiny: Callable[..., Base]) -> None:
    """Of the same rounded weights: ours is not further from the fp32 gradient than half as much again as transformers' is."""

    def gradient(model: nn.Module, nll: Callable[[nn.Module], Tensor]) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(nll(model).sum(), [p for p in model.parameters() if p.requires_grad])])

    base = tiny(name, torch.bfloat16)
    model = adapted(base.model, target_modules="all-linear")
    ours, theirs = gradient(model, lambda m: nll_of(m, pack(rows()))), gradient(model, lambda m: by_transformers(m, rows()))
    exact = gradient(model.float(), lambda m: by_transformers(m, rows()))
    assert 0 < (ours - exact).norm() <= 1.5 * (theirs - exact).norm()


def test_recomputed_layers_drop_out_what_they_dropped_out_before(tiny: Callable[..., Base]) -> None:
    """With checkpointing the gradient under dropout is that without, of the same draws."""
    model = adapted(tiny("tiny_tinyllama").model, lora_dropout=0.5).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        with PackedRows(model, checkpointing=checkpointing):
            found.append(torch.autograd.grad(token_nll(model, pack(rows()), LmHead.of(model)).sum(), parameters))
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", TINY)
def test_an_example_of_one_token_adds_nothing(name: str, tiny: Callable[..., Base]) -> None:
    """Beside others its loss is 0 and theirs are what they were, gradient included; alone in a row the gradient is 0."""
    model = adapted(tiny(name).model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    one = (torch.tensor([5]), torch.tensor([True]))
    with_one, without, alone = (nll_of(model, pack(sequences)) for sequences in ([*rows(), one, one], rows(), [one]))
    torch.testing.assert_close(with_one, torch.cat([without, torch.zeros(2)]), atol=1e-5, rtol=1e-5)
    pairs = (torch.autograd.grad(nll.sum(), parameters) for nll in (with_one, without))
    for mine, other in zip(*pairs, strict=True):
        assert (mine - other).norm() <= 1e-5 * other.norm() + 1e-7
    for nothing in torch.autograd.grad(alone.sum(), parameters):
        assert torch.equal(nothing, torch.zeros_like(nothing))


@pytest.mark.parametrize("name", ["tiny_mistral_7b", "tiny_opt_1.3b"])
def test_layout_changes_nothing(name: str, tiny: Callable[..., Base]) -> None:
    """Each example in a row of its own, a few together, or all in one: the same losses and gradient within 1e-5."""
    model = adapted(tiny(name).model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = []
    for size in (len(LENGTHS), 3, 1):
        cuts = [rows()[i : i + size] for i in range(0, len(LENGTHS), size)]
        nll = torch.cat([nll_of(model, pack(cut)) for cut in cuts])
        found.append((nll.detach(), torch.cat([g.flatten() for g in torch.autograd.grad(nll.sum(), parameters)])))
    for nll, gradient in found[1:]:
        torch.testing.assert_close(nll, found[0][0], atol=1e-5, rtol=1e-5)
        assert (gradient - found[0][1]).norm() <= 1e-5 * found[0][1].norm()


def test_upstream_gradients_weigh_examples(tiny: Callable[..., Base]) -> None:
    """A weighted sum of losses has the weighted sum of gradients, made while the logits were at hand."""
    model = adapted(tiny("tiny_tinyllama").model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    weights = torch.tensor([0.0, 2.0, -1.0, 0.5, 3.0, 1.0, 7.0])
    ours = torch.autograd.grad((nll_of(model, pack(rows())) * weights).sum(), parameters)
    theirs = torch.autograd.grad((by_transformers(model, rows()) * weights).sum(), parameters)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_equals_transformers_with_projected_embeddings(read_model: Callable[[str], Model], tmp_path: Path) -> None:
    """OPT-350M's peculiarities: embeddings narrower than the hidden states, and norms after each block."""
    twin = read_model("tiny_opt_1.3b")
    assert twin.generated is not None
    extra = {**twin.generated.extra, "word_embed_proj_dim": 32, "do_layer_norm_before": False}
    model = twin.model_copy(update={"generated": twin.generated.model_copy(update={"extra": extra})})
    base = load_base(model, None, torch.float32, "cpu", tmp_path)
    assert base.model.get_input_embeddings().weight.shape == (260, 32)
    torch.testing.assert_close(nll_of(base.model, pack(rows())), by_transformers(base.model, rows()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("kv_heads", [1, 2, 6])
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_attention_equals_torchs_with_a_block_diagonal_mask(device: str, kv_heads: int, window: int | None) -> None:
    """Values and gradients against scaled_dot_product_attention over the whole row, whatever heads share their keys; a GPU's way, in which
    torch makes the gradient, on a CPU too."""
    torch.manual_seed(0)
    lengths = (20, 20, 13, 5, 1)
    total = sum(lengths)
    query, key, value = (torch.randn(1, heads, total, 8, requires_grad=True) for heads in (6, kv_heads, kv_heads))
    owner, at = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)), torch.arange(total)
    seen = (owner[:, None] == owner) & (at[:, None] >= at)
    if window is not None:
        seen &= at[:, None] - at < window
    theirs = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True).transpose(1, 2)
    if device == "cpu":
        ours, _ = packed_attention(None, query, key, value, None, layout=layout_of(lengths), sliding_window=window)
    else:
        ours = by_torchs_kernel(query, key, value, Pattern(layout_of(lengths), 8**-0.5, window))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    above = torch.randn_like(ours)
    pairs = (torch.autograd.grad(out, (query, key, value), above) for out in (ours, theirs))
    for mine, other in zip(*pairs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_compiled_steps_change_rounding_alone(tiny: Callable[..., Base]) -> None:
    """Losses and gradients with compiled steps, within 1e-5 of those without."""
    model = adapted(tiny("tiny_tinyllama").model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    plain, fast = nll_of(model, pack(rows())), nll_of(model, pack(rows()), steps=compiled())
    torch.testing.assert_close(plain, fast, atol=1e-5, rtol=1e-5)
    pairs = (torch.autograd.grad(nll.sum(), parameters) for nll in (plain, fast))
    for mine, other in zip(*pairs, strict=True):
        assert (mine - other).norm() <= 1e-5 * other.norm()


def test_the_model_is_left_as_it_was(tiny: Callable[..., Base]) -> None:
    """Outside `PackedRows` every module has its own forward again, and the model its own attention, after an error too."""
    model = adapted(tiny("tiny_mistral_7b").model)
    with torch.no_grad():
        before = by_transformers(model, rows())
        with pytest.raises(RuntimeError, match="on purpose"), PackedRows(model, checkpointing=True):
            raise RuntimeError("on purpose")
        assert model.get_base_model().config._attn_implementation == "sdpa"  # type: ignore[operator]
        assert not any("forward" in module.__dict__ for module in model.modules())
        assert torch.equal(by_transformers(model, rows()), before)


def test_an_error_halfway_leaves_no_module_changed(tiny: Callable[..., Base], monkeypatch: pytest.MonkeyPatch) -> None:
    """Some modules' cheaper forwards are found already when the next one's cannot be made."""
    model = adapted(tiny("tiny_mistral_7b").model)
    passes, real = iter(range(100)), _cheaper

    def failing(*args: Any) -> Any:
        if next(passes) == 12:
            raise RuntimeError("on purpose")
        return real(*args)

    monkeypatch.setattr("olora_bench.models.fused._cheaper", failing)
    with pytest.raises(RuntimeError, match="on purpose"), PackedRows(model):
        pass
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert model.get_base_model().config._attn_implementation == "sdpa"  # type: ignore[operator]


def test_packed_rows_are_entered_again_and_again(tiny: Callable[..., Base], monkeypatch: pytest.MonkeyPatch) -> None:
    """What they change is found once, and is changed each time and each time put back, after an error too."""
    model, found = adapted(tiny("tiny_mistral_7b").model), []
    monkeypatch.setattr("olora_bench.models.fused._cheaper", lambda *asked: found.append(asked) or _cheaper(*asked))
    entered, once = PackedRows(model), 0
    for error in (None, "on purpose", None):
        with pytest.raises(RuntimeError, match=error) if error else nullcontext(), entered:
            changed = sum("forward" in module.__dict__ for module in model.modules())
            once = once or len(found)
            if error:
                raise RuntimeError(error)
        assert changed and once == len(found)
        assert not any("forward" in module.__dict__ for module in model.modules())


def test_example_without_supervision_is_zero(tiny: Callable[..., Base]) -> None:
    """Nothing supervised but a first token, which nothing predicts: 0, no error."""
    nothing = [(ids, torch.arange(len(ids)) == 0) for ids, _ in rows()]
    assert nll_of(tiny("tiny_tinyllama").model, pack(nothing)).tolist() == [0.0] * len(LENGTHS)


def test_bf16_base_meets_the_head_in_fp32(tiny: Callable[..., Base]) -> None:
    """With a bf16 base the loss is that of the bf16 hidden states times the LM head in fp32, not of rounded logits."""
    model = tiny("tiny_llama2_7b", torch.bfloat16).model
    packed = pack(rows())
    nll = nll_of(model, packed)
    with PackedRows(model):
        hidden = model.model(input_ids=packed.input_ids, position_ids=packed.positions, layout=packed.layout).last_hidden_state.double()
    logp = (hidden[0, packed.reads] @ model.lm_head.weight.double().T).log_softmax(-1).gather(1, packed.targets[:, None])[:, 0]
    torch.testing.assert_close(nll.double(), -torch.zeros(len(LENGTHS)).double().index_add(0, packed.owners, logp), atol=1e-3, rtol=1e-6)


def test_pieces_of_logits_change_nothing(tiny: Callable[..., Base], monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows of logits at a time, the last piece smaller, or all at once: the same losses."""
    model = tiny("tiny_gemma_2b").model
    whole = nll_of(model, pack(rows()))
    monkeypatch.setattr("olora_bench.models.head.LOGITS_AT_ONCE", 7 * model.config.vocab_size)
    torch.testing.assert_close(nll_of(model, pack(rows())), whole, atol=1e-5, rtol=1e-6)


def test_order_of_a_pack_is_checked() -> None:
    """A layout is made for lengths that fall."""
    with pytest.raises(ValueError, match=r"with the longest first \(got lengths \[2, 3\]\)"):
        pack([([1, 2], [False, True]), ([1, 2, 3], [False, True, True])])


def test_foreign_head_is_refused(tiny: Callable[..., Base]) -> None:
    """An adapter on the LM head would be left out silently, so it is an error."""
    model = get_peft_model(tiny("tiny_llama2_7b").model, LoraConfig(r=4, target_modules=["lm_head"], task_type="CAUSAL_LM"))
    with pytest.raises(BadInput, match=r"has Linear as LM head: token losses need a plain torch\.nn\.Linear"):
        LmHead.of(model)
