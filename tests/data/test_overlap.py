from __future__ import annotations

import time

import pytest
from tiny_rows import sentence

from olora_bench.data.items import Item
from olora_bench.data.overlap import Seen, words


def item(query: str, rest: str = "") -> Item:
    return Item("x", "g", query, rest, query, rest)


SEEN = Seen(
    [
        item("What is the largest organ in the human body by its weight?", " heart lungs skin liver"),
        item("Owls are", " birds of prey that hunt at night fish reptiles mammals"),
        item("Short", " one"),
    ]
)


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (item("what is the LARGEST organ, in the human body by its weight", "heart; lungs; skin; liver"), "exact"),
        (item("What is the largest organ in the human body by its weight?", " bone brain"), "near"),
        (item("Tell me: what is the largest organ in the human body by its weight, please", "The skin."), "near"),
        (item("What is the largest organ in the human foot?", " heart lungs skin liver"), None),
        (item("Owls are", " birds of prey that hunt at night fish reptiles insects"), "near"),
        (item("Owls are", " mammals reptiles fish birds"), None),
        (item("short!", " One"), "exact"),
        (item("Short", " two"), None),
        (item("", ""), None),
    ],
)
def test_overlap_is_found_by_eye(candidate: Item, expected: str | None) -> None:
    """Case and punctuation make no difference; other choices under the same question are near; a shared phrase is not."""
    assert SEEN.overlap(candidate) == expected


def test_near_begins_at_four_windows_of_five() -> None:
    """An evaluation question of 12 words has 5 windows: one changed end word leaves 4 (near), two leave 3 (not)."""
    text = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]
    seen = Seen([item(" ".join(text))])
    assert seen.overlap(item(" ".join([*text[:11], "X"]))) == "near"
    assert seen.overlap(item(" ".join([*text[:10], "X", "Y"]))) is None


def test_a_repeated_phrase_counts_once() -> None:
    """Saying one window of an evaluation item five times is not holding five of its windows."""
    text = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]
    assert Seen([item(" ".join(text))]).overlap(item(" ".join(text[:8] * 5))) is None


def test_no_evaluation_items_no_overlap() -> None:
    """An empty index answers."""
    assert Seen([]).overlap(SEEN_ITEM) is None


SEEN_ITEM = item("one two three four five six seven eight nine")


def test_thousands_of_items_take_a_moment() -> None:
    """5,000 items against 2,000 in well under the time that would make 100,000 a wait of minutes."""
    import random

    rng = random.Random(0)
    seen = Seen(item(sentence(rng, 40)) for _ in range(2000))
    others = [item(sentence(rng, 40)) for _ in range(5000)]
    start = time.process_time()
    assert all(seen.overlap(o) is None for o in others)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("one", "other"),
    [("7 + 4", "7 - 4"), ("7 - 4", "7 * 4"), ("7/4", "7 4"), ("y > 1", "y < 1"), ("F#", "F"), ("£9", "€9"), ("9%", "9"), ("-9", "9"),
     ("resume\u0301", "resume"), ("\u0915\u093f", "\u0915\u093e"), ("北", "南"), ("😀", "😡"), ("a^2", "a2")],
)  # fmt: skip
def test_a_symbol_an_accent_and_any_script_count(one: str, other: str) -> None:
    """Texts that differ in these are two."""
    assert words(f"What is {one}") != words(f"What is {other}")


@pytest.mark.parametrize(
    ("one", "other"),
    [("7+4", "7 + 4"), ("7-4", "7 \N{EN DASH} 4"), ("well-known", "Well known"), ("cafe\u0301", "CAF\u00c9"), ("``So''", '"so"'),
     ("a...b", "a b")],
)  # fmt: skip
def test_case_spacing_punctuation_and_encoding_do_not(one: str, other: str) -> None:
    """Texts that differ in these are one."""
    assert words(one) == words(other)
