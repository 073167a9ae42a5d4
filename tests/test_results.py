"""What lies in results/: every committed table is what its records make, and pages show nothing else."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import scipy.stats

from olora_bench.analysis.runs import has_role, with_role
from olora_bench.analysis.scopes import About
from olora_bench.identity import RESULTS_VERSION, digest
from olora_bench.identity.code import init_digest
from olora_bench.report import table_files
from olora_bench.report.extract import BLOCK, claims, extract
from olora_bench.study.expand import find_study
from olora_bench.study.open import open_study
from tests.committed_results import RESULTS, read

ROOT = Path(__file__).parents[1]
PUBLISHED = ("smollm2", "smollm2_alpaca")
"""Studies whose results are committed; what a checkout ran for itself lies beside them."""
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = [(page, found[2], found[3], found[4]) for page in PAGES for found in BLOCK.finditer(page.read_text(encoding="utf-8"))]
LARGEST = 60_000_000
"""Bytes that results/ may take in the repository, adapters apart."""
FIGURE = re.compile(
    r"\d\s?(?:pp|nats|percentage points)\b|\d\.\d+ ?%|(?<![\w.])[+-]\d+\.\d|\d+(?:\.\d+)? times|p = |\d+ of \d+ (?:cells|blocks|seeds)"
)


@pytest.mark.parametrize("study", PUBLISHED)
def test_every_committed_table_is_what_the_records_make(study: str) -> None:
    """`make figures SWEEP=...` gives them again, byte for byte. What git's history says is left out: a shallow clone has none."""
    made = table_files(read(study).tables)
    there = {path.name: path.read_bytes() for path in (RESULTS / study / "report" / "tables").iterdir()}
    assert there.keys() == made.keys()
    assert [name for name in made if there[name] != made[name] and not name.startswith("declared.")] == []


@pytest.mark.parametrize("study", PUBLISHED)
def test_no_committed_run_is_of_uncommitted_code(study: str) -> None:
    runs = read(study).frames.runs
    harness = runs[runs["state"] == "done"]["harness"]
    assert len(harness) and not harness.str.contains("local changes").any()


RECORDS = {path.parent.name: json.loads(path.read_bytes()) for path in sorted(RESULTS.glob("runs/*/record.json"))}
PUBLISHED_RUNS = [run for study in PUBLISHED for run in json.loads((RESULTS / study / "manifest.json").read_bytes())["runs"]]


def test_committed_ids_are_what_went_into_them() -> None:
    """And what went into them is what today's code makes: a change that orphans committed runs fails here."""
    for run in PUBLISHED_RUNS:
        identity = RECORDS[run["train_id"]]["identity"]
        assert digest(identity) == run["train_id"]
        assert identity["results_version"] == RESULTS_VERSION
        assert identity["init"]["code"] == init_digest(identity["init"]["module"]), identity["init"]["module"]


def test_todays_study_file_asks_for_the_committed_runs() -> None:
    grids = open_study(find_study("smollm2"), [f"machine.results_dir={RESULTS}"]).grids()
    assert {job.what.train_id for job in grids.jobs} == {
        run["train_id"] for run in json.loads((RESULTS / "smollm2" / "manifest.json").read_bytes())["runs"]
    }


def test_migrated_records_say_what_they_were() -> None:
    migrated = [RECORDS[run["train_id"]]["provenance"]["migrated"] for run in PUBLISHED_RUNS]
    assert {one["results_version"] for one in migrated} == {2} and len({one["from"] for one in migrated}) == len(migrated) == 259


def test_pages_show_a_study_and_its_answers() -> None:
    assert {(page.name, kind, study) for page, kind, study, _ in SHOWN} >= {
        ("results.md", "study", "smollm2"),
        ("claims.md", "claims", "smollm2"),
    }


