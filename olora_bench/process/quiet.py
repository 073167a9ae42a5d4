"""What bitsandbytes logs where nothing is wrong. Installed with the package, since PEFT imports bitsandbytes wherever it is installed."""

from __future__ import annotations

import logging
from functools import partial

# An optional faster CPU kernel is not there (said at import); 8-bit products are computed in fp16 (said at every call).
_NO_FAULTS = {
    "bitsandbytes.backends.cpu.ops": "kernels-community",
    "bitsandbytes.autograd._functions": "inputs will be cast from",
}


def _is_other(said: str, record: logging.LogRecord) -> bool:
    return said not in str(record.msg)


def install() -> None:
    """Drop these messages, and no others."""
    for logger, said in _NO_FAULTS.items():
        logging.getLogger(logger).addFilter(partial(_is_other, said))
