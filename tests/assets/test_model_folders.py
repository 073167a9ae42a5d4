"""Model folders against their YAML, from JSON and headers alone: what is refused, with its whole message, and why one is passed over."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from olora_bench.assets import check, layout, resolve
from olora_bench.assets.folder import misfit, tensor_files
from olora_bench.config import HubSource, Model
from olora_bench.errors import BadInput, MissingAssets

CONFIG = {
    "model_type": "llama", "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": [2, 3],
}  # fmt: skip
MODEL = Model(
    name="mine", family="llama", hub=HubSource(id="me/mine", revision="a" * 40), target_modules=("q_proj",),
    shapes={"q_proj": (8, 8), "v_proj": (4, 8)}, layers=2, hidden_size=8, vocab_size=40, parameters=1, context_length=64, licence="mine",
)  # fmt: skip
WORDS = {"model.embed_tokens.weight": (40, 8)}
LAYERS = {f"model.layers.{i}.self_attn.{name}.weight": shape for i in range(2) for name, shape in MODEL.shapes.items()}
INDEX = "model.safetensors.index.json"


def tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}


def put(folder: Path, shapes: dict[str, tuple[int, ...]] | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({key: value for key, value in (CONFIG | config).items() if value != "absent"}))
    (folder / "tokenizer.json").write_text("{}")
    save_file(tensors(WORDS | LAYERS if shapes is None else shapes), folder / "model.safetensors")
    return folder


def test_a_plain_folder_fits(tmp_path: Path) -> None:
    assert misfit(MODEL, put(tmp_path / "mine")) is None


@pytest.mark.parametrize(
    "said",
    [
        {"logits_scaling": 1.0}, {"final_logit_softcapping": None}, {"use_bidirectional_attention": False}, {"num_experts": 0},
        {"layer_types": ["full_attention", "full_attention"]}, {"pad_token_id": -1}, {"eos_token_id": None}, {"bos_token_id": "absent"},
        {"attention_bias": True, "mlp_bias": True}, {"tie_word_embeddings": True}, {"hidden_act": "gelu"}, {"head_dim": 16},
        {"rope_scaling": {"type": "linear", "factor": 2.0}}, {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
        {"max_position_embeddings": 32}, {"sliding_window": 16}, {"auto_map": {"AutoModelForCausalLM": "mine.Mine"}},
    ],
    ids=str,
)  # fmt: skip
def test_what_plain_models_differ_in_fits(said: dict[str, Any], tmp_path: Path) -> None:
    """Values that change nothing, and those that transformers' own class computes."""
    assert misfit(MODEL, put(tmp_path / "mine", **said)) is None


@pytest.mark.parametrize("kind", ["granite", "cohere", "cohere2", "gemma2", "qwen2", "phi3", "mixtral", "olmo2", "smollm3", "gpt2"])
def test_another_architecture_is_refused(kind: str, tmp_path: Path) -> None:
    """Though its projections have the same names and shapes."""
    folder = put(tmp_path / "mine", model_type=kind)
    assert misfit(MODEL, folder) == (
        f"{folder} is not model mine: config.json says model_type={kind}, conf/model/mine.yaml says family: llama. Allowed: a folder whose "
        "model_type is the family. Give the right folder, or correct model.family"
    )


FOREIGN = "which a plain llama model does not have and transformers would leave out. Allowed"
GIVE = "Give the right folder, or correct"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"logits_scaling": 8.0}, f"logits_scaling=8.0, {FOREIGN}: null or 1. Use a plain model"),
        ({"final_logit_softcapping": 30.0}, f"final_logit_softcapping=30.0, {FOREIGN}: null. Use a plain model"),
        ({"residual_multiplier": 0.2}, f"residual_multiplier=0.2, {FOREIGN}: null or 1. Use a plain model"),
        ({"attention_multiplier": 0.1}, f"attention_multiplier=0.1, {FOREIGN}: null. Use a plain model"),
        ({"num_local_experts": 8}, f"num_local_experts=8, {FOREIGN}: null or 0 or 1. Use a plain model"),
        ({"use_bidirectional_attention": True}, f"use_bidirectional_attention=true, {FOREIGN}: null or false. Use a plain model"),
        (
            {"rope_scaling": {"type": "longrope"}},
            "rope_type=longrope, by which a token's rotation depends on more than its position. "
            "Allowed: default, linear, dynamic, llama3, yarn. Use a plain model",
        ),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor=0.5, which llama models do not have. Allowed: null or 1. Use a plain model",
        ),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 32},
            "max_position_embeddings=32, past which dynamic RoPE turns a token by how long the rows beside it are, and "
            "conf/model/mine.yaml says context_length: 64. Lower model.context_length",
        ),
        ({"vocab_size": 41}, f"vocab_size=41, conf/model/mine.yaml says vocab_size: 40. {GIVE} model.vocab_size"),
        ({"num_hidden_layers": 3}, f"num_hidden_layers=3, conf/model/mine.yaml says layers: 2. {GIVE} model.layers"),
        ({"eos_token_id": [2, 40]}, "eos_token_id=40. Allowed: null or 0 to 39 (vocab_size=40). Correct config.json"),
        ({"bos_token_id": -1}, "bos_token_id=-1. Allowed: null or 0 to 39 (vocab_size=40). Correct config.json"),
        ({"pad_token_id": 40}, "pad_token_id=40. Allowed: null or 0 to 39 (vocab_size=40). Correct config.json"),
    ],
    ids=str,
)  # fmt: skip
def test_what_would_be_computed_otherwise_is_refused(said: dict[str, Any], reason: str, tmp_path: Path) -> None:
    """By the key that says so, with its value and what is allowed."""
    folder = put(tmp_path / "mine", **said)
    assert misfit(MODEL, folder) == f"{folder} is not model mine: config.json says {reason}"


