"""Cheaper forward and backward passes of the parts of a frozen model that training goes through, equal to transformers' and PEFT's own.

What autograd would keep and compute for a weight that is trained, or for each small step of a formula, is left out: RMSNorm, the gated
activation and a LoRA layer are one step each, with the gradient written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral

from olora_bench.models import fused_gpu, kernels
from olora_bench.models.compiled import EAGER, Steps


class Fused:
    """Inside, modules of `model` whose mathematics is known here run the cheaper way; others, and all of them outside, their own.

    Which modules those are is found when this is first entered; it can be entered again, for as long as the model is what it was.

    Args:
        checkpointing: decoder layers keep their input alone for the backward pass.
        steps: what is done between matrix products, compiled or not; not compiled a GPU has its own.
    """

    def __init__(self, model: nn.Module, *, checkpointing: bool = False, steps: Steps = EAGER) -> None:
        self.model, self.checkpointing, self.steps = model, checkpointing, steps
        self._forwards: list[tuple[nn.Module, Callable[..., Any]]] | None = None

    def __enter__(self) -> None:
        if self._forwards is None:
            self._forwards = list(self._found())
        for module, forward in self._forwards:
            module.__dict__["forward"] = forward

    def __exit__(self, *_: object) -> None:
        for module, _forward in self._forwards or ():
            del module.__dict__["forward"]

    def _found(self) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
        on_gpu = kernels.on_gpu(next(self.model.parameters()))
        steps = fused_gpu.STEPS if on_gpu and self.steps is EAGER else self.steps
        for module in self.model.modules():
            forward = (fused_gpu.cheaper(module, steps) if on_gpu else None) or _cheaper(module, steps)
            if self.checkpointing and isinstance(module, GradientCheckpointingLayer):
                forward = partial(checkpoint, module.forward, use_reentrant=False)
            if forward is not None:
                yield module, forward


def _cheaper(module: Any, steps: Steps) -> Callable[..., Tensor] | None:
    if type(module) in (modeling_llama.LlamaRMSNorm, modeling_mistral.MistralRMSNorm) and not module.weight.requires_grad:
        return lambda x: _RmsNorm.apply(x, module.weight, module.variance_epsilon, steps)
    if type(module) in (modeling_llama.LlamaMLP, modeling_mistral.MistralMLP) and module.config.hidden_act == "silu":
        return lambda x: module.down_proj(_SwiGlu.apply(module.gate_proj(x), module.up_proj(x), steps))
    if type(module) is LoraLinear and _is_plain(module):
        lora_a, lora_b = module.lora_A["default"].weight, module.lora_B["default"].weight
        frozen = _Frozen(module.base_layer, module.scaling["default"], steps)
        return lambda x: _LoraLinear.apply(x, lora_a, lora_b, frozen)
    return None


def _is_plain(module: LoraLinear) -> bool:
    """One adapter, A and B alone and not dropped out, on a dense frozen layer."""
    return (
        module.active_adapters == ["default"]
        and not module.merged
        and not module.disable_adapters
        and not module.lora_variant
        and type(module.lora_dropout["default"]) is nn.Identity
        and type(module.base_layer) is nn.Linear
        and not module.base_layer.weight.requires_grad
        and module.lora_A["default"].bias is None
        and module.lora_B["default"].bias is None
    )


class _RmsNorm(torch.autograd.Function):
    """y = w * (x / sqrt(mean(x^2) + eps)), the quotient in fp32 and rounded before the product, as in Llama; w is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, steps: Steps) -> Tensor:
        y, scale = steps.norm(x, weight, eps)
        ctx.save_for_backward(x, scale, weight)
        ctx.steps = steps
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.steps.norm_back(grad, *ctx.saved_tensors), None, None, None


class _SwiGlu(torch.autograd.Function):
    """silu(gate) * up; silu(gate) is computed again rather than kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, steps: Steps) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.steps = steps
        return steps.gated(gate, up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return *ctx.steps.gated_back(grad, *ctx.saved_tensors), None


class _Frozen(NamedTuple):
    """What of a LoRA layer has no gradient: the layer that it adapts, and the scale of the adapter's product."""

    linear: nn.Linear
    scale: float
    steps: Steps


class _LoraLinear(torch.autograd.Function):
    """x W^T + bias + scale * (x A^T) B^T with W and bias frozen; the adapter's products in its own dtype, as in PEFT."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor, frozen: _Frozen) -> Tensor:
        linear, scale, steps = frozen
        flat = x.reshape(-1, x.shape[-1])
        low = F.linear(flat.to(a.dtype), a)
        ctx.save_for_backward(x, linear.weight, a, b, low)
        ctx.scale, ctx.steps = scale, steps
        return steps.added(F.linear(flat, linear.weight, linear.bias), F.linear(low, b), scale).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, weight, a, b, low = ctx.saved_tensors
        flat, above = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
        wide = above.to(b.dtype)
        d_low = ctx.steps.product(wide, b, ctx.scale, low)
        d_b = ctx.steps.product(wide.t(), low, ctx.scale, b)
        d_a = torch.mm(d_low.t(), flat.to(a.dtype))
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = ctx.steps.added(torch.mm(above, weight), torch.mm(d_low, a), 1.0).view(x.shape)
        return d_x, d_a, d_b, None
