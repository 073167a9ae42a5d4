"""The frozen base model: loaded once per process, and put back to the bytes of its file after an init changed it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from olora_bench.assets.folder import begin_id, end_ids, misfit, tensor_files, tensor_shapes
from olora_bench.config import Model
from olora_bench.config.schema import PLAIN_FAMILIES
from olora_bench.errors import BadInput
from olora_bench.models.conversion import prepare
from olora_bench.models.general import check_causal, is_general
from olora_bench.models.special_tokens import special_tokens
from olora_bench.models.weights import bitsandbytes, is_quantised, quantised_like, replace, stored
from olora_bench.process.allocator import keep_freed_memory

# Left in folders by older versions of transformers.
_NEVER_READ = ("rotary_emb.inv_freq", "decoder.version")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    if name not in DTYPES:
        raise BadInput(f"precision={name} is no dtype. Allowed here: {', '.join(DTYPES)}")
    return DTYPES[name]


def load_base(model: Model, path: Path | None, dtype: torch.dtype, device: torch.device | str, cache_dir: Path) -> Base:
    """Load a base model and its tokenizer.

    Args:
        model: what the folder should hold; a generated model is built from it.
        path: a folder in Hub layout, or with one .gguf file; None for a generated model.
        dtype: of the frozen weights and of the computation. fp16 needs a GPU.
        device: where the model goes.
        cache_dir: where generated and converted models are kept.

    Raises:
        BadInput: the folder holds no readable weights, or another model than its YAML says; its tokenizer puts special tokens where they
            cannot stand.
    """
    device = torch.device(device)
    if dtype is torch.float16 and device.type == "cpu":
        raise BadInput("precision=fp16 needs a GPU and machine.device is cpu: use bf16 or fp32")
    transformers_logging.disable_progress_bar()
    quantised = _quantised(model, dtype, device)
    source = prepare(model, path, cache_dir)
    if (reason := misfit(model, source.folder)) is not None:
        raise BadInput(reason)
    config = _config(model, source.folder)
    tokenizer = _tokenizer(model, source.folder)
    _check_headers(model, source.folder, config)
    loaded = _weights(model, source.folder, config, dtype, quantised)
    loaded.requires_grad_(False)
    for module in loaded.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # else bitsandbytes repacks the 4-bit weight in place at a forward pass on some CPUs
    size = sum(p.numel() * p.element_size() for p in loaded.parameters())
    if not quantised:  # otherwise it was quantised where it belongs
        loaded = loaded.to(device)
    if is_general(loaded.eval()):
        check_causal(model.name, loaded)
    if device.type == "cpu":
        keep_freed_memory()  # only now: what loading frees goes back
    return Base(loaded, tokenizer, source.folder, dtype, device, model, source.weights, size)


def load_tokenizer(model: Model, path: Path | None, cache_dir: Path) -> PreTrainedTokenizerBase:
    """A model's tokenizer without its weights; arguments and errors as for `load_base`."""
    transformers_logging.disable_progress_bar()
    return _tokenizer(model, prepare(model, path, cache_dir).folder)


def _config(model: Model, folder: Path) -> PreTrainedConfig:
    """config.json as transformers reads it, but for what a forward pass returns.

    Raises:
        BadInput: transformers refuses it.
    """
    returned = {"return_dict": True, "output_attentions": False, "output_hidden_states": False}
    try:
        found = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=model.trust_remote_code, **returned)
    except Exception as error:  # each kind of wrong value fails in its own way
        raise BadInput(
            f"{folder} cannot be loaded as model {model.name}: transformers refuses its config.json: {_one_line(error)}. "
            "Correct config.json"
        ) from error
    return cast(PreTrainedConfig, found)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _check_headers(model: Model, folder: Path, config: PreTrainedConfig) -> None:
    """Every parameter that transformers would make of this config is in the files, with its shape: asked before weights are read.

    Raises:
        BadInput: one is not, or no model can be made.
    """
    try:
        with torch.device("meta"):
            made = AutoModelForCausalLM.from_config(config, trust_remote_code=model.trust_remote_code)
    except Exception as error:  # sizes that do not go together
        raise BadInput(
            f"{folder} cannot be loaded as model {model.name}: transformers can make no model of its config.json: {_one_line(error)}. "
            "Correct config.json"
        ) from error
    held = tensor_shapes(folder)
    twins = {source: target for target, source in made.all_tied_weights_keys.items()}
    for name, parameter in made.named_parameters():
        key = next((form for form in _forms(made, name, twins) if form in held), None)
        if key is None:
            hint = " (config.json says tie_word_embeddings=false, or leaves it to the family)" if name == "lm_head.weight" else ""
            raise BadInput(
                f"{folder} lacks {name}, which model {model.name} has by its config.json{hint}. "
                "Fetch the folder again, or correct config.json"
            )
        if held[key] != tuple(parameter.shape):
            raise BadInput(
                f"{folder} is not model {model.name}: {key} is {held[key]}, by its config.json it would be {tuple(parameter.shape)}. "
                "Fetch the folder again, or correct config.json"
            )


