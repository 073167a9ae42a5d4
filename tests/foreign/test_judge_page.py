"""docs/judge.md: its commands run, its example runs, its columns are the code's, its figures are those of its data."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from lm_eval_logs import Log

from olora_bench import judge
from olora_bench.foreign.columns import COLUMNS
from olora_bench.study.__main__ import main as study_main
from olora_bench.study.imported import read_runs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "judge.md").read_text(encoding="utf-8")
COMMANDS = [tuple(shlex.split(line)) for line in re.findall(r"^    (python -m .+)$", PAGE, re.MULTILINE)]
OTHERS = ("export",)
"""A command on a study that the page has not made; its own tests give it."""
BY_NAME = ("report", "status", "items")
"""Commands on the study that the page imports first."""


def _quick(words: tuple[str, ...]) -> object:
    """A command as a test; the plain import is a part of the one with figures."""
    again = [pytest.mark.slow] if words[3:] == ("import", "my_study.yaml") else []
    return pytest.param(words, id=" ".join(words[2:]), marks=again)


@pytest.fixture
def readers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the page's reader has it: logs of two arms, and the study file that the page shows."""
    for arm, lead in (("olora", 1), ("lora", 0)):
        for seed in range(6):
            right = [int((item * 7 + seed * 3) % 10 < 6 + lead) for item in range(30)]
            Log({"piqa": right, "hellaswag": right[::-1]}).write(tmp_path / "my_runs" / arm / f"seed{seed}")
    (tmp_path / "my_study.yaml").write_text(_fenced("yaml"), encoding="utf-8")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLORA_BENCH_RESULTS", str(tmp_path / "results"))
    return tmp_path


def _fenced(kind: str) -> str:
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.parametrize("words", [_quick(c) for c in COMMANDS if c[3] not in OTHERS])
def test_every_command_of_the_page_runs(words: tuple[str, ...], readers_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if words[2] == "olora_bench.judge":
        assert judge.main(words[3:]) == 0  # type: ignore[attr-defined]
    else:
        if words[3] in BY_NAME:
            read_runs(readers_folder / "my_study.yaml", readers_folder / "OUT")
        with pytest.raises(SystemExit) as ended:
            study_main(words[3:])
        assert ended.value.code == 0
    if "--figures" in words:
        captions = (readers_folder / "OUT" / "my_study" / "report" / "figures" / "captions.md").read_text(encoding="utf-8")
        assert "Each arm at the learning rate it was given." in captions and "One learning rate" not in captions
    shown = {"status": "study my_study: 12 runs", "items": "(lora, seed 0): 60 items"}.get(words[3], "olora against lora")
    assert shown in (out := capsys.readouterr().out) or "dora_r32 against lora_r32" in out


def test_the_example_in_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(_fenced("python"), {})
    assert capsys.readouterr().out.startswith("mine against theirs: 1 benchmark, 6 seeds of each")


def test_the_columns_are_the_codes() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert {name: text.replace("`", "") for name, text in rows.items()} == {name: text.replace("`", "") for name, text in COLUMNS.items()}


PUBLISHED = {
    row[0]: list(row[1:])
    for row in (line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith(("| LoRA", "| DoRA", "| rs")))
}
"""The page's table of published scores: its rows, each with its columns of dates."""


NAMES = {"LoRA, rank 32": "lora_r32", "DoRA, rank 32": "dora_r32", "LoRA, rank 64": "lora_r64", "rsLoRA, rank 64": "rslora_r64"}
GAPS = {"DoRA minus LoRA": ("dora_r32", "lora_r32"), "rsLoRA minus LoRA": ("rslora_r64", "lora_r64")}
AGAIN = pd.read_csv(ROOT / "docs" / "peft" / "again.csv")


def test_the_published_figures_are_those_of_the_data() -> None:
    """Every number of the table, and the columns' dates and commits."""
    scores = 100 * AGAIN.pivot(index="arm", columns="commit", values="score")[AGAIN["commit"].unique()]
    expected = {name: [f"{value:.1f}" for value in scores.loc[arm]] for name, arm in NAMES.items()}
    expected |= {name: [f"{gap:+.1f}" for gap in scores.loc[one] - scores.loc[other]] for name, (one, other) in GAPS.items()}
    assert expected == PUBLISHED
    columns = re.findall(r"(\w+ 20\d\d) \(`(\w{12})`\)", next(line for line in PAGE.splitlines() if line.startswith("| configuration")))
    told = AGAIN.drop_duplicates("commit")
    assert columns == list(zip(pd.to_datetime(told["trained"]).dt.strftime("%B %Y"), told["commit"], strict=True))


def test_the_study_is_of_the_newest_figures() -> None:
    newest = AGAIN[AGAIN["trained"] == AGAIN["trained"].max()]
    study = pd.read_csv(ROOT / "docs" / "peft" / "scores.csv")
    assert dict(zip(study["arm"], study["score"], strict=True)) == dict(zip(newest["arm"], newest["score"], strict=True))
    told = [PUBLISHED[name][-1] for name in GAPS]
    assert "Neither DoRA's {} percentage points against LoRA nor rsLoRA's {} is a verdict".format(*told) in PAGE


def test_the_published_scores_are_shares_of_gsm8ks_items() -> None:
    right = AGAIN["score"] * 1319
    assert right.tolist() == pytest.approx(right.round().tolist(), abs=1e-9)


@pytest.mark.parametrize("gap", GAPS)
def test_methods_move_as_the_page_says_with_not_even_their_seed_changed(gap: str) -> None:
    """By 1 to 2 points each, as much as DoRA's distance; rsLoRA's is larger every time."""
    scores = 100 * AGAIN.pivot(index="commit", columns="arm", values="score")
    one, other = GAPS[gap]
    moved = (scores.max() - scores.min())[[one, other]]
    assert ((moved > 0.95) & (moved < 2.05)).all()
    assert ((scores[one] - scores[other]).abs().min() > moved.max()) == (gap == "rsLoRA minus LoRA")
