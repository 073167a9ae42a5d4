"""What README.md and docs/ say is there: links, commands, constants, measured tables, claims.

Names in capitals (NAME, RUN, DIR) and names that begin with `my_` stand for the reader's own.
"""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import yaml

from olora_bench.config import compose, load, sweeps_dir
from olora_bench.config.choices import claims_dir
from olora_bench.judge import parser as judge_parser
from olora_bench.report.tables import TABLES, VIEWS
from olora_bench.study.__main__ import parser
from olora_bench.study.schema import parse_study
from olora_bench.words.tables import column_page
from perf import tables
from simulations import tables as simulated

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
THE_READERS = re.compile(r"^((local:)?my_\w*|hub:my_\w*/my_\w*(@[A-Z]+)?|[A-Z]+)$")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """A page without tables, indented code and comments."""
    kept = re.sub(r"<!--.*?-->", "", tables.BLOCK.sub("", text(page)), flags=re.DOTALL)
    return "\n".join(line for line in kept.splitlines() if not line.startswith(("|", "    ")))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{name(page)}: {link}"
        assert not anchor or anchor in anchors(there), f"{name(page)}: {link} names no heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_named_file_is_there(page: Path) -> None:
    """What stands in backticks and looks like a path of this checkout; patterns and what a study writes are left out."""
    folders = (
        "conf/",
        "sweeps/",
        "olora_bench/",
        "tests/",
        "perf/",
        "simulations/",
        "notebooks/",
        "docs/",
        "hydra_plugins/",
        "results/published/",
    )
    for span in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")):
        if span.startswith(folders) and " " not in span and "my_" not in span and not re.search(r"[*<>{]", span):
            assert (ROOT / span).exists(), f"{name(page)}: {span}"


def test_every_file_of_the_map_is_in_its_room() -> None:
    """The table of docs/README.md: a row's first column names rooms, its last one the files in them."""
    rows = re.findall(r"^\| (`[^|]*) \| [^|]* \| ([^|]*) \|$", text("docs/README.md"), re.MULTILINE)
    assert len(rows) == 19
    for rooms, files in rows:
        for file in re.findall(r"`([\w*/]+)`", files):
            folders = [ROOT / "olora_bench" / room for room in re.findall(r"`(\w+)`", rooms)]
            pattern = file.rstrip("*") + "*"
            assert any(list(folder.glob(pattern)) for folder in folders), (rooms, file)


def commands() -> Iterator[tuple[str, tuple[str, ...]]]:
    """(page, words) of every `make ...` and `python -m ...` in code, each once."""
    seen: set[tuple[str, ...]] = set()
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        for snippet in [*re.findall(r"`([^`\n]+)`", content), *re.findall(r"^    (\S.*)$", content, re.MULTILINE)]:
            if not re.match(r"(make [a-zA-Z]|python -m )", snippet):
                continue
            words = tuple(shlex.split(snippet.replace("[OTHER]", ""), comments=True))
            if words not in seen:
                seen.add(words)
                yield name(page), words


COMMANDS = list(commands())
TARGETS = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))


def is_study(study: str) -> bool:
    return bool(THE_READERS.match(study.removesuffix(".yaml"))) or (sweeps_dir() / f"{study}.yaml").is_file()


def launched(overrides: list[str]) -> list[str]:
    """The overrides without those of a launcher, whose package may be absent: its preset has to be there, with the keys that are set."""
    preset = next((part.partition("=")[2] for part in overrides if part.startswith("hydra/launcher=")), None)
    for part in overrides:
        if part.startswith("hydra.launcher."):
            node = yaml.safe_load(text(f"conf/hydra/launcher/{preset}.yaml"))
            for key in part.partition("=")[0].split(".")[2:]:
                node = node[key]
    assert preset is None or (ROOT / "conf" / "hydra" / "launcher" / f"{preset}.yaml").is_file()
    return [part for part in overrides if not part.startswith(("hydra/launcher=", "hydra.launcher."))]


