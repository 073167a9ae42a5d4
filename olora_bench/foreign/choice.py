"""What a person says over the checks of pairing: which benchmarks are compared, and in what their runs may differ all the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from olora_bench.errors import BadInput

ACCEPTABLE = ("version", "fewshot", "prompt")
"""What a benchmark's runs may differ in where somebody answers for it. Another metric or other items are no matter of opinion."""
MOST_NAMES = 30


@dataclass(frozen=True)
class Choice:
    """The benchmarks to compare, None for whatever all runs have; and benchmark -> what of `ACCEPTABLE` its runs may differ in."""

    benchmarks: tuple[str, ...] | None = None
    accept: Mapping[str, Collection[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.benchmarks is not None and not self.benchmarks:
            raise BadInput("benchmarks: none is named. Name those to compare, or leave it out")
        for benchmark, differ in self.accept.items():
            for what in [differ] if isinstance(differ, str) else differ:
                if what not in ACCEPTABLE or isinstance(differ, str):
                    raise BadInput(f"accept {benchmark}={what} is not allowed: of each benchmark a list of {', '.join(ACCEPTABLE)}")

    def check(self, there: Iterable[str]) -> None:
        """Refuse a benchmark that no run has.

        Raises:
            BadInput: names those that are there.
        """
        known = dict.fromkeys(there)
        for option, names in (("benchmarks", self.benchmarks or ()), ("accept", self.accept)):
            refuse_unknown(option, names, known)


def refuse_unknown(option: str, names: Iterable[str], there: Collection[str]) -> None:
    """Refuse a name that is not there.

    Raises:
        BadInput: names those that are.
    """
    if absent := [name for name in names if name not in there]:
        more = f" and {len(there) - MOST_NAMES} more" if len(there) > MOST_NAMES else ""
        listed = ", ".join(sorted(there)[:MOST_NAMES]) or "none"
        raise BadInput(f"{option}: no run has a benchmark {absent[0]}. There: {listed}{more}")
