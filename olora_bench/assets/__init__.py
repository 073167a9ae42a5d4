"""Where bytes come from: `packaged`, `local`, `hub`, each asset from the first source that has it. Imports no torch.

`resolve` says which source and with what identity, `check` whether all of it is to be had, `fetch` brings it here.
"""

from olora_bench.assets.check import check, check_all
from olora_bench.assets.fetch import fetch
from olora_bench.assets.kinds import Asset
from olora_bench.assets.resolve import resolve

__all__ = ["Asset", "check", "check_all", "fetch", "resolve"]
