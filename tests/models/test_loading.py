"""One loading road: generated, safetensors, pickles and GGUF; what is converted once; what a bad folder gets."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from olora_bench.config import Model
from olora_bench.errors import BadInput
from olora_bench.models import Base, differing, load_base, restore, torch_dtype

Read = Callable[[str], Model]
Tiny = Callable[..., Base]


def names(base: Base) -> list[str]:
    return [name for name, _ in base.model.named_parameters()]


def digest(base: Base) -> str:
    state = sorted(base.model.state_dict().items())
    return hashlib.sha256(b"".join(key.encode() + t.contiguous().view(torch.uint8).numpy().tobytes() for key, t in state)).hexdigest()


def hub_folder(base: Base, target: Path) -> Path:
    shutil.copytree(base.folder, target)
    (target / "built.json").unlink()
    return target


@pytest.mark.parametrize("name", ["tiny_llama2_7b", "tiny_mistral_7b", "tiny_gemma_2b", "tiny_tinyllama", "tiny_opt_1.3b"])
def test_generated_model_is_what_its_file_says(name: str, tiny: Tiny) -> None:
    """A twin has the stated number of parameters, is frozen, in evaluation mode, in the wanted dtype, with scaled-dot-product attention."""
    base = tiny(name, torch.bfloat16)
    assert sum(p.numel() for p in base.model.parameters()) == base.config.parameters
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in base.model.parameters())
    assert not base.model.training
    assert base.model.config._attn_implementation == "sdpa"
    assert base.weights == "generated"
    assert differing(base, names(base)) == ()


def test_generated_model_is_the_same_on_every_machine(tiny: Tiny, read_model: Read, tmp_path: Path) -> None:
    """Two caches, same bits, and the process's random numbers did not move; another seed gives another model."""
    state = torch.random.get_rng_state()
    again = load_base(read_model("tiny_tinyllama"), None, torch.float32, "cpu", tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert digest(again) == digest(tiny("tiny_tinyllama"))
    model = read_model("tiny_tinyllama")
    assert model.generated is not None
    other = model.model_copy(update={"generated": model.generated.model_copy(update={"seed": 1})})
    assert digest(load_base(other, None, torch.float32, "cpu", tmp_path)) != digest(again)


def test_byte_tokenizer_loses_nothing(tiny: Tiny) -> None:
    """Any text survives, one token a byte after `<s>`; padding, begin and end are told apart."""
    tokenizer = tiny("tiny_gemma_2b").tokenizer
    text = "Büyükakyüz: 2 + 2 = 4\n\tüber 你好 </s"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert len(ids) == 1 + len(text.encode())
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3


def test_hub_folder_loads_as_transformers_loads_it(tiny: Tiny, read_model: Read, tmp_path: Path) -> None:
    """A folder in Hub layout gives the same bits as `from_pretrained` on it."""
    folder = hub_folder(tiny("tiny_opt_1.3b"), tmp_path / "hub")
    model = read_model("tiny_opt_1.3b").model_copy(update={"generated": None})
    base = load_base(model, folder, torch.bfloat16, "cpu", tmp_path / "cache")
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    assert all(torch.equal(p, theirs.get_parameter(name)) for name, p in base.model.named_parameters())
    assert base.weights == "safetensors"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("prefix", ["model.", ""])
def test_pickled_weights_are_read_safely_and_recorded(prefix: str, tiny: Tiny, read_model: Read, tmp_path: Path) -> None:
    """A folder of pickles gives the same bits, whether its names carry the prefix or not, fp16 as stored, and is recorded so."""
    origin = tiny("tiny_opt_1.3b")
    folder = hub_folder(origin, tmp_path / "hub")
    (folder / "model.safetensors").unlink()
    half = {key.removeprefix("model.") if not prefix else key: t.half() for key, t in origin.model.state_dict().items()}
    torch.save(half, folder / "pytorch_model.bin")
    model = read_model("tiny_opt_1.3b").model_copy(update={"generated": None})
    base = load_base(model, folder, torch.float32, "cpu", tmp_path / "cache")
    for name, parameter in base.model.named_parameters():
        assert torch.equal(parameter, origin.model.get_parameter(name).half().float())
    assert base.weights == "PyTorch pickle read with weights_only=True"
    wanted = base.model.get_parameter("model.decoder.layers.1.fc1.weight")
    wanted.data.zero_()
    restore(base, ["model.decoder.layers.1.fc1.weight"])
    assert differing(base, names(base)) == ()
    assert wanted.abs().sum() > 0


def test_pickle_with_code_is_refused(tiny: Tiny, read_model: Read, tmp_path: Path) -> None:
    """A pickle that would run code is not loaded, and nothing half-made stays in the cache."""

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'owned'}",)

    folder = hub_folder(tiny("tiny_opt_1.3b"), tmp_path / "hub")
    (folder / "model.safetensors").unlink()
    torch.save({"x": Evil()}, folder / "pytorch_model.bin")
    model = read_model("tiny_opt_1.3b").model_copy(update={"generated": None})
    with pytest.raises(BadInput, match=r"pytorch_model\.bin cannot be read with weights_only=True"):
        load_base(model, folder, torch.float32, "cpu", tmp_path / "cache")
    assert not (tmp_path / "owned").exists()
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_damaged_cache_is_built_again(read_model: Read, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped byte or a file cut short is found, said, and repaired."""
    model = read_model("tiny_tinyllama")
    base = load_base(model, None, torch.float32, "cpu", tmp_path)
    right = digest(base)
    weights = base.folder / "model.safetensors"
    for damage in ("flip", "cut"):
        bytes_ = bytearray(weights.read_bytes())
        bytes_[-100] ^= 1
        weights.write_bytes(bytes_ if damage == "flip" else bytes_[:-100])
        assert digest(load_base(model, None, torch.float32, "cpu", tmp_path)) == right
        assert "model.safetensors is not what was written there; building this model's folder again" in capsys.readouterr().err


def test_killed_build_leaves_a_cache_that_repairs_itself(read_model: Read, tmp_path: Path) -> None:
    """Killed while writing the weights: the next start builds the model and removes what was left."""
    script = (
        "import os, signal, sys, torch, yaml\n"
        "from pathlib import Path\n"
        "from transformers import PreTrainedModel\n"
        "from olora_bench.config import Model, conf_dir\n"
        "from olora_bench.models import load_base\n"
        "save = PreTrainedModel.save_pretrained\n"
        "def die(self, target): save(self, target); os.kill(os.getpid(), signal.SIGKILL)\n"
        "PreTrainedModel.save_pretrained = die\n"
        "model = Model.model_validate(yaml.safe_load((conf_dir() / 'model' / 'tiny_tinyllama.yaml').read_text()))\n"
        "load_base(model, None, torch.float32, 'cpu', Path(sys.argv[1]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=False)
    assert killed.returncode == -9
    assert len(list((tmp_path / "models").iterdir())) == 1
    base = load_base(read_model("tiny_tinyllama"), None, torch.float32, "cpu", tmp_path)
    assert list((tmp_path / "models").iterdir()) == [base.folder]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_restore_brings_back_every_bit(dtype: torch.dtype, tiny: Tiny) -> None:
    """Overwritten weights, the tied embedding among them, come back; the file itself is not touched by writing to the weights."""
    base = tiny("tiny_gemma_2b", dtype)
    file = (base.folder / "model.safetensors").read_bytes()
    before = digest(base)
    for parameter in base.model.parameters():
        parameter.data.add_(1)
    assert set(differing(base, names(base))) == set(names(base))
    restore(base, names(base))
    assert digest(base) == before
    assert (base.folder / "model.safetensors").read_bytes() == file


def test_differing_sees_a_sign(tiny: Tiny) -> None:
    """Bits are compared, so minus zero is not zero."""
    base = tiny("tiny_opt_1.3b")
    bias = base.model.get_parameter("model.decoder.layers.0.fc1.bias")
    assert bias.abs().max() == 0
    bias.data.neg_()
    assert differing(base, ["model.decoder.layers.0.fc1.bias"]) == ("model.decoder.layers.0.fc1.bias",)


def test_bad_folders(tiny: Tiny, read_model: Read, tmp_path: Path) -> None:
    """No folder, an empty one, another model's, and one cut short: each its own message."""
    model = read_model("tiny_tinyllama").model_copy(update={"generated": None})

    def refused(path: Path) -> str:
        with pytest.raises(BadInput) as error:
            load_base(model, path, torch.float32, "cpu", tmp_path / "cache")
        return str(error.value)

    gone, empty = tmp_path / "gone", tmp_path / "empty"
    empty.mkdir()
    assert refused(gone) == (
        f"the weights of model tiny_tinyllama are not at {gone}: give a folder with config.json, *.safetensors and a tokenizer"
    )
    assert refused(empty) == (
        f"{empty} holds no weights of model tiny_tinyllama that can be read (found: nothing). "
        "Allowed: config.json with *.safetensors or pytorch_model*.bin, or exactly one .gguf file"
    )
    other = hub_folder(tiny("tiny_llama2_7b"), tmp_path / "other")
    assert refused(other) == (
        f"{other} is not model tiny_tinyllama: model.layers.0.self_attn.q_proj.weight is (64, 64), "
        "conf/model/tiny_tinyllama.yaml says (128, 64). "
        "Give the right folder, or correct model.shapes"
    )
    cut = hub_folder(tiny("tiny_tinyllama"), tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:1000])
    assert refused(cut).startswith(f"{cut} cannot be loaded as model tiny_tinyllama: ")