def _weights(model: Model, folder: Path, config: PreTrainedConfig, dtype: torch.dtype, quantised: Mapping[str, object]) -> PreTrainedModel:
    try:
        loaded, info = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation="sdpa" if model.family in PLAIN_FAMILIES else None,  # transformers' own choice
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=model.trust_remote_code,
            output_loading_info=True,
            **quantised,
        )
    except torch.OutOfMemoryError:
        raise  # the folder is not to blame
    except (OSError, ValueError, TypeError, KeyError, AssertionError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"{folder} cannot be loaded as model {model.name}: {error}. Fetch the folder again") from error
    _check_weights(model, folder, loaded, info)
    return loaded


def _quantised(model: Model, dtype: torch.dtype, device: torch.device) -> dict[str, object]:
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


def _tokenizer(model: Model, folder: Path) -> PreTrainedTokenizerBase:
    """The folder's tokenizer, looked at before the weights are read.

    Raises:
        BadInput: it cannot be read, it is no tokenizer of this model, or it puts special tokens where they cannot stand.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=model.trust_remote_code)
    except Exception as error:  # each kind of tokenizer file fails in its own way
        raise BadInput(f"{folder} holds no tokenizer that can be read: {type(error).__name__}: {error}. Fetch the folder again") from error
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= model.vocab_size:
        raise BadInput(
            f"{folder} is not model {model.name}: its tokenizer has ids up to {largest} ({tokenizer.convert_ids_to_tokens(largest)!r}), "
            f"its embeddings {model.vocab_size} rows. Give the tokenizer that the model was trained with, or a model resized to this one"
        )
    begin, ends = begin_id(folder), end_ids(folder)
    for name, own, theirs in (("bos", tokenizer.bos_token_id, () if begin is None else (begin,)), ("eos", tokenizer.eos_token_id, ends)):
        if own is not None and theirs and own not in theirs:
            raise BadInput(
                f"{folder} is not model {model.name}: its tokenizer's {name}_token_id is {own}, config.json and generation_config.json say "
                f"{', '.join(map(str, theirs))}. Allowed: the same in both. Give the model's own tokenizer, or correct the wrong file"
            )
    try:
        special_tokens(tokenizer)
    except BadInput as error:
        raise BadInput(f"{folder} cannot be loaded as model {model.name}: {error}") from error
    return tokenizer


def _check_weights(model: Model, folder: Path, loaded: Any, info: Mapping[str, Collection[str]]) -> None:
    """Every parameter was in the file, everything in the file has its place, and the head is tied where the config says so."""
    if missing := sorted(info["missing_keys"]):
        raise BadInput(f"{folder} lacks {len(missing)} of {model.name}'s weights, {missing[0]} among them: fetch the folder again")
    if left := sorted(name for name in info["unexpected_keys"] if not name.endswith(_NEVER_READ)):
        raise BadInput(
            f"{folder} is not model {model.name}: {len(left)} of its weights have no place in a {model.family} model as config.json "
            f"describes it, {left[0]} among them. Correct config.json, or use a plain {model.family} model"
        )
    tied = loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight
    if loaded.config.tie_word_embeddings and not tied:
        raise BadInput(
            f"{folder} is not model {model.name}: config.json says tie_word_embeddings=true (or leaves it to the family), and its "
            "lm_head.weight is not its embeddings. Allowed: equal ones, or false. "
            "Set tie_word_embeddings=false if the head was trained, else remove lm_head.weight"
        )


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
    keys = tensor_files(base.folder)
    twins = {source: target for target, source in base.model.all_tied_weights_keys.items()}
    with ExitStack() as stack:
        files = {}
        for name in names:
            key = next((form for form in _forms(base.model, name, twins) if form in keys), None)
            if key is None:
                raise BadInput(f"{base.folder} has no tensor for {name}: fetch the folder again")
            if keys[key] not in files:
                files[keys[key]] = stack.enter_context(safe_open(keys[key], framework="pt"))
            yield name, files[keys[key]].get_tensor(key).to(base.device).to(dtype or base.dtype)


def _forms(model: PreTrainedModel, name: str, twins: Mapping[str, str]) -> tuple[str | None, ...]:
    """The names that a parameter may have in a file: some on the Hub were saved from the bare model, without the prefix of the one with
    a head, and tied weights may be there under the other's name."""
    prefix = f"{model.base_model_prefix}."
    return name, name.removeprefix(prefix), prefix + name, twins.get(name)


def _owner(base: Base, name: str) -> tuple[nn.Module, str]:
    path, _, kind = name.rpartition(".")
    module = base.model.get_submodule(path)
    return getattr(module, "base_layer", module), kind  # with an adapter on, the layer is inside PEFT's


def _as_loaded(module: nn.Module, kind: str, tensor: Tensor) -> bool:
    parameter = getattr(module, kind)
    loaded = quantised_like(parameter, tensor) if is_quantised(parameter) else tensor
    # As bytes: by value, NaN differs from itself and -0.0 equals 0.0.
    pairs = zip(stored(module, parameter), stored(module, loaded), strict=True)
    return all(torch.equal(left.contiguous().view(torch.uint8), right.contiguous().view(torch.uint8)) for left, right in pairs)