@pytest.mark.parametrize("page, kind, study, text", SHOWN, ids=lambda part: part.stem if isinstance(part, Path) else str(part)[:12])
def test_what_a_page_says_of_a_study_is_what_the_records_say(page: Path, kind: str, study: str, text: str) -> None:
    found = read(study)
    wanted = extract(found.frames, found.tables) if kind == "study" else claims(found.tables)
    assert text == wanted + "\n", f"python -m olora_bench.study extract {study} --into {page.relative_to(ROOT)}"


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_a_page_says_results_in_a_studys_place_only(page: str) -> None:
    """Beside those places a page says no figure, so that none can go stale."""
    prose = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    prose = re.sub(r"`[^`]*`", "", "\n".join(line for line in prose.splitlines() if not line.startswith("    ")))
    assert FIGURE.findall(prose) == []


def of_role(role: str) -> dict[str, pd.DataFrame]:
    """What the tables of the published study say of OLoRA against LoRA, at rates of their own (`tuned`) or at one (`shared`)."""
    tables = read("smollm2").tables
    return {
        name: frame[(frame["contrast"] == "olora vs lora") & (frame["role"] == role)] for name, frame in tables.items() if "role" in frame
    }


@pytest.mark.parametrize(
    ("role", "wanted"),
    [
        ("tuned", {"difference": 0.648, "block_se": 0.280, "item_se": 0.352, "low": -0.35, "high": 1.65, "p": 0.177}),
        ("shared", {"difference": 2.009, "block_se": 0.072, "item_se": 0.772, "low": 0.48, "high": 3.54, "p": 0.010}),
    ],
)
def test_the_verdicts_have_the_errors_that_a_reviewer_found(role: str, wanted: dict[str, float]) -> None:
    """By other code from raw items; percentage points. The ends are Banerjee's, a little wider than Satterthwaite's t."""
    row = of_role(role)["verdicts"].iloc[0]
    assert {name: row[name] for name in wanted} == pytest.approx(wanted, abs=6e-3)


@pytest.mark.parametrize("study", PUBLISHED)
def test_no_number_has_two_intervals(study: str) -> None:
    """A comparison's verdict, its scopes, its cells of one benchmark or measure: one scope, one interval."""
    tables = read(study).tables
    scopes = tables["scopes"].set_index(["contrast", "role", "measure", "about"])
    assert scopes.index.is_unique
    measures = tables["measures"][(tables["measures"]["measure"] == "report_loss") & tables["measures"]["longest"]]
    measures = measures.set_index(["contrast", "role"])
    assert measures.index.is_unique, "one cell a comparison: its loss is the comparison's"
    for row in tables["verdicts"].to_dict("records"):
        key, loss = (row["contrast"], row["role"]), [row["loss_difference"], row["loss_low"], row["loss_high"]]
        assert loss == pytest.approx(measures.loc[key, ["difference", "low", "high"]].to_list())
        assert loss == pytest.approx(scopes.loc[(*key, "report_loss", About.SEEDS), ["difference", "low", "high"]].to_list())
        if row["judged_by"] == "score":
            score = scopes.loc[(*key, "score", About.SEEDS_AND_ITEMS), ["difference", "low", "high"]].to_list()
            assert [row["difference"], row["low"], row["high"]] == pytest.approx(score)


def test_readme_is_read_in_a_minute() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_results_stay_small_and_hold_no_text_of_the_data() -> None:
    """Items are kept by id; written answers, which lie beside the instructions they answer, stay out of the repository."""
    files = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert files
    assert sum((ROOT / file).stat().st_size for file in files) < LARGEST
    assert not [file for file in files if Path(file).name == "generations.parquet"]
    for file in (ROOT / file for file in files if file.endswith("items.parquet")):
        long = pd.read_parquet(file).select_dtypes(["object", "string"]).map(lambda v: len(v) if isinstance(v, str) else 0).max().max()
        assert long <= 80, file


