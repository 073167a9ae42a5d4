"""What an adapter is made of, at the start and at the end of training: orthonormality, energy, subspaces, conditioning, distance."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch
from peft.tuners.lora import LoraLayer
from pydantic import JsonValue
from torch import Tensor

from olora_bench.config import Experiment
from olora_bench.config.memory import token_budgets
from olora_bench.data import Example, batch_order, packs
from olora_bench.inits._layers import layers
from olora_bench.models import Base, LmHead, PackedRows, original, read_weight, seeded, token_nll
from olora_bench.models.memory import Budget

_METRICS = ("a_norm", "b_norm", "b_off_orthonormal", "energy_share", "overlap_left", "overlap_right", "a_condition", "b_condition")
_OVERSAMPLED = 8


@dataclass(frozen=True)
class Spread:
    """A figure over the layers of an adapter."""

    mean: float
    min: float
    max: float


@dataclass
class Anatomy:
    """Collects the facts of one run. Every figure is the mean, least and greatest over the adapter's layers:

    a_norm, b_norm: |A|, |B|, Frobenius.
    b_off_orthonormal: |B^T B - I| / sqrt(r), Frobenius; 0 is orthonormal.
    energy_share: |s B A|^2 / |W|^2, W the untouched base's weight.
    overlap_left: |U^T Q|^2 / r in [0, 1], U the top-r left singular vectors of W and Q an orthonormal basis of B's columns;
        overlap_right: the same of A's rows and the right ones. U and V come from a randomised SVD (Halko et al., 2 iterations).
    a_condition, b_condition: greatest by least singular value.
    travelled: |A - A_0|, |B - B_0|, and the same by |A_0|, |B_0|; product: |s (B A - B_0 A_0)|, which does not depend on how the
        product is split between the two.

    What is not defined is null, and `why_null` says why. `seconds` is what the measuring took.
    """

    figures: dict[str, dict[str, Spread | None]] = field(default_factory=dict)
    first_step: dict[str, float | None] = field(default_factory=dict)
    why_null: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    starts: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    tops: list[tuple[Tensor, Tensor, float]] = field(default_factory=list)

    def facts(self) -> dict[str, JsonValue]:
        """All of it as the record keeps it: figures by stage (start, end, travelled), `step_0`, `why_null` and `seconds`."""
        stages: dict[str, JsonValue] = {
            stage: {key: None if spread is None else asdict(spread) for key, spread in found.items()}
            for stage, found in self.figures.items()
        }
        return {"why_null": {**self.why_null}, "seconds": self.seconds, "step_0": {**self.first_step}, **stages}

    @torch.no_grad()
    def start(self, base: Base, model: torch.nn.Module, changed: Sequence[str]) -> None:
        """Measure the adapter as the init left it; keeps copies of A, B and W's top subspaces (all of the adapter's size) on the CPU."""
        began = time.perf_counter()
        moved = set(changed)
        with seeded(0, base.device):
            for name, layer in layers(model):
                b, a = _factors(layer)
                self.starts.append((b.cpu().clone(), a.cpu().clone()))
                if f"{name}.weight" in moved:
                    weight = next(original(base, [f"{name}.weight"]))[1].float()
                else:
                    weight = read_weight(layer.get_base_layer())
                rank = b.shape[1]
                u, _, v = torch.svd_lowrank(weight, q=min(rank + _OVERSAMPLED, *weight.shape), niter=2)
                self.tops.append((u[:, :rank].cpu(), v[:, :rank].cpu(), weight.norm().item()))
        self._measure("start", model)
        self.seconds += time.perf_counter() - began

    @torch.no_grad()
    def end(self, model: torch.nn.Module) -> None:
        """Measure the trained adapter, and how far A and B have come."""
        began = time.perf_counter()
        self._measure("end", model)
        found: dict[str, list[float]] = {"a": [], "b": [], "a_relative": [], "b_relative": [], "product": []}
        for (_, layer), before in zip(layers(model), self.starts, strict=True):
            found["product"].append(layer.scaling["default"] * _product_distance(_factors(layer), before))
            for key, now, then in zip("ba", _factors(layer), before, strict=True):
                distance, length = (now.cpu() - then).norm().item(), then.norm().item()
                found[key].append(distance)
                found[f"{key}_relative"].append(distance / length if length else math.inf)
        self.figures["travelled"] = self._summary("travelled", found)
        self.seconds += time.perf_counter() - began

    def _measure(self, stage: str, model: torch.nn.Module) -> None:
        found: dict[str, list[float]] = {key: [] for key in _METRICS}
        for (_, layer), (u, v, norm) in zip(layers(model), self.tops, strict=True):
            b, a = (factor.double().cpu() for factor in _factors(layer))
            gram_b, gram_a = b.T @ b, a @ a.T
            rank = len(gram_b)
            found["a_norm"].append(math.sqrt(gram_a.trace().item()))
            found["b_norm"].append(math.sqrt(gram_b.trace().item()))
            found["b_off_orthonormal"].append(((gram_b - torch.eye(rank, dtype=torch.float64)).norm() / math.sqrt(rank)).item())
            energy = layer.scaling["default"] ** 2 * (gram_b * gram_a).sum().item()
            found["energy_share"].append(energy / norm**2 if norm else math.inf)
            found["overlap_left"].append(_overlap(u.double(), b))
            found["overlap_right"].append(_overlap(v.double(), a.T))
            found["a_condition"].append(_condition(gram_a))
            found["b_condition"].append(_condition(gram_b))
        self.figures[stage] = self._summary(stage, found)

    def _summary(self, stage: str, found: dict[str, list[float]]) -> dict[str, Spread | None]:
        summary: dict[str, Spread | None] = {}
        for key, values in found.items():
            bad = sum(not math.isfinite(value) for value in values)
            if bad:
                summary[key] = None
                self.why_null[f"{stage}.{key}"] = f"not finite in {bad} of {len(values)} layers (a factor is 0 or dependent)"
            else:
                summary[key] = Spread(math.fsum(values) / len(values), min(values), max(values))
        return summary

    def step_0(self, base: Base, model: torch.nn.Module, batch: Sequence[Example], experiment: Experiment, untouched: float) -> None:
        """Loss and gradient norms of the first optimiser batch before any update, beside the loss of the untouched base."""
        began = time.perf_counter()
        # fp16 gradients of a mean loss underflow.
        scale = 2.0**16 if base.dtype is torch.float16 else 1.0
        loss = batch_loss(base, model, batch, experiment, backward=scale)
        squares = {"a": 0.0, "b": 0.0}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                if "lora_A" in name or "lora_B" in name:
                    squares["a" if "lora_A" in name else "b"] += (parameter.grad.double().norm().item() / scale) ** 2
                parameter.grad = None
        measured = {"loss": loss, "grad_norm_a": math.sqrt(squares["a"]), "grad_norm_b": math.sqrt(squares["b"])}
        measured |= {"grad_norm": math.sqrt(squares["a"] + squares["b"]), "loss_untouched_base": untouched}
        self.first_step = {key: value if math.isfinite(value) else None for key, value in measured.items()}
        for key, value in measured.items():
            if not math.isfinite(value):
                self.why_null[f"step_0.{key}"] = "not finite"
        self.seconds += time.perf_counter() - began


def first_batch(examples: Sequence[Example], experiment: Experiment) -> list[Example]:
    """The examples of the run's first optimiser step."""
    order = batch_order(len(examples), seed=experiment.seed, steps=1, batch_size=experiment.recipe.batch_size)
    return [examples[i] for i in order[0]]


