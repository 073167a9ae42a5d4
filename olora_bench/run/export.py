"""A trained adapter for use elsewhere, loaded again as a user would, its logits compared with the trained model's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_bench.config import Experiment, compose, load
from olora_bench.config.init_rules import Export, refusal
from olora_bench.errors import BadInput
from olora_bench.process import device
from olora_bench.run.card import write_card
from olora_bench.run.convert import Home, factors, save_adapter, save_lora, save_merged
from olora_bench.run.recorded import check_assets, of_record
from olora_bench.store import RunRecord, Store

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from olora_bench.models import Base


_INSTEAD = "Use --to lora, or --to merged"


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
    from olora_bench import inits

    record, experiment, adapter = _find(run, results, config_dir)
    if (reason := refusal(experiment, to)) is not None:
        raise BadInput(f"--to {to} is impossible for {run} (init={experiment.init.name}): {reason}")
    _check_place(to, rank, out)
    device.check(experiment.machine.device)
    base, home = _base(record, experiment)
    adapted = inits.apply(base, experiment, _examples(record, experiment, base))
    starts = factors(adapted)
    try:
        if to == "adapter" and not adapted.recreated_by_peft:
            raise BadInput(f"--to adapter is impossible for {run}: init={experiment.init.name} {inits.NOT_RECREATED}. {_INSTEAD}")
        adapted.load(adapter, record.parts["adapter"].sha256)
        wanted = logits(adapted.model, base)
        lost, kept = 0.0, None if to == "merged" else experiment.rank
        if to == "lora":
            lost, kept = save_lora(adapted, starts, experiment, out, rank, home)
        elif to == "adapter":
            save_adapter(adapted, out, home)
        else:
            save_merged(adapted, base, out)
        write_card(out, record, experiment, to, kept)
    finally:
        adapted.remove()
    return Exported(out, _deviation(base, out, to, wanted), lost, kept, experiment.precision, _code(experiment, to, out, home))


def _check_place(to: Export, rank: int | None, out: Path) -> None:
    if rank is not None and to != "lora":
        raise BadInput(f"--rank {rank} goes with --to lora only")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} is not empty: name a new folder")


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


def _base(record: RunRecord, experiment: Experiment) -> tuple[Base, Home]:
    from olora_bench import assets
    from olora_bench.run.worker import worker_base

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
        return base, Home(hub.id, asset.identity.rpartition("@")[2])
    return base, Home(str(base.folder.absolute()), None)


def _code(experiment: Experiment, to: Export, out: Path, home: Home) -> str:
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
    from olora_bench.inits._layers import quiet_peft
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

        with quiet_peft():
            loaded = PeftModel.from_pretrained(base.model, out).eval()
        found = logits(loaded, base)
        restore(base, differing(base, strip(base.model)))
    return ((found - wanted).abs().max() / wanted.abs().max()).item()
