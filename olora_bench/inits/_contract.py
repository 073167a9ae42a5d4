"""What every init has to keep, tried on a tiny random model: the rows that `python -m olora_bench.inits check NAME` prints."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from olora_bench.config import Experiment
from olora_bench.config.init_options import promises
from olora_bench.config.own_inits import file_of
from olora_bench.data import Example
from olora_bench.errors import BadInput
from olora_bench.inits._adapted import Adapted, apply
from olora_bench.inits._layers import layers
from olora_bench.models import Base, load_base

_TOLERANCE = 1e-5
MAKES = "adapt makes an adapter"


@dataclass(frozen=True)
class Row:
    """One point of the contract: what was tried, whether it holds (null: nothing is asked of it), and what was found."""

    tried: str
    holds: bool | None
    found: str


@dataclass
class Trial:
    """The init of `experiment`, tried on bases that are loaded anew. `base` is in fp32."""

    experiment: Experiment
    base: Base = field(init=False)

    def __post_init__(self) -> None:
        self.base = self.loaded(torch.float32)

    def loaded(self, dtype: torch.dtype) -> Base:
        return load_base(self.experiment.model, None, dtype, "cpu", self.experiment.machine.cache_dir)

    def start(self, base: Base | None = None, *, seed: int = 0) -> Adapted:
        experiment = self.experiment.model_copy(update={"seed": seed})
        return apply(self.base if base is None else base, experiment, lambda: examples(experiment.model.vocab_size))

    def rows(self) -> Iterator[Row]:
        """Every point, one after another; the base is whole after each. An init that makes no adapter has one row, which says why."""
        if (wrong := self._raised(MAKES, lambda: self.start().remove())) is not None:
            yield wrong
            return
        yield Row(MAKES, True, "a PeftModel")
        for tried, probe in self._probes():
            found: list[Row] = []
            if (wrong := self._raised(tried, lambda probe=probe, found=found: found.extend(probe()))) is not None:  # type: ignore[misc]
                self.base = self.loaded(torch.float32)  # how much of it is left is not known
                found.append(wrong)
            yield from found

    def _probes(self) -> Iterator[tuple[str, Callable[[], Iterable[Row]]]]:
        yield "step 0", lambda: self._step_0(promises(self.experiment.init))
        for dtype in (torch.float32, torch.bfloat16):
            yield f"the base comes back ({_named(dtype)})", lambda dtype=dtype: [self._given_back(dtype)]  # type: ignore[misc]
        yield "seeds", self._seeds
        yield "training", lambda: [self._trains()]

    def _raised(self, tried: str, probe: Callable[[], None]) -> Row | None:
        """The row of a probe that an error ends, with the line of the init's file where it came up."""
        try:
            probe()
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            return Row(tried, False, f"{_said(error)} ({place_of(error, file_of(self.experiment.init.module))})")
        return None

    def _step_0(self, said: Sequence[str]) -> Iterator[Row]:
        before = _logits(self.base, self.base.model)
        drawn = torch.random.get_rng_state()
        adapted = self.start()
        moved = not torch.equal(torch.random.get_rng_state(), drawn)
        off = float((_logits(self.base, adapted.model) - before).abs().max() / before.abs().max())
        unsound = [name for name, m in layers(adapted.model) if not all(bool(one.isfinite().all()) for one in _factors_of(m))]
        yield Row("A and B are finite", not unsound, f"not in {', '.join(unsound[:3])}" if unsound else "every number")
        yield _promised("starts_as_base", said, off <= _TOLERANCE, f"logits differ by {off:.1e} of the largest")
        kept = f"{len(adapted.changed)} of the base's weights changed"
        yield _promised("keeps_base", said, not adapted.changed, kept)
        kinds = {str(p.dtype).removeprefix("torch.") for p in adapted.model.parameters() if p.requires_grad}
        yield Row("what is trained is fp32", kinds == {"float32"}, f"it is {', '.join(sorted(kinds)) or 'nothing'}")
        count = adapted.parameters_trainable
        adapted.remove()
        expected = sum(sum(self.experiment.model.shapes[m]) for m in self.experiment.model.target_modules)
        expected *= self.experiment.model.layers * self.experiment.rank
        if not self.experiment.init.dora:
            yield Row("it trains as many numbers as LoRA", count == expected, f"{count}; LoRA {expected}")
        yield Row("global random generators do not move", not moved, "they moved" if moved else "they stand where they stood")

    def _given_back(self, dtype: torch.dtype) -> Row:
        base = self.loaded(dtype)
        bits = digest(base)
        adapted = self.start(base)
        for group in adapted.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(0.1)
        adapted.remove()
        same = digest(base) == bits
        return Row(f"the base comes back, bit for bit ({_named(dtype)})", same, "every bit" if same else "its weights differ afterwards")

    def _seeds(self) -> Iterator[Row]:
        first, again, other = (self._factors(seed) for seed in (0, 0, 1))
        same = torch.equal(first, again)
        yield Row("one seed, one start", same, "equal twice" if same else "two starts of one seed differ")
        yield Row("another seed", None, "the same start: nothing is drawn" if torch.equal(first, other) else "another start")

    def _factors(self, seed: int) -> Tensor:
        """The bits of A and B: what is no number equals itself."""
        adapted = self.start(seed=seed)
        found = torch.cat([factor.detach().flatten().view(torch.int32) for _, m in layers(adapted.model) for factor in _factors_of(m)])
        adapted.remove()
        return found

    def _trains(self) -> Row:
        adapted = self.start()
        _logits(self.base, adapted.model, grad=True).square().mean().backward()
        gradients = [p.grad for p in adapted.model.parameters() if p.requires_grad]
        moves = any(g is not None and bool(g.any()) for g in gradients)
        finite = all(g is None or bool(g.isfinite().all()) for g in gradients)
        adapted.remove()
        return Row("a gradient reaches the adapter", moves and finite, "finite, not 0" if moves and finite else "it is 0 or not finite")


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _factors_of(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    return layer.lora_A["default"].weight, layer.lora_B["default"].weight


def _said(error: BaseException) -> str:
    first = next(iter(str(error).splitlines()), "")
    return first if isinstance(error, BadInput) else f"{type(error).__name__}: {first}"


def place_of(error: BaseException, file: Path) -> str:
    """The line of an init's file where an error came up; that of its `adapt` where none did."""
    at = error.__cause__ if isinstance(error, BadInput) and error.__cause__ is not None else error
    if isinstance(at, SyntaxError) and at.filename == str(file):
        return f"{file}, line {at.lineno}"
    own = [frame.lineno for frame in traceback.extract_tb(at.__traceback__) if Path(frame.filename) == file]
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    line = own[-1] if own else next((i for i, text in enumerate(lines, 1) if text.startswith("def adapt")), 1)
    return f"{file}, line {line}"


def _promised(name: str, said: Sequence[str], holds: bool, found: str) -> Row:
    if name in said:
        return Row(f"promised: {name}", holds, found)
    return Row(f"not promised: {name}", None, found + (f" (PROMISES could name {name})" if holds else ""))


def _logits(base: Base, model: Callable[..., object], *, grad: bool = False) -> Tensor:
    ids = torch.arange(3, 60, device=base.device)[None]
    with torch.set_grad_enabled(grad):
        logits: Tensor = model(ids).logits  # type: ignore[attr-defined]
    return logits


def digest(base: Base) -> str:
    """SHA-256 of every name and bit of the base."""
    found = hashlib.sha256()
    for name, tensor in sorted(base.model.state_dict().items()):
        found.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def examples(vocab_size: int) -> list[Example]:
    """Forty random sentences of up to 30 tokens, the second half of each supervised."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(40):
        n = int(rng.integers(10, 30))
        made.append(Example(f"e{i}", "made_up", rng.integers(3, vocab_size - 1, n).astype(np.int32), np.arange(n) >= n // 2, False))
    return made
