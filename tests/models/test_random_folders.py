"""Random plain model folders: losses, gradients and item scores are those of transformers and lm-eval on the same folder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, get_peft_model
from random_folders import FAMILIES, Drawn, draw, drawn_config, sharded
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from olora_bench.evaluation import Scorer
from olora_bench.models import LmHead, PackedRows, load_base, pack, token_nll

ALWAYS = (8, 17, 19, 20, 34)
ALL = [number if number in ALWAYS else pytest.param(number, marks=pytest.mark.slow) for number in range(40)]
LENGTHS = (70, 31, 31, 6, 2)
PROMPT = "amber barn candle drift ember fjord garnet hollow island jigsaw kettle lantern meadow nectar orchard. Question: "


def adapted(model: Any, drawn: Drawn) -> nn.Module:
    """The same drawn adapter on every projection, whichever model object it is put on."""
    torch.manual_seed(1)
    config = LoraConfig(r=2, init_lora_weights=False, task_type="CAUSAL_LM", target_modules=sorted(drawn.model.shapes))
    wrapped: nn.Module = get_peft_model(model, config).eval()
    return wrapped


def rows(vocabulary: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randint(0, vocabulary, (n,), generator=generator), torch.rand(n, generator=generator) < 0.5) for n in LENGTHS]


def by_transformers(model: nn.Module, sequences: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The mean cross-entropy over supervised tokens, each sequence alone in transformers' own forward pass."""
    losses = []
    for ids, supervised in sequences:
        labels = ids.masked_fill(~supervised, -100)
        logits = model(input_ids=ids[None]).logits[0, :-1]
        losses.append(nn.functional.cross_entropy(logits, labels[1:], reduction="none")[labels[1:] != -100])
    return torch.cat(losses).mean()


def ours(model: nn.Module, sequences: list[tuple[Tensor, Tensor]]) -> Tensor:
    with PackedRows(model):
        packed = pack(sequences)
        return token_nll(model, packed, LmHead.of(model)).sum() / len(packed.targets)


def keeping_bos(hflm: HFLM, context: str, continuation: str) -> tuple[float, bool]:
    """lm-eval's own answer for a prompt that is too long, with BOS, where texts begin with it, and not cut off with the rest."""
    before, after = hflm._encode_pair(context, continuation)
    begin = before[:1] if before[0] == hflm.tokenizer.bos_token_id else []
    room = hflm.max_length + 1 - len(after) - len(begin)
    ((loglikelihood, greedy),) = hflm._loglikelihood_tokens([((context, continuation), begin + before[-room:], after)], disable_tqdm=True)
    return loglikelihood, greedy


def requests() -> list[Instance]:
    """Items that share a beginning, with choices that share a prompt; the last prompt is longer than the model."""
    items = [
        (PROMPT + f"{word}? Answer:", f" {choice}") for word in ("pebble", "quarry ribbon", "saddle", "") for choice in ("yes", "no way")
    ]
    items += [("", " amber"), ("willow " * 200 + "Answer:", " velvet umbrella")]
    return [Instance("loglikelihood", {}, pair, i, metadata=("odd", i // 2, 1)) for i, pair in enumerate(items)]


@pytest.mark.parametrize("number", ALL)
def test_losses_gradients_and_scores_are_transformers_and_lm_evals(number: int, tmp_path: Path) -> None:
    """Loss within 1e-5, adapter gradients within 3e-5 of transformers' own in doubles (whose own in fp32 are further off where weights are
    drawn badly), log-likelihoods within 1e-4 nats, greedy answers equal."""
    drawn = draw(number, tmp_path)
    base = load_base(drawn.model, drawn.folder, torch.float32, "cpu", tmp_path / "cache")
    mine = adapted(base.model, drawn)
    theirs = adapted(AutoModelForCausalLM.from_pretrained(drawn.folder, dtype=torch.float32), drawn)
    in_doubles = copy.deepcopy(theirs).double()
    sequences, loss, gradients = rows(drawn.model.vocab_size), [], []
    for model, mean in ((mine, ours), (in_doubles, by_transformers)):
        value = mean(model, sequences)
        loss.append(value.detach().double())
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, [p for p in model.parameters() if p.requires_grad])]))
    torch.testing.assert_close(loss[0], loss[1], atol=1e-5, rtol=1e-5, msg=lambda text: f"{drawn.config}\n{text}")
    assert (gradients[0] - gradients[1]).norm() <= 3e-5 * gradients[1].norm(), drawn.config
    hflm = HFLM(pretrained=theirs, tokenizer=AutoTokenizer.from_pretrained(drawn.folder), batch_size=1, device="cpu")
    want = [*hflm.loglikelihood(requests()[:-1], disable_tqdm=True), keeping_bos(hflm, *requests()[-1].args)]
    have = Scorer(mine, base.tokenizer, device=base.device, token_budget=256).loglikelihood(requests())
    np.testing.assert_allclose([ll for ll, _ in have], [ll for ll, _ in want], rtol=1e-5, atol=1e-4, err_msg=str(drawn.config))
    assert [greedy for _, greedy in have] == [greedy for _, greedy in want]


def test_forty_folders_show_what_plain_models_differ_in() -> None:
    """Each kind of head, rotation, window, bias and file is among those drawn, tied and not."""
    drawn = [drawn_config(number) for number in range(40)]
    rotary, opt = ([config for family, config in drawn if (family == "opt") == wanted] for wanted in (False, True))
    assert {(family, config["tie_word_embeddings"]) for family, config in drawn} == {(f, t) for f in FAMILIES for t in (True, False)}
    assert {(number % 4, sharded(number)) for number in range(40)} == {(f, s) for f in range(4) for s in (True, False)}
    assert {config["rope_parameters"]["rope_type"] for config in rotary} == {"default", "linear", "dynamic", "llama3", "yarn"}
    shared = {config["num_attention_heads"] // config["num_key_value_heads"] for config in rotary}
    assert {1, 2, 3, 4, 6} <= shared
    assert {config["head_dim"] * config["num_attention_heads"] == config["hidden_size"] for config in rotary} == {True, False}
    assert {config["hidden_act"] for config in rotary} == {"silu", "gelu_pytorch_tanh", "relu"}
    assert {config.get("sliding_window") for family, config in drawn if family == "mistral"} == {None, 5, 33}
    assert {(config["attention_bias"], config["mlp_bias"]) for family, config in drawn if family == "llama"} == {
        (a, m) for a in (True, False) for m in (True, False)
    }
    for key in ("do_layer_norm_before", "enable_bias", "layer_norm_elementwise_affine"):
        assert {config[key] for config in opt} == {True, False}
