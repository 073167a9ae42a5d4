"""The types of fixtures that several folders share."""

from __future__ import annotations

from subprocess import CompletedProcess
from typing import Any, Protocol, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A JSON object as it lies on disk, of any depth."""


class Cli(Protocol):
    """Runs a module of the package in a fresh interpreter, in an empty folder."""

    def __call__(
        self, *arguments: str, module: str = "olora_bench", env: dict[str, str] | None = None, timeout: float = 300
    ) -> CompletedProcess[str]: ...
