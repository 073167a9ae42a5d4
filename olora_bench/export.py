"""`python -m olora_bench.export RUN --to {adapter,lora,merged} OUT`: a trained adapter for use elsewhere.

adapter: PEFT's own format; loading it changes the base again as the init did, so only for inits that PEFT re-creates.
lora:    a plain LoRA for the pristine base. Exact at rank 2r, since (W - s B0 A0) + s B A = W + s [B | -B0][A ; A0]; at rank r where the
         init left the base alone; `--rank k` keeps the best k (SVD) and reports what is lost.
merged:  the whole model with the adapter added in, as a folder that transformers loads.
Each is loaded again as a user would, and its logits are compared with the trained model's. The Python that loads it is printed.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_bench import device, terminal
from olora_bench.config import Experiment, compose, load
from olora_bench.config.init_rules import Export, refusal
from olora_bench.errors import BadInput, MissingAssets, RecordError, StoreError
from olora_bench.progress import say
from olora_bench.recorded import check_assets, of_record
from olora_bench.store import RunRecord, Store

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from olora_bench.inits import Adapted
    from olora_bench.models import Base


@dataclass(frozen=True)
class Exported:
    """Where it went; `deviation` is the greatest difference of a logit from the trained model's by the greatest logit, both computed in
    `precision`; `lost` is the share of the difference's norm that `--rank` cut off (0 where it is exact); `rank` of the exported adapter,
    None for a merged model; `code` the three lines of Python that load model and tokenizer."""

    path: Path
    deviation: float
    lost: float
    rank: int | None
    precision: str
    code: str


@dataclass(frozen=True)
class _Home:
    """Where others find the base: a Hub id at a commit, or a folder of this machine."""

    name: str
    revision: str | None


def export(
    run: str, to: Export, out: Path, *, rank: int | None = None, results: Path | None = None, config_dir: Path | None = None
) -> Exported:
    """Export a trained run.

    Args:
        run: a train_id, its beginning, or the folder of a run.
        out: the folder to write; it must not exist or be empty.
        rank: for `lora`: the rank of the exported adapter; None is the exact one.
        results: the results folder, where `run` is an id; None is the configured one.
        config_dir: a folder of configs searched before `conf/`: what a record names is fetched only if these describe it.

    Raises:
        BadInput: there is no such run, or it cannot be exported so; says what can be done instead.
    """
    record, experiment, adapter = _find(run, results, config_dir)
    reason = refusal(experiment, to)
    if reason is not None:
        raise BadInput(f"--to {to} is impossible for {run} (init={experiment.init.name}): {reason}")
    if rank is not None and to != "lora":
        raise BadInput(f"--rank {rank} goes with --to lora only")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} is not empty: name a new folder")
    from olora_bench import inits

    device.check(experiment.machine.device)
    base, home = _base(record, experiment)
    examples = _examples(record, experiment, base)
    adapted = inits.apply(base, experiment, examples)
    starts = _factors(adapted)
    try:
        if to == "adapter" and not adapted.recreated_by_peft:
            name = experiment.init.name
            raise BadInput(f"--to adapter is impossible for {run}: init={name} {inits.NOT_RECREATED}. Use --to lora, or --to merged")
        adapted.load(adapter, record.parts["adapter"].sha256)
        wanted = logits(adapted.model, base)
        lost, kept = 0.0, None if to == "merged" else experiment.rank
        if to == "adapter":
            config = adapted.model.peft_config["default"]
            config.base_model_name_or_path, config.revision = home.name, home.revision
            adapted.model.save_pretrained(out, save_embedding_layers=False)
        elif to == "lora":
            lost, kept = _save_lora(adapted, starts, experiment, out, rank, home)
        else:
            _save_merged(adapted, base, out)
    finally:
        adapted.remove()
    return Exported(out, _deviation(base, out, to, wanted), lost, kept, experiment.precision, _code(experiment, to, out, home))


def _find(run: str, results: Path | None, config_dir: Path | None) -> tuple[RunRecord, Experiment, Path]:
    """A run's record, its experiment as today's machine would do it, and the file of its adapter."""
    here = load(compose(["tracker=none"])).machine
    folder = Path(run)
    if _is_run(folder):
        store, run = Store(folder.resolve().parent.parent), folder.resolve().name
    else:
        store = Store(results or here.results_dir)
    record = store.named_run(run)
    train_id = record.train_id
    if record.status != "done" or "adapter" not in record.parts or not store.adapter_path(train_id).is_file():
        state = f"its status is {record.status}" if record.status != "done" else "its adapter was not kept here"
        raise BadInput(f"run {train_id} has no trained adapter ({state}): move its record.json away and run it again")
    return record, of_record(record, here, config_dir), store.adapter_path(train_id)


def _is_run(folder: Path) -> bool:
    try:
        return (folder / "record.json").is_file()
    except OSError:  # a name that no file system takes
        return False


def _base(record: RunRecord, experiment: Experiment) -> tuple[Base, _Home]:
    from olora_bench import assets
    from olora_bench.worker import worker_base

    # The model alone is needed: the data of the run may be far away.
    no_data = experiment.data.model_copy(update={"kind": "benchmarks", "benchmarks": (), "decontaminate": ()})
    alone = experiment.model_copy(
        update={"data": no_data, "suite": experiment.suite.model_copy(update={"benchmarks": (), "generation": None})}
    )
    found = assets.resolve(alone)
    check_assets(record, found)
    assets.check(alone, found)
    base = worker_base(alone, found, assets.fetch(alone, found))
    asset, hub = found[f"model:{experiment.model.name}"], experiment.model.hub
    if asset.source == "hub" and hub is not None:
        return base, _Home(hub.id, asset.identity.rpartition("@")[2])
    return base, _Home(str(base.folder.absolute()), None)


def _code(experiment: Experiment, to: Export, out: Path, home: _Home) -> str:
    """Three lines of Python that load model and tokenizer in the precision that was trained in."""
    dtype = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[experiment.precision]
    options, place = f', dtype="{dtype}"', str(out.absolute())
    if to != "merged" and (quantised := experiment.model.quantization) is not None:
        nf4 = f'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype="{dtype}"'
        options += f", quantization_config=transformers.BitsAndBytesConfig({nf4 if quantised == 'nf4' else 'load_in_8bit=True'})"
    package, kind = ("transformers", "AutoModelForCausalLM") if to == "merged" else ("peft", "AutoPeftModelForCausalLM")
    words, revision = (place, None) if to == "merged" else (home.name, home.revision)
    more = ("" if revision is None else f', revision="{revision}"') + ", trust_remote_code=True" * experiment.model.trust_remote_code
    return (
        f"import {'transformers' if to == 'merged' else 'peft, transformers'}\n"
        f"model = {package}.{kind}.from_pretrained({place!r}{options})\n"
        f"tokenizer = transformers.AutoTokenizer.from_pretrained({words!r}{more})"
    )


def _examples(record: RunRecord, experiment: Experiment, base: Base) -> Any:
    """The train part, built when an init asks for it."""

    def train() -> Any:
        from olora_bench import assets, data

        found = assets.resolve(experiment)
        check_assets(record, found)
        assets.check(experiment, found)
        return data.build_parts(experiment, assets.fetch(experiment, found), base.tokenizer).train

    return train


def _factors(adapted: Adapted) -> list[tuple[Tensor, Tensor]]:
    from olora_bench.inits._layers import layers

    return [(m.lora_B["default"].weight.detach().clone(), m.lora_A["default"].weight.detach().clone()) for _, m in layers(adapted.model)]


def difference(adapted: Adapted, starts: list[tuple[Tensor, Tensor]]) -> list[tuple[str, Tensor, Tensor]]:
    """Per layer its name, left [out, k] and right [k, in], whose product is what the trained layer adds to the pristine weight."""
    import torch

    from olora_bench.inits._layers import layers

    found = []
    for (name, layer), (b0, a0), (b, a) in zip(layers(adapted.model), starts, _factors(adapted), strict=True):
        scale = layer.scaling["default"]
        if adapted.changed:
            b, a = torch.cat([b, -b0], dim=1), torch.cat([a, a0])
        found.append((name, scale * b, a))
    return found


def truncated(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best rank-`rank` approximation of left @ right, its two factors, and the squared norm of what is left out.

    Two thin QRs and an SVD of k x k: the product [out, in] is never formed.
    """
    import torch

    q_left, r_left = torch.linalg.qr(left.double())
    q_right, r_right = torch.linalg.qr(right.double().T)
    u, values, vh = torch.linalg.svd(r_left @ r_right.T)
    root = values[:rank].sqrt()
    return (q_left @ u[:, :rank] * root).float(), (root[:, None] * vh[:rank] @ q_right.T).float(), values[rank:].square().sum().item()


