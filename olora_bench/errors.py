"""The errors a user can cause. Each message says what was wrong, the value, what is allowed and what to do."""

from __future__ import annotations


class BadInput(Exception):
    """A request that cannot be carried out as written. Command lines print the message without a traceback and exit with 2."""


class MissingAssets(BadInput):
    """Models or data are not at hand. The message lists all of them, each with what brings it."""


class RecordError(Exception):
    """A file under `results/` cannot be read as what its name says. The message names the file and the field."""


class StoreError(Exception):
    """A result cannot be written (disk full, folder not writable). The message names the path and the system's reason."""


class MachineFault(StoreError):
    """A disk, the memory or a device gave out under a run. The run is not failed, and the same command goes on with it."""


class RunFailed(Exception):
    """A run ended without a result. Its record holds the reason."""


def of_system(error: OSError) -> str:
    """What the system refuses, in this project's form."""
    where = f"{str(error.filename)[:300]}: " if error.filename is not None else ""
    return f"{where}{error.strerror or str(error) or type(error).__name__}: put that right, then give the same command again"
