"""What every init of conf/init keeps: the base comes back, the start is the pretrained model, seeds, groups; two files make a new one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from peft.optimizers import create_loraplus_optimizer
from torch import Tensor

import olora_bench.inits
from olora_bench.config import Experiment, conf_dir
from olora_bench.config.init_options import promises
from olora_bench.data import Example
from olora_bench.errors import BadInput
from olora_bench.inits import Adapted, apply, olora, olora_pivoted
from olora_bench.inits._contract import digest, examples
from olora_bench.inits._layers import layers
from olora_bench.models import Base, read_weight

Make = Callable[..., Experiment]
Fresh = Callable[..., Base]
INITS = sorted(p.stem for p in (conf_dir() / "init").glob("*.yaml"))
NAMED = [[f"init={name}"] for name in INITS] + [
    ["init=peft", "init.name=mica"], ["init=peft", "init.name=pissa_niter_4"],
    ["init=peft", "init.name=peft_olora", "+init.options.init_lora_weights=olora"],
    ["init=olora", "init.rslora=true"], ["init=olora", "init.dora=true"], ["init=olora_random", "init.dora=true", "init.rslora=true"],
]  # fmt: skip
IDS = torch.arange(3, 60)[None]


def start(experiment: Experiment, base: Base) -> Adapted:
    return apply(base, experiment, lambda: examples(experiment.model.vocab_size))


def factors(adapted: Adapted) -> list[tuple[Tensor, Tensor]]:
    return [(m.lora_B["default"].weight.data, m.lora_A["default"].weight.data) for _, m in layers(adapted.model)]


@pytest.mark.parametrize("overrides", NAMED, ids=" ".join)
def test_starts_as_the_base_and_gives_it_back(overrides: list[str], experiment: Make, fresh: Fresh) -> None:
    """At step 0 the logits are the base's (fp32: 1e-5) and its weights untouched where the init promises it, and only there; afterwards the
    base has all its bits."""
    what = experiment(*overrides)
    base = fresh(what)
    bits, before = digest(base), base.model(IDS).logits
    adapted = start(what, base)
    off = (adapted.model(IDS).logits - before).abs().max() / before.abs().max()
    said = promises(what.init)
    assert (off <= 1e-5) if "starts_as_base" in said else (off > 1e-2)
    if what.init.name == overrides[0].removeprefix("init=") and what.init.name != "peft":  # whose options say which init it is
        assert (adapted.changed == ()) == ("keeps_base" in said)
    assert {p.dtype for p in adapted.model.parameters() if p.requires_grad} == {torch.float32}
    for group in adapted.param_groups:
        for parameter in group["params"]:
            parameter.data.add_(0.1)
    assert not torch.allclose(adapted.model(IDS).logits, before, atol=1e-3)
    adapted.remove()
    assert digest(base) == bits
    assert torch.equal(base.model(IDS).logits, before)


@pytest.mark.parametrize("name", [name for name in INITS if name != "orthogonal"])
def test_bf16_base_comes_back(name: str, experiment: Make, fresh: Fresh) -> None:
    """On a bf16 base too, and twice in a row."""
    what = experiment(f"init={name}")
    base = fresh(what, torch.bfloat16)
    bits = digest(base)
    for _ in range(2):
        start(what, base).remove()
        assert digest(base) == bits


def test_all_arms_train_equally_many_numbers(experiment: Make, fresh: Fresh) -> None:
    """Parameters and bytes on disk are LoRA's for every init, DoRA aside."""
    counts, base = {}, fresh(experiment())
    for name in INITS:
        adapted = start(experiment(f"init={name}"), base)
        counts[name] = (adapted.parameters_trainable, adapted.parameters_total, sum(t.nbytes for t in adapted._state().values()))
        adapted.remove()
    assert set(counts.values()) == {counts["lora"]}


def test_what_hangs_on_the_seed(experiment: Make, fresh: Fresh) -> None:
    """Random inits differ between seeds and not between two starts of one; OLoRA and its pivoted form draw nothing."""
    fixed, base = {"olora", "olora_pivoted"}, fresh(experiment())

    def drawn(name: str, seed: int) -> Tensor:
        adapted = start(experiment(f"init={name}", f"seed={seed}"), base)
        found = torch.cat([t.flatten() for pair in factors(adapted) for t in pair])
        adapted.remove()
        return found

    for name in ("gaussian", "lora_matched", "nora", "olora_permuted", "olora_random", "orthogonal", "olora", "olora_pivoted"):
        first, again, other = (drawn(name, seed) for seed in (0, 0, 1))
        assert torch.equal(first, again), name
        assert torch.equal(first, other) == (name in fixed), name


