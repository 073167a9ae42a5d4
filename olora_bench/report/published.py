"""What papers say: claims (YAML) and published tables (CSV) of `results/published`."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pandas as pd

from olora_bench.analysis.claims import MEASUREMENTS, Claim
from olora_bench.analysis.frames import StudyFrames
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
    return Claim(claim=path.stem, **{key: raw[key] for key in CLAIM_KEYS}, options=raw.get("options") or {})


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


def beside_ours(published: pd.DataFrame, frames: StudyFrames) -> pd.DataFrame:
    """Published numbers with this study's own means over reported runs of its protocol, shorter schedules left out.

    Returns:
        One row a (published number, setting, lr of ours), one with ours empty where we have none: source, model, rank, arm, benchmark,
        metric, lr, setting (of ours), published and ours (percent; NaN where there is none), difference (ours minus published, percentage
        points), seeds, note, runs.
    """
    role = "tuned" if frames.protocol == "tuned" else "shared"
    reported = frames.runs[frames.runs["roles"].str.contains(role) & frames.runs["longest"]]
    mine = reported[["train_id", "model", "rank", "arm", "seed", "lr", "setting"]]
    scores = frames.scores[frames.scores["train_id"].notna()][["train_id", "benchmark", "metric", "value"]].merge(mine, on="train_id")
    rows = []
    for row in published.to_dict("records"):
        same = scores
        for key in ("model", "rank", "arm", "benchmark", "metric"):
            same = same[same[key] == row[key]]
        named = {key: row[key] for key in ("source", "model", "rank", "arm", "benchmark", "metric", "note")} | {"published": row["value"]}
        nothing = {"lr": float("nan"), "setting": "", "ours": float("nan"), "difference": float("nan"), "seeds": 0, "runs": ""}
        found = [
            {"lr": lr, "setting": setting, "ours": 100 * float(group["value"].mean()), "seeds": group["seed"].nunique()}
            | {"difference": 100 * float(group["value"].mean()) - float(row["value"]), "runs": " ".join(sorted(set(group["train_id"])))}
            for (setting, lr), group in same.groupby(["setting", "lr"], sort=True)
        ]
        rows += [named | ours for ours in found or [nothing]]
    names = ["source", "model", "rank", "arm", "benchmark", "metric", "lr", "setting", "published", "ours", "difference", "seeds", "note",
             "runs"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)
