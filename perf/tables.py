"""The tables of docs/speed.md, from perf/results/*.json alone. `python -m perf.tables --write` puts them into the page.

A table stands in the page between `<!-- table NAME -->` and `<!-- end -->`; tests/test_docs.py holds it to what is made here.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from perf import RESULTS, medians, ratios, spread

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
BLOCK = re.compile(r"(<!-- table (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

SIDES = {
    "ours": "ours",
    "ours_compiled": "ours, `machine.compile=true`",
    "ours_checkpointing": "ours, `machine.gradient_checkpointing=true`",
    "transformers": "transformers Trainer",
    "trl": "TRL SFTTrainer",
    "trl_packing": "TRL SFTTrainer, `packing=True`",
}


def train(found: dict[str, Any], path: Path) -> list[str]:
    """A row a side of perf.train; ratios are ours by theirs."""
    asked, pairs = found["asked"], found["pairs"]
    rows = []
    for name, label in SIDES.items():
        if name not in pairs[0]:
            continue
        side = medians([pair[name] for pair in pairs])
        keys = ("examples_per_s", "supervised_tokens_per_s", "peak_above_model_bytes")
        by = ["" if name.startswith("ours") else spread(ratios(pairs, "ours", name, key)) for key in keys]
        rows.append(
            (label, f"{side['examples_per_s']:.2f}", f"{side['supervised_tokens_per_s']:.0f}", _mib(side["peak_above_model_bytes"]),
             f"{side['first_loss']:.3f}", f"{side['final_loss']:.3f}", *by)
        )  # fmt: skip
    some = "" if set(pairs[0]) == set(SIDES) else f" --sides {','.join(pairs[0])}"
    command = f'make perf PERF=train ARGS="--data {asked["data"]} --steps {asked["steps"]} --warmup {asked["warmup"]}{_times(pairs)}{some}"'
    head = ("side", "examples/s", "supervised tokens/s", "peak above model, MiB", "first loss", "last losses", "ours / it: examples",
            "supervised tokens", "peak")  # fmt: skip
    what = f"{asked['model']}, {pairs[0]['ours']['precision']}, {asked['steps']} steps{_turns(pairs)}"
    return [*_table(head, rows), "", *_source(found, path, command, what)]


def evaluate(found: dict[str, Any], path: Path) -> list[str]:
    """A row a dtype, shots and benchmark of perf.eval; HFLM at its fastest batch size of those tried."""
    rows = []
    for row in found["table"]:
        ours, hflm = (medians([pair[side] for pair in row["pairs"]]) for side in ("ours", "hflm"))
        rows.append(
            (row["dtype"], row["shots"], row["benchmark"], row["requests"], f"{ours['seconds']:.2f}", f"{hflm['seconds']:.2f}",
             spread(ratios(row["pairs"], "hflm", "ours", "seconds")), _mib(ours["bytes"]), _mib(hflm["bytes"]),
             f"{row['largest_difference']:.1e}", row["other_predictions"])
        )  # fmt: skip
    head = ("dtype", "shots", "benchmark", "requests", "ours, s", "HFLM, s", "HFLM / ours", "ours, MiB", "HFLM, MiB",
            "largest difference, nats", "other choices")  # fmt: skip
    dtypes, shots = (",".join(dict.fromkeys(row[key] for row in found["table"])) for key in ("dtype", "shots"))
    pairs, items, few = found["table"][0]["pairs"], found["items"], found["few_shot_items"]
    asked = f"--dtypes {dtypes} --shots {shots} --items {items}" + (f" --few-shot-items {few}" if "5" in shots else "")
    what = f"{items} items a benchmark" + (f" ({few} with five shots)" if "5" in shots else "") + _turns(pairs)
    return [*_table(head, rows), "", *_source(found, path, f'make perf PERF=eval ARGS="{asked}{_times(pairs)}"', what)]


def _times(pairs: Sequence[Any]) -> str:
    return f" --pairs {len(pairs)}" if len(pairs) > 1 else ""


def _turns(pairs: Sequence[Any]) -> str:
    return f", medians of {len(pairs)} turns with the least and the greatest ratio" if len(pairs) > 1 else ""


def exact(found: dict[str, Any], path: Path) -> list[str]:
    """A row a benchmark of perf.eval_complete's part `exact`."""
    part = next(name for name in found if name.startswith("exact"))
    rows = [
        (name, row["items"], row["requests"], f"{row['largest_difference']:.1e}", row["other_predictions"], row["ties"])
        for name, row in found[part].items()
    ]
    head = ("benchmark", "items", "requests", "largest difference, nats", "other choices", "ties")
    first = next(iter(found[part].values()))
    return [*_table(head, rows), "", *_source(first, path, f"python -m perf.eval_complete exact --items {part.split()[1]}", "fp32")]