def _save_lora(
    adapted: Adapted, starts: list[tuple[Tensor, Tensor]], experiment: Experiment, out: Path, rank: int | None, home: _Home
) -> tuple[float, int]:
    """Write a plain LoRA of scale 1 (alpha = rank) for the pristine base; the share of the norm lost, and its rank."""
    import safetensors.torch
    from peft import LoraConfig

    from olora_bench.store import atomic_write

    found = difference(adapted, starts)
    exact = found[0][1].shape[1]
    if rank is not None and not 1 <= rank <= exact:
        raise BadInput(f"--rank {rank}: allowed is 1 to {exact}, which is exact")
    kept, lost, total, tensors = rank or exact, 0.0, 0.0, {}
    for name, left, right in found:
        if kept < exact:
            total += ((left.double().T @ left.double()) * (right.double() @ right.double().T)).sum().item()
            left, right, cut = truncated(left, right, kept)
            lost += cut
        for kind, tensor in (("lora_A", right), ("lora_B", left)):
            tensors[f"base_model.model.{name}.{kind}.weight"] = tensor.cpu().contiguous()
    config = LoraConfig(
        r=kept, lora_alpha=kept, target_modules=list(experiment.model.target_modules), task_type="CAUSAL_LM", inference_mode=True,
        base_model_name_or_path=home.name, revision=home.revision,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(out)
    atomic_write(out / "adapter_model.safetensors", safetensors.torch.save(tensors))
    return (math.sqrt(lost / total) if total else 0.0), kept


def _save_merged(adapted: Adapted, base: Base, out: Path) -> None:
    """The model with every adapter layer's weight replaced by the effective one, in the base's dtype; a quantised base is written dense."""
    import torch

    from olora_bench.inits._layers import layers
    from olora_bench.models import read_weight

    effective = {}
    with torch.no_grad():
        for name, layer in layers(adapted.model):
            weight = read_weight(layer.get_base_layer())
            weight = weight + layer.get_delta_weight("default").float()
            if layer.use_dora["default"]:
                magnitude = layer.lora_magnitude_vector["default"].weight
                weight = weight * (magnitude / weight.norm(dim=1))[:, None]
            effective[f"{name}.weight"] = weight.to(base.dtype).cpu()
    state = {}
    for key, tensor in _dense(base).items():
        state[key] = effective.get(key, tensor)
    config = base.model.config
    quantised = getattr(config, "quantization_config", None)
    plain = type(base.model)._from_config(config, dtype=base.dtype) if quantised is None else _unquantised(base)
    plain.load_state_dict(state, strict=False)
    plain.tie_weights()
    plain.save_pretrained(out)
    _copy_words(base, out)


def _copy_words(base: Base, out: Path) -> None:
    """Tokenizer and generation settings file by file: what is in memory has a padding token that the folder may not have."""
    from olora_bench.assets.layout import BESIDE_WEIGHTS

    (out / "generation_config.json").unlink(missing_ok=True)  # made from config.json alone
    for pattern in (*BESIDE_WEIGHTS, *(("*.py",) if base.config.trust_remote_code else ())):
        for file in base.folder.glob(pattern):
            if file.is_file() and file.name != "config.json":
                shutil.copyfile(file, out / file.name)


def _unquantised(base: Base) -> Any:
    import copy

    config = copy.deepcopy(base.model.config)
    del config.quantization_config
    return type(base.model)._from_config(config, dtype=base.dtype)


def _dense(base: Base) -> dict[str, Tensor]:
    """The bare model's parameters and buffers by their plain names, dequantised, with adapter layers looked through."""
    from peft.tuners.lora import LoraLayer

    from olora_bench.models import is_quantised, read_weight

    found: dict[str, Tensor] = {}
    for path, module in base.model.named_modules():
        if isinstance(module, LoraLayer) or ".lora_" in path:
            continue
        plain = path.removesuffix(".base_layer")
        for kind, parameter in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            dense = read_weight(module).to(base.dtype) if is_quantised(parameter) else parameter.detach()
            found[f"{plain}.{kind}"] = dense.cpu()
    return found


def logits(model: torch.nn.Module, base: Base) -> Tensor:
    """Logits [t, vocabulary] of a fixed prompt of 24 ids spread over the vocabulary."""
    import torch

    ids = torch.linspace(1, base.model.config.vocab_size - 1, 24, device=base.device).long()[None]
    with torch.no_grad():
        found: Tensor = model(input_ids=ids).logits[0].float()
    return found


def _deviation(base: Base, out: Path, to: Export, wanted: Tensor) -> float:
    """Load what was written as a user would, and compare. The base is pristine here, and is so again afterwards."""
    from olora_bench.inits._adapted import strip
    from olora_bench.models import differing, restore

    if to == "merged":
        from transformers import AutoModelForCausalLM

        loaded = AutoModelForCausalLM.from_pretrained(
            out, dtype=base.dtype, local_files_only=True, trust_remote_code=base.config.trust_remote_code
        )
        loaded = loaded.eval().to(base.device)
        found = logits(loaded, base)
    else:
        from peft import PeftModel

        found = logits(PeftModel.from_pretrained(base.model, out).eval(), base)
        restore(base, differing(base, strip(base.model)))
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the command line. Exit codes: 0 done, 2 the request cannot be carried out as written."""
    parser = argparse.ArgumentParser(
        prog="python -m olora_bench.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="a train_id, its beginning, or the folder of a run")
    parser.add_argument("--to", required=True, choices=["adapter", "lora", "merged"])
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to write")
    parser.add_argument("--rank", type=int, help="with --to lora: a smaller rank than the exact one")
    parser.add_argument("--results", type=Path, help="the results folder (default: the configured one)")
    parser.add_argument("--config-dir", type=Path, help="a folder of configs of your own that describes the run's model")
    terminal.prepare()
    options = parser.parse_intermixed_args(arguments)
    try:
        done = export(options.run, options.to, options.out, rank=options.rank, results=options.results, config_dir=options.config_dir)
    except (BadInput, MissingAssets, RecordError, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    rank = "" if done.rank is None else f", rank {done.rank}"
    lost = f", {done.lost:.2%} of the difference's norm left out" if done.lost else ""
    how_near = f"logits deviate from the trained model's by {done.deviation:.1e} of the greatest, in {done.precision}"
    say(f"{done.path}: {options.to}{rank}{lost}; {how_near}. It is loaded by")
    print(done.code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
