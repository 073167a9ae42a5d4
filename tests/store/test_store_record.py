"""Records: what is refused, in full sentences."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from store_samples import RUN, eval_record, run_record

from olora_bench.errors import RecordError
from olora_bench.store import RunRecord, Store, sealed
from olora_bench.store.record import to_json


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a written run."""
    Store(tmp_path).write_run(run_record())
    return tmp_path / "runs" / RUN / "record.json"


def message(path: Path) -> str:
    """What reading the record says, after the file's name."""
    with pytest.raises(RecordError) as caught:
        Store(path.parents[2]).read_run(RUN)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def change(path: Path, **fields: Any) -> None:
    path.write_bytes(sealed(json.loads(path.read_text()) | fields))


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    """Floats too, to the last bit."""
    record = run_record(metrics={"report_loss": 0.1 + 0.2}, tokens_per_s=1 / 3)
    Store(tmp_path).write_run(record)
    assert Store(tmp_path).read_run(RUN) == record


def test_no_file_is_no_record(tmp_path: Path) -> None:
    """A run that was never started has no record, and that is no error."""
    assert Store(tmp_path).read_run(RUN) is None


def test_truncated(path: Path) -> None:
    """A cut file says after how many bytes and where."""
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b'"steps"') + 10])
    assert message(path) == (
        f"truncated after {path.stat().st_size} bytes, in the middle of the JSON, at field steps. Move it away and run again"
    )


def test_empty(path: Path) -> None:
    """An empty file is a truncated one."""
    path.write_bytes(b"")
    assert message(path) == "truncated after 0 bytes, in the middle of the JSON. Move it away and run again"


def test_foreign_object(path: Path) -> None:
    """Another program's JSON is not taken for a record."""
    path.write_text('{"results": {"acc": 0.5}}')
    assert message(path) == (
        "not a record of olora_bench (no valid kind and schema_version). Move it away; nothing of olora_bench is lost by that"
    )


@pytest.mark.parametrize("content", [b"\x89PNG\xff\xfe}", b"hello }", b'{"steps": NaN}'])
def test_no_json(path: Path, content: bytes) -> None:
    """Bytes, text and NaN are no JSON."""
    path.write_bytes(content)
    assert message(path).startswith("no valid JSON: ")


def test_newer_schema(path: Path) -> None:
    """A record of a later olora_bench says what to upgrade, whatever else is in it."""
    change(path, schema_version=3, unheard_of=1)
    assert message(path) == "schema_version: written by a newer olora_bench (schema 3, this one reads 2): upgrade olora_bench"


def test_older_schema(path: Path) -> None:
    """A record of an earlier olora_bench is not guessed at."""
    change(path, schema_version=1)
    assert message(path) == (
        "schema_version: written by an older olora_bench (schema 1, this one reads 2): "
        "read it with the olora_bench that wrote it, or move it away and run again"
    )


def test_missing_field(path: Path) -> None:
    """Fields that have a default in Python must still be in a file."""
    fields = json.loads(path.read_text())
    del fields["steps"], fields["missing"]
    path.write_bytes(sealed(fields))
    assert message(path) == "steps, missing: missing field. Move the file away and run again"


def test_a_changed_value(path: Path) -> None:
    """A value that fits the schema but was not written there, e.g. by one flipped bit."""
    path.write_bytes(path.read_bytes().replace(b'"steps": 2', b'"steps": 3'))
    assert message(path) == (
        "damaged: it is not what was written there (its content has another digest). "
        "To compute it again: python -m olora_bench.study retry STUDY, or move it away and run again"
    )


def test_no_digest(path: Path) -> None:
    """A record without one is not believed."""
    fields = json.loads(path.read_text())
    del fields["digest"]
    path.write_text(json.dumps(fields))
    assert message(path) == "digest: missing field. Move the file away and run again"


def test_a_pipe_in_the_place_of_a_record(path: Path) -> None:
    """It is named, and nobody waits for what never comes."""
    path.unlink()
    os.mkfifo(path)
    assert message(path) == "cannot be read: it is a pipe, where a file belongs. Move it away"