@pytest.mark.parametrize("dora", ["true", "false"])
@pytest.mark.parametrize("ratio", ["0.25", "16"])
def test_groups_are_those_of_peft(ratio: str, dora: str, experiment: Make, fresh: Fresh) -> None:
    """The same parameters at the same learning rates as PEFT's create_loraplus_optimizer; lr is A's."""
    what = experiment("init=olora_plus", f"init.lr_ratio={ratio}", f"init.dora={dora}", "lr=1e-3")
    adapted = start(what, fresh(what))
    optimizer = create_loraplus_optimizer(adapted.model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=float(ratio))
    theirs = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    ours = {id(p): group["lr"] for group in adapted.param_groups for p in group["params"]}
    assert ours == theirs
    assert adapted.param_groups[0]["lr"] == 1e-3
    assert what.arm == f"olora_plus_x{float(ratio):g}" + "_dora" * (dora == "true")


def test_rslora_scales_by_the_root_of_the_rank(experiment: Make, fresh: Fresh) -> None:
    """alpha/sqrt(r), and the identity at step 0 holds with it."""
    assert start(experiment("init=olora", "init.rslora=true", "alpha=6"), fresh(experiment())).scale == 3.0


def test_dora_magnitudes_are_the_weights_row_norms(experiment: Make, fresh: Fresh) -> None:
    """With OLoRA's A and B in place, a layer's magnitude is that of the pretrained rows; taken literally (added), that of W + s B A."""
    for name in ("olora", "olora_added"):
        what = experiment(f"init={name}", "init.dora=true")
        weight = fresh(what).model.get_parameter("model.layers.0.self_attn.q_proj.weight")
        _, layer = next(iter(layers(start(what, fresh(what)).model)))
        b, a = layer.lora_B["default"].weight, layer.lora_A["default"].weight
        wanted = weight if name == "olora" else weight + 0.5 * b @ a
        torch.testing.assert_close(layer.lora_magnitude_vector["default"].weight, wanted.norm(dim=1), atol=1e-5, rtol=1e-5)


def test_pivots_are_those_of_lapack() -> None:
    """The greedy columns are scipy's (geqp3), also where columns repeat."""
    weight = torch.randn(40, 60, generator=torch.Generator().manual_seed(0))
    weight[:, 7] = weight[:, 20]
    _, wanted = scipy.linalg.qr(weight.double().numpy(), mode="r", pivoting=True)
    assert olora_pivoted.pivots(weight, 40) == wanted[:40].tolist()


def test_controls_are_what_they_say(experiment: Make, fresh: Fresh) -> None:
    """Permuted: B spans r columns of W. Random: A = B^T W. Matched: A has OLoRA's norm. NoRA: A is 0, B = W Omega."""
    base = fresh(experiment())
    weights = [read_weight(m.get_base_layer()) for _, m in layers(start(experiment(), fresh(experiment())).model)]
    for weight, (b, a) in zip(weights, factors(start(experiment("init=olora_permuted"), fresh(experiment()))), strict=True):
        inside = (b @ (b.T @ weight) - weight).norm(dim=0) < 1e-4 * weight.norm(dim=0)
        assert inside.sum() == 4 and not inside[:4].all()
        torch.testing.assert_close(a, b.T @ weight, atol=1e-5, rtol=1e-5)
    for weight, (b, a) in zip(weights, factors(start(experiment("init=olora_random"), fresh(experiment()))), strict=True):
        torch.testing.assert_close(b.T @ b, torch.eye(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(a, b.T @ weight, atol=1e-5, rtol=1e-5)
    for weight, (b, a) in zip(weights, factors(start(experiment("init=lora_matched"), fresh(experiment()))), strict=True):
        torch.testing.assert_close(a.norm(), olora.factors("", weight, 4)[1].norm())
        assert not b.any()
    for weight, (b, a) in zip(weights, factors(start(experiment("init=nora"), base)), strict=True):
        assert not a.any()
        assert torch.linalg.matrix_rank(torch.cat([weight, b], dim=1)) == torch.linalg.matrix_rank(weight)


def test_eva_spans_the_leading_inputs(experiment: Make, fresh: Fresh) -> None:
    """A's rows are orthonormal and hold nearly as much of the layer's inputs at supervised tokens as their top singular vectors do."""
    what = experiment("init=eva", "recipe.batch_size=40")
    seen: list[Tensor] = []
    base = fresh(what)
    projection = base.model.get_submodule("model.layers.0.self_attn.q_proj")
    handle = projection.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].flatten(0, -2)))
    given = examples(what.model.vocab_size)
    for example in given:
        base.model(torch.from_numpy(example.input_ids.astype(np.int64))[None])
    handle.remove()
    inputs = torch.cat(seen)[torch.from_numpy(np.concatenate([e.supervised for e in given]))]
    inputs = inputs - inputs.mean(0)
    _, a = factors(start(what, base))[0]
    torch.testing.assert_close(a @ a.T, torch.eye(4), atol=1e-3, rtol=0)
    best = torch.linalg.svdvals(inputs)[:4].square().sum()
    assert (inputs @ a.T).square().sum() > 0.95 * best


