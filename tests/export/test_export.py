"""Exports load with plain PEFT or transformers and give the trained model's logits."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from olora_bench.config import Experiment, compose, load
from olora_bench.errors import BadInput, MissingAssets
from olora_bench.export import main
from olora_bench.models import load_base
from olora_bench.run import experiment as road
from olora_bench.run.card import FORMS
from olora_bench.run.convert import truncated
from olora_bench.run.export import export
from olora_bench.store import Store

IDS = torch.arange(3, 60)[None]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def trained(results: Path, machine: list[str], cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, Experiment]]:
    """Train a tiny run (once a module), return its id and experiment."""
    monkeypatch.setenv("OLORA_BENCH_CACHE", str(cache_dir))
    monkeypatch.setenv("OLORA_BENCH_RESULTS", str(results))

    def make(*overrides: str) -> tuple[str, Experiment]:
        what = load(compose([
            "model=tiny_tinyllama", "data=made_up", "suite=none", "tracker=none", "rank=4", "precision=fp32", "data.train_size=16",
            "recipe.steps=2", "recipe.batch_size=4", "recipe.loss_evaluations=1", "lr=3e-2", *machine, "machine.threads=1",
            f"machine.results_dir={results}",
            *overrides,
        ]))  # fmt: skip
        return road.run(what).train_id, what

    return make


def pristine(what: Experiment, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    return load_base(what.model, None, dtype, "cpu", what.machine.cache_dir).model


def trained_logits(train_id: str, what: Experiment) -> Tensor:
    """Of the run itself: its init again, its adapter loaded."""
    from olora_bench.inits import apply
    from olora_bench.store import Store

    base = load_base(what.model, None, torch.float32, "cpu", what.machine.cache_dir)
    adapted = apply(base, what)
    adapted.load(Store(what.machine.results_dir).adapter_path(train_id))
    return adapted.model(IDS).logits.detach()


@pytest.mark.parametrize("init", ["lora", "olora", "pissa_niter", "olora_random", "olora_added"])
def test_lora_for_the_pristine_base(init: str, trained: Callable, tmp_path: Path) -> None:
    """Exact: rank 2r where the init changed the base, else r; plain PEFT gives the logits (fp32: 1e-5)."""
    train_id, what = trained(f"init={init}")
    done = export(train_id, "lora", tmp_path / "out")
    assert done.rank == (4 if init in ("lora", "olora_added") else 8)
    assert done.deviation < 1e-5 and done.lost == 0
    wanted = trained_logits(train_id, what)
    loaded = PeftModel.from_pretrained(pristine(what), tmp_path / "out").eval()
    torch.testing.assert_close(loaded(IDS).logits, wanted, atol=1e-5 * wanted.abs().max().item(), rtol=1e-5)
    assert not torch.allclose(pristine(what)(IDS).logits, wanted, atol=1e-3)


@pytest.mark.parametrize(("to", "form"), [("adapter", "adapter of rank 4"), ("lora", "lora of rank 8"), ("merged", "merged")])
def test_the_page_beside_an_export_says_what_it_is_and_how_it_was_made(to: Any, form: str, trained: Callable, tmp_path: Path) -> None:
    """In place of PEFT's empty one; the Hub's library reads it; no folder of this machine, and no warning."""
    train_id, what = trained("init=olora")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        export(train_id, to, tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.tags == ["lora", "olora_bench", "olora"] and card.data.library_name == ("transformers" if to == "merged" else "peft")
    record = Store(what.machine.results_dir).read_run(train_id)
    assert record is not None
    before, after = record.metrics["report_loss_start"], record.metrics["report_loss"]
    base = next(one["identity"] for one in record.provenance["assets"] if one["key"] == "model:tiny_tinyllama")  # type: ignore[index,union-attr]
    harness: Any = record.provenance["harness"]
    assert card.text.strip() == (
        f"""# tiny_tinyllama, olora, rank 4

