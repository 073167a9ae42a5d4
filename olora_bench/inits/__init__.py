"""How A, B and the base weight start. `apply` puts an adapter on the base, `Adapted.remove` takes it off and puts the base back."""

from __future__ import annotations

from olora_bench.inits._adapted import NOT_RECREATED, Adapted, Examples, apply

__all__ = ["NOT_RECREATED", "Adapted", "Examples", "apply"]
