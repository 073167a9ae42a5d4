"""What papers say: claims (YAML) and published tables (CSV) of `results/published`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import TypedDict

import pandas as pd

from olora_bench.analysis.claims import MEASUREMENTS, Claim, Direction
from olora_bench.analysis.described import Column, Table, View
from olora_bench.analysis.frames import JUDGED_ROLE, StudyFrames, rows_of
from olora_bench.analysis.runs import with_role
from olora_bench.errors import BadInput
from olora_bench.formats import read_text, read_yaml

CLAIM_KEYS = ("paper", "sentence", "arm", "reference", "measurement")
CSV_COLUMNS = ("source", "model", "rank", "arm", "benchmark", "metric", "value", "note")


def read_claims(folder: Path) -> list[Claim]:
    """The claims of a folder, in the order of their names; none where there is no such folder.

    Raises:
        BadInput: a file is no claim; names file, key and what is allowed.
    """
    return [_claim(path) for path in sorted(folder.glob("*.yaml"))]


def _claim(path: Path) -> Claim:
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: not a claim. Give {', '.join(CLAIM_KEYS)}, and options where the measurement takes any")
    unknown, absent = sorted(set(raw) - {*CLAIM_KEYS, "options"}), [key for key in CLAIM_KEYS if not isinstance(raw.get(key), str)]
    if absent:
        raise BadInput(f"{path}: {', '.join(absent)}: missing or no text. A claim has {', '.join(CLAIM_KEYS)}")
    if unknown:
        raise BadInput(f"{path}: unknown key {', '.join(unknown)}. Allowed: {', '.join(CLAIM_KEYS)}, options")
    if raw["measurement"] not in MEASUREMENTS:
        raise BadInput(f"{path}: measurement={raw['measurement']!r} is unknown. Allowed: {', '.join(MEASUREMENTS)}")
    texts = {key: str(raw[key]) for key in CLAIM_KEYS}
    return Claim(claim=path.stem, **texts, **_options(path, texts["measurement"], raw.get("options")))


class _Options(TypedDict, total=False):
    measures: dict[str, Direction]
    benchmarks: tuple[str, ...]
    factor: float


def _options(path: Path, measurement: str, given: object) -> _Options:
    """What a measurement is told beside the contrast."""
    options = given if isinstance(given, dict) else {}
    measures, benchmarks = options.get("measures"), options.get("benchmarks")
    if measurement == "measure":
        if set(options) == {"measures"} and isinstance(measures, dict) and measures and set(measures.values()) <= {"lower", "higher"}:
            return {"measures": {str(name): better for name, better in measures.items()}}
        raise BadInput(f"{path}: options={given!r}: give measures, a map of measures to lower or higher, whichever is better")
    if measurement == "most_gain_on":
        if set(options) == {"benchmarks"} and isinstance(benchmarks, list) and benchmarks:
            return {"benchmarks": tuple(map(str, benchmarks))}
        raise BadInput(f"{path}: options={given!r}: give benchmarks, a list of names")
    if measurement == "faster" and given is not None:
        factor = options.get("factor")
        if set(options) == {"factor"} and isinstance(factor, int | float) and not isinstance(factor, bool) and 0 < factor < float("inf"):
            return {"factor": float(factor)}
        raise BadInput(f"{path}: options={given!r}: give factor, how many times as fast the paper says (2: half the steps), or no options")
    if given:
        raise BadInput(f"{path}: options={given!r}: measurement={measurement} takes none. Leave options out")
    return {}


def read_published(folder: Path) -> pd.DataFrame:
    """All published tables of a folder: columns CSV_COLUMNS, `value` in percent. Empty where there is none.

    Raises:
        BadInput: a file does not fit the schema of `results/published/README.md`; names file, line and column.
    """
    frames = [_table(path) for path in sorted(folder.glob("*.csv"))]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(CSV_COLUMNS))


def _table(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(StringIO(read_text(path) or ""), dtype=str, keep_default_na=False)
    except (ValueError, LookupError, OverflowError) as error:
        raise BadInput(f"{path}: no valid CSV: {error}") from error
    absent, unknown = [c for c in CSV_COLUMNS if c not in frame], [c for c in map(str, frame) if c not in CSV_COLUMNS]
    if absent or unknown:
        wrong = f"missing column {', '.join(absent)}" if absent else f"unknown column {', '.join(unknown)}"
        raise BadInput(f"{path}: {wrong}. Columns: {', '.join(CSV_COLUMNS)}")
    for column, low, high in (("value", 0.0, 100.0), ("rank", 1.0, 2.0**31)):
        numbers = pd.to_numeric(frame[column], errors="coerce")
        wrong_rows = ~numbers.between(low, high)
        if column == "rank":
            wrong_rows |= numbers % 1 != 0
        if wrong_rows.any():
            row = int(wrong_rows.to_numpy().argmax())
            allowed = "a number from 0 to 100 (percent)" if column == "value" else "a whole number of at least 1"
            raise BadInput(f"{path}, line {row + 2}: {column}={frame[column][row]!r}: give {allowed}")
        frame[column] = numbers.astype("int64" if column == "rank" else "float64")
    bad = ~frame["metric"].isin(["acc", "acc_norm"])
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise BadInput(f"{path}, line {row + 2}: metric={frame['metric'][row]!r}: allowed are acc, acc_norm")
    return frame[list(CSV_COLUMNS)]


PUBLISHED_TABLE = Table(
    "published",
    "a published number, once for each learning rate and setting of ours; one with ours empty where there is none",
    (
        Column("source", "where the number is printed", heading="source"),
        Column("model", "the base model", heading="model"),
        Column("rank", "the adapter's rank", heading="rank"),
        Column("arm", "the arm", heading="arm"),
        Column("benchmark", "the benchmark", heading="benchmark"),
        Column("metric", "`acc` or `acc_norm`", heading="metric"),
        Column("lr", "our learning rate", heading="our lr", form="rate"),
        Column("setting", "what else tells our cells of this model and rank apart", heading="our setting"),
        Column("published", "the published number", "percent", "published", "number"),
        Column("ours", "our mean over seeds", "percent", "ours", "number"),
        Column("difference", "ours minus published", "pp", "ours - published", "pp"),
        Column("seeds", "how many seeds our mean is over", heading="our seeds"),
        Column("note", "what the number's source says of it", heading="note"),
        Column("runs", "the train_ids behind our mean"),
    ),
)
PUBLISHED_VIEW = View(
    "published",
    "Published numbers beside ours",
    "Published numbers (given by the user of this harness) beside ours, percent; ours at each reported learning rate and setting.",
    PUBLISHED_TABLE,
    ("source", "model", "rank", "arm", "benchmark", "metric", "published", "ours", "difference", "setting", "lr", "seeds", "note"),
)
NOT_OURS = {"lr": math.nan, "setting": "", "ours": math.nan, "difference": math.nan, "seeds": 0, "runs": ""}


def beside_ours(published: pd.DataFrame, frames: StudyFrames) -> pd.DataFrame:
    """Published numbers with this study's own means over reported runs of its protocol, shorter schedules left out.

    Args:
        published: as `read_published` returns it.
        frames: the study's.

    Returns:
        As `PUBLISHED_TABLE` describes it.
    """
    runs = with_role(frames.runs[frames.runs["longest"]], JUDGED_ROLE[frames.protocol])
    who = runs[["train_id", "model", "rank", "arm", "seed", "lr", "setting"]]
    scores = frames.scores[frames.scores["train_id"].notna()][["train_id", "benchmark", "metric", "value"]].merge(who, on="train_id")
    groups = dict(iter(scores.groupby(["model", "rank", "arm", "benchmark", "metric"], sort=False)))
    rows = []
    for row in rows_of(published):
        value = row.pop("value")
        same = groups.get((row["model"], row["rank"], row["arm"], row["benchmark"], row["metric"]))
        rows += [row | {"published": value} | one for one in ([NOT_OURS] if same is None else _ours(same, value))]
    return PUBLISHED_TABLE.frame(rows)


def _ours(same: pd.DataFrame, published: float) -> Iterator[dict[str, object]]:
    """Our mean at each setting and learning rate of one model, rank, arm, benchmark and metric."""
    for (setting, lr), group in same.groupby(["setting", "lr"], sort=True):
        mean = 100 * float(group["value"].mean())
        yield {
            "lr": lr,
            "setting": setting,
            "ours": mean,
            "difference": mean - published,
            "seeds": group["seed"].nunique(),
            "runs": " ".join(sorted(set(group["train_id"]))),
        }
