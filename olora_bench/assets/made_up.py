"""Made-up rows in the native columns of each benchmark: for tests and rehearsals, never for claims.

Every row is a simple English sentence with its own words, so rows differ, and no train row repeats an evaluation item.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from olora_bench.errors import BadInput
from olora_bench.seeds import derive

SIZES = {"train": 48, "validation": 8, "test": 8}
VERSION = 1  # raised when the rows change

_WORDS = """
people: Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas Karin Leo Marta Nils Olga Paul Rosa Simon Tara Victor
animals: fox owl bear frog goat duck horse rabbit beaver otter seal wolf mouse snail crow bee turtle sheep cat lizard
things: stone basket ladder blanket candle bottle hammer letter bucket pillow lamp rope mirror drum kettle coin wheel scarf apple broom
places: garden river forest kitchen barn meadow cave harbor attic bridge valley market tower cellar beach orchard school island lake field
deeds: carries hides paints washes lifts drops finds sells breaks mends throws cleans steals counts borrows warms shakes opens pushes guards
looks: red small heavy wet old quiet bright cold soft round green dusty warm broken shiny thin dark clean loud sweet
times: at_dawn at_noon after_lunch before_dinner in_winter in_spring during_storms on_Mondays at_midnight on_Sunday in_the_rain after_school
"""
_LISTS = {name: [w.replace("_", " ") for w in words.split()] for name, words in (line.split(": ") for line in _WORDS.strip().splitlines())}
_PEOPLE, _ANIMALS, _THINGS, _PLACES, _DEEDS, _LOOKS, _TIMES = _LISTS.values()

Row = dict[str, object]
"""A row in its benchmark's own columns."""


class _Words:
    def __init__(self, seed_text: str) -> None:
        self.random = random.Random(f"{derive(0, 'made_up')}/{seed_text}")

    def __call__(self, words: list[str]) -> str:
        return self.random.choice(words)

    def some(self, words: list[str], count: int) -> list[str]:
        return self.random.sample(words, count)

    def scene(self) -> str:
        return f"{self(_PEOPLE)} {self(_DEEDS)} the {self(_LOOKS)} {self(_THINGS)} near the {self(_PLACES)} {self(_TIMES)}"


def _labelled(w: _Words, stem: str, number: int, split: str) -> Row:
    who, deed, when = w(_ANIMALS), w(_DEEDS), w(_TIMES)
    choices = [f"the {look} {thing}" for look, thing in zip(w.some(_LOOKS, 4), w.some(_THINGS, 4), strict=True)]
    question = f"What is it that the {w(_LOOKS)} {who} {deed} in the {w(_PLACES)} {when}"
    return {
        "id": f"made_up_{split}_{number}",
        stem: question + ("?" if stem == "question" else ""),
        "choices": {"text": choices, "label": ["A", "B", "C", "D"]},
        "answerKey": "ABCD"[number % 4],
    }


def _arc(w: _Words, number: int, split: str) -> Row:
    return _labelled(w, "question", number, split)


def _openbookqa(w: _Words, number: int, split: str) -> Row:
    return _labelled(w, "question_stem", number, split)


def _boolq(w: _Words, number: int, split: str) -> Row:
    first, second = w.scene(), w.scene()
    asked = first if number % 2 else w.scene()
    return {
        "question": f"is it true that {asked.lower()}",
        "passage": f"A day -- {first}. Then {second}.",
        "idx": number,
        "label": number % 2,
    }


def _hellaswag(w: _Words, number: int, split: str) -> Row:
    first, second = f"{w.scene()}.", w(_PEOPLE).lower()
    endings = [
        f"{deed} a {look} {thing}." for deed, look, thing in zip(w.some(_DEEDS, 4), w.some(_LOOKS, 4), w.some(_THINGS, 4), strict=True)
    ]
    return {
        "ind": number,
        "activity_label": f"Moving a {w(_THINGS)}",
        "ctx_a": first,
        "ctx_b": second,
        "ctx": f"{first} {second}",
        "endings": endings,
        "source_id": f"made_up~{split}_{number}",
        "split": "val" if split == "validation" else split,
        "split_type": "indomain",
        "label": str(number % 4),
    }


def _piqa(w: _Words, number: int, split: str) -> Row:
    sol1, sol2 = (
        f"Keep it in the {look} {place} {when}."
        for look, place, when in zip(w.some(_LOOKS, 2), w.some(_PLACES, 2), w.some(_TIMES, 2), strict=True)
    )
    goal = f"To keep a {w(_LOOKS)} {w(_THINGS)} away from the {w(_LOOKS)} {w(_ANIMALS)},"
    return {"goal": goal, "sol1": sol1, "sol2": sol2, "label": number % 2}


def _winogrande(w: _Words, number: int, split: str) -> Row:
    first, second = w.some(_PEOPLE, 2)
    sentence = f"{first} gave {second} the {w(_LOOKS)} {w(_THINGS)} {w(_TIMES)} because _ {w(_DEEDS)} it in the {w(_PLACES)}."
    return {"sentence": sentence, "option1": first, "option2": second, "answer": str(number % 2 + 1)}


def _instructions(w: _Words, number: int, split: str) -> Row:
    thing, place = w(_THINGS), w(_PLACES)
    given = f"{w.scene()}." if number % 3 == 0 else ""
    return {
        "instruction": f"Say where the {w(_LOOKS)} {thing} of {w(_PEOPLE)} is kept.",
        "input": given,
        "output": f"The {thing} is in the {place} {w(_TIMES)}.",
    }


_TASKS: dict[str, Callable[[_Words, int, str], Row]] = {
    "arc_challenge": _arc,
    "arc_easy": _arc,
    "openbookqa": _openbookqa,
    "boolq": _boolq,
    "hellaswag": _hellaswag,
    "piqa": _piqa,
    "winogrande": _winogrande,
    "instructions": _instructions,
}


def rows(task: str, split: str) -> list[Row]:
    """The made-up rows of a benchmark's task (or of `instructions`), the same on every machine: 48 train, 8 validation, 8 test.

    Raises:
        BadInput: nobody has made up rows for this task.
    """
    check(task)
    w = _Words(f"{task}/{split}")
    return [_TASKS[task](w, number, split) for number in range(256 if task == "instructions" else SIZES[split])]


def check(task: str) -> None:
    """Refuse a task without made-up rows.

    Raises:
        BadInput: names the task and those that have some.
    """
    if task not in _TASKS:
        raise BadInput(f"there are no made-up rows for {task}. Allowed: {', '.join(_TASKS)}. Use rows=real")