def test_unknown_field(path: Path) -> None:
    """A field that no schema knows is refused."""
    change(path, acuracy=0.5)
    assert message(path) == "acuracy: unknown field"


def test_wrong_type(path: Path) -> None:
    """A number in quotes is no number."""
    change(path, steps="2")
    assert message(path) == "steps='2': input should be a valid integer"


def test_another_kind(path: Path) -> None:
    """An evaluation's record is not taken for a run's."""
    path.write_bytes(to_json(eval_record()))
    assert message(path) == "kind=eval, but a file of that name holds kind=run. Put it where it belongs"


def test_a_copied_folder(path: Path) -> None:
    """A record in another run's folder is refused: its numbers would count twice."""
    change(path, train_id="ffffffffffffffff")
    assert message(path) == (
        "train_id=ffffffffffffffff does not fit the folder it lies in: it was moved or copied. Put it back where it was"
    )


def test_a_folder_in_the_way(path: Path) -> None:
    """What the system refuses to read is named with its reason."""
    path.unlink()
    path.mkdir()
    assert message(path) == "cannot be read: it is a folder, where a file belongs. Move it away"


def test_null_needs_a_reason() -> None:
    """A finished run explains each value it does not have, metrics too."""
    with pytest.raises(ValidationError, match=r"peak_bytes, metrics\.report_loss: null without a reason"):
        run_record(peak_bytes=None, metrics={"report_loss": None})
    why = {"peak_bytes": "not measured on this system", "metrics.report_loss": "no report part"}
    assert run_record(peak_bytes=None, metrics={"report_loss": None}, missing=why).missing == why


def test_a_reason_needs_a_null() -> None:
    """A reason for a value that is there, or for a misspelt one, is refused."""
    with pytest.raises(ValidationError, match="missing explains steps, peak_byte, which is there or is no field of a record"):
        run_record(missing={"steps": "?", "peak_byte": "?"})


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_failure_needs_an_error(status: str) -> None:
    """A run that did not end well says why, and then needs no further reasons."""
    with pytest.raises(ValidationError, match=f"status is {status} but error is null"):
        run_record(status=status)
    assert run_record(status=status, error="RuntimeError: boom", steps=None).steps is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["metrics", "init", "provenance"])
def test_no_sentinels(field: str, value: float) -> None:
    """NaN and infinity are refused, deep inside too: JSON would turn them into null without a reason."""
    with pytest.raises(ValidationError, match="finite"):
        run_record(**{field: {"x": value}})


def test_times_are_utc() -> None:
    """A local time is refused."""
    with pytest.raises(ValidationError, match="ISO 8601 in UTC"):
        run_record(started_at="2026-01-31T09:30:00+01:00")


def test_an_evaluation_is_of_a_run_or_of_a_base() -> None:
    """Never of both, never of neither."""
    for owner in ({"train_id": None}, {"base": "tiny_llama"}):
        with pytest.raises(ValidationError, match="exactly one of train_id and base"):
            eval_record(**owner)


def test_a_standard_error_that_is_unknown_has_a_reason() -> None:
    """One item has no standard error."""
    score = eval_record().scores["piqa"].model_dump() | {"stderr": {"acc": None, "acc_norm": 0.5}}
    with pytest.raises(ValidationError, match=r"scores\.piqa\.stderr\.acc: null without a reason"):
        eval_record(scores={"piqa": score})
    eval_record(scores={"piqa": score}, missing={"scores.piqa.stderr.acc": "one item"})


def test_writing_checks_again(tmp_path: Path) -> None:
    """`model_copy` does not check; writing does, and leaves nothing behind."""
    record: RunRecord = run_record().model_copy(update={"peak_bytes": None})
    with pytest.raises(RecordError, match="peak_bytes: null without a reason"):
        Store(tmp_path).write_run(record)
    assert list(tmp_path.iterdir()) == []
