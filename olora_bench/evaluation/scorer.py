"""The language model that lm-eval talks to: same tokens and same numbers as its HFLM, from one pass over what an item's choices share."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import resolve_max_length
from lm_eval.utils import simple_parse_args_string
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from olora_bench.data.encoding import encode_requests, fit
from olora_bench.errors import BadInput
from olora_bench.evaluation.logprobs import continuation_logprobs, token_count
from olora_bench.evaluation.prompts import plan_of
from olora_bench.evaluation.tree_attention import why_not
from olora_bench.evaluation.trie import Plan
from olora_bench.models import special_tokens
from olora_bench.models.causal import causal_model
from olora_bench.models.memory import Budget
from olora_bench.process.progress import Progress, say

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# How much slower an attention's operation is taken to run than a matrix product's: an estimate, only for choosing between two exact ways.
_ATTENTION_SLOWNESS = 3.0
_ARGUMENTS = ("pretrained", "tokenizer", "device", "token_budget", "dtype", "peft", "cache_dir")
_FOLDERS: dict[str, tuple[str, str | None]] = {
    "pretrained": ("a model", "config.json"),
    "tokenizer": ("a tokenizer", None),
    "peft": ("an adapter", "adapter_config.json"),
}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
Item = tuple[str | None, int | None]


@register_model("olora_bench")
class Scorer(LM):
    """lm-eval's interface to a transformers or PEFT model.

    Requests of an item become a token trie (`trie`), run with a tree mask (`tree_attention`); a beginning that all items of a task share is
    run once. A model for which that is not known to be exact goes lm-eval's own way, and says so in `notes`.

    Special tokens stand as in training: BOS in front, also where a prompt is cut, and EOS nowhere.

    Attributes:
        special: where the tokenizer puts special tokens.
        budget: tokens in one forward pass.
        truncated: (lm-eval task, document) of items of which some prompt lost its beginning.
        empty: the same of items of which some choice adds no token.
        merged: the same of items of which some prompt has other tokens alone than with the choice after it.
        notes: what a reader of the scores should know about how they were made.
        tokens: tokens that went through the model so far, padding left out.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: torch.device | str = "cpu",
        token_budget: int = 4096,
        cache_dir: Path | str | None = None,
    ) -> None:
        """Score `model` as it is.

        Args:
            token_budget: tokens in one forward pass; lowered when memory runs out.
            cache_dir: where tokenised prompts are kept; None keeps none.

        Raises:
            BadInput: a tokenizer without BOS and without EOS, or one that puts special tokens where they cannot stand.
        """
        super().__init__()
        if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
            raise BadInput(
                f"{type(tokenizer).__name__} has neither a BOS nor an EOS token, one of which must stand in for an empty context. "
                "Set tokenizer.bos_token or tokenizer.eos_token"
            )
        self.model, self.tokenizer, self.special = model, tokenizer, special_tokens(tokenizer)
        self._device = torch.device(device)
        self.budget = Budget(token_budget, self._device)
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self.max_length = resolve_max_length(model.config, tokenizer)
        self.truncated: set[Item] = set()
        self.empty: set[Item] = set()
        self.merged: set[Item] = set()
        self.tokens = 0
        self._why_not = why_not(model)
        self.notes = [] if self._why_not is None else [f"scored in lm-eval's own way, which is slower: {self._why_not}"]
        if self.special.ends:
            self.notes.append(f"the tokenizer puts {tokenizer.eos_token} after every text; it is left out here, where lm-eval keeps it")
        self._hflm: HFLM | None = None

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> Scorer:
        """lm-eval's command line: `create_from_arg_obj` of `key=value,...`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None) -> Scorer:
        """The scorer that lm-eval's `--model_args` ask for.

        Args:
            arg_dict: `pretrained`, the folder of a model; `tokenizer` and `peft`, the folders of another tokenizer and of an adapter;
                `dtype`: auto, float32, bfloat16 or float16; `device`, `token_budget` and `cache_dir` as for the constructor.
            additional_config: lm-eval's own: `device`, and batch sizes, for which there is `token_budget`.

        Raises:
            BadInput: an unknown argument, no `pretrained`, one that leads to nothing that loads, or as for the constructor.
        """
        given = arg_dict | {key: value for key, value in (additional_config or {}).items() if value is not None}
        if unknown := sorted(given.keys() - {*_ARGUMENTS, "batch_size", "max_batch_size"}):
            raise BadInput(f"model argument {', '.join(unknown)} is unknown. Allowed: {', '.join(_ARGUMENTS)}")
        if "pretrained" not in given:
            raise BadInput("model argument pretrained is missing: give the folder of a model")
        own, device = {key: given[key] for key in ("token_budget", "cache_dir") if key in given}, _device(given.get("device"))
        _check_folders(given)
        named = "tokenizer" if "tokenizer" in given else "pretrained"
        with _refused(named, given[named], "a tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(str(given[named]))
        model = _loaded(str(given["pretrained"]), given.get("dtype", "auto"), given.get("peft"))
        return cls(model.to(device), tokenizer, device=device, **own)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy) of each request's continuation, as lm-eval's HFLM computes them.

        A prompt that does not fit `max_length` loses its beginning, but not BOS, which HFLM cuts too.
        """
        plans, members = self._plans(requests)
        for plan, indices in zip(plans, members, strict=True):
            for flags, noted in ((plan.cut, self.truncated), (plan.empty, self.empty), (plan.merged, self.merged)):
                noted |= {(requests[indices[k]].task_name, requests[indices[k]].doc_id) for k in np.flatnonzero(flags)}
        if self._why_not is not None:
            return self._as_lm_eval(requests)
        self.model.eval()
        answers: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        with Progress("score", token_count(plans), unit="tokens") as progress:
            found = continuation_logprobs(self.model, plans, budget=self.budget, on_tokens=progress.advance)
        self.tokens += token_count(plans)
        for values, indices in zip(found, members, strict=True):
            for value, i in zip(values, indices, strict=True):
                answers[i] = value
        return answers

    def _plans(self, requests: list[Instance]) -> tuple[list[Plan], list[list[int]]]:
        """One plan a task, and the requests that it is of."""
        tasks: dict[str | None, list[int]] = {}
        for i, request in enumerate(requests):
            tasks.setdefault(request.task_name, []).append(i)
        cost = pair_cost(causal_model(self.model))
        plans = [
            plan_of(
                [requests[i].args for i in indices],
                [requests[i].doc_id for i in indices],
                self.tokenizer,
                max_length=self.max_length,
                pair_cost=cost,
                cache_dir=self.cache_dir,
            )
            for indices in tasks.values()
        ]
        return plans, list(tasks.values())

    def _as_lm_eval(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        say(f"warning: {self.notes[0]}")
        encoded, _ = encode_requests(self.tokenizer, [request.args for request in requests])
        asked = {i: fit(pair, self.max_length, self.special.begin) for i, pair in enumerate(encoded) if pair[1]}
        found = self.hflm._loglikelihood_tokens([(requests[i].args, *pair) for i, pair in asked.items()], disable_tqdm=True)
        answers: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        for i, answer in zip(asked, found, strict=True):
            answers[i] = answer
        return answers

    @property
    def hflm(self) -> HFLM:
        """lm-eval's own model around the same weights, for what is not a shared prompt."""
        if self._hflm is None:
            own = copy.deepcopy(self.tokenizer)  # to which HFLM gives a padding token
            self._hflm = HFLM(pretrained=self.model, tokenizer=own, batch_size=8, device=str(self._device), max_length=self.max_length)
        return self._hflm

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """lm-eval's own: a text alone shares nothing."""
        self._check_ends("loglikelihood_rolling")
        return list(self.hflm.loglikelihood_rolling(requests, disable_tqdm=True))

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """lm-eval's own."""
        self._check_ends("generate_until")
        return list(self.hflm.generate_until(requests, disable_tqdm=True))

    def _check_ends(self, kind: str) -> None:
        if self.special.ends:
            raise BadInput(
                f"the tokenizer puts {self.tokenizer.eos_token} after every text, and so after prompts in lm-eval's {kind}. "
                "Take it out of the post-processor in tokenizer.json, or ask only for log-likelihoods"
            )

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """lm-eval's own."""
        return str(self.hflm.apply_chat_template(chat_history, add_generation_prompt))

    @property
    def tokenizer_name(self) -> str:
        """Names the chat template in lm-eval's caches."""
        return str(self.tokenizer.name_or_path).replace("/", "__")


def pair_cost(causal: nn.Module) -> float:
    """What attending from one token to another costs in all layers, a token's own matrix products being 1 (adapters left out)."""
    model: Any = causal
    config, outside = model.config, {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    products = sum(p.numel() for name, p in model.named_parameters() if "lora_" not in name and id(p) not in outside)
    width = config.num_attention_heads * (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    return float(round(_ATTENTION_SLOWNESS * 2 * config.num_hidden_layers * width / max(1, products), 9))


def _device(asked: str | None) -> str:
    """Where to compute: lm-eval's command line says cuda where nobody chose, and HFLM too takes the processor where there is no GPU."""
    if not torch.cuda.is_available():
        return "cpu" if asked is None or asked.startswith("cuda") else asked
    return asked or "cuda"


def _check_folders(given: Mapping[str, Any]) -> None:
    """What is named is here, or may be on the Hub: asked of all arguments before the first one takes its time to load."""
    for key, (what, file) in _FOLDERS.items():
        if (place := given.get(key)) is None:
            continue
        folder = Path(str(place))
        if not folder.is_dir() and not _HUB_NAME.fullmatch(str(place)):
            raise BadInput(f"model argument {key}={place}: there is no such folder. Give the folder of {what}, or its name on the Hub")
        if folder.is_dir() and file is not None and not (folder / file).is_file():
            raise BadInput(f"model argument {key}={place}: this folder has no {file}. Give the folder of {what}")


@contextmanager
def _refused(key: str, place: object, what: str) -> Iterator[None]:
    """The libraries' refusals to load from `place`, in one sentence."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if Path(str(place)).is_dir():
            why = f"{what} could not be loaded from this folder: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
        else:
            why = f"there is no such folder, and no {what.split(maxsplit=1)[1]} of that name could be had from the Hub"
        raise BadInput(f"model argument {key}={place}: {why}. Give the folder of {what}") from error


def _loaded(pretrained: str, dtype: str, adapter: str | None) -> nn.Module:
    if adapter is not None:
        from peft import PeftConfig, PeftModel

        with _refused("peft", adapter, "an adapter"):
            PeftConfig.from_pretrained(str(adapter))
    with _refused("pretrained", pretrained, "a model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(pretrained, dtype=dtype, attn_implementation="sdpa")
    if adapter is not None:
        with _refused("peft", adapter, "an adapter of this model"):
            loaded = PeftModel.from_pretrained(loaded, str(adapter))
    evaluating: nn.Module = loaded.eval()
    return evaluating
