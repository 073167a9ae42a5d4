"""An adapter on the base: made from a seed of its own, measured, saved, and taken off again without a trace."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, TypedDict

import safetensors.torch
import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import JsonValue
from safetensors import SafetensorError
from torch import Tensor, nn

from olora_bench.config import Experiment
from olora_bench.config.own_inits import SHIPPED, file_of, offered_module
from olora_bench.data import Example
from olora_bench.errors import BadInput, RecordError
from olora_bench.formats import read_regular
from olora_bench.inits._anatomy import Anatomy, batch_loss, first_batch
from olora_bench.inits._layers import check_shapes, layers
from olora_bench.models import Base, differing, restore, seeded
from olora_bench.seeds import derive

_RESTORE = "To train it again: python -m olora_bench.study retry STUDY, or move the record.json beside it away and run again"

Examples = Callable[[], list[Example]]
"""Gives the train part, for inits that learn from data."""


NOT_RECREATED = "changed the base in a way that PEFT does not repeat when it loads an adapter"


class ParamGroup(TypedDict):
    """Parameters of AdamW with a peak learning rate of their own."""

    params: list[nn.Parameter]
    lr: float


@dataclass(frozen=True)
class Adapted:
    """A base with an adapter on it. Only the adapter is trainable, and it is fp32.

    Attributes:
        base, model: the loaded base, and PEFT's model around it.
        param_groups: AdamW's, each with its own peak `lr`.
        seconds: what the init took.
        changed: the names of the base parameters that the init changed.
        scale: s of W + s B A, equal in all layers.
        anatomy: there where it was asked for.
    """

    base: Base
    model: PeftModel
    param_groups: list[ParamGroup]
    seconds: float
    changed: tuple[str, ...]
    scale: float
    anatomy: Anatomy | None

    @property
    def parameters_trainable(self) -> int:
        """Numbers that training moves."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    @property
    def parameters_total(self) -> int:
        """All numbers of the model, the adapter's included; a 4-bit weight counts as what it stands for."""
        return sum(math.prod(p.quant_state.shape) if hasattr(p, "quant_state") else p.numel() for p in self.model.parameters())

    def train_mode(self, training: bool) -> None:
        """Switch the adapter's dropout. The frozen base stays in evaluation mode: its own (OPT has some) is not part of any recipe."""
        for module in self._layers:
            if module.training != training:
                module.train(training)
                module.get_base_layer().eval()

    @cached_property
    def _layers(self) -> list[Any]:
        return [module for module in self.model.modules() if isinstance(module, BaseTunerLayer)]

    def to_bytes(self) -> bytes:
        """A and B as safetensors under PEFT's own names."""
        tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in self._state().items()}
        return safetensors.torch.save(tensors)

    def load(self, path: Path, sha256: str | None = None) -> None:
        """Put the A and B of `path` into this adapter, which must have come from the same experiment.

        Args:
            sha256: of the file, as its run's record has it; None where no record names it.

        Raises:
            RecordError: the file is damaged, cut short or foreign, or belongs to another adapter.
        """
        try:
            content = read_regular(path)
            if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
                raise RecordError(f"{path}: damaged: its record says another SHA-256. {_RESTORE}")
            tensors = safetensors.torch.load(content)
        except (OSError, SafetensorError) as error:
            raise RecordError(f"{path} is no adapter that can be read: {error}. {_RESTORE}") from error
        own = self._state()
        wrong = sorted(set(own) ^ set(tensors)) or [key for key in own if own[key].shape != tensors[key].shape]
        if wrong:
            raise RecordError(
                f"{path} belongs to another adapter: {wrong[0]} does not fit ({len(wrong)} of {len(own)} tensors). {_RESTORE}"
            )
        with torch.no_grad():
            for key, tensor in own.items():
                tensor.copy_(tensors[key])

    @property
    def recreated_by_peft(self) -> bool:
        """Whether PEFT makes the same base again when it loads the saved adapter: untouched, or changed by an init that it repeats."""
        return not self.changed or self.model.peft_config["default"].init_lora_weights in ("olora", "pissa")

    def measured(self) -> dict[str, JsonValue]:
        """What the record keeps of the init: its seconds, how many base weights it changed, its scale, the base's kind of
        weights, and the anatomy at start and now."""
        found: dict[str, JsonValue] = {"seconds": self.seconds, "changed_base_weights": len(self.changed)}
        found |= {"scale": self.scale, "base_weights": self.base.weights}
        if self.anatomy is not None:
            self.anatomy.end(self.model)
            found["anatomy"] = self.anatomy.facts()
        return found

    def remove(self) -> None:
        """Take the adapter off and leave the base bit for bit as loaded. This object is of no use afterwards."""
        strip(self.base.model)  # first: `restore` names parameters as they are without an adapter
        restore(self.base, self.changed)

    def _state(self) -> dict[str, Tensor]:
        # PEFT would otherwise ask the Hub whether the vocabulary was changed.
        state: dict[str, Tensor] = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return state


