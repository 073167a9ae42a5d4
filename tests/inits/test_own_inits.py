"""An init of one's own, outside this checkout: below --config-dir, or an installed package's entry point. Nothing runs by being read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from olora_bench.config import compose, load, options, own_inits
from olora_bench.config.init_options import promises
from olora_bench.errors import BadInput
from olora_bench.identity.code import init_digest
from olora_bench.inits.__main__ import main
from olora_bench.inits._adapted import _code
from tests.study_text import HEAD, study_text

Cli = Callable[..., subprocess.CompletedProcess[str]]
QUIET = ("model=tiny_tinyllama", "data=made_up", "suite=none", "tracker=none", "rank=4", "precision=fp32")
ADAPT = """
from olora_bench.inits._layers import fill


def adapt(base, experiment, seed):
    return fill(base, experiment, lambda name, w, r: (w[:, :r] * 0, w[:r] * 0 + 0.5), subtract=False)
"""
RUNS = "raise SystemExit('it ran')\n"


@pytest.fixture(autouse=True)
def _nothing_trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(own_inits, "_FOLDERS", [])
    own_inits._offered.cache_clear()
    yield
    own_inits._offered.cache_clear()


def folder(place: Path, text: str = ADAPT, name: str = "my_init") -> Path:
    (place / "init").mkdir(parents=True, exist_ok=True)
    (place / "init" / f"{name}.py").write_text(text)
    return place


def package(place: Path) -> Path:
    """As pip leaves one: a package whose own import would be seen, and its entry point."""
    home = place / "my_package"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("import sys\nprint('imported', file=sys.stderr)\n")
    (home / "helper.py").write_text("SIZE = 0.5\n")
    (home / "mine.py").write_text("from my_package.helper import SIZE\n" + ADAPT.replace("0.5", "SIZE"))
    meta = place / "my_package-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[olora_bench.inits]\nmy_init = my_package.mine\n")
    return place


def test_a_file_below_a_named_folder_is_an_option_without_a_yaml(tmp_path: Path) -> None:
    own_inits.use_folder(folder(tmp_path))
    init = load(compose([*QUIET, "init=my_init"])).init
    assert (init.name, init.module) == ("my_init", "my_init")
    assert "my_init" in options("init")


def test_a_yaml_beside_the_file_gives_options(tmp_path: Path) -> None:
    own_inits.use_folder(folder(tmp_path, "OPTIONS = ('size',)\n" + ADAPT))
    (tmp_path / "init" / "mine_small.yaml").write_text("name: mine_small\nmodule: my_init\noptions: {size: 0.1}\n")
    assert load(compose([*QUIET, "init=mine_small"])).init.options == {"size": 0.1}


def test_reading_runs_nothing(tmp_path: Path) -> None:
    """Composing, checking and identifying look at the text alone, also of what would end the process."""
    own_inits.use_folder(folder(tmp_path, RUNS))
    load(compose([*QUIET, "init=my_init"]))
    assert len(init_digest("my_init")) == 16


def test_an_edit_is_another_init_and_a_comment_is_none(tmp_path: Path) -> None:
    own_inits.use_folder(folder(tmp_path))
    texts = (ADAPT, "# what it is\nPROMISES = ('starts_as_base',)\n" + ADAPT, ADAPT.replace("0.5", "0.6"))
    digests = [init_digest("my_init", lambda name, text=text: text) for text in texts]
    assert digests[0] == init_digest("my_init") == digests[1] != digests[2]


def test_a_folder_that_nobody_named_is_not_searched(tmp_path: Path) -> None:
    """A study brings no code: its folder's files are no inits until the user names it."""
    (folder(tmp_path) / "init" / "my_init.yaml").write_text("name: my_init\nmodule: my_init\n")
    with pytest.raises(BadInput) as caught:
        load(compose([*QUIET, "init=my_init"], config_dir=tmp_path), [tmp_path])
    assert str(caught.value) == (
        "init.module=my_init is no init. Allowed: eva, lora_matched, nora, olora, olora_added, olora_permuted, olora_pivoted, "
        "olora_random, peft. One of your own is init/my_init.py in a folder that you give with --config-dir, or an entry point of the "
        "group olora_bench.inits"
    )


def test_a_file_with_the_name_of_a_shipped_init_is_refused(tmp_path: Path) -> None:
    own_inits.use_folder(folder(tmp_path, name="olora"))
    with pytest.raises(BadInput) as caught:
        load(compose([*QUIET, "init=olora"]))
    shipped = own_inits.SHIPPED / "olora.py"
    assert str(caught.value) == f"init.module=olora is there twice: {shipped}, {tmp_path}/init/olora.py. Give yours another name"


