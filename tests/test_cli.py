"""The command line answers before torch is imported, and refuses bad input with exit code 2."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from olora_bench.__main__ import in_hydras_order
from olora_bench.study.__main__ import HELP
from olora_bench.study.__main__ import main as study_main
from olora_bench.study.arguments import parse

PROBE = """
import sys
from {module} import main
sys.argv = ["x", *{arguments!r}]
try:
    main()
except SystemExit as stop:
    code = stop.code
else:
    code = 0
assert code in (0, None, 2), code
heavy = [m for m in ("torch", "transformers", "peft", "lm_eval", "datasets", "wandb", "matplotlib") if m in sys.modules]
print("HEAVY", heavy, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("olora_bench.__main__", ["--help"]),
        ("olora_bench.__main__", ["--cfg", "job", "model=tinyllama", "init=olora"]),
        ("olora_bench.__main__", ["rank=0"]),
        ("olora_bench.__main__", ["init=nope"]),
        ("olora_bench.__main__", ["model=smollm2_135m", "rank=200"]),
        ("olora_bench.study.__main__", ["--help"]),
        ("olora_bench.study.__main__", ["plan", "rehearsal", "--no-calibration"]),
    ],
)
def test_answers_within_seconds_and_without_torch(module: str, arguments: list[str], tmp_path: Path) -> None:
    """2 seconds is for an idle machine; the limit here leaves room for one that runs other tests."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module, arguments=arguments)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stderr
    assert time.monotonic() - start < 10
    assert not list(tmp_path.iterdir()), "asking leaves nothing behind"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cfg", "job", "rank=0"], "rank=0 is not allowed"),
        (["--cfg", "job", "--config-dir", "own", "--config-name", "narrow"], None),
        (["--lr=1e-3"], "unrecognized arguments: --lr=1e-3. Settings are KEY=VALUE without dashes"),
        (["study", "plan"], "nothing is named. Give a study of sweeps/"),
        (["study", "explain"], "nothing is named. Give a run's train_id"),
        (["study", "plan", "demo", "--tracker", "none"], "Overrides are KEY=VALUE without dashes"),
        (["study", "plan", "demo", "study.margin={score: 1}"], "To add one that the study's file leaves out: +study.margin=VALUE"),
    ],
)
def test_what_is_typed_wrong_is_answered_with_what_to_type(cli, tmp_path: Path, arguments: list[str], said: str | None) -> None:  # type: ignore[no-untyped-def]
    """`narrow` is a study that composes to a run that cannot be, and asks for none such."""
    (tmp_path / "own").mkdir()
    grid = "{mode: MULTIRUN, sweeper: {_target_: x}}"
    text = f"defaults: [config, {{override model: tiny_tinyllama}}, _self_]\nstudy: {{name: narrow}}\nhydra: {grid}\nrank: 32\n"
    (tmp_path / "own" / "narrow.yaml").write_text(text, encoding="utf-8")
    of_study = arguments[0] == "study"
    done = cli(*arguments[of_study:], module="olora_bench.study" if of_study else "olora_bench")
    assert done.returncode == (0 if said is None else 2), done.stderr
    assert (said or "") in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["rank=0"], ["init=nope"], ["rnk=1"], ["suite.benchmarks=[]"]])
def test_bad_input_exits_with_2_and_no_traceback(cli, arguments: list[str]) -> None:  # type: ignore[no-untyped-def]
    done = cli(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "hydra" not in done.stderr.lower()


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "--run-pages", "demo", "a=b", "c=d"],
        ["report", "demo", "--run-pages", "a=b", "c=d"],
        ["report", "demo", "a=b", "--run-pages", "c=d"],
        ["report", "demo", "a=b", "c=d", "--run-pages"],
    ],
)
def test_options_of_a_study_stand_anywhere(arguments: list[str]) -> None:
    found = parse(arguments, HELP)
    assert (found.command, found.name, found.overrides, found.run_pages) == ("report", "demo", ["a=b", "c=d"], True)


def test_options_of_every_command_stand_anywhere() -> None:
    assert vars(parse(["gc", "a=b", "--remove"], HELP)) == {
        "command": "gc", "remove": True, "by_hand": False, "config_dir": None, "overrides": ["a=b"],
    }  # fmt: skip
    found = parse(["items", "--limit", "5", "RUN", "--benchmark", "boolq", "a=b"], HELP)
    assert (found.name, found.limit, found.benchmark, found.overrides) == ("RUN", 5, "boolq", ["a=b"])


def test_an_override_may_stand_before_a_studys_name() -> None:
    found = parse(["status", "machine.results_dir=r", "s.yaml", "rank=4"], HELP)
    assert (found.name, found.overrides) == ("s.yaml", ["machine.results_dir=r", "rank=4"])
    assert parse(["status", "a=b.yaml", "rank=4"], HELP).name == "a=b.yaml"


def test_gc_takes_no_studys_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        study_main(["gc", "demo"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "gc demo: gc takes no study's name. It looks at a whole results folder and leaves what any study needs. "
        "Allowed: overrides, e.g. machine.results_dir=DIR\n"
    )


def test_runs_of_a_sweep_by_hand_show_what_became_of_them(cli, machine: list[str]) -> None:  # type: ignore[no-untyped-def]
    quiet = ["model=tiny_tinyllama", "data=made_up", "suite=none", "tracker=none", "rank=4", "recipe.steps=2", *machine]
    done = cli("-m", "init=lora,olora", *quiet)
    assert done.stdout.count(" done: held-out loss ") == 2, done.stderr


@pytest.mark.parametrize("active", [True, False])
def test_make_uses_an_active_environment_that_has_the_packages(active: bool, tmp_path: Path) -> None:
    """Otherwise it makes its own."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f"#!/bin/sh\nprintf %s {'yes' if active else ''}\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    asked = ["make", "-n", "plan", f"VIRTUAL_ENV={tmp_path}", f"VENV={tmp_path / 'none'}"]
    said = subprocess.run(asked, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True).stdout
    python = tmp_path / "bin" / "python" if active else tmp_path / "none" / "bin" / "python"
    assert f"{python} -m olora_bench.study plan demo" in said
    assert ("pip install" in said) != active


def test_hydras_options_stand_anywhere(cli) -> None:  # type: ignore[no-untyped-def]
    done = cli("rank=4", "--cfg", "job", "lr=2.0", "--package", "machine", "seed=3")
    assert done.returncode == 0 and done.stdout.startswith("# @package machine") and "device: auto" in done.stdout, done.stderr
    assert in_hydras_order(["rank=4", "--config-dir", "a=b", "a=b", "--cfg", "job"]) == [
        "--config-dir", "a=b", "--cfg", "job", "rank=4", "a=b",
    ]  # fmt: skip


def test_a_reader_that_has_seen_enough_gets_no_traceback(tmp_path: Path) -> None:
    """As `| head` leaves: its end of the pipe is closed before anything is written."""
    command = [sys.executable, "-m", "olora_bench.study", "plan", "rehearsal", "--no-calibration"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asked:
        assert asked.stdout is not None and asked.stderr is not None
        asked.stdout.close()
        said = asked.stderr.read()
        assert asked.wait(60) == 0, said
    assert "BrokenPipe" not in said and "Traceback" not in said


def test_a_limit_is_a_whole_number_from_1_on(cli) -> None:  # type: ignore[no-untyped-def]
    done = cli("items", "run", "--limit", "-1", module="olora_bench.study")
    assert done.returncode == 2 and "-1 is not allowed: a whole number from 1 on" in done.stderr
