"""What `config.json` says of a model, as transformers makes it, without its weights: `python -m olora_bench.models.described FOLDER`.

A process of its own, so that composing a config imports no torch: `assets.describe` starts it and keeps what it prints.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

from olora_bench.errors import BadInput

_TARGETS = ("q_proj", "v_proj")
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_LENGTH_UNKNOWN = 2048  # what lm-eval takes where a config says none


def facts(folder: Path) -> dict[str, Any]:
    """The keys of `config.Model` that follow from config.json.

    Raises:
        BadInput: transformers has no causal language model of this kind, or none with plain linear projections.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            made: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # each kind of wrong value fails in its own way
        raise BadInput(
            f"transformers can make no causal language model of its config.json: {' '.join(str(error).split())[:300]}"
        ) from error
    if config.get_text_config() is not config:
        raise BadInput(f"model_type={config.model_type} reads more than text. Allowed: a model of text alone")
    if type(made.get_output_embeddings()) is not nn.Linear:
        raise BadInput(f"the LM head of model_type={config.model_type} is no plain torch.nn.Linear")
    shapes = _shapes(made, config.num_hidden_layers)
    if not shapes:
        kinds = Counter(type(m).__name__ for name, m in made.named_modules() if re.search(r"\.\d+\.", name) and not list(m.children()))
        raise BadInput(
            f"the layers of model_type={config.model_type} have no plain torch.nn.Linear of one shape in every layer "
            f"(they are made of {', '.join(sorted(kinds))})"
        )
    return {
        "family": config.model_type,
        "target_modules": [name for name in _TARGETS if name in shapes],
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "vocab_size": made.get_input_embeddings().num_embeddings,
        "parameters": sum(p.numel() for p in made.parameters()),
        "context_length": next((n for key in _LENGTHS if isinstance(n := getattr(config, key, None), int) and n > 0), _LENGTH_UNKNOWN),
    }


def _shapes(made: nn.Module, layers: int) -> dict[str, tuple[int, int]]:
    """(out, in) of the linear projections that every layer has once, in one shape."""
    found: dict[str, list[tuple[int, int]]] = {}
    for name, module in made.named_modules():
        if type(module) is nn.Linear and re.search(r"\.\d+\.", name):
            found.setdefault(name.rpartition(".")[2], []).append((module.out_features, module.in_features))
    return {name: shapes[0] for name, shapes in found.items() if len(shapes) == layers and len(set(shapes)) == 1}


if __name__ == "__main__":
    logging.set_verbosity_error()
    try:
        print(json.dumps(facts(Path(sys.argv[1]))))
    except BadInput as refused:
        print(refused, file=sys.stderr)
        sys.exit(2)