def composed(overrides: list[str], study: str | None = None) -> None:
    """Compose as the command line would, and check what comes out; choices that are the reader's own are left out."""
    known = [part for part in launched(overrides) if not THE_READERS.match(part.partition("=")[2])]
    if study is None or THE_READERS.match(study.removesuffix(".yaml")):
        load(compose(known))
        return
    config = compose(known, config_name=study, config_dir=sweeps_dir())
    parse_study(yaml.safe_load((sweeps_dir() / f"{study}.yaml").read_text(encoding="utf-8"))["study"], study)
    load(config)


def said(part: str | tuple[str, ...]) -> str:
    return part if isinstance(part, str) else " ".join(part)


def test_there_are_commands() -> None:
    assert len([words for _, words in COMMANDS if words[0] == "make"]) > 10
    assert len([words for _, words in COMMANDS if words[:2] == ("python", "-m")]) > 10


@pytest.mark.parametrize("page, words", [c for c in COMMANDS if c[1][0] == "make"], ids=said)
def test_every_make_command_can_be_given(page: str, words: tuple[str, ...]) -> None:
    target, *variables = words[1:]
    assert target in TARGETS
    given = dict(one.split("=", 1) for one in variables)
    assert set(given) <= set(re.findall(r"^([A-Z]+) +\?=", text("Makefile"), re.MULTILINE))
    assert is_study(given.get("SWEEP", "demo"))
    for part in given.get("PERF", "").split():
        assert (ROOT / "perf" / f"{part}.py").is_file()
        for flag in re.findall(r"--[a-z-]+", given.get("ARGS", "")):
            assert f'"{flag}"' in text(f"perf/{part}.py"), f"perf.{part} has no {flag}"


@pytest.mark.parametrize("page, words", [c for c in COMMANDS if c[1][0] == "python"], ids=said)
def test_every_python_command_can_be_given(page: str, words: tuple[str, ...]) -> None:
    module, rest = words[2], list(words[3:])
    overrides = [part for part in rest if "=" in part and not part.startswith("-")]
    if module == "olora_bench":
        named = rest[rest.index("--config-name") + 1] if "--config-name" in rest else None
        flags = {part for part in rest if part.startswith("-")}
        assert flags <= {"--cfg", "--help", "--config-dir", "--config-name"}
        assert named is None or is_study(named)
        composed(overrides, named)
    elif module == "olora_bench.study":
        if "{" in " ".join(rest):
            return
        asked = parser().parse_args(rest) if rest != ["--help"] else None
        if asked is not None and asked.command == "import":
            assert asked.name.startswith("my_") or (ROOT / asked.name).is_file()
        elif asked is not None and asked.command not in ("explain", "again", "items", "gc", "plans"):
            assert is_study(asked.name)
            composed(asked.overrides, asked.name)
    elif module == "olora_bench.assets":
        composed(overrides)
    elif module == "olora_bench.judge":
        judge_parser().parse_intermixed_args(rest)
    elif module == "olora_bench.data":
        assert rest[0] == "show"
        composed(overrides)
    elif module == "olora_bench.inits":
        assert rest[0] == "check" and all(flag in ("--config-dir",) for flag in rest if flag.startswith("-"))
    elif module == "olora_bench.lm_eval":
        assert rest[:3] == ["run", "--model", "olora_bench"]
    elif module == "olora_bench.report":
        assert not rest
    elif module == "olora_bench.export":
        assert "--to" in rest and set(re.findall(r"adapter|lora|merged", " ".join(rest)))
    else:
        assert module.startswith(("perf.", "simulations.")), f"{page}: {module} is not checked here"
        source = text(module.replace(".", "/") + ".py")
        assert all(f'"{flag}"' in source for flag in rest if flag.startswith("--"))


def test_the_whole_study_of_the_page_can_be_planned(tmp_path: Path) -> None:
    """It is written off the page as it stands there, and is planned by its path."""
    from olora_bench.study.plan import plan_text

    page = text("docs/adding.md")
    whole = page[page.index("    # my_study.yaml") : page.index("A study is named by the path of its file")]
    (file := tmp_path / "my_study.yaml").write_text(textwrap.dedent(whole))
    planned = plan_text(str(file), [f"machine.results_dir={tmp_path / 'results'}"]).splitlines()
    assert planned[0] == "study my_study: LoRA and OLoRA on a tiny random model"
    assert "runs          12" in planned and "state         12 missing" in planned
    assert not any(line.startswith("too few") for line in planned)


