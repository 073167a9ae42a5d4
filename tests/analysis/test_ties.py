"""A tie stays a tie from the items to the printed tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from olora_bench.analysis import analyse, load_study, rows_of
from olora_bench.analysis.scopes import About
from olora_bench.report.extract import extract
from olora_bench.report.tables import table_files
from olora_bench.study.manifest import read_manifest
from olora_bench.study.names import Home
from tests.synthetic import make as synthetic

SIX = ("arc_challenge", "boolq", "hellaswag", "openbookqa", "piqa", "winogrande")
LEADS = [(-1, -1, -1, 3, 0, 0), *((lead,) * 6 for lead in (1, 2, 3, 4, 5))]
"""More right answers of the arm, a seed a row: as floats the first sums to 1.7e-10 points, which made it a lead of six in six, p 0.031."""


def test_a_tied_seed_is_a_tie_in_every_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "ITEMS", 300)
    monkeypatch.setattr(synthetic, "BENCHMARKS", dict.fromkeys(SIX, "acc"))
    make, runs = synthetic.Maker(tmp_path), []
    for seed, leads in enumerate(LEADS):
        for arm, more in (("lora", (0,) * 6), ("olora", leads)):
            entry = make.run("syn", arm, seed)
            make.record(entry, synthetic.curve(40, reaches_end_at=40.0, floor=2.0), 2.0)
            make.score(entry, {name: 150 + count for name, count in zip(SIX, more, strict=True)})
            runs.append(entry)
    make.score(runs[-1], dict.fromkeys(SIX, 140), base=True)
    make.manifest("s", "a study with a tie", runs, [("olora", "lora", "primary")])
    manifest = read_manifest(Home(tmp_path, "s"))
    assert manifest is not None
    frames = load_study(make.store, manifest)
    tables = analyse(frames, np.random.default_rng(0))
    (verdict,) = rows_of(tables["verdicts"])
    (flips,) = rows_of(tables["scopes"].query(f"measure == 'score' and about == '{About.FLIPS}'"))
    assert (verdict["blocks_for"], verdict["blocks_against"], flips["p"]) == (5, 0, 0.0625)
    assert "5 of 6 blocks for olora; " in (text := extract(frames, tables))
    assert "of these items only: p = 0.062 by the exact sign flip over blocks" in text
    assert ",0.0625," in table_files(tables)["scopes.csv"].decode()