| | |
|---|---|
| base model | tiny_tinyllama (llama), weights `{base}` |
| run | `{train_id}` |
| init | olora (module olora) |
| trained with | rank 4, alpha 2, on q_proj, v_proj |
| exported as | {form}: {FORMS[to]} |
| data | made_up, seed 0 |
| recipe | default: 2 steps of 4, learning rate 0.03, fp32 |
| held-out loss | {before:.3f} before, {after:.3f} after, in nats per supervised token |
| olora_bench | {harness["version"]}, commit {harness["commit"]} |

Made by olora_bench, a harness that compares LoRA initialisations. With the run's record, """
        f"`python -m olora_bench.export {train_id} --to {to} OUT` makes it again."
    )
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("overrides", [["init=olora"], ["init=olora", "init.rslora=true"], ["init=olora", "init.dora=true"]])
def test_adapter_and_merged(overrides: list[str], trained: Callable, tmp_path: Path) -> None:
    """PEFT's own format onto a pristine base, and a folder that transformers loads alone."""
    train_id, what = trained(*overrides)
    wanted = trained_logits(train_id, what)
    near = {"atol": 2e-5 * wanted.abs().max().item(), "rtol": 1e-5}
    assert export(train_id, "adapter", tmp_path / "adapter").deviation < 1e-5
    torch.testing.assert_close(PeftModel.from_pretrained(pristine(what), tmp_path / "adapter").eval()(IDS).logits, wanted, **near)
    assert export(train_id, "merged", tmp_path / "merged").deviation < 1e-5
    torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()(IDS).logits, wanted, **near)


def test_truncated_rank_is_the_best_one(trained: Callable, tmp_path: Path) -> None:
    """The factors are numpy's truncated SVD of the difference, and the share lost is its tail."""
    left, right = torch.randn(30, 6), torch.randn(6, 20)
    found_left, found_right, cut = truncated(left, right, 3)
    u, values, vt = np.linalg.svd((left @ right).double().numpy())
    np.testing.assert_allclose((found_left @ found_right).numpy(), (u[:, :3] * values[:3]) @ vt[:3], atol=1e-4)
    assert cut == pytest.approx((values[3:] ** 2).sum(), rel=1e-4)
    train_id, _ = trained("init=olora")
    done = export(train_id, "lora", tmp_path / "out", rank=2)
    assert done.rank == 2 and 0 < done.lost < 1 and done.deviation > 1e-5
    with pytest.raises(BadInput, match="--rank 9: allowed is 1 to 8, which is exact"):
        export(train_id, "lora", tmp_path / "other", rank=9)


def test_converted_ones_live_together(trained: Callable, tmp_path: Path) -> None:
    """Two converted OLoRA adapters and a LoRA on one base: switched, each is itself; added, their differences add."""
    runs = [trained("init=olora"), trained("init=olora", "rank=8"), trained("init=lora")]
    what = runs[0][1]
    for (train_id, _), name in zip(runs, "abc", strict=True):
        export(train_id, "lora", tmp_path / name)
    model = PeftModel.from_pretrained(pristine(what), tmp_path / "a", adapter_name="a").eval()
    for name in "bc":
        model.load_adapter(tmp_path / name, adapter_name=name)
    for (train_id, own), name in zip(runs, "abc", strict=True):
        model.set_adapter(name)
        wanted = trained_logits(train_id, own)
        torch.testing.assert_close(model(IDS).logits, wanted, atol=1e-5 * wanted.abs().max().item(), rtol=1e-5)
    model.add_weighted_adapter(["a", "b", "c"], [1.0, 1.0, 1.0], "sum", combination_type="cat")
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    parts = sum(layer.get_delta_weight(name) for name in "abc")
    torch.testing.assert_close(layer.get_delta_weight("sum"), parts, atol=1e-5, rtol=1e-5)