def test_bad_precision_and_quantisation(read_model: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is resolved before; fp16 needs a GPU; quantisation needs its package."""
    with pytest.raises(BadInput, match=r"precision=auto is no dtype\. Allowed here: fp32, bf16, fp16"):
        torch_dtype("auto")
    model = read_model("tiny_tinyllama")
    with pytest.raises(BadInput, match="precision=fp16 needs a GPU"):
        load_base(model, None, torch.float16, "cpu", tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput) as error:
        load_base(model.model_copy(update={"quantization": "nf4"}), None, torch.float32, "cpu", tmp_path)
    assert str(error.value) == "model.quantization needs the package bitsandbytes: pip install 'olora-bench[quant]' brings it"


def test_gguf_is_converted_once_to_what_transformers_reads(read_model: Read, tmp_path: Path) -> None:
    """A folder with one .gguf gives transformers' own dequantised weights and tokenizer, kept as plain safetensors, written once."""
    folder = tmp_path / "gguf"
    folder.mkdir()
    write_gguf(folder / "tiny.gguf")
    model = gguf_model(read_model("tiny_llama2_7b"))
    base = load_base(model, folder, torch.float32, "cpu", tmp_path / "cache")
    theirs = AutoModelForCausalLM.from_pretrained(folder, gguf_file="tiny.gguf", dtype=torch.float32)
    assert all(torch.equal(p, theirs.get_parameter(name)) for name, p in base.model.named_parameters())
    text = "hello world"
    assert base.tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(folder, gguf_file="tiny.gguf")(text)["input_ids"]
    assert "quantization_config" not in json.loads((base.folder / "config.json").read_text())
    assert base.weights == "GGUF, dequantised to fp32"
    written = (base.folder / "built.json").stat().st_mtime_ns
    assert load_base(model, folder, torch.bfloat16, "cpu", tmp_path / "cache").folder == base.folder
    assert (base.folder / "built.json").stat().st_mtime_ns == written


def gguf_model(twin: Model) -> Model:
    shapes = {
        key: (64, 64) if "proj" in key and key[0] in "qkvo" else ((64, 128) if key == "down_proj" else (128, 64)) for key in twin.shapes
    }
    return twin.model_copy(update={"generated": None, "shapes": shapes, "name": "tiny_gguf", "vocab_size": 259})


def write_gguf(path: Path) -> None:
    """A Llama of two layers with 8-bit projections and a byte-level BPE tokenizer, written by the gguf package."""
    import gguf
    import numpy as np
    from tokenizers import pre_tokenizers

    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>", "he", "ll"]
    writer.add_name("tiny")
    writer.add_context_length(256)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges(["h e", "l l"])
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|endoftext|>"))

    def tensor(name: str, *shape: int, quantised: bool = False) -> None:
        values = rng.standard_normal(shape).astype(np.float32) * 0.1
        if quantised:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)

    tensor("token_embd.weight", len(tokens), 64)
    tensor("output_norm.weight", 64)
    tensor("output.weight", len(tokens), 64)
    for layer in range(2):
        for kind in ("attn_norm", "ffn_norm"):
            tensor(f"blk.{layer}.{kind}.weight", 64)
        for kind in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{layer}.{kind}.weight", 64, 64, quantised=True)
        for kind in ("ffn_gate", "ffn_up"):
            tensor(f"blk.{layer}.{kind}.weight", 128, 64, quantised=True)
        tensor(f"blk.{layer}.ffn_down.weight", 64, 128, quantised=True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
