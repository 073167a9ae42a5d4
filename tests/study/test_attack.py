"""A results folder made to attack: every command reads it, and nothing of it is run, fetched, or written through."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from attack_guard import Answer, Guard
from planting import MakeStudy, SweepStudy

from olora_bench.store import Store, sealed
from olora_bench.study.open import OpenStudy
from tests.fixture_types import Json

NODE = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora], seed: [0, 1, 2, 3, 4, 5]}]
"""
MARKUP = "<script>alert(1)</script>=cmd|' /C calc'!A0 \\input{/etc/passwd} $(touch pwned) `touch pwned` ../../x"
CODE = "from pathlib import Path\nPath({marker!r}).touch()\n"
PROVENANCE = {
    "hardware": {"processor": MARKUP, "gpus": [MARKUP]}, "packages": {MARKUP: MARKUP}, "device": MARKUP,
    "assets": [{"key": MARKUP, "source": MARKUP, "identity": MARKUP}], "harness": {"version": MARKUP, "commit": MARKUP, "dirty": False},
}  # fmt: skip
WHEEL = {"package": "x @ file:///evil ; python_version > '0'", "version": "1", "sha256": "0" * 64, "converter": "gguf",
         "files": {"model": "../../../pwned"}}  # fmt: skip
HUB = {"id": "evil/model", "revision": "0" * 40, "config": None}