def test_refusals(trained: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be is said with what can; exit code 2."""
    random, _ = trained("init=olora_random")
    assert main([random, "--to", "adapter", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"--to adapter is impossible for {random}: init=olora_random changed the base in a way that PEFT does not repeat when "
        "it loads an adapter. Use --to lora, or --to merged"
    )
    dora, _ = trained("init=olora", "init.dora=true")
    with pytest.raises(BadInput, match="DoRA scales whole rows"):
        export(dora, "lora", tmp_path / "out")
    with pytest.raises(BadInput, match="no run 'nope' in"):
        export("nope", "lora", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(BadInput, match="is not empty: name a new folder"):
        export(random, "lora", tmp_path / "full")


def test_a_model_that_is_not_here_is_answered_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(*_: Any, **__: Any) -> None:
        raise MissingAssets("1 asset is missing")

    monkeypatch.setattr("olora_bench.export.export", lacking)
    monkeypatch.delenv("OLORA_BENCH_LOCAL", raising=False)
    assert main(["0123", "--to", "lora", "an out"]) == 2
    assert capsys.readouterr().err == (
        "1 asset is missing\n"
        "With FOLDER as machine.local_dir: OLORA_BENCH_LOCAL=FOLDER python -m olora_bench.export 0123 --to lora 'an out'\n"
    )


@pytest.mark.parametrize("overrides", [["precision=bf16"], ["model.quantization=nf4"]], ids=str)
def test_rounded_bases_say_how_far_off(overrides: list[str], trained: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """bf16 and 4-bit residuals are rounded, which a plain LoRA for the pristine base cannot repeat: the deviation is printed."""
    if "nf4" in overrides[0]:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra olora-bench[quant])")
    train_id, what = trained("init=olora", *overrides)
    for to, most in (("lora", 0.5), ("adapter", 0.05), ("merged", 0.05)):
        capsys.readouterr()
        assert main([train_id, "--to", to, str(tmp_path / to)]) == 0
        out, err = capsys.readouterr()
        said = err.splitlines()[-1]
        quantised = overrides != ["precision=bf16"]
        assert ('BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"' in out) == (quantised and to != "merged")
        if to != "merged" and not quantised:  # bitsandbytes' own 4-bit products on a CPU do not take sizes this small
            onto = PeftModel.from_pretrained(pristine(what, torch.bfloat16), tmp_path / to).eval()
            torch.testing.assert_close(loaded(out.rstrip("\n"))[0](IDS).logits, onto(IDS).logits, rtol=0, atol=0)
        assert "logits deviate from the trained model's by " in said
        assert float(said.partition("model's by ")[2].split()[0]) < most


def loaded(printed: str) -> tuple[torch.nn.Module, Any]:
    """What the three printed lines make."""
    assert len(printed.splitlines()) == 3
    names: dict[str, Any] = {}
    exec(printed, names)
    return names["model"].eval(), names["tokenizer"]


@pytest.mark.parametrize("to", ["adapter", "lora", "merged"])
def test_printed_lines_load_what_was_trained(to: str, trained: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three lines on standard output: executed as they are, they give the run's logits and the base's tokenizer."""
    train_id, what = trained("init=olora")
    wanted = trained_logits(train_id, what)
    capsys.readouterr()
    assert main([train_id, "--to", to, str(tmp_path / "an out 'folder'")]) == 0
    model, tokenizer = loaded(capsys.readouterr().out.rstrip("\n"))
    torch.testing.assert_close(model(IDS).logits, wanted, atol=2e-5 * wanted.abs().max().item(), rtol=1e-5)
    base = load_base(what.model, None, torch.float32, "cpu", what.machine.cache_dir)
    assert tokenizer("He said 2 + 2.")["input_ids"] == base.tokenizer("He said 2 + 2.")["input_ids"]
    if to != "merged":
        config = json.loads((tmp_path / "an out 'folder'" / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == (str(base.folder), None)


def put_folder(what: Experiment, folder: Path) -> None:
    """The tiny model as somebody's folder: no padding token, two ends, settings for sampling, a chat template."""
    base = load_base(what.model, None, torch.float32, "cpu", what.machine.cache_dir)
    shutil.copytree(base.folder, folder)
    (folder / "built.json").unlink()
    words = json.loads((folder / "tokenizer_config.json").read_text())
    words.pop("pad_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")


GENERATION = {"eos_token_id": [2, 9], "pad_token_id": 5, "do_sample": True, "top_k": 3, "repetition_penalty": 1.2}


def folder_run(
    trained: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *more: str, local: str = "local"
) -> tuple[str, Experiment]:
    """A run whose model has no generated source, so that it comes from a folder below `local` or from the Hub. It is described in a YAML
    of the user's own, in the folder `own` of the test."""
    monkeypatch.setenv("OLORA_BENCH_LOCAL", str(tmp_path / local))
    hub = ["model.generated=null", "model.name=tiny", "+model.hub.id=me/tiny", f"+model.hub.revision={'b' * 40}"]
    train_id, what = trained("init=olora", *hub, f"machine.local_dir={tmp_path / local}", *more)
    (tmp_path / "own" / "model").mkdir(parents=True)
    described = {key: value for key, value in what.model.model_dump(mode="json").items() if value is not None}
    (tmp_path / "own" / "model" / "tiny.yaml").write_text(json.dumps(described))
    return train_id, what


def test_a_merged_folder_keeps_the_words_of_its_base(trained: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generation settings and tokenizer file by file; a padding token that only memory has is not written."""
    local = tmp_path / "local" / "me" / "tiny"
    put_folder(trained("init=olora")[1], local)
    train_id, _ = folder_run(trained, monkeypatch, tmp_path)
    export(train_id, "merged", tmp_path / "out", config_dir=tmp_path / "own")
    kept = {p.name: p.read_bytes() for p in local.iterdir() if p.name not in ("config.json", "model.safetensors")}
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.name in kept} == kept
    assert AutoTokenizer.from_pretrained(tmp_path / "out").pad_token is None
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").generation_config.top_k == 3


def test_a_model_folder_that_no_yaml_describes_is_found_by_its_name(
    trained: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `model=local:FOLDER` leaves it: below OLORA_BENCH_LOCAL, with the record's digest."""
    folder = tmp_path / "local" / "tiny"
    put_folder(trained("init=olora")[1], folder)
    train_id, _ = trained("init=olora", "model.generated=null", "model.name=tiny", f"model.local={folder}")
    with pytest.raises(MissingAssets, match="OLORA_BENCH_LOCAL"):
        export(train_id, "merged", tmp_path / "out")
    monkeypatch.setenv("OLORA_BENCH_LOCAL", str(folder.parent))
    export(train_id, "merged", tmp_path / "out")
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_a_merged_folder_has_no_settings_that_its_base_has_not(trained: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers writes some of its own beside every model."""
    local = tmp_path / "local" / "me" / "tiny"
    put_folder(trained("init=olora")[1], local)
    (local / "generation_config.json").unlink()
    train_id, _ = folder_run(trained, monkeypatch, tmp_path)
    export(train_id, "merged", tmp_path / "out", config_dir=tmp_path / "own")
    assert not (tmp_path / "out" / "generation_config.json").exists()


def test_an_adapter_of_a_local_folder_names_the_folder(
    trained: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its YAML's Hub id may hold other weights; the record names no folder."""
    local = tmp_path / "local" / "me" / "tiny"
    put_folder(trained("init=olora")[1], local)
    train_id, what = folder_run(trained, monkeypatch, tmp_path)
    capsys.readouterr()
    assert main([train_id, "--to", "adapter", str(tmp_path / "out")]) == 0  # the folder is the user's own
    model, _ = loaded(capsys.readouterr().out.rstrip("\n"))
    assert model.peft_config["default"].base_model_name_or_path == str(local)
    assert str(tmp_path / "local") not in (what.machine.results_dir / "runs" / train_id / "record.json").read_text()


def test_an_adapter_of_a_hub_model_names_its_commit(
    trained: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A repository in the Hub's cache: the printed lines find it there, at the revision that was trained on."""
    snapshot = tmp_path / "hub" / "models--me--tiny" / "snapshots" / ("b" * 40)
    put_folder(trained("init=olora")[1], snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    train_id, _ = folder_run(trained, monkeypatch, tmp_path, "assets=[hub]", local="nothing")
    capsys.readouterr()
    for to in ("adapter", "lora"):
        assert main([train_id, "--to", to, str(tmp_path / to), "--config-dir", str(tmp_path / "own")]) == 0
        model, _ = loaded(capsys.readouterr().out.rstrip("\n"))
        config = model.peft_config["default"]
        assert (config.base_model_name_or_path, config.revision) == ("me/tiny", "b" * 40)