def test_an_unknown_init_is_told_the_ways(tmp_path: Path) -> None:
    own_inits.use_folder(folder(tmp_path))
    with pytest.raises(BadInput) as caught:
        compose(["init=nobody"])
    assert str(caught.value) == (
        "init=nobody is unknown. Allowed: eva, gaussian, lora, lora_matched, lora_plus, my_init, nora, olora, olora_added, olora_permuted, "
        "olora_pivoted, olora_plus, olora_random, orthogonal, peft, pissa, pissa_niter. A new one is one YAML file in conf/init/, or "
        "init/NAME.py in a folder that you give with --config-dir"
    )


def test_an_installed_packages_init_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its entry point; and every file of the package counts for its id."""
    monkeypatch.syspath_prepend(package(tmp_path))
    assert load(compose([*QUIET, "init=my_init"])).init.module == "my_init"
    before = init_digest("my_init")
    assert not {"my_package", "my_package.mine"} & sys.modules.keys()
    (tmp_path / "my_package" / "helper.py").write_text("SIZE = 0.75\n")
    assert init_digest("my_init") != before


def test_an_own_init_trains_and_is_checked(tmp_path: Path, cli: Cli, machine: list[str]) -> None:
    """From a folder and from a package, in fresh processes; the table says what holds."""
    own, on = folder(tmp_path / "own"), ["recipe.steps=2", *QUIET, *machine]
    done = cli("--config-dir", str(own), "init=my_init", *on)
    assert " done: held-out loss " in done.stdout, done.stderr
    checked = cli("check", "my_init", machine[1], module="olora_bench.inits", env={"PYTHONPATH": f"{package(tmp_path / 'site')}:{ROOT}"})
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.splitlines()[:4] == [
        "holds  adapt makes an adapter                       a PeftModel",
        "holds  A and B are finite                           every number",
        "holds  promised: starts_as_base                     logits differ by 0.0e+00 of the largest",
        "-      not promised: keeps_base                     0 of the base's weights changed (PROMISES could name keeps_base)",
    ]
    assert checked.stdout.splitlines()[-1] == "init=my_init: it keeps the contract"


ROOT = own_inits.SHIPPED.parents[1]
SQUARE = "model.layers.0.self_attn.q_proj"
HEAD_OF_FILE = "import torch\nfrom olora_bench.inits._layers import fill, wrap\n\n\ndef adapt(base, experiment, seed):\n"


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        ("fill(base, experiment, lambda n, w, r: 0)", 6, "TypeError: fill() missing 1 required keyword-only argument: 'subtract'"),
        ("1 / 0", 6, "ZeroDivisionError: division by zero"),
        ("exit('mine')", 6, "SystemExit: mine"),
        ("return None", 5, "init=my_init: adapt returns NoneType. It must return PEFT's model around base.model, as `fill` does"),
        (
            "return fill(base, experiment, lambda n, w, r: (w[:r], w[:, :r]), subtract=True)", 6,
            f"{SQUARE}: B is (4, 64) and A is (128, 4). Needed: B (out_features, rank) = (128, 4), A (rank, in_features) = (4, 64)",
        ),
        (
            "return fill(base, experiment, lambda n, w, r: (None, w[:r]), subtract=False)", 6,
            f"{SQUARE}: B is NoneType and A is (4, 64). Needed: B (out_features, rank) = (128, 4), A (rank, in_features) = (4, 64)",
        ),
    ],
)  # fmt: skip
def test_an_init_that_raises_has_a_row_with_file_and_line(
    body: str, line: int, said: str, tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = folder(tmp_path, f"{HEAD_OF_FILE}    {body}\n")
    assert main(["check", "my_init", "--config-dir", str(own), f"machine.cache_dir={cache_dir}"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"FAILS  adapt makes an adapter  {said} ({own}/init/my_init.py, line {line})",
        "init=my_init: 1 of 1 points fail",
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("x = 1\ndef adapt(:\n", 2, "SyntaxError: invalid syntax (my_init.py, line 2)"),
        ("x = 1\n\nnot_there\n\ndef adapt(base, experiment, seed): pass\n", 3, "NameError: name 'not_there' is not defined"),
    ],
)
def test_a_file_that_cannot_be_imported_has_a_row_too(
    text: str, line: int, said: str, tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = folder(tmp_path, text)
    file = own / "init" / "my_init.py"
    assert main(["check", "my_init", "--config-dir", str(own), f"machine.cache_dir={cache_dir}"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"FAILS  adapt makes an adapter  init {file} cannot be used: {said}. It must import, and have adapt(base, experiment, seed) "
        f"({file}, line {line})",
        "init=my_init: 1 of 1 points fail",
    ]


BREAKS_THE_BASE = """    base.model.model.embed_tokens.weight.data[5] += 1
    return fill(base, experiment, lambda n, w, r: (w[:, :r] * 0, w[:r]), subtract=False)