def judged(there: dict[str, pd.DataFrame], verdict: str) -> tuple[pd.Series, dict[str, str]]:
    """The overall row, which leads on every block of six, and the verdict on each benchmark."""
    overall = there["verdicts"].iloc[0]
    assert overall["verdict"] == verdict and overall["blocks_for"] == overall["blocks"] == 6
    counts = there["win_counts"].iloc[0]
    assert counts["null_low"] <= counts["wins"] <= counts["null_high"], "the count of cells won tells nothing"
    cells = there["cells"][there["cells"]["primary"] & there["cells"]["longest"]].set_index("benchmark")["verdict"].to_dict()
    assert len(cells) == 6
    return overall, cells


def test_the_words_on_results_are_what_the_records_say() -> None:
    """The sentences above the table in docs/results.md, which no command writes."""
    tuned, cells = judged(of_role("tuned"), "unresolved")
    assert tuned["low"] < 0 < tuned["high"], "the interval includes zero"
    assert tuned["difference"] < 1, "by less than a point"
    assert set(cells.values()) == {"unresolved"}, "no benchmark alone is decided"
    leans = of_role("tuned")["cells"].set_index("benchmark")["high"]
    assert leans.loc[leans < 0].index.unique().tolist() == ["piqa"], "PIQA leans to LoRA"
    assert tuned["loss_low"] > 0 and not tuned["loss_new_items"], "LoRA ends at the lower held-out loss, on these examples"
    assert 0 < tuned["difference"] < tuned["found"], "less than the study finds four times in five"
    without = of_role("tuned")["left_out"].set_index("benchmark")
    assert (without["low"] < 0).all() and (without["high"] > 0).all(), "without any one of the benchmarks the interval includes zero too"
    without = without["blocks_for"]
    assert without.pop("piqa") == 6 and (without < 6).all(), "without any one but PIQA on fewer seeds"
    slow = of_role("tuned")["schedules"].set_index("share")
    assert slow["loss_arm"].notna().sum() == 3 and not slow["matches"].any() and (slow["low"] > 0).all(), (
        "neither takes OLoRA to LoRA's loss"
    )
    ends = read("smollm2").frames.runs
    ends = ends[has_role(ends, "tuned") & ~has_role(ends, "tuning")]
    ends = ends.pivot_table(index="seed", columns=["arm", "length"], values="metrics.report_loss")
    gap = ends["lora", 32.0] - ends["olora", 64.0]
    found = scipy.stats.ttest_1samp(gap, 0).confidence_interval()
    assert len(gap) == 6 and found.low < 0 < found.high, "which ends lower is unresolved"
    there = of_role("shared")
    shared, cells = judged(there, "better")
    without = there["left_out"].set_index("benchmark")
    assert without.loc["boolq", "difference"] < shared["difference"] / 2, "most of it is BoolQ alone"
    assert without.loc["boolq", "low"] < 0 < without.loc["boolq", "high"], "without BoolQ, the interval includes zero"
    rows = there["cells"][there["cells"]["primary"] & there["cells"]["longest"]].set_index("benchmark")
    assert rows.loc["boolq", "base"] < rows.loc["boolq", "chance"] - 2, "below chance"
    asked = read("smollm2").tables["cells"]
    asked = asked[(asked["benchmark"] == "boolq") & asked["longest"]]
    assert len(asked) == 10 and (asked[["score_arm", "score_reference"]].max(axis=1) < asked["constant"]).all(), "saying yes to all of them"
    said_yes = rows.loc["boolq", ["gave_reference", "gave_arm"]].to_list()
    assert said_yes == pytest.approx([20, 66.7], abs=2), "a fifth, two thirds"
    assert shared["loss_high"] < 0, "a lower loss"
    shortest = there["schedules"][there["schedules"]["smallest"]]
    assert shortest["share"].to_list() == [2] and shortest["sure"].all(), "half the steps"
    tables = read("smollm2").tables
    told = tables["verdicts"].set_index(["contrast", "role"])
    control, quarter, four = (told.loc[(f"{arm} vs olora", "tuned")] for arm in ("olora_random", "olora_plus_x0.25", "olora_plus_x4"))
    assert {one["verdict"] for one in (control, quarter, four)} == {"unresolved"} and control["blocks"] == quarter["blocks"] == four[
        "blocks"
    ] == 6
    assert control["loss_high"] < 0 and quarter["loss_high"] < 0 < four["loss_low"], "the lower loss, better, worse"
    control, quarter, four = (told.loc[(f"{arm} vs olora", "shared")] for arm in ("olora_random", "olora_plus_x0.25", "olora_plus_x4"))
    assert four["loss_high"] < 0 < min(quarter["loss_low"], control["loss_low"]), "the other way round"
    assert quarter["verdict"] == "worse", "the ratio 1/4 scores lower"
    rates = tables["rates"][tables["rates"]["longest"].astype(bool)]
    best = rates[rates["best"]].set_index("arm")["lr"]
    lora = rates[(rates["arm"] == "lora") & rates["searched"]].sort_values("lr").reset_index(drop=True)
    at = int(lora.index[lora["best"]][0])
    assert lora["tune"][at - 1] - lora["tune"][at] < 0.01 and lora["report_loss"][at - 1] < lora["report_loss"][at], "a close choice"
    olora = rates[(rates["arm"] == "olora") & rates["searched"]].sort_values("tune")["tune"].to_list()
    assert olora[1] - olora[0] < 0.01, "for either arm"
    tries = read("smollm2").frames.runs
    tries = with_role(tries[(tries["arm"] == "lora") & tries["longest"]], "tuning")
    tries = tries.set_index("lr")["metrics.report_loss"]
    assert tries[lora["lr"][at]] - tries[lora["lr"][at - 1]] > tuned["loss_difference"], "better by more than the two arms differ"
    assert best["lora"] == pytest.approx(10 * best["olora"]) and best["olora"] > 3e-4, "nearer to OLoRA's"
    assert rates[rates["searched"]].groupby("arm").size().nunique() == 1, "equally many tries"
    clipped = with_role(tables["run_measures"], "shared", "tuned").groupby("arm")["clipped_step_share"]
    assert clipped.min()["olora"] == 1 and clipped.mean()["lora"] < 0.2, "clipped at every step, and seldom"