def complete(found: dict[str, Any], path: Path) -> list[str]:
    """A row a benchmark of perf.eval_complete's part `complete`."""
    part = next(name for name in found if name.startswith("complete"))
    rows = []
    for name, row in found[part].items():
        score = row["score"]
        metric = score["primary"]
        rows.append(
            (f"{name} ({metric})", score["items"], f"{row['seconds']:.0f}", f"{row['cpu_seconds']:.0f}",
             f"{score['items'] / row['seconds']:.1f}", f"{100 * score['metrics'][metric]:.1f}",
             f"{100 * score['stderr'][metric]:.1f}", f"{100 * score['chance']:.0f}")
        )  # fmt: skip
    head = ("benchmark", "items", "seconds", "CPU seconds", "items/s", "percent", "standard error", "chance")
    first = next(iter(found[part].values()))
    dtype = part.split()[1]
    return [*_table(head, rows), "", *_source(first, path, f"python -m perf.eval_complete complete --dtype {dtype}", dtype)]


def init(found: dict[str, Any], path: Path) -> list[str]:
    """A row a shape of perf.init, and one for all layers of a model."""
    rows: list[Sequence[Any]] = []
    for row in found["shapes"]:
        seconds, extra = row["seconds"], row["extra_bytes"]
        copies = [f"{extra[side] / row['layer_bytes']:.2f}" for side in ("peft", "ours")]
        rows.append((" x ".join(map(str, row["shape"])), f"{seconds['peft']:.3f}", f"{seconds['ours']:.4f}",
                     f"{seconds['peft'] / seconds['ours']:.0f}", *copies))  # fmt: skip
    whole, asked = found["model"], found["asked"]
    scaled = f", PEFT's from {asked['peft_layers']} layers" if asked["peft_layers"] != whole["layers"] else ""
    theirs, ours = whole["seconds"]["peft"], whole["seconds"]["ours"]
    rows.append((f"{whole['layers']} layers of 4096 x 4096{scaled}", f"{theirs:.0f}", f"{ours:.2f}", f"{theirs / ours:.0f}", "", ""))
    head = ("weight", "PEFT, s", "ours, s", "PEFT / ours", "PEFT, extra copies", "ours, extra copies")
    command = f'make perf PERF=init ARGS="--repeats {asked["repeats"]} --peft-layers {asked["peft_layers"]}"'
    return [*_table(head, rows), "", *_source(found, path, command, f"fp32, rank {asked['rank']}")]


def load(found: dict[str, Any], path: Path) -> list[str]:
    """A row a command of perf.load."""
    rows = [(name, f"{found[name]['cpu_seconds']:.1f}", f"{found[name]['peak_bytes'] / 1e6:.0f}") for name in ("report", "extract")]
    runs = found["asked"]["runs"]
    return [*_table(("command", "CPU seconds", "peak, MB"), rows), "", *_source(found, path, "python -m perf.load", f"{runs} runs")]


def profile(found: dict[str, Any], path: Path) -> list[str]:
    """A row for training and one for scoring of perf.profile: speed, share of the ceiling, and each kind's share of the time."""
    kinds = list(found["training"]["kinds"])
    rows = []
    for name in ("training", "scoring"):
        part = found[name]
        parts = [f"{100 * part['kinds'][kind] / part['profiled_seconds']:.0f}" for kind in kinds]
        rows.append((name, f"{part['tokens_per_s']:.0f}", f"{100 * part['share_of_ceiling']:.0f}", *parts))
    asked = found["asked"]
    records = " --records results" if "asked_for" in found else ""
    command = f"python -m perf.profile --data {asked['data']} --steps {asked['steps']} --items {asked['items']}{records}"
    what = f"{asked['model']}, {asked['steps']} steps, {asked['items']} items a benchmark"
    head = ("", "tokens/s", "% of the ceiling", *(f"{kind}, %" for kind in kinds))
    shares = [said(found["asked_for"]) + " Those are the finished runs of `results/`.", ""] if records else []
    return [*_table(head, rows), "", *shares, *_source(found, path, command, what)]


def said(shares: dict[str, dict[str, float]]) -> str:
    """What `perf.profile.asked_for` found, in words."""
    parts = ("{median:.1%} of the median run's time (the least: {least:.1%}) on {where}, {runs} runs".format(where=where, **one)
             for where, one in shares.items())  # fmt: skip
    return "Steps or asked-for losses were " + ", and ".join(parts) + "."


def growth(found: dict[str, Any], path: Path) -> list[str]:
    """A row a kind of growth of perf.growth."""
    names = {"tokens": "a step, by its tokens", "items": "scoring, by items a benchmark", "parameters": "a step, by the model's parameters",
             "runs": "`study report`, by runs"}  # fmt: skip
    rows = []
    for name, label in names.items():
        sizes = found[name]["sizes"]
        peak = f"{sizes[-1]['peak_bytes'] / 1e6:.0f}" if "peak_bytes" in sizes[-1] else ""
        cells = [", ".join(f"{one['size']:,.0f}" for one in sizes), ", ".join(f"{one['cpu_seconds']:.2f}" for one in sizes)]
        rows.append((label, *cells, f"{found[name]['exponent']:.2f}", peak))
    head = ("", "sizes", "CPU seconds", "exponent", "largest: peak, MB")
    return [*_table(head, rows), "", *_source(found, path, "python -m perf.growth", "medians of three")]


