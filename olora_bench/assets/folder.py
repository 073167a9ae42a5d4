"""What a model folder holds, from its JSON files and the headers of its weights, against what a model's YAML says. No torch.

What is computed here of a model is known for plain models of `PLAIN_FAMILIES`. A folder of these that asks for anything else is refused by
name: its losses would be another model's. Other architectures go transformers' own way. `docs/adding.md` lists what is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from pydantic import JsonValue
from safetensors import SafetensorError, safe_open

from olora_bench.assets.layout import WHOLE
from olora_bench.config import Model
from olora_bench.config.schema import PLAIN_FAMILIES
from olora_bench.errors import BadInput
from olora_bench.formats import Unreadable, read_json

INDEX = f"{WHOLE}.index.json"
ROPE_TYPES = ("default", "linear", "dynamic", "llama3", "yarn")
"""Rotations that depend on a token's position alone, up to the model's own length."""

# Keys of other architectures' configs that change what is computed, with the values at which they change nothing.
# transformers' classes of the plain families do not know them and would leave them out without a word.
_FOREIGN: dict[str, tuple[JsonValue, ...]] = {
    "logits_scaling": (None, 1),
    "logit_scale": (None, 1),
    "final_logit_softcapping": (None,),
    "attn_logit_softcapping": (None,),
    "embedding_multiplier": (None, 1),
    "residual_multiplier": (None, 1),
    "attention_multiplier": (None,),
    "query_pre_attn_scalar": (None,),
    "scale_emb": (None, 1),
    "scale_depth": (None,),
    "dim_model_base": (None,),
    "clip_qkv": (None,),
    "use_qk_norm": (None, False),
    "qk_layernorm": (None, False),
    "partial_rotary_factor": (None, 1),
    "no_rope_layers": (None, []),
    "alibi": (None, False),
    "use_bidirectional_attention": (None, False),
    "num_local_experts": (None, 0, 1),
    "num_experts": (None, 0, 1),
    "n_routed_experts": (None, 0),
}

_OWN_KEYS: dict[str, tuple[str, ...]] = {
    "qwen3": ("layer_types",),
    "gemma3_text": ("layer_types", "query_pre_attn_scalar"),
    "phi3": ("partial_rotary_factor",),
}
"""Of these keys, those that a family's own class computes."""


def tensor_files(folder: Path) -> dict[str, Path]:
    """Every tensor of a folder's safetensors and the file that holds it.

    They are those of the whole file, or where there is none of the index's shards, as in transformers.

    Raises:
        BadInput: a file cannot be read, or a shard lacks what the index says of it.
    """
    return {name: file for name, (file, _) in _tensors(folder).items()}


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """As `tensor_files`, each tensor's shape."""
    return {name: shape for name, (_, shape) in _tensors(folder).items()}


def misfit(model: Model, folder: Path) -> str | None:
    """Why a folder in Hub layout is not the model that its YAML describes, and what to do; None where it is.

    Pickled weights and .gguf files have no header that is read here: they are looked at once they are converted.
    """
    if not (folder / "config.json").is_file():
        return None
    try:
        config = _json(folder / "config.json")
        shapes = tensor_shapes(folder) if _has_headers(folder) else None
    except BadInput as error:
        return f"{folder} cannot be loaded as model {model.name}: {error}"
    found = (_architecture(model, config), () if shapes is None else _shapes(model, shapes), _sizes(model, config), _special_ids(config))
    reason = next(chain.from_iterable(found), None)
    return None if reason is None else f"{folder} is not model {model.name}: {reason}"


def _has_headers(folder: Path) -> bool:
    return (folder / WHOLE).is_file() or (folder / INDEX).is_file()


def end_ids(folder: Path) -> tuple[int, ...]:
    """The end-of-sequence ids that config.json and generation_config.json name; empty where neither does."""
    files = [file for file in (folder / "config.json", folder / "generation_config.json") if file.is_file()]
    return tuple(dict.fromkeys(i for file in files for i in _ids(_json(file).get("eos_token_id")) if isinstance(i, int)))