def test_the_words_on_instructions_are_what_the_records_say() -> None:
    tables = read("smollm2_alpaca").tables
    told = tables["verdicts"].set_index("contrast")
    olora, quarter, four = (told.loc[name] for name in ("olora vs lora", "olora_plus_x0.25 vs olora", "olora_plus_x4 vs olora"))
    assert olora["loss_low"] > 0 > quarter["loss_high"] and four["loss_low"] > 0, "ahead, ahead, behind"
    assert [one["blocks_for"] for one in (olora, quarter, four)] == [0, 6, 0] and {
        one["loss_blocks"] for one in (olora, quarter, four)
    } == {6}
    for one in (olora, quarter, four):
        assert one["verdict"] in ("better", "worse") and one["p_holm"] <= 0.05 and not one["loss_new_items"]
    control = told.loc["olora_random vs olora"]
    assert control["loss_high"] < 0 and control["verdict"] == "better", "a lower loss than OLoRA"
    fresh = tables["run_measures"][~has_role(tables["run_measures"], "tuning")]
    clipped = fresh.groupby("arm")["clipped_step_share"].mean()
    assert clipped["olora"] > 0.5 and clipped["lora"] == clipped["olora_random"] == 0, "in most steps, in none"
    written = tables["measures"][tables["measures"]["measure"].isin(["bleu", "rouge1", "rouge2", "rougeL"])]
    assert len(written) == 16 and set(written["verdict"]) == {"unresolved"}, "every comparison of arms is unresolved"
    base = read("smollm2_alpaca").frames.base_generation.iloc[0]
    assert all(row["value_arm"] > base[row["measure"]] < row["value_reference"] for row in written.to_dict("records")), (
        "above the untouched"
    )
