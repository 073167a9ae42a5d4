"""Override lines and study folders are literal: what is written is what a run gets, whatever characters it has."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from olora_bench.config import compose, load, machine
from olora_bench.config.lines import line, with_folders_as_written
from olora_bench.errors import BadInput
from olora_bench.study.expand import StudyFile, find_study
from olora_bench.study.names import Home
from olora_bench.study.report import open_results

ODD = """a ${seed} {b} [c] (d), e=f::g #h & 'i' "j" %k \\l ~m $HOME ö"""
PIECES = st.lists(st.sampled_from(["a", "0", " ", "$", "{", "}", "${", "\\", "'", '"', ",", "=", "[", "(", ":", "#", "~", "é", "\n"]))
STUDY = """
defaults: [config, {override model: tiny_llama2_7b}, {override data: made_up}, {override suite: none}, {override tracker: none}, _self_]
study: {name: odd, title: odd, protocol: shared_lr, contrasts: [{arm: olora, reference: lora, kind: primary}], grids: GRIDS}
rank: 4
"""


@settings(max_examples=200, deadline=None)
@given(PIECES.map("".join))
@example("null")
@example("true")
@example("1e3")
@example("2024-01-15")
@example("${oc.env:HOME}")
@example("\\${seed}")
@example("choice(a, b)")
@example("a\\")
def test_a_string_comes_through_hydras_grammar_as_it_is(value: str) -> None:
    override = OverridesParser.create().parse_override(line("data.local", value))
    assert OmegaConf.to_container(OmegaConf.create({"it": override.value()}), resolve=True) == {"it": value}


@pytest.mark.parametrize("value", [None, True, False, 3, -2, 0.1, 1e-5, 2.5e300])
def test_what_is_no_string_keeps_its_type(value: object) -> None:
    found = compose([line("data.local", value)]).data.local  # type: ignore[arg-type]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("path", ["/x/lr=1", "/x/a, b", "/x/[c]", "/x/(d", "/x/é", "/x/i's", "[x]", "1e3", "{x}", " /x ", ODD])
def test_a_folder_on_the_command_line_needs_no_quotes(path: str) -> None:
    assert str(machine(compose([f"machine.results_dir={path}"])).results_dir) == path


def test_what_hydra_reads_as_one_string_stays_hydras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/p")
    lines = ["machine.results_dir='/a,b'", "machine.cache_dir=${oc.env:PLACE}/c", "machine.local_dir=null", r"machine.wandb_dir=/w\,x"]
    assert with_folders_as_written(lines) == lines
    here = machine(compose(lines))
    assert [str(here.results_dir), str(here.cache_dir), here.local_dir, str(here.wandb_dir)] == ["/a,b", "/p/c", None, "/w,x"]


@pytest.mark.parametrize("path", [ODD, "${", "null", "~nobody_of_this_name/x", "-x"])
def test_a_folder_from_the_environment_is_literal(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESULTS", "CACHE", "LOCAL", "WANDB"):
        monkeypatch.setenv(f"OLORA_BENCH_{name}", path)
    here = load(compose()).machine
    assert [str(p) for p in (here.results_dir, here.cache_dir, here.local_dir, here.wandb_dir)] == [path] * 4


def test_without_a_home_the_variable_to_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: str(path))  # as for a user who is not in the list of users
    monkeypatch.delenv("OLORA_BENCH_CACHE", raising=False)
    with pytest.raises(BadInput) as error:
        load(compose())
    assert str(error.value) == (
        "machine.cache_dir=~/.cache/olora_bench: this user has no home folder. "
        "Set HOME or OLORA_BENCH_CACHE, or give machine.cache_dir in full"
    )
    assert load(compose(["machine.cache_dir=/c"])).machine.cache_dir == Path("/c")


@pytest.mark.parametrize("name", ["my study (1).yaml", "a=b, é.yaml", "[x]::#&{}%~$.yaml", 'it\'s "one".yaml', "-x.yaml", "x.yaml.yaml"])
def test_a_study_is_found_whatever_it_and_its_folder_are_called(name: str, tmp_path: Path) -> None:
    path = tmp_path / ODD.replace("/", "") / name
    path.parent.mkdir()
    path.write_text(STUDY.replace("GRIDS", "[{init: [lora, olora]}]"))
    assert find_study(str(path)) == path
    assert len(StudyFile(path).grids().jobs) == 2
    assert open_results(str(path), [f"machine.results_dir={path.parent}"]) == Home(
        path.parent, "odd", (f"machine.results_dir={path.parent}",)
    )


def test_each_run_gets_the_string_of_its_grid(tmp_path: Path) -> None:
    """The lines that a launcher composes give the experiment that was planned: not a number, a list, an assignment or a reference."""
    values = ["20240115", "a, b", "c=d", "[e]", "null", "true", "1e3", "2024-01-15", "it's", '"', "é", "~", "", "\\", "{f: 1}"]
    written = ["'" + value.replace("'", "''") + "'" for value in [*values, "\\${seed}"]]  # in a YAML, `${` alone refers
    path = tmp_path / "s.yaml"
    grids = ", ".join(f"{{init: [lora, olora], seed: {seed}, model.licence: {value}}}" for seed, value in enumerate(written))
    path.write_text(STUDY.replace("GRIDS", f"[{grids}]"))
    jobs = StudyFile(path).grids().jobs[::2]
    assert [job.experiment.model.licence for job in jobs] == [*values, "${seed}"]
    assert [compose(job.overrides, config_name="s", config_dir=tmp_path).model.licence for job in jobs] == [*values, "${seed}"]


@pytest.mark.parametrize("name", ["config.yaml", "${x}.yaml"])
def test_a_name_that_hydra_reads_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(STUDY)
    why = "as the config that it begins with is" if name == "config.yaml" else "which Hydra reads as a reference"
    with pytest.raises(BadInput) as error:
        find_study(str(path))
    assert str(error.value) == f"{path}: a study file cannot be called {name}, {why}. Give it another name"


def test_two_threads_compose_at_once() -> None:
    """Hydra keeps one state for the process."""
    begin, found = threading.Barrier(2), list[int]()

    def rank(number: int) -> None:
        begin.wait(60)
        found.extend(compose([f"rank={number}"]).rank for _ in range(5))

    threads = [threading.Thread(target=rank, args=(number,)) for number in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(found) == [3] * 5 + [4] * 5
