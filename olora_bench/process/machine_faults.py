"""A full or unreadable disk, no memory, no such device: the machine's faults, which say nothing about the run that met them.

A run ended by one is not failed. It stays as it was, and the same command goes on with it when there is room. No torch.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from olora_bench.config import Experiment
from olora_bench.config.memory import adapter_parameters
from olora_bench.errors import BadInput, MachineFault, MissingAssets, RecordError, RunFailed, StoreError
from olora_bench.process.progress import size

_ROOM = "free space there"
_DISK = "make that place readable and writable, or name another with machine.results_dir, machine.cache_dir, machine.wandb_dir or TMPDIR"
_HANDLES = "raise the limit (`ulimit -a` shows them)"
_MEMORY = "free memory, lower machine.train_token_budget and machine.eval_token_budget, or take a machine with more"
_DEVICE = "set machine.device to one that torch can use here"

_REMEDIES = (
    dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _ROOM)
    | dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EFBIG), _HANDLES)
    | {errno.ENOMEM: _MEMORY}
    | dict.fromkeys(
        (
            errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EREMOTEIO,
            errno.EHOSTDOWN, errno.EUCLEAN, errno.ENOTDIR, errno.EEXIST, errno.ELOOP,
        ),
        _DISK,
    )
)  # fmt: skip
# Libraries in other languages tell these in words alone: torch, safetensors, tokenizers, Arrow.
_WORDS = (
    (r"can't allocate memory|not enough memory|out of memory|Cannot allocate memory|std::bad_alloc|ALLOC_FAILED", _MEMORY),
    (r"No space left on device|Disk quota exceeded", _ROOM),
    (r"Input/output error|Read-only file system|Stale file handle|No usable temporary directory", _DISK),
    (r"can't start new thread", _HANDLES),
    (
        r"not compiled with CUDA|No CUDA GPUs|NVIDIA driver|invalid device ordinal|CUDA driver|no kernel image"
        r"|devices? (?:is|are|\(s\) is/are) (?:all )?busy or unavailable|uncorrectable ECC|CUDA unknown error",
        _DEVICE,
    ),
)
_CODE = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")
_THREADS_ALWAYS_ALLOWED = 128
_SPARE_BYTES = 1 << 20


def machine_fault(error: BaseException) -> MachineFault | None:
    """What an exception, or one that it came from, says about the machine; None where it is the run's own."""
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in seen:
        if (remedy := _remedy(one)) is not None:
            reason = f"{type(one).__name__}: {str(one).strip() or 'no more is known'}".splitlines()[0]
            return MachineFault(
                f"this machine could not go on: {reason}. Nothing is held against the run: {remedy}, then give the same command again"
            )
        seen.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return None


def is_memory(error: BaseException) -> bool:
    """Whether an exception says that there is no memory left: Python's, torch's on a GPU or a CPU, a library's in words."""
    return _remedy(error) is _MEMORY


def _remedy(error: BaseException) -> str | None:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, whatever its words
        return _MEMORY
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        return _REMEDIES[error.errno]
    text = str(error)
    if (code := _CODE.search(text)) and (remedy := _REMEDIES.get(int(code[1] or code[2]))):
        return remedy
    return next((remedy for words, remedy in _WORDS if re.search(words, text)), None)


@contextmanager
def machine_faults() -> Iterator[None]:
    """Raise the machine's faults as `MachineFault`; all else as it is."""
    try:
        yield
    except (MissingAssets, StoreError, RecordError, RunFailed):
        raise
    except Exception as error:
        if (fault := machine_fault(error)) is None:
            raise
        raise fault from error


def check_machine(experiment: Experiment) -> None:
    """What can be told of the machine before any work.

    Raises:
        BadInput: more threads than make sense.
        StoreError: the cache cannot be made, or there is no room for what a run keeps.
    """
    machine = experiment.machine
    most = max(_THREADS_ALWAYS_ALLOWED, 4 * (os.cpu_count() or 1))
    if machine.threads is not None and machine.threads > most:
        raise BadInput(
            f"machine.threads={machine.threads} is more than this machine can use: it has {os.cpu_count()} cores. "
            f"Allowed: 1 to {most}, or null, which leaves it to torch"
        )
    with machine_faults():
        machine.cache_dir.mkdir(parents=True, exist_ok=True)
        tempfile.gettempdir()
        free = shutil.disk_usage(_existing(machine.results_dir)).free
    # The adapter, and in the checkpoint once more with AdamW's two moments, all fp32; a new file is whole before the old one goes.
    need = 28 * adapter_parameters(experiment) + _SPARE_BYTES
    if free < need:
        raise MachineFault(
            f"{machine.results_dir}: {size(free)} are free there, and a run keeps up to {size(need)} (adapter and checkpoint). "
            "Free space, or set machine.results_dir"
        )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
