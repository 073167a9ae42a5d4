"""A trained adapter in the forms that others load: a plain LoRA for the pristine base, and the whole model with the adapter added in."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_bench.config import Experiment
from olora_bench.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from olora_bench.inits import Adapted
    from olora_bench.models import Base


@dataclass(frozen=True)
class Home:
    """Where others find the base: a Hub id at a commit, or a folder of this machine."""

    name: str
    revision: str | None


def factors(adapted: Adapted) -> list[tuple[Tensor, Tensor]]:
    from olora_bench.inits._layers import layers

    return [(m.lora_B["default"].weight.detach().clone(), m.lora_A["default"].weight.detach().clone()) for _, m in layers(adapted.model)]


def difference(adapted: Adapted, starts: list[tuple[Tensor, Tensor]]) -> list[tuple[str, Tensor, Tensor]]:
    """Per layer its name, left [out, k] and right [k, in], whose product is what the trained layer adds to the pristine weight."""
    import torch

    from olora_bench.inits._layers import layers

    found = []
    for (name, layer), (b0, a0), (b, a) in zip(layers(adapted.model), starts, factors(adapted), strict=True):
        scale = layer.scaling["default"]
        if adapted.changed:
            b, a = torch.cat([b, -b0], dim=1), torch.cat([a, a0])
        found.append((name, scale * b, a))
    return found


def truncated(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best rank-`rank` approximation of left @ right, its two factors, and the squared norm of what is left out.

    Two thin QRs and an SVD of k x k: the product [out, in] is never formed.
    """
    import torch

    q_left, r_left = torch.linalg.qr(left.double())
    q_right, r_right = torch.linalg.qr(right.double().T)
    u, values, vh = torch.linalg.svd(r_left @ r_right.T)
    root = values[:rank].sqrt()
    return (q_left @ u[:, :rank] * root).float(), (root[:, None] * vh[:rank] @ q_right.T).float(), values[rank:].square().sum().item()


def save_adapter(adapted: Adapted, out: Path, home: Home) -> None:
    """PEFT's own files, naming the base as others find it."""
    config = adapted.model.peft_config["default"]
    config.base_model_name_or_path, config.revision = home.name, home.revision
    adapted.model.save_pretrained(out, save_embedding_layers=False)


def save_lora(
    adapted: Adapted, starts: list[tuple[Tensor, Tensor]], experiment: Experiment, out: Path, rank: int | None, home: Home
) -> tuple[float, int]:
    """Write a plain LoRA of scale 1 (alpha = rank) for the pristine base; the share of the norm lost, and its rank."""
    import safetensors.torch
    from peft import LoraConfig

    from olora_bench.store import atomic_write

    found = difference(adapted, starts)
    exact = found[0][1].shape[1]
    if rank is not None and not 1 <= rank <= exact:
        raise BadInput(f"--rank {rank}: allowed is 1 to {exact}, which is exact")
    kept, lost, total, tensors = rank or exact, 0.0, 0.0, {}
    for name, left, right in found:
        if kept < exact:
            total += ((left.double().T @ left.double()) * (right.double() @ right.double().T)).sum().item()
            left, right, cut = truncated(left, right, kept)
            lost += cut
        for kind, tensor in (("lora_A", right), ("lora_B", left)):
            tensors[f"base_model.model.{name}.{kind}.weight"] = tensor.cpu().contiguous()
    config = LoraConfig(
        r=kept, lora_alpha=kept, target_modules=list(experiment.model.target_modules), task_type="CAUSAL_LM", inference_mode=True,
        base_model_name_or_path=home.name, revision=home.revision,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(out)
    atomic_write(out / "adapter_model.safetensors", safetensors.torch.save(tensors))
    return (math.sqrt(lost / total) if total else 0.0), kept


def save_merged(adapted: Adapted, base: Base, out: Path) -> None:
    """The model with every adapter layer's weight replaced by the effective one, in the base's dtype; a quantised base is written dense."""
    import torch

    from olora_bench.inits._layers import layers
    from olora_bench.models import read_weight

    effective = {}
    with torch.no_grad():
        for name, layer in layers(adapted.model):
            weight = read_weight(layer.get_base_layer())
            weight = weight + layer.get_delta_weight("default").float()
            if layer.use_dora["default"]:
                magnitude = layer.lora_magnitude_vector["default"].weight
                weight = weight * (magnitude / weight.norm(dim=1))[:, None]
            effective[f"{name}.weight"] = weight.to(base.dtype).cpu()
    state = {}
    for key, tensor in _dense(base).items():
        state[key] = effective.get(key, tensor)
    config = base.model.config
    quantised = getattr(config, "quantization_config", None)
    plain = type(base.model)._from_config(config, dtype=base.dtype) if quantised is None else _unquantised(base)
    plain.load_state_dict(state, strict=False)
    plain.tie_weights()
    plain.save_pretrained(out)
    _copy_words(base, out)


def _copy_words(base: Base, out: Path) -> None:
    """Tokenizer and generation settings file by file: what is in memory has a padding token that the folder may not have."""
    from olora_bench.assets.layout import BESIDE_WEIGHTS

    (out / "generation_config.json").unlink(missing_ok=True)  # made from config.json alone
    for pattern in (*BESIDE_WEIGHTS, *(("*.py",) if base.config.trust_remote_code else ())):
        for file in base.folder.glob(pattern):
            if file.is_file() and file.name != "config.json":
                shutil.copyfile(file, out / file.name)


def _unquantised(base: Base) -> Any:
    import copy

    config = copy.deepcopy(base.model.config)
    del config.quantization_config
    return type(base.model)._from_config(config, dtype=base.dtype)


def _dense(base: Base) -> dict[str, Tensor]:
    """The bare model's parameters and buffers by their plain names, dequantised, with adapter layers looked through."""
    from peft.tuners.lora import LoraLayer

    from olora_bench.models import is_quantised, read_weight

    found: dict[str, Tensor] = {}
    for path, module in base.model.named_modules():
        if isinstance(module, LoraLayer) or ".lora_" in path:
            continue
        plain = path.removesuffix(".base_layer")
        for kind, parameter in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            dense = read_weight(module).to(base.dtype) if is_quantised(parameter) else parameter.detach()
            found[f"{plain}.{kind}"] = dense.cpu()
    return found