def begin_id(folder: Path) -> int | None:
    """The beginning-of-sequence id that config.json names."""
    return next((i for i in _ids(_json(folder / "config.json").get("bos_token_id")) if isinstance(i, int)), None)


def _ids(value: JsonValue) -> list[JsonValue]:
    return [i for i in (value if isinstance(value, list) else [value]) if i is not None]


def _json(file: Path) -> dict[str, JsonValue]:
    try:
        found = read_json(file)
    except Unreadable as error:
        raise BadInput(f"{file} cannot be read as JSON ({error.reason}): fetch the folder again") from error
    if not isinstance(found, dict):
        raise BadInput(f"{file} holds no JSON object: fetch the folder again")
    return found


def _architecture(model: Model, config: Mapping[str, JsonValue]) -> Iterator[str]:
    kind = config.get("model_type")
    if kind != model.family:
        yield (
            f"config.json says model_type={kind}, conf/model/{model.name}.yaml says family: {model.family}. Allowed: a folder whose "
            "model_type is the family. Give the right folder, or correct model.family"
        )
    if model.family in PLAIN_FAMILIES:
        yield from _foreign(model, config)
    if (window := config.get("sliding_window")) is not None and (not isinstance(window, int) or window < 1):
        yield f"config.json says sliding_window={json.dumps(window)}. Allowed: null, or 1 and more. Correct config.json"
    if config.get("quantization_config"):
        how = config["quantization_config"]
        method = how.get("quant_method", "unknown") if isinstance(how, dict) else how
        yield (
            f"its weights are quantised in the file (quant_method={method}). Allowed: dense weights. Give the dense folder; "
            "model.quantization=nf4 or int8 quantises while loading"
        )
    if model.trust_remote_code and isinstance(own := config.get("auto_map"), dict) and "AutoModelForCausalLM" in own:
        yield "config.json's auto_map brings model code of its own. Allowed: transformers' own classes. Set model.trust_remote_code=false"


def _foreign(model: Model, config: Mapping[str, JsonValue]) -> Iterator[str]:
    """What transformers' class of a plain family would leave out, or what is computed here would."""
    own = _OWN_KEYS.get(model.family, ())
    for key, neutral in _FOREIGN.items():
        if key not in own and config.get(key) not in neutral:
            yield (
                f"config.json says {key}={json.dumps(config[key])}, which a plain {model.family} model does not have and transformers "
                f"would leave out. Allowed: {' or '.join(map(json.dumps, neutral))}. Use a plain model"
            )
    layers = config.get("layer_types")
    if "layer_types" not in own and isinstance(layers, list) and len(kinds := sorted(set(map(str, layers)))) > 1:
        yield (f"config.json mixes layer_types ({', '.join(kinds)}). Allowed: one kind for all layers. Use a plain model")
    for rope in _rotations(config):
        yield from _rope(model, rope)


def _rotations(config: Mapping[str, JsonValue]) -> list[dict[str, JsonValue]]:
    """The rotation, or that of each kind of layer."""
    whole = _rotation(config)
    kinds = [one for one in whole.values() if isinstance(one, dict)]
    return kinds or [whole]