def apply(base: Base, experiment: Experiment, examples: Examples | None = None, *, measure: bool = False) -> Adapted:
    """Put the adapter of `experiment` on the base, in place. Random draws come from the seed's own stream; global generators do not move.

    The init's module has `adapt(base, experiment, seed) -> PeftModel`; one that learns from data takes a fourth argument,
    the examples of the train part.

    Args:
        examples: gives the train part, for an init that learns from it and for measuring. Its time is not counted as the init's.
        measure: measure the adapter's anatomy: the loss of the first batch before and after the init, and what A and B are made of.

    Raises:
        BadInput: the init refuses its options. The base is then as it was.
    """
    seed = derive(experiment.seed, "adapter")
    adapt = _prepared(base, experiment, seed, examples)
    anatomy, batch, untouched = None, [], math.nan
    if measure and examples is not None:
        anatomy, batch = Anatomy(), first_batch(examples(), experiment)
        untouched = batch_loss(base, base.model, batch, experiment)
    start = time.perf_counter()
    try:
        with seeded(seed, base.device):
            model = adapt()
        _check(model, experiment)
        _own_memory(model)
    except BaseException:
        # How far the init came is not known, so the whole wrapped part is compared with the file; Ctrl-C must leave the base whole too.
        restore(base, differing(base, strip(base.model)))
        raise
    seconds = time.perf_counter() - start
    model.eval()
    # By bits and not by what the init says of itself: what is missed here would stay in the base of every later run.
    changed = differing(base, (name for name, _ in _wrapped(base.model)))
    if anatomy is not None:
        anatomy.start(base, model, changed)
        anatomy.step_0(base, model, batch, experiment, untouched)
    scale = next(layer.scaling["default"] for _, layer in layers(model))
    adapted = Adapted(base, model, groups(model, experiment), seconds, changed, scale, anatomy)
    if "adapter" in experiment.exportable and not adapted.recreated_by_peft:
        adapted.remove()
        raise BadInput(f"exportable names adapter: init={experiment.init.name} {NOT_RECREATED}. Use exportable=[lora], or [merged]")
    return adapted


def _check(model: object, experiment: Experiment) -> None:
    """Refuse what is no adapter of the experiment's rank.

    Raises:
        BadInput: names the init and what it made.
    """
    found = list(layers(model)) if isinstance(model, PeftModel) else []
    if not found:
        made = "a PeftModel without a LoRA layer" if isinstance(model, PeftModel) else f"{type(model).__name__}"
        raise BadInput(f"init={experiment.init.name}: adapt returns {made}. It must return PEFT's model around base.model, as `fill` does")
    for name, layer in found:
        check_shapes(name, layer, layer.lora_B["default"].weight, layer.lora_A["default"].weight)


def _own_memory(model: nn.Module) -> None:
    """Give what is trained memory of its own: an init may make A or B as a view of a weight (`weight[:r]`), and training would then move
    the base, or of one tensor for two layers, and one would move the other."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)


def _prepared(base: Base, experiment: Experiment, seed: int, examples: Examples | None) -> Callable[[], PeftModel]:
    """The init's `adapt` with all that it takes; the train part is made here, before the init's own time begins."""
    adapt = _code(experiment.init.module)
    if "examples" not in inspect.signature(adapt).parameters:
        return partial(adapt, base, experiment, seed)
    if examples is None:
        raise BadInput(f"init={experiment.init.name} learns from training examples, and none are given here")
    return partial(adapt, base, experiment, seed, examples())


def _code(module: str) -> Callable[..., PeftModel]:
    """The init's `adapt`. Here its code runs, and nowhere before.

    Raises:
        BadInput: the user's own file cannot be imported, or has none.
    """
    file = file_of(module)
    try:
        if file.parent == SHIPPED:
            found: Any = importlib.import_module(f"olora_bench.inits.{module}")
        elif (installed := offered_module(module)) is not None:
            found = importlib.import_module(installed)
        else:
            found = _imported(module, file, file.stat().st_mtime_ns)
        adapt: Callable[..., PeftModel] = found.adapt
    except Exception as error:  # the user's code
        raise BadInput(
            f"init {file} cannot be used: {type(error).__name__}: {error}. It must import, and have adapt(base, experiment, seed)"
        ) from error
    return adapt


@cache
def _imported(module: str, file: Path, changed_ns: int) -> Any:
    spec = importlib.util.spec_from_file_location(f"olora_bench_own_{module}", file)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # where dataclasses and pickle look for it
    spec.loader.exec_module(found)
    return found


def groups(model: PeftModel, experiment: Experiment) -> list[ParamGroup]:
    """Parameters with the peak learning rate of each: `lr` for A, and `init.lr_ratio` times it for B and one-dimensional ones (DoRA's
    magnitudes), as PEFT's `create_loraplus_optimizer` groups them (Hayou et al., arXiv 2402.12354)."""
    fast: list[nn.Parameter] = []
    slow: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (fast if "lora_B" in name or parameter.ndim == 1 else slow).append(parameter)
    if experiment.init.lr_ratio == 1:
        return [{"params": [p for p in model.parameters() if p.requires_grad], "lr": experiment.lr}]
    return [{"params": slow, "lr": experiment.lr}, {"params": fast, "lr": experiment.lr * experiment.init.lr_ratio}]


def _wrapped(model: nn.Module) -> Iterator[tuple[str, str]]:
    """The base parameters inside adapter layers: their name in the bare model, and now."""
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            for own, _ in module.get_base_layer().named_parameters():
                yield f"{name}.{own}", f"{name}.base_layer.{own}"


def strip(model: nn.Module) -> list[str]:
    """Take every adapter layer of PEFT off `model`, in place; weights are not touched. Returns the names of the parameters they wrapped."""
    names = [bare for bare, _ in _wrapped(model)]
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    return names
