"""Parts belong to the record that names them, and to the lease that wrote them."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from store_samples import EVAL, RUN, curve, eval_record, examples, items, run_record

from olora_bench.errors import RecordError, StoreError
from olora_bench.store import LeaseLost, Store, sealed

ADAPTER = b"adapter" * 100
GENERATIONS = pd.DataFrame(
    [{"item_id": "0", "prompt": "p", "reference": "r", "output": "o", "tokens": 1, "finished": True, "truncated": False}]
)


def finished(store: Store) -> None:
    """A run with all its parts, written under its lease, and an untouched base's evaluation."""
    with store.hold(store.run_dir(RUN)) as held:
        parts = {"curve": store.write_curve(RUN, curve(), held), "adapter": store.write_adapter(RUN, ADAPTER, held)}
        parts |= {"examples": store.write_examples(RUN, examples(), held)}
        store.write_run(run_record(parts=parts), held)
        store.write_eval(eval_record(), items(), GENERATIONS, held)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    finished(store)
    return store


def lose(folder: Path) -> None:
    """Another process takes a lease over: its file is another one now."""
    path = folder / "lease.json"
    content = path.read_bytes()
    path.rename(path.with_name("old"))
    path.write_bytes(content)
    path.with_name("old").unlink()


def files(store: Store) -> dict[str, bytes]:
    return {path.relative_to(store.root).as_posix(): path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def test_parts_carry_the_token_of_their_lease(store: Store) -> None:
    """The record names them by file and SHA-256; the next lease has another token."""
    record = store.read_run(RUN)
    assert record is not None
    token = record.parts["curve"].file.split(".")[1]
    assert record.parts["adapter"].file == f"adapter.{token}.safetensors" and len(token) == 12
    assert store.adapter_path(RUN).read_bytes() == ADAPTER
    finished(store)
    again = store.read_run(RUN)
    assert again is not None and again.parts["curve"].file != record.parts["curve"].file
    assert len(list(store.run_dir(RUN).glob("curve.*"))) == 1, "what the record does not name any more is removed"


def test_a_zombie_changes_nothing(store: Store) -> None:
    """Whatever it tries: curve, adapter, record, evaluation, failure. What it had written before is removed by the next holder."""
    folder = store.run_dir(RUN)
    with store.hold(folder) as zombie:  # leaving the block it would tidy up
        lose(folder)
        before = files(store)
        for act in (
            lambda: store.write_curve(RUN, curve(), zombie),
            lambda: store.write_adapter(RUN, b"other", zombie),
            lambda: store.write_examples(RUN, examples(), zombie),
            lambda: store.write_run(run_record(attempts=1, status="failed", error="boom"), zombie),
            lambda: store.write_eval(eval_record(), items(), GENERATIONS, zombie),
            lambda: zombie.remove([store.adapter_path(RUN)]),
            lambda: zombie.set_aside(store.adapter_path(RUN)),
        ):
            with pytest.raises(LeaseLost):
                act()
    assert files(store) == before


def test_orphans_go_and_what_records_name_stays(store: Store) -> None:
    """Of an earlier attempt, in the run's folder and its evaluations'; other files are nobody's business."""
    before = files(store)
    for folder in (store.run_dir(RUN), store.run_eval_dir(RUN, EVAL)):
        for name in (
            "curve.0123456789ab.parquet",
            "items.0123456789ab.parquet",
            "examples.0123456789ab.parquet",
            "adapter.0123456789ab.safetensors",
            "notes.parquet",
        ):
            (folder / name).write_text("orphan")
    store.tidy(store.run_dir(RUN))
    assert {name: content for name, content in files(store).items() if not name.endswith("notes.parquet")} == before


def test_parts_of_a_record_that_cannot_be_read_stay(store: Store) -> None:
    """Somebody may still mend the record."""
    path = store.run_dir(RUN) / "record.json"
    path.write_bytes(path.read_bytes()[:-5])
    before = files(store)
    store.tidy(store.run_dir(RUN))
    assert files(store) == before


def read_all(store: Store) -> list[object]:
    """Every value that the files of a run hold, as a reader gets them."""
    record, scored = store.read_run(RUN), store.read_eval(RUN, None, EVAL)
    tables = [store.read_curve(RUN), store.read_items(RUN, None, EVAL), store.read_generations(RUN, None, EVAL)]
    assert record is not None and scored is not None
    known = store.run_beside(RUN)[1].table("examples")
    tables.append(None if known is None else known.to_pandas())
    if (wrong := store.damage(record, thorough=True)) is not None:
        raise RecordError(wrong)
    return [record, scored, *(None if table is None else table.to_json() for table in tables)]


def hurt(path: Path, rng: random.Random, *, cut: bool) -> None:
    """Flip one bit, or cut the file off; size aside, nothing but the bytes tells it: the time of the last change is as before."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    if cut:
        content = content[: rng.randrange(len(content))]
    else:
        bit = rng.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a new process does not know."""
    monkeypatch.setattr("olora_bench.store.record_parts._SOUND", {})
    monkeypatch.setattr("olora_bench.store.folders._NAMED", {})


@pytest.mark.parametrize("count", [60, pytest.param(700, marks=pytest.mark.slow)])
def test_flipped_bits_and_cuts_are_noticed_or_harmless(store: Store, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """In records, curve, losses by example, items, generations, adapter: none is believed; what is not refused holds the same values."""
    kept, rng, refused = read_all(store), random.Random(0), 0
    for number in range(count):
        name, content = rng.choice(sorted(files(store).items()))
        path = store.root / name
        hurt(path, rng, cut=number % 4 == 0)
        forget(monkeypatch)
        try:
            assert read_all(store) == kept, name
        except RecordError as error:
            assert name in str(error)
            refused += 1
        path.write_bytes(content)
    assert refused > 0.9 * count


PARTS: dict[str, Callable[[Store], Path]] = {
    "record": lambda store: store.run_dir(RUN) / "record.json",
    "curve": lambda store: next(store.run_dir(RUN).glob("curve.*")),
    "adapter": lambda store: store.adapter_path(RUN),
    "examples": lambda store: next(store.run_dir(RUN).glob("examples.*")),
    "evaluation": lambda store: store.run_eval_dir(RUN, EVAL) / "record.json",
    "items": lambda store: next(store.run_eval_dir(RUN, EVAL).glob("items.*")),
}


@pytest.mark.parametrize("part", PARTS)
def test_mending_sets_aside_what_is_damaged_and_nothing_else(store: Store, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """A damaged adapter takes its record with it: the run is trained again."""
    path, before = PARTS[part](store), files(store)
    hurt(path, random.Random(1), cut=False)
    forget(monkeypatch)
    damaged = store.mend(store.run_dir(RUN))
    expected = {path, store.run_dir(RUN) / "record.json"} if part == "adapter" else {path}
    assert set(damaged) == expected
    gone = {one.relative_to(store.root).as_posix() for one in expected}
    assert set(files(store)) == set(before) - gone | {f"{name}.damaged" for name in gone}
    assert store.mend(store.run_dir(RUN)) == []


def test_what_a_live_process_works_on_is_not_set_aside(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = PARTS["curve"](store)
    hurt(path, random.Random(1), cut=False)
    forget(monkeypatch)
    with store.hold(store.run_dir(RUN)):
        assert store.mend(store.run_dir(RUN)) == []
    assert path.exists()


def test_adapters_and_texts_may_be_left_behind(store: Store) -> None:
    """Results are published without them; items, a curve or losses by example that are gone are missed."""
    for path in (store.adapter_path(RUN), next(store.run_eval_dir(RUN, EVAL).glob("generations.*"))):
        path.unlink()
    record, scored = store.read_run(RUN), store.read_eval(RUN, None, EVAL)
    assert record is not None and scored is not None
    assert not store.lacks(record) and not store.lacks(scored) and not store.has_adapter(record)
    assert store.read_generations(RUN, None, EVAL) is None
    PARTS["items"](store).unlink()
    PARTS["examples"](store).unlink()
    assert store.lacks(scored) and store.lacks(record)


def test_a_record_may_be_sealed_by_hand(store: Store) -> None:
    """What a migration does: the fields, their version and parts under plain names."""
    path = store.run_dir(RUN) / "record.json"
    fields = json.loads(path.read_text())
    curve_file = PARTS["curve"](store)
    plain = curve_file.rename(curve_file.with_name("curve.parquet"))
    fields["parts"]["curve"]["file"] = plain.name
    path.write_bytes(sealed(fields))
    pd.testing.assert_frame_equal(store.read_curve(RUN), curve())  # type: ignore[arg-type]
    store.tidy(store.run_dir(RUN))
    assert plain.exists()


def test_the_write_probe_follows_no_link_and_touches_no_file(tmp_path: Path) -> None:
    """Links under any name that an earlier probe had; what a dead process left is removed, what a live one has is not."""
    target = tmp_path / "elsewhere"
    target.write_text("precious")
    root = tmp_path / "results"
    root.mkdir()
    for name in (".writable.tmp", "writable"):
        (root / name).symlink_to(target)
    (root / ".writable.00000000-1-1-00000000.tmp").write_text("another machine's")
    Store(root).check_writable()
    assert target.read_text() == "precious" and (root / "writable").is_symlink()
    assert (root / ".writable.00000000-1-1-00000000.tmp").exists()


def test_a_folder_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        Store(tmp_path / "taken").check_writable()