"""
NOT_NUMBERS = "    return fill(base, experiment, lambda n, w, r: (w[:, :r] * 0, w[:r] * torch.nan), subtract=False)\n"


@pytest.mark.parametrize(
    ("body", "failing"),
    [
        (
            BREAKS_THE_BASE,
            ["promised: starts_as_base", "the base comes back, bit for bit (float32)", "the base comes back, bit for bit (bfloat16)"],
        ),
        (NOT_NUMBERS, ["A and B are finite", "promised: starts_as_base", "a gradient reaches the adapter"]),
        ("    if seed % 2:\n        raise OSError('odd')\n" + NOT_NUMBERS.replace("torch.nan", "1"), ["seeds"]),
    ],
)
def test_what_an_init_breaks_is_the_row_that_fails(
    body: str, failing: list[str], tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = folder(tmp_path, HEAD_OF_FILE + body)
    assert main(["check", "my_init", "--config-dir", str(own), f"machine.cache_dir={cache_dir}"]) == 1
    told = [line[7:] for line in capsys.readouterr().out.splitlines() if line.startswith("FAILS")]
    assert len(told) == len(failing) and all(line.startswith(name) for line, name in zip(told, failing, strict=True)), told


def test_a_study_takes_a_folder_of_ones_own(tmp_path: Path, cli: Cli, machine: list[str]) -> None:
    """The plan finds the init in the folder that was named, and not without."""
    study = tmp_path / "mine.yaml"
    node = """
    protocol: shared_lr
    contrasts: [{arm: my_init, reference: lora, kind: primary}]
    grids: [{init: [lora, my_init], seed: [0]}]
    """
    study.write_text(study_text(node, name="mine", head=HEAD + "recipe: {steps: 2}"))
    own = folder(tmp_path / "own")
    ran = cli("run", str(study), "--config-dir", str(own), *machine, module="olora_bench.study")
    assert "my_init" in ran.stdout, ran.stderr
    without = cli("plan", str(study), *machine, module="olora_bench.study")
    assert without.returncode == 2
    assert without.stderr.startswith(f"{study}: study.grids.0.init='my_init' is unknown. Allowed: eva, ")
    assert without.stderr.endswith(
        ". A new one is one YAML file in conf/init/, or init/NAME.py in a folder that you give with --config-dir\n"
    )
    nowhere = cli("plan", str(study), "--config-dir", "nowhere", module="olora_bench.study")
    assert nowhere.stderr == "--config-dir nowhere is no folder: name one with config groups of your own, e.g. with init/my_init.py\n"


BROKEN = {
    "starts_as_base": ADAPT.replace("w[:, :r] * 0,", "w[:, :r],"),
    "keeps_base": "PROMISES = ('starts_as_base', 'keeps_base')\n" + ADAPT.replace("False", "True").replace("w[:, :r] * 0,", "w[:, :r],"),
    "one seed": ADAPT.replace("w[:r] * 0 + 0.5", "w[:r] * 0 + next(N)") + "\n\nimport itertools\nN = itertools.count(1.0)\n",
}


@pytest.mark.parametrize("point", BROKEN)
def test_a_broken_promise_fails_by_name(point: str, tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from olora_bench.inits.__main__ import main

    own = folder(tmp_path, BROKEN[point])
    assert main(["check", "my_init", "--config-dir", str(own), f"machine.cache_dir={cache_dir}"]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILS")]
    assert len(failed) == 1 and point in failed[0]


ALLOWED = "Allowed: a tuple of starts_as_base, keeps_base, e.g. PROMISES = ('starts_as_base',), or none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PROMISES = 'starts_as_base'\n", "{file}: PROMISES = 'starts_as_base' is not allowed. "),
        ("PROMISES = ('keep_base',)\n", "{file}: PROMISES = ('keep_base',) is not allowed. "),
        ("PROMISES = (1 +\n", "{file} cannot be read for its PROMISES without running it: '(' was never closed (<unknown>, line 1). "),
    ],
)
def test_promises_that_nobody_would_try_are_refused(text: str, message: str, tmp_path: Path) -> None:
    """A word misspelt, or a text for a tuple, would else pass as nothing promised."""
    own_inits.use_folder(folder(tmp_path, text + ADAPT))
    with pytest.raises(BadInput) as caught:
        promises(load(compose([*QUIET, "init=my_init"])).init)
    assert str(caught.value) == message.format(file=tmp_path / "init" / "my_init.py") + ALLOWED


def test_a_file_may_define_dataclasses(tmp_path: Path) -> None:
    """They look their module up by its name, which an import from a path does not enter by itself."""
    own = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Size:\n    value: int\n"
    own_inits.use_folder(folder(tmp_path, own + ADAPT, name="my_dataclass"))
    assert _code("my_dataclass").__module__ == "olora_bench_own_my_dataclass"
