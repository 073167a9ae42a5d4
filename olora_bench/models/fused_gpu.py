"""What `fused` does for a GPU: fewer, larger steps. A step of a small model keeps a GPU for less time than its host takes to ask for it, so
what counts is how many operations are dispatched, and not how often memory is read.

Equal to transformers' and PEFT's own up to rounding: norms round once where Llama's rounds twice, rotations do not round their products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.gemma import modeling_gemma
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral

from olora_bench.models import attention, kernels
from olora_bench.models.compiled import Steps

_ROTARY = (modeling_llama.LlamaRotaryEmbedding, modeling_mistral.MistralRotaryEmbedding, modeling_gemma.GemmaRotaryEmbedding)
_ATTENTION = (modeling_llama.LlamaAttention, modeling_mistral.MistralAttention, modeling_gemma.GemmaAttention)
_MLP = (modeling_llama.LlamaMLP, modeling_mistral.MistralMLP)


def _added(out: Tensor, delta: Tensor, scale: float) -> Tensor:
    """`compiled.added`, in one kernel that computes in delta's dtype; `out` is written over."""
    return out.add_(delta, alpha=scale)


def _product(left: Tensor, right: Tensor, scale: float, like: Tensor) -> Tensor:
    """`compiled.product` in one kernel; nothing but the shape of `like` counts."""
    return torch.addmm(like, left, right, beta=0, alpha=scale)


STEPS = Steps(norm=kernels.norm, norm_back=kernels.norm_back, added=_added, product=_product)
"""What is done between matrix products, in a GPU's own kernels."""


def cheaper(module: Any, steps: Steps) -> Callable[..., Any] | None:
    """The forward of a module of a model that takes packed rows on a GPU; None where nothing is known here."""
    if type(module) in _ROTARY:
        return lambda x, position_ids: _angles(*type(module).forward(module, x, position_ids))
    if type(module) in _ATTENTION and module.config._attn_implementation == attention.NAME:
        return lambda hidden_states, **options: _attended(module, hidden_states, **options)
    if type(module) in _MLP and module.config.hidden_act == "silu" and all(map(_is_frozen, module.children())):
        return lambda x: _Mlp.apply(x, module.gate_proj.weight, module.up_proj.weight, module.down_proj.weight, steps)
    return None


def _is_frozen(child: nn.Module) -> bool:
    """A dense layer without a bias and without a gradient; or what has no weights."""
    dense = type(child) is nn.Linear and child.bias is None and not child.weight.requires_grad
    return dense or next(child.parameters(), None) is None


def _angles(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """[l, 1, d] of a packed row's [1, l, d], the first half of the sine negated: made once for all layers."""
    half = sin.shape[-1] // 2
    return cos[0, :, None], torch.cat((-sin[0, :, :half], sin[0, :, half:]), -1)[:, None]


def _attended(module: Any, hidden: Tensor, *, position_embeddings: tuple[Tensor, Tensor], layout: attention.Layout, **_: Any) -> Any:
    """An attention layer on a packed row [1, l, h], heads staying where projections leave them: [l, heads, d]."""
    query, key, value = (side(hidden).view(hidden.shape[1], -1, module.head_dim) for side in (module.q_proj, module.k_proj, module.v_proj))
    query, key = _Rotated.apply(query, key, *position_embeddings)
    window = module.config.sliding_window if type(module) is modeling_mistral.MistralAttention else None
    found = attention.rows_attention(query, key, value, attention.Pattern(layout, module.scaling, window))
    return module.o_proj(found.reshape(1, len(found), -1)), None


class _Rotated(torch.autograd.Function):
    """Rotary embeddings (Su et al., arXiv 2104.09864) of queries and keys [l, heads, d] by `_angles`: x cos + (x, halves exchanged) sin."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        return _turned(query, cos, sin, 1), _turned(key, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(query, cos, sin, -1), _turned(key, cos, sin, -1), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    """Rotated forward (1) or back (-1)."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin, value=way)


class _Mlp(torch.autograd.Function):
    """down(silu(gate(x)) * up(x)), all weights frozen; only what gate and up gave is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, up: Tensor, down: Tensor, steps: Steps) -> Tensor:
        opened, lifted = F.linear(x, gate), F.linear(x, up)
        ctx.save_for_backward(opened, lifted, gate, up, down)
        ctx.steps = steps
        return F.linear(steps.gated(opened, lifted), down)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        opened, lifted, gate, up, down = ctx.saved_tensors
        d_opened, d_lifted = ctx.steps.gated_back(torch.matmul(grad, down), opened, lifted)
        flat = torch.mm(d_opened.flatten(0, -2), gate)
        return flat.addmm_(d_lifted.flatten(0, -2), up).view(*grad.shape[:-1], -1), None, None, None, None
