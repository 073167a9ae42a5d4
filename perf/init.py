"""OLoRA's init beside PEFT's: the whole operation (A, B and the residual weight), time and extra memory. `python -m perf.init --help`.

Both sides get the same adapter layer of PEFT around the same fp32 weight: PEFT's runs its `olora_init`, ours what `init=olora` runs on it.
Time: least of several, sides in turn, in one process. Memory: peak resident memory (on a GPU: allocated by torch) above what weight, A and
B take, each side in a process of its own. The model: every q, k, v, o projection of Llama-2-7B, layer by layer, random weights.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraConfig
from peft.tuners.lora.layer import Linear

from olora_bench.inits._layers import start_layer
from olora_bench.inits.olora import factors
from olora_bench.process.provenance import provenance
from olora_bench.training.memory import PeakMemory

RANK, ALPHA = 32, 16
SHAPES = {(4096, 4096): 60, (11008, 4096): 80, (4096, 11008): 20}
"""(out, in) -> the least ratio PEFT/ours that is held to, on two cores."""
MODEL_SHAPE, MODEL_LAYERS, MODEL_RATIO = (4096, 4096), 4 * 32, 50


def layer_of(weight: torch.Tensor) -> Linear:
    """PEFT's adapter layer around a linear layer with this weight, its A and B not yet OLoRA's."""
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, init_lora_weights=True)
    return Linear(linear, "default", config=config, r=RANK, lora_alpha=ALPHA)


@torch.no_grad()
def ours(layer: Linear) -> None:
    """What `init=olora` does with one layer."""
    start_layer("layer", layer, factors, subtract=True)


@torch.no_grad()
def peft(layer: Linear) -> None:
    """What PEFT does with one layer."""
    layer.olora_init("default")


SIDES: dict[str, Callable[[Linear], None]] = {"peft": peft, "ours": ours}


def seconds(side: Callable[[Linear], None], weight: torch.Tensor) -> float:
    """Wall-clock seconds of one init of one layer."""
    layer = layer_of(weight.clone())
    wait(weight.device)
    began = time.perf_counter()
    side(layer)
    wait(weight.device)
    return time.perf_counter() - began


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def times(shape: tuple[int, int], device: torch.device, repeats: int) -> tuple[float, float]:
    """The least seconds of PEFT's and of ours; ours gets more turns, being short."""
    weight = torch.randn(shape, device=device)
    seconds(ours, weight)
    found: dict[str, list[float]] = {"peft": [], "ours": []}
    for _ in range(repeats):
        found["peft"].append(seconds(peft, weight))
        found["ours"] += [seconds(ours, weight) for _ in range(7)]
    return min(found["peft"]), min(found["ours"])


def model_times(device: torch.device, peft_layers: int) -> tuple[float, float]:
    """Seconds for all adapted layers of the model, each with weights of its own; PEFT's from its first `peft_layers`, scaled up."""
    total = dict.fromkeys(SIDES, 0.0)
    for index in range(MODEL_LAYERS):
        weight = torch.randn(MODEL_SHAPE, device=device)
        total["ours"] += seconds(ours, weight)
        if index < peft_layers:
            total["peft"] += seconds(peft, weight)
    return total["peft"] * MODEL_LAYERS / peft_layers, total["ours"]


def extra_bytes(side: str, shape: tuple[int, int], device: torch.device) -> int:
    """Peak bytes above weight, A and B, of one init. To be called once in a process."""
    SIDES[side](layer_of(torch.randn(256, 256, device=device)))  # libraries take their working memory once
    layer = layer_of(torch.randn(shape, device=device))
    for factor in (layer.lora_A, layer.lora_B):
        factor["default"].weight.data.normal_()
    gc.collect()
    with PeakMemory(device) as memory:
        SIDES[side](layer)
    return max(0, memory.peak - memory.start)


def main() -> int:
    """Print a line a shape and one for the model, write them as JSON; 1 when a ratio or the memory is not held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="of PEFT's; ours gets seven times as many")
    parser.add_argument("--peft-layers", type=int, default=4, help="layers of the model that PEFT is run on, of 128; the rest is scaled up")
    parser.add_argument("--out", type=Path, default=None, help="default: perf/results/init_<device>.json")
    parser.add_argument("--memory-of", nargs=3, metavar=("SIDE", "OUT", "IN"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if options.memory_of:
        side, out_features, in_features = options.memory_of
        print(extra_bytes(side, (int(out_features), int(in_features)), device))
        return 0
    held, shapes = True, []
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {options.threads} threads"
    print(f"OLoRA init, A, B and residual, fp32, r={RANK}, {where}")
    for shape, wanted in SHAPES.items():
        theirs, own = times(shape, device, options.repeats)
        memory = {side: _memory(side, shape, options) for side in SIDES}
        copy = 4 * shape[0] * shape[1]
        good = (theirs / own >= wanted or device.type != "cpu") and memory["ours"] <= copy
        held &= good
        shapes.append({"shape": shape, "seconds": {"peft": theirs, "ours": own}, "extra_bytes": memory, "layer_bytes": copy})
        print(
            f"  {shape[0]}x{shape[1]}: PEFT {theirs:.3f} s, ours {own:.4f} s, ratio {theirs / own:.0f}x (at least {wanted}x); "
            f"extra memory in fp32 copies of the layer: PEFT {memory['peft'] / copy:.2f}, ours {memory['ours'] / copy:.2f} (at most 1)"
            f"{'' if good else '  NOT HELD'}",
            flush=True,
        )
    theirs, own = model_times(device, options.peft_layers)
    good = theirs / own >= MODEL_RATIO or device.type != "cpu"
    held &= good
    scaled = "" if options.peft_layers == MODEL_LAYERS else f" (from {options.peft_layers} layers, scaled up)"
    print(
        f"  q, k, v, o of a 7B model, {MODEL_LAYERS} layers: PEFT {theirs:.0f} s{scaled}, ours {own:.2f} s, "
        f"ratio {theirs / own:.0f}x (at least {MODEL_RATIO}x){'' if good else '  NOT HELD'}"
    )
    _write({"shapes": shapes, "model": {"layers": MODEL_LAYERS, "seconds": {"peft": theirs, "ours": own}}}, options)
    return 0 if held else 1


def _write(found: dict[str, Any], options: argparse.Namespace) -> None:
    out = options.out or Path(__file__).parent / "results" / f"init_{options.device.split(':')[0]}.json"
    out.parent.mkdir(exist_ok=True)
    facts = provenance(assets=[], threads=options.threads, device=options.device)
    asked = {"rank": RANK, "repeats": options.repeats, "peft_layers": options.peft_layers}
    out.write_text(json.dumps({"asked": asked, "provenance": facts, **found}, indent=1) + "\n")
    print(f"wrote {out}")


def _memory(side: str, shape: tuple[int, int], options: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "perf.init", "--device", options.device, "--threads", str(options.threads)]
    done = subprocess.run(
        [*command, "--memory-of", side, str(shape[0]), str(shape[1])],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    return int(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
