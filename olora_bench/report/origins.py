"""Where a study's numbers come from: the machines, versions and assets of its records, and how to make it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from olora_bench.analysis import StudyFrames
from olora_bench.process.progress import size

LABELS = {
    "harness": "olora_bench, commit", "processor": "Processor", "gpus": "GPU", "memory": "Memory", "device": "Device", "threads": "Threads",
    "token_budget": "Token budget", "python": "Python and system", "packages": "Packages",
}  # fmt: skip


@dataclass(frozen=True)
class Origins:
    """Where a study's numbers come from, for its page.

    Attributes:
        records: how many runs have a readable record.
        facts: label -> value -> number of records with it: hardware, versions, commits.
        assets: source and identity -> what came from it -> number of records with it.
        remake: the commands that make the study again.
        run_pages: whether `runs/<train_id>.html` lies beside the page.
    """

    records: int
    facts: Mapping[str, Mapping[str, int]]
    remake: Sequence[str]
    run_pages: bool = False
    assets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def origins(frames: StudyFrames, remake: Sequence[str], *, run_pages: bool = False) -> Origins:
    """What a study's readable records say of their origin, for its page.

    Args:
        remake: the commands that make the study again from the code of its commit.
    """
    facts, assets, commits = dict[str, Counter[str]](), dict[str, Counter[str]](), set[str]()
    for provenance in frames.provenance.values():
        for label, value in _facts(provenance):
            facts.setdefault(LABELS[label], Counter())[value] += 1
        used: Any = provenance.get("assets") or []
        for one in used:
            assets.setdefault(f"{one['source']}: {one['identity']}", Counter())[one["key"]] += 1
        harness: Any = provenance.get("harness") or {}
        commits |= {str(harness["commit"])} if harness.get("commit") else set()
    ordered = {label: dict(sorted(facts[label].items())) for label in LABELS.values() if label in facts}
    came = {source: dict(sorted(keys.items())) for source, keys in sorted(assets.items())}
    checkout = [f"git checkout {commit}" for commit in commits] if len(commits) == 1 else []
    return Origins(len(frames.provenance), ordered, [*checkout, *remake], run_pages, came)


def _facts(provenance: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    hardware, harness = provenance.get("hardware") or {}, provenance.get("harness") or {}
    if harness:
        dirty = {True: ", with local changes", False: "", None: ", local changes not known"}[harness.get("dirty")]
        yield "harness", f"{harness.get('version')}, {harness.get('commit') or 'commit not known'}{dirty}"
    if hardware.get("processor"):
        cores = f", {hardware['cores']} cores" if hardware.get("cores") else ""
        yield "processor", f"{hardware['processor']}{cores}"
    for name, count in Counter(hardware.get("gpus") or []).items():
        yield "gpus", name if count == 1 else f"{count} x {name}"
    if hardware.get("memory_bytes"):
        yield "memory", size(hardware["memory_bytes"])
    for name in ("device", "threads"):
        if provenance.get(name) is not None:
            yield name, str(provenance[name])
    if provenance.get("token_budget"):
        yield "token_budget", ", ".join(f"{key} {value}" for key, value in provenance["token_budget"].items())
    if hardware.get("python"):
        yield "python", " on ".join(str(hardware[key]) for key in ("python", "system") if hardware.get(key))
    if provenance.get("packages"):
        yield "packages", ", ".join(f"{name} {version}" for name, version in provenance["packages"].items())
