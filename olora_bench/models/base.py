"""The frozen base model: loaded once per process, and put back to the bytes of its file after an init changed it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from olora_bench.config import Model
from olora_bench.errors import BadInput
from olora_bench.models.folders import prepare
from olora_bench.models.special_tokens import special_tokens
from olora_bench.models.weights import bitsandbytes, is_quantised, quantised_like, replace, stored

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Base:
    """A frozen causal language model in evaluation mode, and the folder its weights can be read from again.

    `weights` says in words where the weights came from, for the record; `size_bytes` is the memory that they take.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    dtype: torch.dtype
    device: torch.device
    config: Model
    weights: str
    size_bytes: int


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of `fp32`, `bf16` or `fp16`.

    Raises:
        BadInput: another name, `auto` included: that one is resolved from the hardware before.

    >>> torch_dtype("bf16")
    torch.bfloat16
    """
    if name not in _DTYPES:
        raise BadInput(f"precision={name} is no dtype. Allowed here: {', '.join(_DTYPES)}")
    return _DTYPES[name]


def load_base(model: Model, path: Path | None, dtype: torch.dtype, device: torch.device | str, cache_dir: Path) -> Base:
    """Load a base model and its tokenizer.

    Args:
        model: what the folder should hold; a generated model is built from it.
        path: a folder in Hub layout, or with one .gguf file; None for a generated model.
        dtype: of the frozen weights and of the computation. fp16 needs a GPU.
        device: where the model goes.
        cache_dir: where generated and converted models are kept.

    Raises:
        BadInput: the folder holds no readable weights, or another model than its name says; its tokenizer puts special tokens where they
            cannot stand.
    """
    device = torch.device(device)
    if dtype is torch.float16 and device.type == "cpu":
        raise BadInput("precision=fp16 needs a GPU and machine.device is cpu: use bf16 or fp32")
    transformers_logging.disable_progress_bar()
    quantised = _quantised(model, dtype, device)
    source = prepare(model, path, cache_dir)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder, local_files_only=True, trust_remote_code=model.trust_remote_code)
        special_tokens(tokenizer)  # before the weights are read
        loaded, info = AutoModelForCausalLM.from_pretrained(
            source.folder,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=model.trust_remote_code,
            output_loading_info=True,
            **quantised,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"{source.folder} cannot be loaded as model {model.name}: {error}. Fetch the folder again") from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise BadInput(f"{source.folder} lacks {len(missing)} of {model.name}'s weights, {missing[0]} among them: fetch the folder again")
    _check_shapes(model, loaded, source.folder)
    loaded.requires_grad_(False)
    for module in loaded.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # else bitsandbytes repacks the 4-bit weight in place at a forward pass on some CPUs
    size = sum(p.numel() * p.element_size() for p in loaded.parameters())
    if not quantised:  # otherwise it was quantised where it belongs
        loaded = loaded.to(device)
    return Base(loaded.eval(), tokenizer, source.folder, dtype, device, model, source.weights, size)


def _quantised(model: Model, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What transformers needs to quantise while loading: NF4 with double quantisation (Dettmers et al., arXiv 2305.14314), or 8 bits
    (Dettmers et al., arXiv 2208.07339). The LM head and the embeddings stay in `dtype`, in which all is computed."""
    if model.quantization is None:
        return {}
    bitsandbytes()
    if model.quantization == "nf4":
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    else:
        config = BitsAndBytesConfig(load_in_8bit=True)
    return {"quantization_config": config, "device_map": {"": device}}


def _check_shapes(model: Model, loaded: PreTrainedModel, folder: Path) -> None:
    seen = dict.fromkeys(model.shapes, 0)
    for name, _ in loaded.named_parameters():
        module, _, kind = name.rpartition(".")
        projection = module.rpartition(".")[2]
        if kind == "weight" and projection in seen:
            seen[projection] += 1
            linear = loaded.get_submodule(module)  # 4-bit weights are packed into another shape
            shape = (linear.out_features, linear.in_features)
            if shape != tuple(model.shapes[projection]):
                raise BadInput(
                    f"{folder} is not model {model.name}: {name} is {shape}, "
                    f"conf/model/{model.name}.yaml says {tuple(model.shapes[projection])}. Give the right folder, or correct model.shapes"
                )
    for projection, count in seen.items():
        if count != model.layers:
            raise BadInput(f"{folder} is not model {model.name}: it has {count} layers with {projection}, model.layers is {model.layers}")


def restore(base: Base, names: Iterable[str], dtype: torch.dtype | None = None) -> None:
    """Read these parameters again from the file, bit for bit as they were loaded. No second copy of the model is held.

    Args:
        names: parameter names of `base.model`, e.g. `model.layers.0.self_attn.q_proj.weight`.
        dtype: what the file's numbers are rounded to on the way; None is the base's dtype, in which they were loaded.

    Raises:
        BadInput: the folder has no such tensor.
    """
    for name, tensor in original(base, names, dtype):
        replace(*_owner(base, name), tensor)


def differing(base: Base, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the parameters whose bits differ from the file's (where they are quantised, from what the file's are quantised to)."""
    return tuple(name for name, tensor in original(base, names) if not _as_loaded(*_owner(base, name), tensor))


def original(base: Base, names: Iterable[str], dtype: torch.dtype | None = None) -> Iterator[tuple[str, Tensor]]:
    """The parameters as the file has them, one at a time, not quantised; in `dtype`, or in the base's as the loader read them."""
    keys = _keys(base.folder)
    prefix = f"{base.model.base_model_prefix}."
    with ExitStack() as stack:
        files = {}
        for name in names:
            # Some files on the Hub were saved from the bare model, without the prefix of the one with a head.
            key = next((k for k in (name, name.removeprefix(prefix), prefix + name) if k in keys), None)
            if key is None:
                raise BadInput(f"{base.folder} has no tensor for {name}: fetch the folder again")
            if keys[key] not in files:
                files[keys[key]] = stack.enter_context(safe_open(keys[key], framework="pt"))
            yield name, files[keys[key]].get_tensor(key).to(base.device).to(dtype or base.dtype)


def _owner(base: Base, name: str) -> tuple[nn.Module, str]:
    path, _, kind = name.rpartition(".")
    module = base.model.get_submodule(path)
    return getattr(module, "base_layer", module), kind  # with an adapter on, the layer is inside PEFT's


def _as_loaded(module: nn.Module, kind: str, tensor: Tensor) -> bool:
    parameter = getattr(module, kind)
    loaded = quantised_like(parameter, tensor) if is_quantised(parameter) else tensor
    pairs = zip(stored(module, parameter), stored(module, loaded), strict=True)
    return all(torch.equal(left.contiguous().view(torch.uint8), right.contiguous().view(torch.uint8)) for left, right in pairs)


def _keys(folder: Path) -> dict[str, Path]:
    """Every tensor name of the folder and the file that holds it."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {key: folder / file for key, file in listed.items()}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return dict.fromkeys(file.keys(), folder / "model.safetensors")
