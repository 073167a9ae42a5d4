"""Pages of planted studies with something changed in them: hostile text, little in them, written twice."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from page_files import BAD, SYNTHETIC, Page, change, written

from olora_bench.store import Store, sealed
from olora_bench.study.__main__ import main

EVIL = '</script><img src=x onerror="window.struck=1">&amp;<b>bold</b>'


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The planted results, to be changed."""
    return shutil.copytree(SYNTHETIC, tmp_path / "results")


def test_titles_and_error_texts_stay_text(copied: Path, tmp_path: Path) -> None:
    failed = next(r for r in json.loads((copied / "broken" / "manifest.json").read_text())["runs"] if (r["arm"], r["seed"]) == ("olora", 1))
    record = copied / "runs" / failed["train_id"] / "record.json"
    record.write_bytes(sealed(json.loads(record.read_text()) | {"error": EVIL}))
    change(copied, lambda manifest: manifest.update(title=EVIL))
    _, page = written("broken", tmp_path / "out", copied, run_pages=True)
    assert EVIL in page.words[0] or EVIL in " ".join(page.words)
    reasons = next(t["csv"] for t in page.data["tables"] if t["name"] == "not_done")
    assert EVIL.replace('"', '""') in reasons
    run = Page((tmp_path / "out" / "runs" / f"{failed['train_id']}.html").read_bytes())
    assert EVIL in " ".join(run.words)
    for one in (page, run):
        assert not [a for tag, a in one.tags if (tag in ("img", "b") and "onerror" in a) or any(k.startswith("on") for k in a)]
        assert "</script><img" not in one.text


def test_no_text_of_data_is_in_any_page(copied: Path, tmp_path: Path) -> None:
    store = Store(copied)
    run = next(r for r in json.loads((copied / "planted" / "manifest.json").read_text())["runs"] if r["eval_id"])
    record, items = store.read_eval(run["train_id"], None, run["eval_id"]), store.read_items(run["train_id"], None, run["eval_id"])
    assert record is not None and items is not None
    texts = {"prompt": "what is asked", "reference": "what is right", "output": "what was answered"}
    answers = pd.DataFrame([{"item_id": "secret-item", **texts, "tokens": 3, "finished": True, "truncated": False}])
    store.write_eval(record, items.assign(item_id=[f"secret-{i}" for i in items.index]), answers)
    written("planted", tmp_path / "out", copied, run_pages=True)
    files = list((tmp_path / "out").rglob("*.html"))
    assert len(files) == 43
    for path in files:
        text = path.read_text()
        assert not any(part in text for part in (*texts.values(), "secret-")), path


@pytest.mark.parametrize("how", BAD)
def test_a_study_with_little_in_it_says_so(copied: Path, tmp_path: Path, how: str) -> None:
    act, said = BAD[how]
    change(copied, act, "planted")
    _, page = written("planted", tmp_path / "out", copied, run_pages=True)
    words = " ".join(page.words)
    assert said in words, words[:1500]
    assert not re.search(r"\b(nan|None|inf)\b", words)


def write_study_file(folder: Path, name: str) -> Path:
    """A study file whose records are the planted ones."""
    path = folder / f"{name}.yaml"
    path.write_text(
        "defaults: [config, {override hydra/sweeper: study}, _self_]\nhydra: {mode: MULTIRUN}\n"
        f"study:\n  name: {name}\n  title: t\n  protocol: shared_lr\n  contrasts: [{{arm: olora, reference: lora, kind: primary}}]\n"
        "  grids: [{seed: 0}]\n"
    )
    return path


def test_make_report_writes_the_same_bytes_each_time(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["report", str(write_study_file(tmp_path, "planted")), f"machine.results_dir={copied}", "--run-pages"]
    seen = []
    for _ in range(2):
        with pytest.raises(SystemExit) as done:
            main(command)
        assert done.value.code == 0, capsys.readouterr().err
        folder = copied / "planted" / "report"
        seen.append({str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()})
        shutil.rmtree(folder)
    assert seen[0] == seen[1] and "index.html" in seen[0] and sum(name.startswith("runs/") for name in seen[0]) == 42
    assert f"{copied}/planted/report/index.html" in capsys.readouterr().out


def test_items_of_a_run_are_printed(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = next(r for r in json.loads((copied / "planted" / "manifest.json").read_text())["runs"] if r["arm"] == "olora" and r["eval_id"])
    where = f"machine.results_dir={copied}"

    def items(*more: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as done:
            main(["items", run["train_id"], where, *more])
        said = capsys.readouterr()
        return done.value.code, said.out, said.err

    code, out, _ = items()
    assert code == 0 and out.count("; gold ") == out.count(", predicted ") == 160
    assert "piqa: 40 items, 28 right" in out and "The text of piqa is not on this machine" in out
    code, out, _ = items("--benchmark", "boolq", "--limit", "3")
    assert code == 0 and out.count(", predicted ") == 3 and "piqa" not in out
    code, _, err = items("--benchmark", "nope")
    assert code == 2 and "Allowed: boolq, openbookqa, piqa, winogrande" in err
