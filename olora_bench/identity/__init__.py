"""(config, asset identities) -> train_id, eval_id. Imports no torch, so that planning a thousand runs takes seconds."""

from olora_bench.identity.explain import Difference, differences, explain
from olora_bench.identity.ids import (
    ANALYSIS_VERSION,
    RESULTS_VERSION,
    Identified,
    base_eval_identity,
    cell_identity,
    cell_key,
    digest,
    eval_identity,
    family_key,
    identify,
    settings,
    train_identity,
    training_assets,
)
from olora_bench.identity.title import lr_text, model_rank, run_title, title

__all__ = [
    "ANALYSIS_VERSION",
    "RESULTS_VERSION",
    "Difference",
    "Identified",
    "base_eval_identity",
    "cell_identity",
    "cell_key",
    "differences",
    "digest",
    "eval_identity",
    "explain",
    "family_key",
    "identify",
    "lr_text",
    "model_rank",
    "run_title",
    "settings",
    "title",
    "train_identity",
    "training_assets",
]
