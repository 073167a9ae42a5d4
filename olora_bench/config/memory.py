"""How much memory a training takes, from shapes alone: no torch, nothing loaded."""

from __future__ import annotations

from dataclasses import dataclass

from olora_bench.config.schema import PLAIN_FAMILIES, Experiment

_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "auto": 4.0}
_QUANTISED_BYTES = {"nf4": 0.55, "int8": 1.05}
_LOGITS = 4 << 25  # `models.head.LOGITS_AT_ONCE` numbers in fp32
_PASSING = 6  # tensors of a layer's widest step that exist for a moment, in fp32
_SCORES = 4  # tensors of all pairs of tokens that attention's backward pass on a CPU holds for a moment, in fp32
_NARROWEST_HEAD = 64
SHORTEST_BUDGET = 64
"""Tokens in a forward pass below which it is not halved."""


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
        """Bytes of the loaded base and of what training takes beside it."""
        return self.weights + self.above_base


def adapter_parameters(experiment: Experiment) -> int:
    """Trainable parameters of A and B, from the model's shapes."""
    model = experiment.model
    return model.layers * experiment.rank * sum(sum(model.shapes[name]) for name in model.target_modules)


def training_memory(experiment: Experiment, *, on_gpu: bool, token_budget: int | None = None, longest: int | None = None) -> TrainingMemory:
    """The memory of a training step of `experiment`.

    With gradient checkpointing a layer keeps its input alone, and one layer at a time the rest.

    Args:
        token_budget: tokens in a forward pass; None takes `machine.train_token_budget`.
        longest: tokens of the longest example, which is never cut in two: a forward pass holds at least so many. None takes `data.cutoff`.
    """
    model, machine = experiment.model, experiment.machine
    number = _BYTES[experiment.precision]
    longest = longest or experiment.data.cutoff
    tokens = max(longest, token_budget or machine.train_token_budget)
    layer = tokens * _kept(experiment, on_gpu=on_gpu)
    kept = model.layers * tokens * model.hidden_size * number + layer if machine.gradient_checkpointing else model.layers * layer
    head = model.vocab_size * model.hidden_size * 4 if not on_gpu and experiment.precision != "fp32" else 0
    logits = min(_LOGITS, 4 * tokens * model.vocab_size)
    if model.family not in PLAIN_FAMILIES:  # a batch's logits are whole, with their softmax and gradient
        logits = 4 * max(logits, 4 * longest * model.vocab_size)
    projections = model.layers * sum(out * inside for out, inside in model.shapes.values())
    return TrainingMemory(
        # Embeddings and the LM head are never quantised.
        weights=projections * _QUANTISED_BYTES.get(model.quantization or "", number) + (model.parameters - projections) * number,
        adapter=16 * adapter_parameters(experiment),
        activations=kept + _passing(experiment, tokens, longest, on_gpu=on_gpu),
        logits=head + logits + 4 * tokens * model.hidden_size,
    )


def _kept(experiment: Experiment, *, on_gpu: bool) -> float:
    """Bytes a token that a layer keeps for the backward pass: each projection's output, its norms' inputs, what the adapter sees."""
    model, number = experiment.model, _BYTES[experiment.precision]
    targets = [model.shapes[name] for name in model.target_modules]
    numbers = sum(out for out, _ in model.shapes.values()) + 4 * model.hidden_size
    numbers += sum(inside for _, inside in targets if inside != model.hidden_size)
    found = numbers * number + 4 * experiment.rank * len(targets)
    if model.family not in ("llama", "mistral", "opt"):  # transformers' own norms, in fp32, and gated activation
        found += 8 * model.hidden_size + number * model.shapes.get("gate_proj", (0, 0))[0]
    # Where an adapter runs PEFT's own way, each keeps its input for itself in fp32, beside what drops it out, and DoRA two outputs.
    dropout, dora = experiment.recipe.dropout > 0, experiment.init.dora
    if dropout or dora or (number < 4 and model.quantization is not None):
        found += sum((4 + (1 if on_gpu else 4) * dropout) * inside for _, inside in targets)
    if dora:
        found += sum(8 * out for out, _ in targets)
    return found


def _passing(experiment: Experiment, tokens: int, longest: int, *, on_gpu: bool) -> float:
    """Bytes that exist for a moment in a layer's backward pass: of its widest step, or of attention where examples are long."""
    shapes = experiment.model.shapes
    wide = _PASSING * tokens * max(max(shape) for shape in shapes.values())
    heads = shapes["q_proj"][0] / _NARROWEST_HEAD if "q_proj" in shapes else 0.0
    pairs = 0.0 if on_gpu else _SCORES * heads * tokens * longest
    return 4 * max(wide, pairs)


def fitting_budget(experiment: Experiment, free_bytes: float, *, on_gpu: bool, longest: int | None = None) -> int | None:
    """The largest token budget, `machine.train_token_budget` halved as often as it takes, whose training fits beside the loaded base in
    `free_bytes`; None where even the shortest does not. `longest` as for `training_memory`."""
    budget = experiment.machine.train_token_budget
    while training_memory(experiment, on_gpu=on_gpu, token_budget=budget, longest=longest).above_base > free_bytes:
        if budget // 2 < SHORTEST_BUDGET:
            return None
        budget //= 2
    return budget
