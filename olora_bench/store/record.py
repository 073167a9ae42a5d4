"""What one run and one evaluation leave behind, as checked JSON. A missing value is null and has a reason in `missing`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import ErrorDetails

from olora_bench.errors import RecordError
from olora_bench.formats import Unreadable, parse_json
from olora_bench.store.sealed import FIELD, is_whole, sealed, sha256

SCHEMA_VERSION: Final = 2

# Fields that this schema's first records do not have: their default stands for absence.
_ADDED: Final = frozenset({"generation", "cost"})

Status = Literal["running", "done", "failed", "diverged"]
OVER: Final[tuple[Status, ...]] = ("done", "diverged")
"""States of a finished run. One that diverged has nothing to score, and would diverge again."""
Metric = Literal["acc", "acc_norm"]
RunPart = Literal["curve", "adapter", "examples"]
EvalPart = Literal["items", "generations"]
Json = dict[str, JsonValue]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
Reason = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]


RESTORE: Final = "To compute it again: python -m olora_bench.study retry STUDY, or move it away and run again"


def utc_now() -> str:
    """This moment as records write it, e.g. `2026-01-31T09:30:00.123456+00:00`."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _is_utc(text: str) -> str:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None or moment.utcoffset() != UTC.utcoffset(None):
        raise ValueError("a time must be ISO 8601 in UTC, e.g. 2026-01-31T09:30:00+00:00")
    return text


Moment = Annotated[str, AfterValidator(_is_utc)]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Part(_Checked):
    """A file beside a record, which the record names by its content."""

    file: FolderName
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, file: str, content: bytes) -> Part:
        """A part of this name with these bytes."""
        return cls(file=file, sha256=sha256(content))