def judge(found: dict[str, Any], path: Path) -> list[str]:
    """The one row of perf.judge."""
    rows, cost = found["asked"]["rows"], found["judge"]
    row = (f"{rows:,}", _mib(found["samples_bytes"]), f"{cost['cpu_seconds']:.1f}", f"{cost['peak_bytes'] / 1e6:.0f}")
    head = ("item rows", "samples, MiB", "CPU seconds", "peak, MB")
    return [*_table(head, [row]), "", *_source(found, path, "python -m perf.judge", "two sides, six seeds, two tasks")]


def gpu(found: dict[str, Any], path: Path) -> list[str]:
    """A row a step of perf.gpu: whether it held, and the speed of ours beside the others' where it measures one."""
    steps = found["steps"]
    rows = [(name, _held(step), f"{step['seconds']:.0f}", *_sides(step)) for name, step in steps.items()]
    head = ("step", "held", "seconds", "ours", "others", "peak above model, MiB: ours", "others")
    named = ",".join(steps)
    health = steps.get("health", {})
    ceiling = f"; bf16 product {health['tflop_per_s']:.0f} TFLOP/s, copy {health['gb_per_s']:.0f} GB/s" if "tflop_per_s" in health else ""
    return [*_table(head, rows), "", *_source(found, path, f"python3 -m perf.gpu --steps {named}", f"random weights{ceiling}")]


def _held(step: dict[str, Any]) -> str:
    return "skipped" if "skipped" in step else "yes" if step["held"] else "no"


def _sides(step: dict[str, Any]) -> tuple[str, str, str, str]:
    """Ours, the others by name, and the same of memory; empty where a step compares no speed."""
    if "hflm" in step:
        return (f"{step['ours']['seconds']:.2f} s", f"HFLM {step['hflm']['seconds']:.2f} s", _mib(step["ours"]["bytes"]),
                _mib(step["hflm"]["bytes"]))  # fmt: skip
    sides = {SIDES[name]: side for name, side in step.items() if name in SIDES and "examples_per_s" in side}
    if "ours" not in sides:
        return ("", "", "", "")
    ours = sides.pop("ours")
    speeds = ", ".join(f"{label} {side['examples_per_s']:.0f}" for label, side in sides.items())
    peaks = ", ".join(f"{label} {_mib(side['peak_above_model_bytes'])}" for label, side in sides.items())
    return f"{ours['examples_per_s']:.0f} examples/s", speeds, _mib(ours["peak_above_model_bytes"]), peaks


_ALL: dict[str, tuple[str, Callable[[dict[str, Any], Path], list[str]]]] = {
    "exact": ("eval_complete.json", exact),
    "complete": ("eval_complete.json", complete),
    "init": ("init_cpu.json", init),
    "load": ("load.json", load),
    "growth": ("growth.json", growth),
    "judge": ("judge.json", judge),
    "gpu": ("gpu_check.json", gpu),
}
for _kind, _make in (("train", train), ("eval", evaluate), ("profile", profile)):  # one a kind of processor
    _ALL |= {file.stem: (file.name, _make) for file in sorted(RESULTS.glob(f"{_kind}_*.json")) if file.name != "eval_complete.json"}
TABLES = {name: (file, make) for name, (file, make) in _ALL.items() if (RESULTS / file).exists()}
"""Name in the page -> file below perf/results, and what makes the table of it: of what has been measured."""


def table(name: str) -> str:
    """The Markdown of one table, its source below it.

    Raises:
        KeyError: there is no such table.
        FileNotFoundError: its results are not there.
    """
    file, make = TABLES[name]
    path = RESULTS / file
    return "\n".join(make(json.loads(path.read_text(encoding="utf-8")), path)) + "\n"


def filled(page: str) -> str:
    """A page with each of its tables as the results have it now."""
    return BLOCK.sub(lambda block: block[1] + "\n" + table(block[2]) + "\n" + block[4], page)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _source(found: dict[str, Any], path: Path, command: str, what: str) -> list[str]:
    """Where a table's numbers lie, what makes them, and on which machine."""
    facts = found["provenance"]
    hardware, packages, commit = facts["hardware"], facts["packages"], facts["harness"]["commit"] or "commit not known"
    changed = " with local changes" if facts["harness"]["dirty"] else ""
    threads = "" if facts["threads"] is None else f", {facts['threads']} thread{'s' * (facts['threads'] != 1)}"
    machine = f"{hardware['processor']}, {hardware['cores']} cores{threads}"
    machine += "".join(f", {gpu}" for gpu in hardware["gpus"])
    versions = ", ".join(f"{name} {packages[name]}" for name in ("torch", "transformers", "peft", "lm-eval") if name in packages)
    return [f"`{command}` wrote `perf/results/{path.name}`: {what}; {machine}; {versions}; commit {commit[:12]}{changed}."]


def _mib(count: float) -> str:
    return f"{count / 2**20:.0f}"


def main() -> int:
    """Print every table, or write those that the page shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write the tables of docs/{PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    for name in TABLES:
        print(f"{name}\n\n{table(name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
