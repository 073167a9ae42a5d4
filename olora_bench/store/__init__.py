"""Records of runs and evaluations: their schema, where they lie, how they are written whole, and who is working on them. No torch."""

from olora_bench.store.atomic import atomic_write
from olora_bench.store.inside import inside
from olora_bench.store.lease import Holder, Lease, LeaseHeld, LeaseLost, lease, read_lease
from olora_bench.store.record import OVER, SCHEMA_VERSION, EvalRecord, Part, RunRecord, Score, utc_now
from olora_bench.store.sealed import is_whole, sealed
from olora_bench.store.store import Beside, Store

__all__ = [
    "OVER",
    "SCHEMA_VERSION",
    "Beside",
    "EvalRecord",
    "Holder",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "Part",
    "RunRecord",
    "Score",
    "Store",
    "atomic_write",
    "inside",
    "is_whole",
    "lease",
    "read_lease",
    "sealed",
    "utc_now",
]
