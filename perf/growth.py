"""How cost grows: with the tokens of a step, the items scored, the model's size and a study's runs, at three sizes each.

    python -m perf.growth [--only tokens,items,parameters,runs]

An exponent is the slope of log CPU seconds on log size: 1 is linear. Limits: 1.2 each, and 2 GB for the report of the largest study.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from perf.measured import measured
from perf.profile import Profiled, experiment

EXPONENT, BYTES = 1.2, 2 * 1000**3
WIDTHS, LAYERS = (256, 512, 1024), 8
PACKAGED = ("model=smollm2_135m_q4", "data=commonsense", "suite=commonsense6", "rank=32")


def main() -> int:
    """Exit codes: 0 the limits hold, 1 they do not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(GROWS), help="of " + ", ".join(GROWS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "growth.json")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. machine.cache_dir=DIR")
    options = parser.parse_args()
    torch.set_num_threads(1)
    from olora_bench.process.provenance import provenance

    found: dict[str, Any] = {"asked": {"repeats": options.repeats, "only": options.only}}
    for name in options.only.split(","):
        found[name] = fitted(list(GROWS[name](options)))
        print(f"{name}: {found[name]['exponent']:.2f} (at most {EXPONENT:g}); " + text(found[name]["sizes"]), flush=True)
    held = all(one["exponent"] <= EXPONENT and largest(one) <= BYTES for one in found.values() if "exponent" in one)
    found["provenance"] = provenance(assets=[], threads=1, device="cpu")
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {options.out}{'' if held else '  NOT HELD'}")
    return 0 if held else 1


def fitted(sizes: list[dict[str, float]]) -> dict[str, Any]:
    """The sizes as they are, and the exponent."""
    slope = np.polyfit(*(np.log([one[key] for one in sizes]) for key in ("size", "cpu_seconds")), 1)[0]
    return {"exponent": float(slope), "sizes": sizes}


def largest(found: dict[str, Any]) -> float:
    """The most memory at any size; 0 where none was measured."""
    return max(one.get("peak_bytes", 0.0) for one in found["sizes"])


def text(sizes: list[dict[str, float]]) -> str:
    """Sizes and their seconds in a line."""
    return ", ".join(f"{one['size']:,.0f} in {one['cpu_seconds']:.2f} s" for one in sizes)


def tokens(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """A step of training, by the examples of its batch."""
    one = Profiled(experiment(*_model(options), *options.overrides), 1, torch.device("cpu"))
    for size in (4, 8, 16) if options.small else (8, 16, 32):
        step, count = one.one_step(size)
        yield {"size": float(count), "cpu_seconds": _seconds(step, options.repeats)}


def items(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Scoring of so many items of each of the six benchmarks."""
    one = Profiled(experiment(*_model(options), *options.overrides), 1, torch.device("cpu"))
    for size in (1, 2, 4) if options.small else (5, 10, 20):
        score, _ = one.scores(size)
        yield {"size": float(size), "cpu_seconds": _seconds(score, options.repeats)}


def parameters(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """A step of training, by the parameters of a random model of Llama's kind."""
    for width in [width // 8 for width in WIDTHS] if options.small else WIDTHS:
        what = experiment(*_random(width), "data=made_up", "suite=commonsense6_made_up", "rank=8", *options.overrides)
        step, _ = Profiled(what, 1, torch.device("cpu")).one_step(16)
        yield {"size": float(what.model.parameters), "cpu_seconds": _seconds(step, options.repeats)}


def runs(options: argparse.Namespace) -> Iterator[dict[str, float]]:
    """`study report`, by the runs of a made-up study of long curves and many items."""
    for size in (20, 40, 80) if options.small else (500, 2000, 10_000):
        with tempfile.TemporaryDirectory() as folder:
            measured("perf.load", "--runs", str(size), "--out", f"{folder}/load.json")
            report = json.loads((Path(folder) / "load.json").read_text(encoding="utf-8"))["report"]
        yield {"size": float(size), "cpu_seconds": report["cpu_seconds"], "peak_bytes": float(report["peak_bytes"])}


GROWS: dict[str, Callable[[argparse.Namespace], Iterator[dict[str, float]]]] = {
    "tokens": tokens, "items": items, "parameters": parameters, "runs": runs,
}  # fmt: skip


def _model(options: argparse.Namespace) -> tuple[str, ...]:
    return ("model=tiny_tinyllama", "data=made_up", "suite=commonsense6_made_up", "rank=8") if options.small else PACKAGED


def _seconds(work: Callable[[], Any], repeats: int) -> float:
    """The median CPU seconds of `work`, after once for nothing."""
    work()
    spent = []
    for _ in range(repeats):
        before = time.process_time()
        work()
        spent.append(time.process_time() - before)
    return median(spent)


def _random(width: int) -> list[str]:
    """Overrides that make the tiny model `LAYERS` layers of this width, its heads as long as SmolLM2's."""
    head, inner = min(64, width // 2), 5 * width // 2
    heads = width // head
    shapes = {"q_proj": (width, width), "k_proj": (width, width), "v_proj": (width, width), "o_proj": (width, width)}
    shapes |= {"gate_proj": (inner, width), "up_proj": (inner, width), "down_proj": (width, inner)}
    count = LAYERS * (sum(out * inside for out, inside in shapes.values()) + 2 * width) + width + 2 * 260 * width
    generated = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": LAYERS, "num_attention_heads": heads,
                 "num_key_value_heads": heads, "head_dim": head}  # fmt: skip
    return [
        "model=tiny_tinyllama", f"model.name=width_{width}", *(f"model.generated.{key}={value}" for key, value in generated.items()),
        *(f"model.shapes.{name}=[{out},{inside}]" for name, (out, inside) in shapes.items()), f"model.layers={LAYERS}",
        f"model.hidden_size={width}", f"model.parameters={count}",
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