class RunRecord(_Checked):
    """One training. Times in seconds, sizes in bytes, losses in nats per supervised token.

    `attempts` counts the starts, this one included. `metrics` are the run's final losses and the like, `data` the counts of the parts,
    `init` what the init measured. Speeds are of training alone, without start-up and evaluation. `cost` adds supervised_tokens_per_s;
    token_budget, the tokens that a forward pass took in the end; matmul_flops_per_s, a large product's measured operations per second;
    flops_utilisation, the share of it that the steps' own operations came to. A value that is not known is null, and `missing` says why
    under its key (`peak_bytes`, `metrics.report_loss`). `parts` are the files that belong to it.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    kind: Literal["run"] = "run"
    train_id: Id
    arm: FolderName
    status: Status
    error: Reason | None = None
    attempts: int = Field(default=1, ge=1)
    identity: Json
    config: Json
    provenance: Json
    started_at: Moment | None = None
    finished_at: Moment | None = None
    timings_s: dict[str, Amount] = Field(default_factory=dict)
    tokens_per_s: Amount | None = None
    examples_per_s: Amount | None = None
    cost: dict[str, Amount] = Field(default_factory=dict)
    base_bytes: Count | None = None
    peak_bytes: Count | None = None
    peak_above_base_bytes: Count | None = None
    parameters_total: Count | None = None
    parameters_trainable: Count | None = None
    adapter_bytes: Count | None = None
    steps: Count | None = None
    clipped_step_share: Annotated[float, Field(ge=0, le=1)] | None = None
    data: Json = Field(default_factory=dict)
    metrics: dict[str, float | None] = Field(default_factory=dict)
    init: Json = Field(default_factory=dict)
    parts: dict[RunPart, Part] = Field(default_factory=dict)
    missing: dict[str, Reason] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_what_is_missing(self) -> RunRecord:
        _check_error(self.status, self.error)
        _check_missing(self.status, {k: v for k, v in _leaves(self) if k != "error"}, self.missing)
        return self


class Score(_Checked):
    """The scores of one benchmark.

    `metrics` and their `stderr` in [0, 1]; `gold_logprob` the mean over items of the gold choice's log-likelihood, in nats;
    `chance` the accuracy of guessing; `truncated` how many items lost part of their prompt. Of `flip_items` items also
    scored in fp32, `flips` is the share whose predicted choice differs (by metric; empty where that was not measured).
    """

    metrics: dict[Metric, Annotated[float, Field(ge=0, le=1)]]
    stderr: dict[Metric, Amount | None]
    primary: Metric
    items: int = Field(ge=1)
    chance: float = Field(gt=0, lt=1)
    gold_logprob: float
    truncated: Count
    flips: dict[Metric, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    flip_items: Count = 0
    warnings: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _keys_agree(self) -> Score:
        if self.primary not in self.metrics:
            raise ValueError(f"primary={self.primary} is none of the metrics. Allowed: {', '.join(self.metrics)}")
        if self.stderr.keys() != self.metrics.keys():
            raise ValueError(
                f"stderr has {', '.join(self.stderr) or 'nothing'}, metrics have {', '.join(self.metrics)}: give one for each metric"
            )
        return self


class EvalRecord(_Checked):
    """One evaluation, of a run (`train_id`) or of an untouched base model (`base`, its name).

    `generation`: bleu in [0, 100], rouge1, rouge2, rougeL in [0, 1] and their settings, where the suite asks for answers; else empty.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    kind: Literal["eval"] = "eval"
    eval_id: Id
    train_id: Id | None = None
    base: FolderName | None = None
    status: Literal["done", "failed"]
    error: Reason | None = None
    identity: Json
    config: Json
    provenance: Json
    started_at: Moment | None = None
    finished_at: Moment | None = None
    timings_s: dict[str, Amount] = Field(default_factory=dict)
    scores: dict[FolderName, Score] = Field(default_factory=dict)
    generation: Json = Field(default_factory=dict)
    parts: dict[EvalPart, Part] = Field(default_factory=dict)
    missing: dict[str, Reason] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_what_is_missing(self) -> EvalRecord:
        if (self.train_id is None) == (self.base is None):
            raise ValueError("exactly one of train_id and base must be given: an evaluation is of a run or of an untouched base")
        _check_error(self.status, self.error)
        if self.status == "done" and not self.scores and not self.generation:
            raise ValueError("status is done but scores is empty: an evaluation without a benchmark is not recorded")
        _check_missing(self.status, {k: v for k, v in _leaves(self) if k not in ("error", "train_id", "base")}, self.missing)
        return self

    def is_of(self, run: RunRecord) -> bool:
        """Whether this is finished, and of the adapter that a run's record names: one that was trained anew may differ in its last bits."""
        adapter = run.parts.get("adapter")
        return self.status == "done" and self.provenance.get("adapter") in (None, None if adapter is None else adapter.sha256)


AnyRecord = TypeVar("AnyRecord", bound=RunRecord | EvalRecord)


def _leaves(record: RunRecord | EvalRecord) -> Iterator[tuple[str, object]]:
    """The values that may be null, with the key under which `missing` explains them."""
    for name in type(record).model_fields:
        value = getattr(record, name)
        if name == "metrics":
            yield from ((f"metrics.{key}", metric) for key, metric in value.items())
        elif name == "scores":
            yield from ((f"scores.{b}.stderr.{m}", error) for b, score in value.items() for m, error in score.stderr.items())
        else:
            yield name, value


def _check_error(status: str, error: str | None) -> None:
    if status in ("failed", "diverged") and error is None:
        raise ValueError(f"status is {status} but error is null: say what happened")
    if status in ("running", "done") and error is not None:
        raise ValueError(f"status is {status} but error is set: {error}")


def _check_missing(status: str, values: dict[str, object], missing: dict[str, str]) -> None:
    unexplained = [key for key, value in values.items() if value is None and key not in missing]
    if status == "done" and unexplained:
        raise ValueError(f"{', '.join(unexplained)}: null without a reason. Give the value, or say under missing why there is none")
    wrong = [key for key in missing if values.get(key, "") is not None]
    if wrong:
        raise ValueError(f"missing explains {', '.join(wrong)}, which is there or is no field of a record")


