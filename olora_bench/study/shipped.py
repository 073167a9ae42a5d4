"""The plans of the studies that come with the package, printed for two stated machines and without any record: `docs/studies.md`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from olora_bench.config import sweeps_dir
from olora_bench.study.expand import find_study
from olora_bench.study.open import find_and_open
from olora_bench.study.pace import Pace, Paces
from olora_bench.study.plan import plan_text

RECORDED = Pace(train=0.00213, read=0.000628, request=0.0186, exact=0.0475, answer=0.00988, setup=5.5)
"""Medians of the runs of results/smollm2 and results/smollm2_alpaca: one core of a two-core Intel Xeon, both cores at work."""
PAGE_PACES = Paces({"smollm2_135m_q4": RECORDED}, 254, {"commonsense": 51.9, "alpaca_1k": 112.8}, {}, {})
CPU, GPU = ("machine.device=cpu", "machine.threads=1", "precision=bf16"), ("machine.device=cuda",)
_ORDER = ("headline", "unclipped", "horizons", "why", "ratios", "demo", "smollm2", "smollm2_alpaca", "paper_shared", "paper")

HEAD = """# The studies that come with the package, and their plans

Each plan below is what `python -m olora_bench.study plans` prints of a study of which nothing has run: counts, power, and how it is
expected to end. `python -m olora_bench.study plan NAME` says the same of your machine and your records. The command makes this page, and
a test holds the two together.

Power is that of the test that will be used, simulated: looks, Holm over primary contrasts, margin, items, and by loss best rates at an edge
of the finalists. With records the variances are those of what blocks kept. Without records they are those of results/smollm2, which trained
the chosen rate alone, whatever the model: a larger model may differ less or more. Hours of SmolLM2 are from its finished records, one core
a run, the other core busy with another; hours of other models are from FLOPs, with a GPU assumed. "To find more" compares the study as it
is with other limits and twice the seeds: what each finds four times in five, and what it takes where there is no difference; `cheapest`
finds the margin in the least time.
"""


def page(names: Sequence[str] | None = None) -> str:
    """The page, or the part of it about these studies."""
    shipped = {path.stem for path in sweeps_dir().glob("*.yaml")}
    wanted = names or [name for name in (*_ORDER, *sorted(shipped - set(_ORDER))) if name in shipped]
    return "\n".join([HEAD if names is None else "", *(section(name) for name in wanted)]).lstrip("\n")


def section(name: str) -> str:
    """One study's heading and plan."""
    with tempfile.TemporaryDirectory() as nothing:
        where = (*machine_of(name), f"machine.results_dir={nothing}")
        text = plan_text(name, where, known=PAGE_PACES)
    return f"## {name}\n\n`{find_study(name).parent.name}/{name}.yaml`, planned with {' '.join(machine_of(name))}.\n\n```\n{text}\n```\n"


def machine_of(name: str) -> tuple[str, ...]:
    """The overrides of the machine that a study is planned for: a CPU for the small models."""
    study = find_and_open(name)
    small = all(one.model.parameters < 2e8 for one in study.file.experiments())
    return CPU if small else GPU
