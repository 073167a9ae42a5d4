"""The frozen base: loading it, putting weights back that an init changed, and the losses read from it."""

from __future__ import annotations

from olora_bench.models.base import Base, differing, load_base, load_tokenizer, original, restore, torch_dtype
from olora_bench.models.head import LmHead
from olora_bench.models.losses import Packed, PackedRows, pack, token_nll
from olora_bench.models.special_tokens import SpecialTokens, padding_id, required_eos, special_tokens
from olora_bench.models.weights import is_quantised, read_weight, seeded, write_weight

__all__ = [
    "Base",
    "LmHead",
    "Packed",
    "PackedRows",
    "SpecialTokens",
    "differing",
    "is_quantised",
    "load_base",
    "load_tokenizer",
    "original",
    "pack",
    "padding_id",
    "read_weight",
    "required_eos",
    "restore",
    "seeded",
    "special_tokens",
    "token_nll",
    "torch_dtype",
    "write_weight",
]