def batch_loss(
    base: Base, model: torch.nn.Module, batch: Sequence[Example], experiment: Experiment, *, backward: float | None = None
) -> float:
    """Mean loss in nats per supervised token, without dropout; `backward` times its gradient is left in the parameters."""
    count = max(1, sum(int(example.supervised[1:].sum()) for example in batch))
    head = LmHead.of(model)
    budget = Budget(token_budgets(experiment.machine, on_gpu=base.device.type == "cuda")[0], base.device)

    def read() -> float:
        total = 0.0
        for row in packs(batch, budget.tokens):
            nll = token_nll(model, row.to(base.device), head).sum() / count
            if backward is not None:
                (nll * backward).backward()
            total += nll.item()
        return total

    with torch.set_grad_enabled(backward is not None), PackedRows(model):
        return budget.fitting(read, undo=model.zero_grad)


def _factors(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    return layer.lora_B["default"].weight.detach(), layer.lora_A["default"].weight.detach()


def _product_distance(now: tuple[Tensor, Tensor], then: tuple[Tensor, Tensor]) -> float:
    """|B A - B_0 A_0|, Frobenius, from 2r x 2r products: the change is (B - B_0) A + B_0 (A - A_0)."""
    (b, a), (b_0, a_0) = ([factor.double().cpu() for factor in pair] for pair in (now, then))
    left, right = torch.cat([b - b_0, b_0], dim=1), torch.cat([a, a - a_0])
    return math.sqrt(max(0.0, ((left.T @ left) * (right @ right.T)).sum().item()))


def _overlap(top: Tensor, columns: Tensor) -> float:
    if not columns.any() or not columns.isfinite().all():
        return math.nan
    q, _ = torch.linalg.qr(columns)
    return ((top.T @ q).square().sum() / q.shape[1]).item()


def _condition(gram: Tensor) -> float:
    if not gram.isfinite().all():
        return math.nan
    values = torch.linalg.eigvalsh(gram)
    return math.sqrt(values[-1] / values[0]) if values[0] > 0 else math.inf