def test_mixed_layers_quantised_weights_and_own_code_are_refused(tmp_path: Path) -> None:
    """Layers of two kinds, weights that are not dense, code that is not transformers'."""
    mixed = put(tmp_path / "mixed", layer_types=["full_attention", "sliding_attention"])
    assert misfit(MODEL, mixed) == (
        f"{mixed} is not model mine: config.json mixes layer_types (full_attention, sliding_attention). Allowed: one kind for all layers. "
        "Use a plain model"
    )
    gptq = put(tmp_path / "gptq", quantization_config={"quant_method": "gptq", "bits": 4})
    assert misfit(MODEL, gptq) == (
        f"{gptq} is not model mine: its weights are quantised in the file (quant_method=gptq). Allowed: dense weights. Give the dense "
        "folder; model.quantization=nf4 or int8 quantises while loading"
    )
    own = put(tmp_path / "own", auto_map={"AutoModelForCausalLM": "mine.Mine"})
    assert misfit(MODEL.model_copy(update={"trust_remote_code": True}), own) == (
        f"{own} is not model mine: config.json's auto_map brings model code of its own. Allowed: transformers' own classes. "
        "Set model.trust_remote_code=false"
    )


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (
            LAYERS | {"model.embed_tokens.weight": (39, 8)},
            f"model.embed_tokens.weight has 39 rows, conf/model/mine.yaml says vocab_size: 40. {GIVE} config.json and model.vocab_size",
        ),
        (
            WORDS | LAYERS | {"model.layers.1.self_attn.v_proj.weight": (8, 8)},
            f"model.layers.1.self_attn.v_proj.weight is (8, 8), conf/model/mine.yaml says (4, 8). {GIVE} model.shapes",
        ),
        (
            WORDS | {name: shape for name, shape in LAYERS.items() if "1.self_attn.v" not in name},
            f"it has 1 layers with v_proj, model.layers is 2. {GIVE} model.layers and model.shapes",
        ),
    ],
)
def test_headers_are_compared_with_the_yaml(shapes: dict[str, tuple[int, ...]], reason: str, tmp_path: Path) -> None:
    """Rows of the embeddings, every projection's shape, the number of layers."""
    folder = put(tmp_path / "mine", shapes)
    assert misfit(MODEL, folder) == f"{folder} is not model mine: {reason}"


def shard(folder: Path, listed: dict[str, str]) -> None:
    """Two shards instead of the whole file: embeddings, layers; and an index that says `listed`."""
    (folder / "model.safetensors").unlink()
    save_file(tensors(WORDS), folder / "model-00001-of-00002.safetensors")
    save_file(tensors(LAYERS), folder / "model-00002-of-00002.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": listed}))


RIGHT = dict.fromkeys(WORDS, "model-00001-of-00002.safetensors") | dict.fromkeys(LAYERS, "model-00002-of-00002.safetensors")


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    """Each tensor with the file that holds it."""
    folder = put(tmp_path / "mine")
    shard(folder, RIGHT)
    assert misfit(MODEL, folder) is None
    assert tensor_files(folder) == {name: folder / file for name, file in RIGHT.items()}


def test_an_index_that_its_shards_contradict_is_refused(tmp_path: Path) -> None:
    """A name that no shard holds, and a shard that was cut short."""
    folder = put(tmp_path / "mine")
    shard(folder, RIGHT | {"lm_head.weight": "model-00001-of-00002.safetensors"})
    assert misfit(MODEL, folder) == (
        f"{folder} cannot be loaded as model mine: {folder / INDEX} says that model-00001-of-00002.safetensors holds lm_head.weight, and "
        "it does not: fetch the folder again"
    )
    (folder / INDEX).write_text(json.dumps({"weight_map": RIGHT}))
    cut = folder / "model-00002-of-00002.safetensors"
    cut.write_bytes(cut.read_bytes()[:-4])
    assert str(misfit(MODEL, folder)).startswith(f"{folder} cannot be loaded as model mine: {cut} cannot be read as safetensors (")