def to_json(record: RunRecord | EvalRecord) -> bytes:
    """A record as it lies on disk: sealed JSON, one field a line, ended by a newline."""
    return sealed(json.loads(record.model_dump_json()))


def parse(content: bytes, kind: type[AnyRecord], path: Path) -> AnyRecord:
    """Check a file's content and return the record in it.

    Args:
        content: what `to_json` made.
        kind: `RunRecord` or `EvalRecord`.
        path: where the content is from, for the message.

    Raises:
        RecordError: truncated, foreign, from a newer or an older schema, or a field is missing or wrong; names file and field.
    """
    raw = _object(content, path)
    want = kind.model_fields["kind"].default
    version = raw.get("schema_version")
    if raw.get("kind") not in ("run", "eval") or type(version) is not int:
        raise RecordError(
            f"{path}: not a record of olora_bench (no valid kind and schema_version). Move it away; nothing of olora_bench is lost by that"
        )
    check_version(version, f"{path}: schema_version")
    if raw["kind"] != want:
        raise RecordError(f"{path}: kind={raw['kind']}, but a file of that name holds kind={want}. Put it where it belongs")
    absent = [name for name in (*kind.model_fields, FIELD) if name not in raw and name not in _ADDED]
    if absent:
        raise RecordError(f"{path}: {', '.join(absent)}: missing field. Move the file away and run again")
    if not is_whole(raw):
        raise RecordError(f"{path}: damaged: it is not what was written there (its content has another digest). {RESTORE}")
    del raw[FIELD]
    try:
        return kind.model_validate(raw, strict=True)  # type: ignore[return-value]
    except ValidationError as error:
        raise RecordError(f"{path}: {problems(error)}") from error


def check_version(version: int, where: str, ours: int = SCHEMA_VERSION) -> None:
    """Refuse a schema that this olora_bench does not read.

    Raises:
        RecordError: the schema is newer or older; the message starts with `where`.
    """
    schemas = f"(schema {version}, this one reads {ours})"
    if version > ours:
        raise RecordError(f"{where}: written by a newer olora_bench {schemas}: upgrade olora_bench")
    if version < ours:
        raise RecordError(
            f"{where}: written by an older olora_bench {schemas}: read it with the olora_bench that wrote it, or move it away and run again"
        )


def _object(content: bytes, path: Path) -> Json:
    if not content.rstrip().endswith(b"}"):
        raise RecordError(
            f"{path}: truncated after {len(content)} bytes, in the middle of the JSON{_last_field(content)}. Move it away and run again"
        )
    try:
        raw = parse_json(content, path)
    except Unreadable as error:
        raise RecordError(f"{error}. Move it away and run again") from error
    if not isinstance(raw, dict):
        raise RecordError(f"{path}: not a record of olora_bench (no JSON object). Move it away; nothing of olora_bench is lost by that")
    return raw


def _last_field(content: bytes) -> str:
    fields = re.findall(rb'^ "(\w+)":', content, flags=re.MULTILINE)
    return f", at field {fields[-1].decode()}" if fields else ""


def problems(error: ValidationError) -> str:
    """Every problem of a validation, as `field: what is wrong`."""
    return "; ".join(_problem(item) for item in error.errors())


def _problem(item: ErrorDetails) -> str:
    field = ".".join(str(part) for part in item["loc"])
    if item["type"] == "value_error":
        text = str(item["ctx"]["error"])
        return f"{field}: {text}" if field else text
    if item["type"] == "extra_forbidden":
        return f"{field}: unknown field"
    if item["type"] == "missing":
        return f"{field}: missing field"
    return f"{field}={item['input']!r}: {item['msg'][:1].lower()}{item['msg'][1:]}"
