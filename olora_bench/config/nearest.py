"""What is said of a key that there is not: the keys that it may have been meant for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

_MOST = 3


def no_such_key(key: str, known: Iterable[str]) -> str:
    """That there is no `key`, with the nearest of the `known` dotted keys; where none is near, those that may stand in its place.

    >>> print(no_such_key("recipe.stepz", ["lr", "recipe.steps"]))
    recipe.stepz: there is no such key. Nearest: recipe.steps; `--cfg job` prints every key
    """
    known, parent = list(known), key.rpartition(".")[0]
    beside = [one.rpartition(".")[2] for one in known if one.rpartition(".")[0] == parent]
    near = nearest(key, known)
    said = f"{key}: there is no such key. " + (f"Nearest: {', '.join(near)}" if near else "Check its spelling")
    of_study = parent.partition(".")[0] == "study"
    if beside and parent and (of_study or not near):
        return f"{said}. Keys of {parent}: {', '.join(beside)}"
    return said if of_study and near else f"{said}; `--cfg job` prints every key"


def nearest(key: str, known: Sequence[str]) -> list[str]:
    """Of the known dotted keys those beside `key` that are spelt much as it is, then those of its last name elsewhere.

    >>> nearest("steps", ["seed", "recipe.steps"]), nearest("lrr", ["lr", "rank"])
    (['recipe.steps'], ['lr'])
    """
    parent, _, last = key.rpartition(".")
    beside = {name: one for one in known for above, _, name in [one.rpartition(".")] if above == parent}
    alike = [beside[name] for name in get_close_matches(last, beside, _MOST)]
    return [*alike, *(one for one in known if one.rpartition(".")[2] == last and one not in alike)][:_MOST]


def dotted(tree: Any, above: str = "") -> list[str]:
    """Every key of nested dictionaries, those that have keys of their own too.

    >>> dotted({"lr": 1, "recipe": {"steps": 2}})
    ['lr', 'recipe', 'recipe.steps']
    """
    if not isinstance(tree, dict):
        return []
    return [one for key, value in tree.items() for one in (f"{above}{key}", *dotted(value, f"{above}{key}."))]


def fields_at(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys that may stand beside the last part of a place in what `model` checks, as Pydantic's errors name it."""
    at: type[BaseModel] | None = model
    for part in loc[:-1]:
        field = None if at is None else at.model_fields.get(str(part))
        at = at if field is None else _model_in(field.annotation)  # numbers and names of entries are no fields
    return [] if at is None else list(at.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one)) is not None), None)
