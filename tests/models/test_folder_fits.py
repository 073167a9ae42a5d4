"""A folder whose parts do not fit one another is refused while it is loaded, before or after its weights as early as can be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from olora_bench.config import Model
from olora_bench.errors import BadInput
from olora_bench.models import Base, differing, load_base, restore

Load = Callable[..., Base]


@pytest.fixture
def folder(tiny: Callable[..., Base], tmp_path: Path) -> Path:
    """A tiny Llama in Hub layout, its head not tied."""
    target = tmp_path / "mine"
    shutil.copytree(tiny("tiny_llama2_7b").folder, target)
    (target / "built.json").unlink()
    return target


@pytest.fixture
def load(folder: Path, read_model: Callable[[str], Model], tmp_path: Path) -> Load:
    """Load the folder as a user's own model."""

    def loaded(**update: Any) -> Base:
        model = read_model("tiny_llama2_7b").model_copy(update={"generated": None, "name": "mine", **update})
        return load_base(model, folder, torch.float32, "cpu", tmp_path / "cache")

    return loaded


def edit(file: Path, **said: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | said))


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def refused(load: Load, monkeypatch: pytest.MonkeyPatch | None = None) -> str:
    """The message; with a monkeypatch no weight may be read before it."""
    if monkeypatch is not None:
        monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights were loaded first"))
    with pytest.raises(BadInput) as caught:
        load()
    return str(caught.value)


