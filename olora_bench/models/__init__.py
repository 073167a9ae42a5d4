"""The frozen base: loading it, putting weights back that an init changed, and the losses read from it."""

from __future__ import annotations

from olora_bench.models.base import Base, differing, load_base, restore, torch_dtype
from olora_bench.models.losses import token_nll
from olora_bench.models.randomness import seeded

__all__ = ["Base", "differing", "load_base", "restore", "seeded", "token_nll", "torch_dtype"]
