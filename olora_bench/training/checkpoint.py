"""The state of a training between two steps, so that a killed run goes on where it was: on a CPU bit for bit as if nothing had happened.

One safetensors file: adapter, AdamW's moments and random states as tensors; in its metadata, as JSON, the step (the learning rate and the
next batch follow from it), the curve so far, fp16's loss scale, who wrote it, and a digest of it all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from olora_bench.errors import RecordError, StoreError
from olora_bench.formats import read_regular
from olora_bench.process.preemption import Preempted
from olora_bench.process.progress import say
from olora_bench.store import Lease, LeaseLost, atomic_write
from olora_bench.store.record import Json
from olora_bench.store.unfinished import FORMAT
from olora_bench.training.log import LogState

RETRY_AFTER_S = 60.0
FIRST_GUESS_S = 0.02
"""What a checkpoint is taken to cost, in seconds, before one was written: by this the first one comes early."""


@dataclass(frozen=True)
class Checkpoints:
    """Where a run's checkpoint lies, and when it is written: so often that writing takes at most `share` of the time, and on `stop`.

    A share of 0.01 makes the first one after two seconds, later ones after 99 times as long as the last took; 1 makes one after every step,
    null none but on `stop`. `owner` is the train_id; `writer` the provenance of this process; `held` the lease of the run's folder.
    """

    path: Path
    owner: str
    share: float | None = None
    writer: Json = field(default_factory=dict)
    stop: Callable[[], bool] = lambda: False
    held: Lease | None = None


class _State(TypedDict):
    """What a checkpoint holds beside its tensors. `scaler`: fp16's loss scale; `writers`: the provenance of each process."""

    format: int
    owner: str
    step: int
    log: LogState
    scaler: dict[str, float]
    writers: list[Json]


class Keeper:
    """Saves and restores one training."""

    def __init__(
        self, plan: Checkpoints, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, device: torch.device
    ) -> None:
        self.plan, self.optimizer, self.scaler, self.device = plan, optimizer, scaler, device
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        self.trained = {names[id(p)]: p for group in optimizer.param_groups for p in group["params"]}
        self.last, self.took = time.monotonic(), FIRST_GUESS_S
        self.earlier: list[Json] = []

    def after(self, step: int, log: Callable[[], LogState]) -> None:
        """Save if it is time to.

        Raises:
            Preempted: the plan's `stop` says so; the state is saved.
            LeaseLost: another process has taken the run over.
        """
        plan = self.plan
        if plan.held is not None and plan.held.lost:  # the heartbeat noticed it: asking the file system at every step would cost time
            plan.held.check()
        stop = plan.stop()
        due = plan.share is not None and time.monotonic() - self.last >= self.took * (1 / plan.share - 1)
        if stop or due:
            saved = self.save(step, log())
            if stop:
                kept = f"saved at step {step}" if saved else f"step {step} could not be saved"
                say(f"asked to stop: {kept}. The same command goes on from the last checkpoint")
                raise Preempted

    def save(self, step: int, log: LogState) -> bool:
        """Write the state after `step` steps. A checkpoint that cannot be written is said, and costs the run nothing else.

        Raises:
            LeaseLost: another process has taken the run over.
        """
        began = time.monotonic()
        state: _State = {
            "format": FORMAT,
            "owner": self.plan.owner,
            "step": step,
            "log": log,
            "scaler": self.scaler.state_dict(),
            "writers": [*self.earlier, self.plan.writer],
        }
        tensors = self._tensors()
        text = json.dumps(state)
        content = safetensors.torch.save(tensors, {"state": text, "digest": _digest(tensors, text)})
        held = self.plan.held
        try:
            (atomic_write if held is None else held.publish)(self.plan.path, content)
        except LeaseLost:  # a StoreError too, but no reason to train on: another process has the run
            raise
        except StoreError as error:
            say(f"no checkpoint at step {step}: {error}")
            self.last = time.monotonic() + RETRY_AFTER_S
            return False
        self.last = time.monotonic()
        self.took = self.last - began
        if held is not None:
            held.progressed()
        return True

    def restore(self) -> tuple[int, LogState] | None:
        """Put the saved state in place; null where there is none. One that cannot be used is reported and removed, and nothing has changed.

        The file is checked whole before the first weight is touched: a checkpoint put in place by half would train on from a mixture.

        Returns:
            the step after which it was saved, and the log's state.

        Raises:
            RecordError: the system does not give it out now; it stays.
        """
        path = self.plan.path
        try:
            state, tensors = self._read()
        except FileNotFoundError:
            return None
        except (_Unusable, OSError, SafetensorError, ValueError, KeyError) as error:
            # Kept where the system may give it out later: to remove it would throw hours of training away for a server's hiccup.
            if isinstance(error, OSError) and error.errno is not None:
                raise RecordError(f"{path}: cannot be read now: {error.strerror}. The same command goes on when it can") from error
            say(f"the checkpoint {path} cannot be used: {error}. The run starts anew")
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self._put(tensors)  # the random states among them: nothing may be drawn between here and the next step
        self.scaler.load_state_dict(state["scaler"])
        writers = state["writers"]
        self.earlier = writers[:-1] if writers[-1] == json.loads(json.dumps(self.plan.writer)) else writers
        return state["step"], state["log"]

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"adapter/{name}": parameter for name, parameter in self.trained.items()}
        for name, parameter in self.trained.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{name}/{key}"] = value
        tensors["rng/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng/cuda"] = torch.cuda.get_rng_state(self.device)
        return {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}

    def _read(self) -> tuple[_State, dict[str, Tensor]]:
        content = read_regular(self.plan.path)
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__", {})
        text = metadata.get("state", "")
        if metadata.get("digest") != _digest(tensors, text):
            raise _Unusable("its bytes are not those that were written")
        state: _State = json.loads(text)
        if state["format"] != FORMAT:
            raise _Unusable(f"it has format {state['format']}, this olora_bench reads {FORMAT}")
        if state["owner"] != self.plan.owner:
            raise _Unusable(f"it is of run {state['owner']}, not of {self.plan.owner}")
        if ("rng/cuda" in tensors) != (self.device.type == "cuda"):
            raise _Unusable(f"it was not written on a {self.device.type} device")
        for key, tensor in tensors.items():
            kind, _, rest = key.partition("/")
            name = rest.rpartition("/")[0] if kind == "optimizer" else rest
            if kind != "rng" and (name not in self.trained or tensor.shape not in (self.trained[name].shape, ())):
                raise _Unusable(f"{key} does not fit this adapter")
        if {f"adapter/{name}" for name in self.trained} - tensors.keys():
            raise _Unusable("a part of the adapter is not in it")
        return state, tensors

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        numbers = {name: number for number, name in enumerate(self.trained)}
        moments: dict[int, dict[str, Tensor]] = {}
        with torch.no_grad():
            for key, tensor in tensors.items():
                kind, _, rest = key.partition("/")
                if kind == "adapter":
                    self.trained[rest].copy_(tensor)  # into the very parameter: the optimiser and the model hold it by reference
                elif kind == "optimizer":
                    name, _, moment = rest.rpartition("/")
                    moments.setdefault(numbers[name], {})[moment] = tensor
        # AdamW knows its parameters by number, in the order of its groups, which is that of `trained`.
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["rng/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng/cuda"], self.device)


class _Unusable(Exception):
    """Why a checkpoint is not this run's, or not whole."""


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for key, tensor in sorted(tensors.items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