class Bomb:
    """Pickled, it is a command; unpickled, it runs."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


Change = Callable[[Json], None]


def rewrite(path: Path, change: Change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_bytes(sealed(value))  # whoever writes a record can write its digest too


# What somebody may write into a record, one thing a run.
RECORDS: dict[str, Change] = {
    "code of a model": lambda r: r["config"]["model"].update(trust_remote_code=True, hub=HUB, generated=None),
    "code of a model that conf has": lambda r: r["config"]["model"].update(trust_remote_code=True),
    "a requirement": lambda r: r["config"]["model"].update(packaged=WHEEL, generated=None, name="smollm2_135m_q4"),
    "a requirement of a model that conf lacks": lambda r: r["config"]["model"].update(packaged=WHEEL, name="nowhere"),
    "a path for a name": lambda r: r["config"]["model"].update(name="../../../pwned"),
    "an override for a name": lambda r: r["config"]["model"].update(name="x hydra.searchpath=[file:///evil]"),
    "a module for PEFT to import": lambda r: r["config"]["init"].update(options={"megatron_core": "evil", "megatron_config": {"a": 1}}),
    "a module of inits": lambda r: r["config"]["init"].update(module="../evil"),
    "other rows": lambda r: r["config"]["data"].update(
        kind="instructions", rows="real", hub=HUB, local="../../x", template="author_no_input"
    ),
    "a benchmark's path": lambda r: r["config"]["suite"].update(benchmarks=["../../evil"], name="x"),
    "folders of its own": lambda r: (r["config"]["machine"].update(cache_dir="/evil", results_dir="/evil"), r["config"].update(seed=99))[0],
    "threads": lambda r: r["provenance"].update(threads=10**9),
}


def planted(study: MakeStudy, sweep: SweepStudy, tmp_path: Path) -> tuple[OpenStudy, dict[str, str]]:
    """A study of twelve finished runs, each record with one of RECORDS, all with code, links, markup and pickles beside them."""
    opened = study(NODE)
    sweep(opened, lambda experiment: 1.5 + experiment.seed)
    runs = {}
    for job, (name, change) in zip(opened.grids().jobs, RECORDS.items(), strict=True):
        folder = opened.store.run_dir(job.what.train_id)
        runs[name] = job.what.train_id
        rewrite(folder / "record.json", change)
        rewrite(folder / "record.json", lambda record: record["provenance"].update(PROVENANCE))
        (folder / "adapter.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "pwned-by-pickle")))
        (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoModelForCausalLM": "evil.Evil"}}))
        (folder / "evil.py").write_text(CODE.format(marker=f"{tmp_path}/pwned-by-code"))
    return opened, runs


def spread(opened: OpenStudy, tmp_path: Path) -> list[str]:
    """What else lies in the folder: links that lead out, JSON without end, a manifest full of markup, code where a checkout has it."""
    root, outside = opened.store.root, tmp_path / "outside"
    outside.mkdir()
    (outside / "record.json").write_text("{}")
    spare = []
    for number, name in enumerate(("record.json", "curve.parquet", "evals", "adapter.safetensors", "lease.json")):
        folder = root / "runs" / f"{number:016x}"
        folder.mkdir()
        (folder / name).symlink_to(outside / name)
        spare.append(folder.name)
    (root / "runs" / ("f" * 16)).symlink_to(outside)
    deep = root / "runs" / ("e" * 16) / "record.json"
    deep.parent.mkdir()
    deep.write_text('{"a":' * 200_000 + "1" + "}" * 200_000)
    (root / "base").symlink_to(outside)
    report = root / opened.name / "report"
    report.mkdir()
    (report / "runs").symlink_to(outside)
    for name in ("olora_bench.py", "sitecustomize.py", "evil.py", "pandas.py"):
        (root / name).write_text(CODE.format(marker=f"{tmp_path}/pwned-by-import"))
    rewrite(root / opened.name / "manifest.json", lambda manifest: manifest.update(title=MARKUP))
    return [*spare, "f" * 16, "e" * 16, "../outside", "", "a" * 300]


def under_guard(commands: list[list[str]], writable: list[Path], foreign: list[Path], folder: Path) -> list[Answer]:
    own = folder / "own"
    own.mkdir()
    settings = {"TMPDIR": str(own), "HOME": str(own), "MPLCONFIGDIR": str(own), "HF_HOME": str(own / "hf")}
    settings |= {"TORCHINDUCTOR_CACHE_DIR": str(own), "TRITON_CACHE_DIR": str(own), "PYTHONDONTWRITEBYTECODE": "1"}
    asked = json.dumps({"commands": commands, "writable": [str(p) for p in (*writable, own)], "foreign": [str(p) for p in foreign]})
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("attack_guard.py")), asked], cwd=folder, capture_output=True, text=True, check=False,
        env={key: value for key, value in os.environ.items() if not key.endswith("_OFFLINE")} | settings, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[Answer] = json.loads(done.stdout)
    return answers


def test_every_command_on_a_results_folder_made_to_attack(study: MakeStudy, sweep: SweepStudy, tmp_path: Path) -> None:
    """Nothing executes, connects or writes but below the results and what was named to write to; no traceback; nothing outside is gone."""
    opened, runs = planted(study, sweep, tmp_path)
    others = spread(opened, tmp_path)
    root, file = opened.store.root, str(opened.file.path)
    at = [f"machine.results_dir={root}", f"machine.cache_dir={tmp_path / 'out' / 'cache'}"]
    page = tmp_path / "out" / "page.md"
    page.parent.mkdir()
    page.write_text("<!-- study throwaway -->\n<!-- end -->\n")
    commands = [["olora_bench.study", name, file, *at] for name in ("status", "report", "figures", "extract", "sync")]
    commands += [["olora_bench.study", "plan", "--no-calibration", file, *at]]
    commands += [["olora_bench.study", "extract", file, "--into", str(page), *at]]
    three = list(runs.values())[::5]
    commands += [["olora_bench.study", name, run, *at] for run in (*three, *others) for name in ("explain", "items")]
    commands += [["olora_bench.study", "again", run, *at] for run in (*runs.values(), *others[:2])]
    for number, run in enumerate((*runs.values(), *others[-3:])):
        commands += [["olora_bench.export", run, "--to", "lora", str(tmp_path / "out" / str(number)), "--results", str(root)]]
    for number, run in enumerate((*three, *others[-6:])):
        commands += [["olora_bench.export", f"{root}/runs/{run}", "--to", "merged", str(tmp_path / "out" / f"path{number}")]]
    commands += [["olora_bench.study", "gc", *more, *at] for more in ([], ["--remove"], ["--remove", "--by-hand"])]
    found = under_guard(commands, [root, tmp_path / "out"], [tmp_path / "results", tmp_path / "outside"], tmp_path)
    told = [
        f"{one['command']} -> {one['code']}: {one['refused']} {one['said'][-600:]}"
        for one in found
        if one["refused"]
        or one["code"] not in (0, 1, 2)
        or "Traceback" in one["said"]
        or (one["command"][1] == "again" and one["code"] == 0)
    ]
    assert not told, "\n".join(told)
    assert not list(tmp_path.rglob("pwned*")) and (tmp_path / "outside" / "record.json").read_text() == "{}"
    assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == ["record.json"]


def test_what_the_refusals_say(study: MakeStudy, sweep: SweepStudy, tmp_path: Path) -> None:
    """Each says what differs from this machine's conf and how to allow it."""
    from olora_bench.errors import BadInput
    from olora_bench.run.recorded import of_record

    opened, runs = planted(study, sweep, tmp_path)
    machine = opened.grids().jobs[0].experiment.machine

    def said(name: str) -> str:
        with pytest.raises(BadInput) as error:
            of_record(Store(opened.store.root).named_run(runs[name]), machine)
        return str(error.value)

    how = "If you trust it, describe it in a YAML of your own (docs/adding.md), in conf/ or in a folder given with --config-dir"
    assert said("code of a model that conf has") == (
        f"run {runs['code of a model that conf has']} was made with another model tiny_tinyllama than this machine's conf describes:\n"
        f"  model.trust_remote_code: True -> False\n{how}"
    )
    lacks = said("a requirement of a model that conf lacks")
    assert lacks.startswith(
        f"run {runs['a requirement of a model that conf lacks']} names model='nowhere', which this machine's conf does not"
    )
    assert lacks.endswith(how)