def test_a_whole_file_goes_before_an_index(tmp_path: Path) -> None:
    """An old index beside it, whose shards are gone, says nothing: so transformers reads such a folder."""
    folder = put(tmp_path / "mine")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "model-00001-of-00009.safetensors"}}))
    assert layout.model_problem(folder) is None
    assert misfit(MODEL, folder) is None
    assert set(tensor_files(folder).values()) == {folder / "model.safetensors"}


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names]  # type: ignore[return-value]


def renamed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")


def no_json(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model-1.safetensors").touch()
    (folder / INDEX).write_text("<html>")


def two_ggufs(folder: Path) -> None:
    without("config.json", "model.safetensors")(folder)
    for name in ("a.gguf", "b.gguf"):
        (folder / name).touch()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (without("config.json"), "config.json is missing"),
        (without("model.safetensors"), "there are no weights (*.safetensors)"),
        (without("tokenizer.json"), "there is no tokenizer (tokenizer.json, tokenizer.model or vocab.json)"),
        (renamed, f"there is neither model.safetensors nor {INDEX}, which says what is in consolidated.safetensors"),
        (no_json, f"{INDEX} cannot be read (no valid JSON: Expecting value: line 1 column 1 (char 0))"),
        (two_ggufs, "there are 2 .gguf files, and which of them is meant is not said: keep one"),
        (
            lambda folder: (shard(folder, RIGHT), (folder / "model-00002-of-00002.safetensors").unlink()),
            "1 of 2 weight files are missing (model-00002-of-00002.safetensors)",
        ),
    ],
)
@pytest.mark.parametrize("name", ["HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2_135m"])
def test_why_a_folder_is_passed_over_is_said(
    name: str, damage: Callable[[Path], object], problem: str, make: Callable[..., Any], tmp_path: Path
) -> None:
    """Under the Hub's name or ours: the folder, what is wrong with it, and that completing it helps."""
    folder = put(tmp_path / "local" / name)
    damage(folder)
    experiment = make("assets=[local]", f"machine.local_dir={tmp_path / 'local'}", "model=smollm2_135m", "data=made_up", "suite=none")
    with pytest.raises(MissingAssets) as caught:
        resolve(experiment)
    assert str(caught.value).splitlines()[1:4] == [
        "  model:smollm2_135m",
        f"    source: none; none of assets=[local] has it; {folder} is passed over: {problem}",
        f"    brings it: complete {folder}, or add hub to assets",
    ]


@pytest.mark.parametrize("local_dir", [True, False])
def test_a_folder_that_is_named_and_not_there_is_said(
    local_dir: bool, make: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where its name is relative and there is no folder that it could be below."""
    named = "nowhere" if local_dir else "nothing"
    below = (f"machine.local_dir={tmp_path}",) if local_dir else ()
    what = make("assets=[local,hub]", "model=smollm2_135m", f"model.local={named}", *below, "data=made_up", "suite=none")
    assert resolve(what)["model:smollm2_135m"].source == "hub"
    place = tmp_path / named if local_dir else Path(named)
    assert capsys.readouterr().err == f"model:smollm2_135m: {place} is passed over: there is no such folder; taken from: hub\n"


def test_a_folder_passed_over_for_the_hub_is_said_once(
    make: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run goes on from the next source, and not in silence; where the Hub comes first nothing was passed over."""
    folder = put(tmp_path / "local" / "smollm2_135m")
    (folder / "tokenizer.json").unlink()
    common = (f"machine.local_dir={tmp_path / 'local'}", "model=smollm2_135m", "data=made_up", "suite=none")
    assert resolve(make("assets=[hub,local]", *common))["model:smollm2_135m"].source == "hub"
    assert capsys.readouterr().err == ""
    for _ in range(2):
        assert resolve(make("assets=[local,hub]", *common))["model:smollm2_135m"].source == "hub"
    assert capsys.readouterr().err == (
        f"model:smollm2_135m: {folder} is passed over: there is no tokenizer (tokenizer.json, tokenizer.model or vocab.json); "
        "taken from: hub\n"
    )


def test_a_local_folder_that_does_not_fit_is_refused_before_any_work(make: Callable[..., Any], tmp_path: Path) -> None:
    """By the check of assets."""
    folder = put(tmp_path / "local" / "smollm2_135m", model_type="granite")
    experiment = make("assets=[local]", f"machine.local_dir={tmp_path / 'local'}", "model=smollm2_135m", "data=made_up", "suite=none")
    with pytest.raises(BadInput, match=rf"^{folder} is not model smollm2_135m: config\.json says model_type=granite"):
        check(experiment, resolve(experiment))


def test_folders_are_compared_without_torch(tmp_path: Path) -> None:
    """Headers are read by safetensors alone."""
    code = (
        "import sys; from pathlib import Path; from olora_bench.assets.folder import misfit; from olora_bench.config import Model\n"
        f"model = Model.model_validate_json({MODEL.model_dump_json()!r})\n"
        f"print(misfit(model, Path({str(put(tmp_path / 'mine'))!r})), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None False\n"