def test_another_architecture_is_refused_before_its_weights_are_read(folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the Hub or a wheel as from a local folder."""
    edit(folder / "config.json", model_type="granite", logits_scaling=8.0)
    assert refused(load, monkeypatch).startswith(f"{folder} is not model mine: config.json says model_type=granite, ")


def test_a_tokenizer_with_more_ids_than_rows_is_refused(folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token was added and the embeddings were not."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == 259  # of 260 rows
    tokenizer.add_tokens(["<fits>", "<tool>"])
    tokenizer.save_pretrained(folder)
    assert refused(load, monkeypatch) == (
        f"{folder} is not model mine: its tokenizer has ids up to 260 ('<tool>'), its embeddings 260 rows. "
        "Give the tokenizer that the model was trained with, or a model resized to this one"
    )


@pytest.mark.parametrize(("name", "own"), [("bos", 1), ("eos", 2)])
def test_special_ids_of_another_tokenizer_are_refused(
    name: str, own: int, folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends a trained answer must be what ends a written one."""
    edit(folder / "config.json", **{f"{name}_token_id": 7})
    (folder / "generation_config.json").unlink()
    assert refused(load, monkeypatch) == (
        f"{folder} is not model mine: its tokenizer's {name}_token_id is {own}, config.json and generation_config.json say 7. "
        "Allowed: the same in both. Give the model's own tokenizer, or correct the wrong file"
    )


def test_one_of_several_ends_fits(folder: Path, load: Load) -> None:
    """Chat models name several; the tokenizer's may be in the generation settings alone."""
    edit(folder / "config.json", eos_token_id=[7, 8], bos_token_id=None)
    edit(folder / "generation_config.json", eos_token_id=[2, 9])
    assert load().tokenizer.eos_token_id == 2


def test_a_tokenizer_that_cannot_be_read_is_named(folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "tokenizer.json").write_text("{}")
    assert refused(load, monkeypatch).startswith(f"{folder} holds no tokenizer that can be read: ")


def test_a_tied_head_with_weights_of_its_own_is_refused(folder: Path, load: Load) -> None:
    """transformers would leave it untied with a warning, older ones tied it."""
    edit(folder / "config.json", tie_word_embeddings=True)
    assert refused(load) == (
        f"{folder} is not model mine: config.json says tie_word_embeddings=true (or leaves it to the family), and its lm_head.weight "
        "is not its embeddings. Allowed: equal ones, or false. Set tie_word_embeddings=false if the head was trained, else remove "
        "lm_head.weight"
    )


def test_a_tied_head_that_is_written_twice_is_one(folder: Path, load: Load) -> None:
    """As pickles have it."""
    edit(folder / "config.json", tie_word_embeddings=True)
    rewrite(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    model = load().model
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_tied_weights_under_the_heads_name_are_restored(folder: Path, load: Load) -> None:
    """A file may hold the head and not the embeddings."""
    edit(folder / "config.json", tie_word_embeddings=True)
    rewrite(folder, lambda t: t.pop("model.embed_tokens.weight"))
    base = load()
    base.model.model.embed_tokens.weight.data.add_(1)
    assert differing(base, ["model.embed_tokens.weight"]) == ("model.embed_tokens.weight",)
    restore(base, ["model.embed_tokens.weight"])
    assert differing(base, ["model.embed_tokens.weight"]) == ()


def test_an_untied_head_that_is_missing_is_refused(folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(folder, lambda t: t.pop("lm_head.weight"))
    assert refused(load, monkeypatch) == (
        f"{folder} lacks lm_head.weight, which model mine has by its config.json (config.json says tie_word_embeddings=false, or leaves it "
        "to the family). Fetch the folder again, or correct config.json"
    )


def test_a_shape_that_the_config_does_not_make_is_named(folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = json.loads((folder / "config.json").read_text())["num_key_value_heads"]
    edit(folder / "config.json", num_key_value_heads=2 * heads)
    held = tuple(load_file(folder / "model.safetensors")["model.layers.0.self_attn.k_proj.weight"].shape)
    assert refused(load, monkeypatch) == (
        f"{folder} is not model mine: model.layers.0.self_attn.k_proj.weight is {held}, by its config.json it would be "
        f"{(2 * held[0], held[1])}. Fetch the folder again, or correct config.json"
    )


def test_a_forward_pass_returns_what_is_read_whatever_the_config_says(folder: Path, load: Load) -> None:
    edit(folder / "config.json", return_dict=False, output_hidden_states=True, output_attentions=True)
    config = load().model.config
    assert (config.return_dict, config.output_hidden_states, config.output_attentions) == (True, False, False)


@pytest.mark.parametrize("window", [0, -1, "all"])
def test_a_sliding_window_in_which_no_token_lies_is_refused(folder: Path, load: Load, window: object) -> None:
    edit(folder / "config.json", sliding_window=window)
    assert refused(load) == (
        f"{folder} is not model mine: config.json says sliding_window={json.dumps(window)}. "
        "Allowed: null, or 1 and more. Correct config.json"
    )


def test_a_quantisation_that_is_no_object_is_refused(folder: Path, load: Load) -> None:
    edit(folder / "config.json", quantization_config="gptq")
    assert "its weights are quantised in the file (quant_method=gptq)" in refused(load)


def test_biases_that_the_config_does_not_name_are_refused(folder: Path, load: Load) -> None:
    """transformers would leave them out without a word; with attention_bias=true they have their place."""
    names = [f"model.layers.{i}.self_attn.{p}_proj.bias" for i in range(2) for p in "qkvo"]
    rewrite(folder, lambda t: t.update({name: torch.ones(len(t[name.replace("bias", "weight")])) for name in names}))
    assert refused(load) == (
        f"{folder} is not model mine: 8 of its weights have no place in a llama model as config.json describes it, "
        "model.layers.0.self_attn.k_proj.bias among them. Correct config.json, or use a plain llama model"
    )
    edit(folder / "config.json", attention_bias=True)
    base = load()
    assert base.model.get_parameter(names[0]).eq(1).all()
    assert differing(base, [name for name, _ in base.model.named_parameters()]) == ()


def test_what_older_versions_left_in_a_file_is_no_weight(folder: Path, load: Load) -> None:
    """Rotation tables were once saved."""
    rewrite(folder, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}))
    assert load().model.config.model_type == "llama"


def test_weights_are_restored_from_the_file_that_was_loaded(folder: Path, load: Load) -> None:
    """A whole file goes before an old index, in loading as in restoring."""
    name = "model.layers.0.self_attn.q_proj.weight"
    save_file({name: torch.zeros(64, 64)}, folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {name: "model-00001-of-00001.safetensors"}}))
    base = load()
    before = base.model.get_parameter(name).clone()
    assert before.abs().sum() > 0
    base.model.get_parameter(name).data.zero_()
    restore(base, [name])
    assert torch.equal(base.model.get_parameter(name), before)


def test_a_config_that_transformers_refuses_is_named(folder: Path, load: Load) -> None:
    edit(folder / "config.json", hidden_act="no_such")
    assert refused(load).startswith(f"{folder} cannot be loaded as model mine: ")
