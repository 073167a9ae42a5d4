"""How much memory a training takes, from shapes alone: no torch, nothing loaded."""

from __future__ import annotations

from dataclasses import dataclass

from olora_bench.config.schema import Experiment

_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "auto": 4.0}
_QUANTISED_BYTES = {"nf4": 0.55, "int8": 1.05}
_LOGITS = 4 << 25  # `models.head.LOGITS_AT_ONCE` numbers in fp32
_PASSING = 6  # tensors of a layer's widest step that exist for a moment, in fp32
_SHORTEST_BUDGET = 64


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes at the peak of a training step, by what holds them.

    Attributes:
        weights: the frozen base.
        adapter: A and B in fp32, their gradients and AdamW's two moments.
        activations: what the backward pass needs of `token_budget` tokens.
        logits: of the positions read at a time, with the LM head in fp32 on a CPU.
    """

    weights: float
    adapter: float
    activations: float
    logits: float

    @property
    def above_base(self) -> float:
        """All but the frozen base."""
        return self.adapter + self.activations + self.logits

    @property
    def total(self) -> float:
        return self.weights + self.above_base


def adapter_parameters(experiment: Experiment) -> int:
    """Trainable parameters of A and B, from the model's shapes."""
    model = experiment.model
    return model.layers * experiment.rank * sum(sum(model.shapes[name]) for name in model.target_modules)


def training_memory(experiment: Experiment, *, on_gpu: bool, token_budget: int | None = None) -> TrainingMemory:
    """The memory of a training step of `experiment`.

    A layer keeps each projection's output, its two norms' inputs and what the adapter sees; with gradient checkpointing its input alone,
    and one layer at a time the rest.

    Args:
        token_budget: tokens in a forward pass; None takes `machine.train_token_budget`.
    """
    model, machine = experiment.model, experiment.machine
    number = _BYTES[experiment.precision]
    tokens = token_budget or machine.train_token_budget
    outputs = sum(out for out, _ in model.shapes.values()) + 4 * model.hidden_size
    widest = max(max(shape) for shape in model.shapes.values())
    layer = tokens * (outputs * number + 4 * experiment.rank * len(model.target_modules))
    kept = model.layers * tokens * model.hidden_size * number + layer if machine.gradient_checkpointing else model.layers * layer
    head = model.vocab_size * model.hidden_size * 4 if not on_gpu and experiment.precision != "fp32" else 0
    logits = min(_LOGITS, 4 * tokens * model.vocab_size)
    return TrainingMemory(
        weights=model.parameters * (_QUANTISED_BYTES[model.quantization] if model.quantization else number),
        adapter=16 * adapter_parameters(experiment),
        activations=kept + 4 * _PASSING * tokens * widest,
        logits=head + logits + 4 * tokens * model.hidden_size,
    )


def fitting_budget(experiment: Experiment, free_bytes: float, *, on_gpu: bool) -> int | None:
    """The largest token budget, `machine.train_token_budget` halved as often as it takes, whose training fits beside the loaded base in
    `free_bytes`; None where even the shortest does not."""
    budget = experiment.machine.train_token_budget
    while training_memory(experiment, on_gpu=on_gpu, token_budget=budget).above_base > free_bytes:
        if budget // 2 < _SHORTEST_BUDGET:
            return None
        budget //= 2
    return budget