def test_eva_needs_examples(experiment: Make, fresh: Fresh) -> None:
    """Without any, and with fewer supervised tokens than the rank; the base is then as it was."""
    what = experiment("init=eva")
    with pytest.raises(BadInput, match="init=eva learns from training examples, and none are given here"):
        apply(fresh(what), what)
    short = Example("s", "made_up", np.arange(3, 9, dtype=np.int32), np.arange(6) >= 4, False)
    base = fresh(what)
    bits = digest(base)
    with pytest.raises(BadInput, match=r"needs at least rank=4; there are 2\. Lower rank or raise data\.train_size"):
        apply(base, what, lambda: [short])
    assert digest(base) == bits


REFUSED = {
    "corda": "PEFT needs the covariance of each layer's inputs for it (preprocess_corda), which is not passed here",
    "lora_ga": "PEFT needs the gradient of each base weight for it (preprocess_loraga), which is not passed here",
    "eva": "PEFT needs training examples for it, which init=eva passes: use init=eva",
    "loftq": "PEFT needs a loftq_config for it. Give +init.options.loftq_config={loftq_bits: 4}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_peft_names_that_need_more(name: str, experiment: Make) -> None:
    """Refused when the config is checked, with the reason."""
    with pytest.raises(BadInput) as error:
        experiment("init=peft", f"init.name={name}")
    assert str(error.value) == f"init={name} asks PEFT for init_lora_weights={name}: {REFUSED[name]}"


def test_other_refusals(experiment: Make) -> None:
    """A name that PEFT does not have, an odd rank for orthogonal, PiSSA on a quantised base, exports that can never be."""
    cases = {
        "which it does not have. Allowed: gaussian, olora": ["init=peft", "init.name=olaro"],
        "which exists for even ranks only, and rank=3. Give an even rank": ["init=orthogonal", "rank=3"],
        r"cannot do on a quantised base \(model.quantization=nf4\)": ["init=pissa", "model.quantization=nf4"],
        "exportable names lora: DoRA scales whole rows": ["init=olora", "init.dora=true", "exportable=[lora]"],
        "exportable names adapter: PEFT would not make the same base again": ["init=pissa_niter", "exportable=[adapter]"],
    }
    for message, overrides in cases.items():
        with pytest.raises(BadInput, match=message):
            experiment(*overrides)


def test_an_adapter_that_peft_could_not_load_is_refused_before_training(experiment: Make, fresh: Fresh) -> None:
    """Asked for `exportable=[adapter]`: OLoRA and LoRA pass, a control that changes the base otherwise does not, and leaves the base."""
    for name in ("olora", "lora", "olora_added"):
        start(experiment(f"init={name}", "exportable=[adapter]"), fresh(experiment()))
    base = fresh(experiment())
    bits = digest(base)
    with pytest.raises(BadInput, match="exportable names adapter: init=olora_random changed the base in a way that PEFT does not repeat"):
        start(experiment("init=olora_random", "exportable=[adapter]"), base)
    assert digest(base) == bits


def test_a_new_init_is_two_files(tmp_path: Path, machine: list[str]) -> None:
    """A YAML and a Python file, dropped in, are found by name; nothing else is edited."""
    package = tmp_path / "olora_bench"
    shutil.copytree(Path(olora_bench.inits.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__", "conf"))
    shutil.copytree(conf_dir(), package / "conf")
    (package / "inits" / "tiny_b.py").write_text(
        "from olora_bench.inits._layers import fill\n\n\n"
        "def adapt(base, experiment, seed):\n"
        "    size = experiment.init.options['size']\n"
        "    return fill(base, experiment, lambda name, w, r: (w[:, :r] * 0, w[:r] * 0 + size), subtract=False)\n"
    )
    (package / "conf" / "init" / "tiny_b.yaml").write_text("name: tiny_b\nmodule: tiny_b\noptions: {size: 0.5}\n")
    script = (
        "from olora_bench.config import compose, load\nfrom olora_bench.inits import apply\nfrom olora_bench.models import load_base\n"
        "import torch\n"
        f"what = load(compose(['model=tiny_tinyllama', 'data=made_up', 'suite=none', 'rank=4', 'init=tiny_b', *{machine!r}]))\n"
        "base = load_base(what.model, None, torch.float32, 'cpu', what.machine.cache_dir)\n"
        "print(what.arm, {float(p.sum()) for n, p in apply(base, what).model.named_parameters() if 'lora_A' in n})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "tiny_b {128.0}", done.stderr