def test_a_model_described_in_a_folder_of_ones_own_is_allowed(study: MakeStudy, sweep: SweepStudy, tmp_path: Path) -> None:
    from olora_bench.config import conf_dir
    from olora_bench.run.recorded import of_record

    opened, runs = planted(study, sweep, tmp_path)
    own = tmp_path / "own" / "model" / "nowhere.yaml"
    own.parent.mkdir(parents=True)
    text = (conf_dir() / "model" / "tiny_tinyllama.yaml").read_text()
    own.write_text(text.replace("name: tiny_tinyllama", "name: nowhere"))
    machine = opened.grids().jobs[0].experiment.machine
    record = Store(opened.store.root).named_run(runs["a requirement of a model that conf lacks"])
    model = of_record(record, machine, tmp_path / "own").model
    assert model.name == "nowhere" and model.packaged is None


def test_the_guard_refuses_what_it_is_there_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    guard = Guard([str(tmp_path / "in")], [str(tmp_path / "foreign")])
    code = compile("1", str(tmp_path / "foreign" / "x.py"), "exec")
    for event, args in (
        ("subprocess.Popen", ("sh", ["sh", "-c", "true"], None, None)), ("os.system", (b"true",)), ("socket.connect", (None, ("x", 80))),
        ("open", (str(tmp_path / "x"), "w", os.O_WRONLY)), ("open", (str(tmp_path / "in" / "link"), "w", os.O_WRONLY)),
        ("os.remove", (str(tmp_path / "x"), -1)), ("exec", (code,)),
    ):  # fmt: skip
        assert guard.wrong(event, args) is not None, event
    for event, args in (("open", (str(tmp_path / "in" / "x"), "w", os.O_WRONLY)), ("open", (str(tmp_path / "x"), "r", os.O_RDONLY))):
        assert guard.wrong(event, args) is None