def test_packages_named_are_those_pinned() -> None:
    pinned = {
        f"{one['package']}=={one['version']}"
        for path in (ROOT / "conf").rglob("*.yaml")
        if isinstance(one := (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("packaged"), dict)
    }
    assert set(re.findall(r"[\w-]+==[\d.]+\d", text("docs/offline.md"))) == pinned


def test_constants_are_those_of_the_code() -> None:
    """Rows `| `module.NAME` | value | ... |`."""
    rows = re.findall(r"^\| `(olora_bench[\w.]+)\.([A-Z_]+)` \| ([^|]+) \|", text("docs/statistics.md"), re.MULTILINE)
    assert len(rows) >= 15
    for module, constant, value in rows:
        source = ast.parse(text(module.replace(".", "/") + ".py"))  # importing some would take seconds
        found = {
            target.id: node.value
            for node in source.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert ast.literal_eval(found[constant]) == ast.literal_eval(value.strip()), constant


def test_measured_tables_are_what_the_results_make() -> None:
    page = text("docs/speed.md")
    assert {block[2] for block in tables.BLOCK.finditer(page)} == set(tables.TABLES)
    assert page == tables.filled(page), "python -m perf.tables --write"


def test_the_page_of_tables_is_what_the_descriptions_make() -> None:
    assert text("docs/tables.md") == column_page(TABLES, VIEWS.values()), "python -m olora_bench.report > docs/tables.md"


@pytest.mark.parametrize("name", simulated.PAGES)
def test_simulated_tables_are_what_the_results_make(name: str) -> None:
    page = text(f"docs/{name}")
    assert {block[2] for block in simulated.BLOCK.finditer(page)} == {key for key, (own, _, _) in simulated.TABLES.items() if own == name}
    assert page == simulated.filled(page), "python -m simulations.tables --write"


FIGURE = re.compile(r"\d(?:[\d.,]*\d)?\s?(?:%|×|(?:x|s|ms|MiB|GB|GiB|times|seconds|examples/s|tokens/s)\b)|factor of \d")


def test_speed_says_figures_in_tables_only() -> None:
    assert not FIGURE.findall(re.sub(r"`[^`]*`", "", prose("docs/speed.md")))


def sentences(page: str) -> list[str]:
    return [s for part in prose(page).split("\n\n") for s in re.split(r"(?<=\.) ", part.replace("\n", " "))]


def test_each_figure_of_the_log_is_marked_or_lies_in_a_file() -> None:
    """A sentence with a figure says `one-off` or `aim`, or names the file that has it and the command."""
    for sentence in sentences("docs/log.md"):
        if not FIGURE.search(re.sub(r"`[^`]*`", "", sentence)) or "one-off" in sentence or "aim" in sentence:
            continue
        files = re.findall(r"`((?:perf|tests|simulations)/[\w/]+\.(?:json|csv))`", sentence)
        assert files and ("`make perf" in sentence or "`python " in sentence), sentence
        for file in files:
            shown = "".join(tables.table(key) for key, (path, _) in tables.TABLES.items() if file.endswith("/" + path))
            for number in re.findall(r"\d+\.\d+|\d{3,}", re.sub(r"`[^`]*`", "", sentence)):
                assert f" {number} " in shown, f"{number} is not in {file}"


def test_the_naive_sign_tests_errors_are_those_simulated() -> None:
    found = pd.read_csv(ROOT / "tests" / "analysis" / "null_simulation.csv")
    wrong = found[found["spread_pp"] >= 1]["naive_signs"]
    assert f"{100 * wrong.min():.0f} to {100 * wrong.max():.0f}% of studies" in text("docs/log.md").replace("\n", " ")


def test_every_claim_has_its_section_and_its_measurement() -> None:
    claims = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in claims_dir().glob("*.yaml")}
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text("docs/claims.md"), re.MULTILINE | re.DOTALL))
    assert sections.keys() == claims.keys()
    for claim, section in sections.items():
        assert f"Measurement: `{claims[claim]['measurement']}`" in section.replace("\n", " "), claim
        assert all(f"- {part}:" in section for part in ("Decides", "Needs", "Refuted by")), claim