def _rotation(config: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    found = config.get("rope_parameters") or config.get("rope_scaling")
    return found if isinstance(found, dict) else {}


def _rope(model: Model, rope: Mapping[str, JsonValue]) -> Iterator[str]:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if model.family != "opt" and kind not in ROPE_TYPES:
        yield (
            f"config.json says rope_type={kind}, by which a token's rotation depends on more than its position. "
            f"Allowed: {', '.join(ROPE_TYPES)}. Use a plain model"
        )
    elif "partial_rotary_factor" not in _OWN_KEYS.get(model.family, ()) and rope.get("partial_rotary_factor") not in (None, 1):
        yield (
            f"config.json says partial_rotary_factor={rope['partial_rotary_factor']}, which {model.family} models do not have. "
            "Allowed: null or 1. Use a plain model"
        )


def _sizes(model: Model, config: Mapping[str, JsonValue]) -> Iterator[str]:
    for key, declared, said in (
        ("vocab_size", "vocab_size", model.vocab_size),
        ("hidden_size", "hidden_size", model.hidden_size),
        ("num_hidden_layers", "layers", model.layers),
    ):
        if key in config and config[key] != said:
            yield (
                f"config.json says {key}={config[key]}, conf/model/{model.name}.yaml says {declared}: {said}. "
                f"Give the right folder, or correct model.{declared}"
            )
    ends = model.family == "opt" or any("dynamic" in (rope.get("rope_type"), rope.get("type")) for rope in _rotations(config))
    positions = config.get("max_position_embeddings")
    if ends and isinstance(positions, int | float) and positions < model.context_length:
        past = "there are no positions" if model.family == "opt" else "dynamic RoPE turns a token by how long the rows beside it are"
        yield (
            f"config.json says max_position_embeddings={positions}, past which {past}, and "
            f"conf/model/{model.name}.yaml says context_length: {model.context_length}. Lower model.context_length"
        )


def _special_ids(config: Mapping[str, JsonValue]) -> Iterator[str]:
    size = config.get("vocab_size")
    if not isinstance(size, int):
        return
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        for number in _ids(config.get(key)):
            lowest = -size if key == "pad_token_id" else 0  # -1 in some Llama folders: torch counts it from the end, and nothing reads it
            if not isinstance(number, int) or not lowest <= number < size:
                yield f"config.json says {key}={number}. Allowed: null or 0 to {size - 1} (vocab_size={size}). Correct config.json"


def _shapes(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    layers: dict[str, dict[int, tuple[int, ...]]] = {name: {} for name in model.shapes}
    names: dict[tuple[str, int], str] = {}
    for name, shape in shapes.items():
        if name.endswith("embed_tokens.weight") and shape[0] != model.vocab_size:
            yield (
                f"{name} has {shape[0]} rows, conf/model/{model.name}.yaml says vocab_size: {model.vocab_size}. "
                "Give the right folder, or correct config.json and model.vocab_size"
            )
        if (found := re.search(r"(?:^|\.)\w+\.(\d+)\..*?(\w+)\.weight$", name)) and found[2] in layers:
            layers[found[2]][int(found[1])], names[found[2], int(found[1])] = shape, name
    for projection, right in model.shapes.items():
        for layer, shape in sorted(layers[projection].items()):
            if shape != tuple(right):
                yield (
                    f"{names[projection, layer]} is {shape}, conf/model/{model.name}.yaml says {tuple(right)}. "
                    "Give the right folder, or correct model.shapes"
                )
        if len(layers[projection]) != model.layers:
            yield (
                f"it has {len(layers[projection])} layers with {projection}, model.layers is {model.layers}. "
                "Give the right folder, or correct model.layers and model.shapes"
            )


def _tensors(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """File and shape of every tensor."""
    if (folder / WHOLE).is_file():
        return _header(folder / WHOLE)
    weight_map = _json(folder / INDEX).get("weight_map")
    listed = {name: str(shard) for name, shard in weight_map.items()} if isinstance(weight_map, dict) else {}
    found: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for shard in sorted(set(listed.values())):
        found |= _header(folder / shard)
    for name, shard in listed.items():
        if name not in found:
            raise BadInput(f"{folder / INDEX} says that {shard} holds {name}, and it does not: fetch the folder again")
    return found


def _header(file: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    try:
        with safe_open(file, framework="numpy") as handle:
            return {name: (file, tuple(handle.get_slice(name).get_shape())) for name in handle.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{file} cannot be read as safetensors ({error}): fetch the folder again") from error
