"""How much memory a training takes, from shapes alone: no torch, nothing loaded."""

from __future__ import annotations

from dataclasses import dataclass

from olora_bench.config.schema import PLAIN_FAMILIES, Experiment, Machine

_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "auto": 4.0}
_QUANTISED_BYTES = {"nf4": 0.55, "int8": 1.05}
_LOGITS = 4 << 25  # `models.head.LOGITS_AT_ONCE` numbers in fp32
_GPU_LOGITS = 2.5  # so many times that on a GPU: logits, their logarithms, and the gradient in the weight's dtype
_PASSING = 6  # tensors of a layer's widest step that exist for a moment, in fp32
_SCORES = 4  # tensors of all pairs of tokens that attention's backward pass on a CPU holds for a moment, in fp32
_NARROWEST_HEAD = 64
_SCORED = 8  # tensors of a layer's widest step that a forward pass of scoring holds, in fp32
_MASK_PAIRS = 1024  # bytes a token and query head of scoring: the mask's row, of tries behind a shared beginning
SHORTEST_BUDGET = 64
"""Tokens in a forward pass below which it is not halved."""
BUDGETS = {False: (2048, 2048), True: (16384, 65536)}
"""Whether on a GPU -> tokens in a forward pass of training and of scoring, where `machine` names none. A processor is busy with a few
thousand; a GPU idles between passes."""


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


def token_budgets(machine: Machine, *, on_gpu: bool) -> tuple[int, int]:
    """Tokens in a forward pass of training and of scoring, before memory lowers them."""
    train, evaluate = BUDGETS[on_gpu]
    return machine.train_token_budget or train, machine.eval_token_budget or evaluate


def adapter_parameters(experiment: Experiment) -> int:
    """Trainable parameters of A and B, from the model's shapes."""
    model = experiment.model
    return model.layers * experiment.rank * sum(sum(model.shapes[name]) for name in model.target_modules)


def training_memory(experiment: Experiment, *, on_gpu: bool, token_budget: int | None = None, longest: int | None = None) -> TrainingMemory:
    """The memory of a training step of `experiment`.

    With gradient checkpointing a layer keeps its input alone, and one layer at a time the rest.

    Args:
        token_budget: tokens in a forward pass; None takes that of `token_budgets`.
        longest: tokens of the longest example, which is never cut in two: a forward pass holds at least so many. None takes `data.cutoff`.
    """
    model, machine = experiment.model, experiment.machine
    number = _BYTES[experiment.precision]
    longest = longest or experiment.data.cutoff
    read = max(longest, token_budget or token_budgets(machine, on_gpu=on_gpu)[0])
    tokens = min(read, experiment.recipe.batch_size * longest)  # an optimiser batch has no more; part losses are read without a gradient
    layer = tokens * _kept(experiment, on_gpu=on_gpu)
    kept = model.layers * tokens * model.hidden_size * number + layer if machine.gradient_checkpointing else model.layers * layer
    head = model.vocab_size * model.hidden_size * 4 if not on_gpu and experiment.precision != "fp32" else 0
    logits = min(_LOGITS, 4 * tokens * model.vocab_size) * (_GPU_LOGITS if on_gpu else 1)
    if model.family not in PLAIN_FAMILIES:  # a batch's logits are whole, with their softmax and gradient
        logits = 4 * max(logits, 4 * longest * model.vocab_size)
    projections = model.layers * sum(out * inside for out, inside in model.shapes.values())
    return TrainingMemory(
        # Embeddings and the LM head are never quantised.
        weights=projections * _QUANTISED_BYTES.get(model.quantization or "", number) + (model.parameters - projections) * number,
        adapter=16 * adapter_parameters(experiment),
        activations=max(kept + _passing(experiment, tokens, longest, on_gpu=on_gpu), _passing(experiment, read, longest, on_gpu=True)),
        logits=head + logits + 4 * tokens * model.hidden_size,
    )


def _kept(experiment: Experiment, *, on_gpu: bool) -> float:
    """Bytes a token that a layer keeps for the backward pass: each projection's output, its norms' inputs, what the adapter sees."""
    model, number = experiment.model, _BYTES[experiment.precision]
    targets = [model.shapes[name] for name in model.target_modules]
    known = on_gpu and model.family in ("llama", "mistral")  # `models.fused_gpu`, as one GPU showed; elsewhere something more
    numbers = sum(out for out, _ in model.shapes.values()) + (2 if known else 4) * model.hidden_size
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
    """The largest token budget, that of `token_budgets` halved as often as it takes, whose training fits beside the loaded base in
    `free_bytes`; None where even the shortest does not. `longest` as for `training_memory`."""
    budget = token_budgets(experiment.machine, on_gpu=on_gpu)[0]
    while training_memory(experiment, on_gpu=on_gpu, token_budget=budget, longest=longest).above_base > free_bytes:
        if budget // 2 < SHORTEST_BUDGET:
            return None
        budget //= 2
    return budget


def scoring_memory(experiment: Experiment, tokens: int) -> float:
    """Bytes beside the loaded base of scoring `tokens` at a time: a layer's widest step, attention's masks, the logits that are read, and
    where answers are written the keys and values of all layers."""
    model, number = experiment.model, _BYTES[experiment.precision]
    wide = _SCORED * 4 * max(max(shape) for shape in model.shapes.values())
    heads = model.shapes["q_proj"][0] / _NARROWEST_HEAD if "q_proj" in model.shapes else 0.0
    kept = sum(model.shapes[name][0] for name in ("k_proj", "v_proj") if name in model.shapes) * model.layers * number
    answers = kept if experiment.suite.generation is not None else 0.0
    return tokens * (wide + _MASK_PAIRS * heads + answers) + _GPU_LOGITS * _LOGITS


def scoring_budget(experiment: Experiment, free_bytes: float, *, on_gpu: bool) -> int:
    """The largest token budget of scoring, that of `token_budgets` halved as often as it takes, that fits beside the loaded base; the
    shortest where none does."""
    budget = token_budgets(experiment.machine, on_gpu=on_gpu)[1]
    while scoring_memory(experiment, budget) > free_bytes and budget // 2 >= SHORTEST_BUDGET:
        budget //= 2
    return budget
