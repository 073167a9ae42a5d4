"""How fast a model goes here where no record tells: one layer and the head of random weights, run in a process of their own.

Nothing is downloaded: a model's shapes are in its YAML. `plan` imports no torch, so the measuring process does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import psutil

from olora_bench.config import Experiment
from olora_bench.config.memory import token_budgets
from olora_bench.process.hardware import resolve_device
from olora_bench.study.estimate import tokens_per_example
from olora_bench.study.pace import CHOICE_SHARE, THREADS_GIVE, TOKENS_PER_CHOICE, Pace, Paces, threads_of

if TYPE_CHECKING:
    import torch

TIMEOUT_S = 60.0
FLOPS_AT_ONCE = 4e10
"""A measured pass is made short enough to take no more operations than this."""
WRITING_S = 1.0  # parts made and records written, of results/smollm2
LAYERS_OF_SVD = 3  # an init's and its anatomy's decompositions, in those of one top subspace


def with_measured(known: Paces, experiments: Sequence[Experiment]) -> tuple[Paces, str | None]:
    """What is known, with the pace of each model of which no record tells, a few seconds each; and why some have none."""
    lacking = {one.model.name: one for one in experiments if not known.knows(one.model.name)}
    if not lacking:
        return known, None
    measured, why = calibrated(list(lacking.values()))
    return replace(known, measured=measured), why


def calibrated(experiments: Sequence[Experiment]) -> tuple[dict[str, Pace], str | None]:
    """The pace of these models on this machine, a few seconds each; and why some have none.

    Args:
        experiments: one of each model.
    """
    room = psutil.virtual_memory().available / 4
    fit, large = [one for one in experiments if _bytes(one) <= room], [one.model.name for one in experiments if _bytes(one) > room]
    why = f"measuring {', '.join(large)} takes more than a quarter of the free memory: the time is from FLOPs" if large else None
    if not fit:
        return {}, why
    command, asked = [sys.executable, "-m", __name__], json.dumps([asdict(_asked(one)) for one in fit])
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=TIMEOUT_S * len(fit), check=True)
    except (OSError, subprocess.SubprocessError) as error:
        names = ", ".join(one.model.name for one in experiments)
        return {}, f"{names} could not be measured here ({type(error).__name__}): the time is from FLOPs"
    found = [Pace(**one) for one in json.loads(done.stdout)]
    return {one.model.name: pace for one, pace in zip(fit, found, strict=True)}, why


def _bytes(one: Experiment) -> float:
    """What measuring takes: a layer and the head in fp32, each twice."""
    model = one.model
    return 8.0 * (sum(out * inside for out, inside in model.shapes.values()) + model.vocab_size * model.hidden_size)


@dataclass(frozen=True)
class Asked:
    """What is measured of a model.

    Attributes:
        shapes: of a layer's weights, (out, in), by name; `targets`: those with an adapter, of this `rank`.
        length: tokens of an example.
        tokens: of a pass, at the most.
        step: tokens of an optimiser's step.
    """

    shapes: Mapping[str, Sequence[int]]
    targets: Sequence[str]
    rank: int
    layers: int
    hidden: int
    vocab: int
    precision: str
    device: str
    threads: int
    length: int
    tokens: int
    step: int


def _asked(one: Experiment) -> Asked:
    model, device = one.model, resolve_device(one.machine.device)
    length = int(tokens_per_example(one, {}))
    step = one.recipe.batch_size * length
    return Asked(
        shapes=model.shapes,
        targets=model.target_modules,
        rank=one.rank,
        layers=model.layers,
        hidden=model.hidden_size,
        vocab=model.vocab_size,
        precision=one.precision,
        device=device,
        threads=threads_of(one.machine),
        length=length,
        tokens=min(step, token_budgets(one.machine, on_gpu=device.startswith("cuda"))[0]),
        step=step,
    )


def measure(asked: Asked) -> Pace:
    """Run one layer and the head; the rest of the model is as many of them."""
    import torch

    torch.set_num_threads(1)  # threads that wait for each other on a busy machine work for nothing; more are taken to give what they give
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[asked.precision]
    bench = _Bench(asked, dtype)
    train = (asked.layers * bench.layer(backward=True) + bench.head(backward=True)) / bench.tokens + bench.optimiser() / asked.step
    read = (asked.layers * bench.layer(backward=False) + bench.head(backward=False)) / bench.tokens
    slow = read
    if dtype is not torch.float32:
        exact = _Bench(asked, torch.float32)
        slow = (asked.layers * exact.layer(backward=False) + exact.head(backward=False)) / exact.tokens
    each = CHOICE_SHARE * TOKENS_PER_CHOICE
    # The anatomy reads the first batch's loss before and after the init, and its gradient.
    setup = WRITING_S + asked.layers * bench.decomposition() + asked.step * (train + read)
    return Pace(train, read, each * read, each * slow, train, setup)


class _Bench:
    """One layer of a model's shapes with its adapters, and its head, on random numbers."""

    def __init__(self, asked: Asked, dtype: torch.dtype) -> None:
        import torch

        self.asked, self.dtype, self.device = asked, dtype, asked.device
        weights = sum(out * inside for out, inside in asked.shapes.values())
        a_token = 4 * weights + 4 * asked.hidden * asked.vocab / asked.layers
        self.tokens = max(min(asked.tokens, int(FLOPS_AT_ONCE / a_token)), 8)
        made = {name: torch.randn(*shape, device=self.device) for name, shape in asked.shapes.items()}
        self.weights = {name: (one / one.shape[1] ** 0.5).to(dtype) for name, one in made.items()}
        self.adapters = {name: self._adapter(*asked.shapes[name]) for name in asked.targets}
        self.norm = torch.ones(asked.hidden, device=self.device, dtype=dtype)
        head = torch.float32 if self.device == "cpu" else dtype
        self.vocabulary = torch.randn(asked.vocab, asked.hidden, device=self.device).to(head)
        self.state = torch.randn(self.tokens, asked.hidden, device=self.device).to(dtype)

    def _adapter(self, out: int, inside: int) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        a = torch.randn(self.asked.rank, inside, device=self.device, requires_grad=True)
        return a, torch.zeros(out, self.asked.rank, device=self.device, requires_grad=True)

    def _project(self, x: torch.Tensor, name: str) -> torch.Tensor:
        y = x @ self.weights[name].T
        if name in self.adapters:
            a, b = self.adapters[name]
            y = y + ((x.to(a.dtype) @ a.T) @ b.T).to(self.dtype)
        return y

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        """Each projection reads the last result of its width: attention's, the feed-forward part's, or the state."""
        import torch
        from torch.nn import functional

        wide = {self.asked.hidden: functional.rms_norm(x, (x.shape[-1],), self.norm)}
        total = x
        for number, name in enumerate(self.weights):
            out, inside = self.weights[name].shape
            y = self._project(wide[inside] if inside in wide else x.new_ones(len(x), inside), name)
            y = self._attend(y) if number == 0 else functional.silu(y) if out > self.asked.hidden else y
            wide = {**wide, out: y} if out != self.asked.hidden else wide
            total = total + y if out == self.asked.hidden else total
        return functional.rms_norm(total.to(torch.float32), (total.shape[-1],)).to(self.dtype)

    def _attend(self, y: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        length, width = min(self.asked.length, len(y)), 64 if y.shape[-1] % 64 == 0 else y.shape[-1]
        whole = y[: len(y) // length * length].view(-1, length, y.shape[-1] // width, width).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(whole, whole, whole, is_causal=True)
        return y + functional.pad(mixed.transpose(1, 2).reshape(-1, y.shape[-1]), (0, 0, 0, len(y) % length))

    def layer(self, *, backward: bool) -> float:
        """Seconds of a pass through one layer."""
        import torch

        x = self.state.clone().requires_grad_(backward)

        def once() -> None:
            with torch.set_grad_enabled(backward):
                y = self._forward(x)
            if backward:
                y.sum().backward()

        return self._seconds(once)

    def head(self, *, backward: bool) -> float:
        """Seconds of logits and their loss; a third of the positions are supervised."""
        import torch

        x = self.state[: max(self.tokens // 3, 1)].to(self.vocabulary.dtype).requires_grad_(backward)
        labels = torch.zeros(len(x), dtype=torch.long, device=self.device)

        def once() -> None:
            with torch.set_grad_enabled(backward):
                loss = torch.nn.functional.cross_entropy((x @ self.vocabulary.T).float(), labels)
            if backward:
                loss.backward()

        return self._seconds(once)

    def optimiser(self) -> float:
        """Seconds of clipping and AdamW over the adapters of all layers."""
        import torch

        own = [torch.zeros_like(p, requires_grad=True) for _ in range(self.asked.layers) for pair in self.adapters.values() for p in pair]
        for one in own:
            one.grad = torch.ones_like(one)
        adam = torch.optim.AdamW(own)

        def once() -> None:
            torch.nn.utils.clip_grad_norm_(own, 1.0)
            adam.step()

        return self._seconds(once)

    def decomposition(self) -> float:
        """Seconds of what an init and its anatomy take apart in one layer."""
        import torch

        def once() -> None:
            for name in self.asked.targets:
                weight = self.weights[name].float()
                torch.svd_lowrank(weight, q=min(self.asked.rank + 8, *weight.shape), niter=2)

        return LAYERS_OF_SVD * self._seconds(once)

    def _seconds(self, once: Callable[[], None]) -> float:
        """The least of up to five, after one that warms up, in no more than half a second: what else runs here only adds to it."""
        once()
        taken: list[float] = []
        while len(taken) < 5 and sum(taken) < 0.5:
            began = self._clock()
            once()
            taken.append(self._clock() - began)
        return min(taken)

    def _clock(self) -> float:
        """Seconds: on a CPU those that it has worked, so that what else the machine does plays no part."""
        import torch

        if self.device == "cpu":
            return time.process_time() / self.asked.threads**THREADS_GIVE
        torch.cuda.synchronize()
        return time.perf_counter()


if __name__ == "__main__":
    print(json.dumps([asdict(measure(Asked(**one))) for one in json.load(sys.stdin)]))
