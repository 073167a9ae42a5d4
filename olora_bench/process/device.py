"""Whether torch can compute where an experiment wants to: asked before anything is loaded or written. Imports torch when asked."""

from __future__ import annotations

from olora_bench.errors import BadInput
from olora_bench.process.hardware import resolve_device

_ON_CPU = "machine.device=cpu computes on the processor"


def check(device: str) -> None:
    """Prove by one sum that torch can use `machine.device`.

    Raises:
        BadInput: torch cannot, or `auto` would leave a GPU idle that torch sees.
    """
    import torch

    wanted = torch.device(resolve_device(device))
    if wanted.type == "cpu":
        if device == "auto" and torch.cuda.is_available():
            raise BadInput(
                f"machine.device=auto finds no /dev/nvidia*, and torch sees {_seen()}. Say which is meant: machine.device=cuda, or "
                "machine.device=cpu"
            )
        return
    asked = f"machine.device={device}" + (" finds a GPU and" if device == "auto" else "")
    if torch.version.cuda is None and torch.version.hip is None:
        raise BadInput(
            f"{asked} cannot be used: torch {torch.__version__} is built for processors alone. "
            f"Install torch for CUDA (pytorch.org/get-started/locally); {_ON_CPU}"
        )
    try:
        torch.cuda.init()
    except Exception as error:  # RuntimeError and AssertionError, by the reason
        raise BadInput(
            f"{asked} cannot be used by torch {torch.__version__}: {_first_line(error)}. "
            f"Correct the driver or CUDA_VISIBLE_DEVICES; {_ON_CPU}"
        ) from error
    if wanted.index is not None and wanted.index >= torch.cuda.device_count():
        raise BadInput(f"{asked} does not exist: torch sees {_seen()}. Allowed: one of these, cuda, cpu or auto")
    try:
        (torch.ones(1, device=wanted) + 1).item()
    except Exception as error:  # another architecture than torch was built for, another process that holds the GPU alone, no memory left
        raise BadInput(
            f"{asked} cannot compute with torch {torch.__version__}: {_first_line(error)}. "
            f"Use another GPU, or a torch built for this one; {_ON_CPU}"
        ) from error


def _seen() -> str:
    import torch

    return ", ".join(f"cuda:{i}" for i in range(torch.cuda.device_count())) or "no GPU"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
