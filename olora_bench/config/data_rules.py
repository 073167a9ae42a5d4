"""What the keys of training data must be to one another. Values only; `schema.Data` calls this as it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from olora_bench.config.templates import fields

if TYPE_CHECKING:
    from olora_bench.config.schema import Data

HELD_OUT = ("tune", "report")
"""The parts that are not trained on."""
HELD_OUT_ROWS = 20
"""Of a file that says nothing about them, for each."""


def with_sizes(values: Any) -> Any:
    """The values of instruction data, a size given to each part of which nothing is said: it is then part of what a run is."""
    if not isinstance(values, dict) or values.get("kind") != "instructions" or values.get("split_column") is not None:
        return values
    unsaid = [part for part in HELD_OUT if all(values.get(f"{part}_{key}") is None for key in ("path", "share", "split"))]
    return values | {key: HELD_OUT_ROWS for part in unsaid if values.get(key := f"{part}_size", 0) is None}


def held_out(data: Data, part: str, rows: int) -> int | None:
    """How many rows a held-out part takes of its own ones, or of all `rows` where it has none; null takes all."""
    size: int | None = getattr(data, f"{part}_size")
    share: float | None = getattr(data, f"{part}_share")
    drawn = size if share is None else max(round(share * rows), 1)
    return drawn if size is None or drawn is None else min(size, drawn)


def check_data(data: Data) -> None:
    """Refuse keys that contradict one another, or lack one that they need.

    Raises:
        ValueError: names the keys, their values and what is allowed.
    """
    _check_rows(data)
    _check_held_out(data)
    _check_chat(data)
    _check_kind(data)


def _check_rows(data: Data) -> None:
    own = {key: getattr(data, key) for key in ("path", "hub", "local", "prompt", "response", "prompt_template")}
    given = [f"data.{key}={getattr(value, 'id', value)}" for key, value in own.items() if value is not None]
    if given and data.kind == "benchmarks":
        raise ValueError(f"{given[0]} is for rows of your own, and data={data.name} mixes benchmarks. Leave it out, or use data=file")
    if data.path is not None and data.rows == "made_up":
        raise ValueError(f"data.path={data.path} stands beside data.rows=made_up, which reads no file. Leave one of them out")


def _check_held_out(data: Data) -> None:
    for part in HELD_OUT:
        keys = ("split_column", f"{part}_path", f"{part}_share", f"{part}_split")
        given = [f"data.{key}={value}" for key in keys if (value := getattr(data, key)) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} both say what the {part} part is. Give one of them")
        if data.kind == "benchmarks" and getattr(data, f"{part}_size") is None:
            raise ValueError(f"data.{part}_size is null for data={data.name}, which mixes benchmarks: give a whole number from 1 on")
        if given and data.kind != "instructions":
            raise ValueError(f"{given[0]} is for a file of rows, and data={data.name} mixes benchmarks, which have splits. Leave it out")
        if getattr(data, f"{part}_path") is not None and data.path is None:
            raise ValueError(f"{given[0]} stands beside no data.path. Name the file to train on too: data.path=FILE")
    told = {key: value for key in ("split_column", "tune_split", "report_split") if (value := getattr(data, key)) is not None}
    if told and data.rows == "made_up":
        key, value = next(iter(told.items()))
        raise ValueError(f"data.{key}={value} stands beside data.rows=made_up, whose rows have none. Leave it out")
    if data.tune_split is not None and data.tune_split == data.report_split:
        raise ValueError(f"data.tune_split={data.tune_split} and data.report_split={data.report_split} are one split. Give each its own")
    if (data.tune_share or 0) + (data.report_share or 0) >= 1:
        raise ValueError(
            f"data.tune_share={data.tune_share} and data.report_share={data.report_share} leave nothing to train on. Lower them"
        )


def _check_chat(data: Data) -> None:
    beside = [f"data.{key}={value}" for key in ("prompt", "response", "prompt_template") if (value := getattr(data, key)) is not None]
    if data.template == "chat" and beside:
        raise ValueError(f"{beside[0]} stands beside data.template=chat, whose rows are conversations. Leave it out, or use data=file")
    if data.template == "chat" and (data.kind != "instructions" or data.rows == "made_up"):
        raise ValueError(f"data.template=chat stands beside data.kind={data.kind} data.rows={data.rows}, which have no conversations")
    if data.template != "chat" and data.messages is not None:
        raise ValueError(f"data.messages={data.messages} stands beside data.template={data.template}. Conversations need data=chat")


def _check_kind(data: Data) -> None:
    if data.kind == "benchmarks" and not data.benchmarks:
        raise ValueError(f"data.benchmarks is empty for data={data.name}: name at least one benchmark to train on")
    if data.kind == "instructions" and data.template is None:
        raise ValueError(f"data.template is null for data={data.name}: use author_no_input, author_with_input, plain or chat")
    if data.prompt_template is not None:
        fields(data.prompt_template)
        if data.prompt is not None or data.template != "plain":
            raise ValueError(
                f"data.prompt_template stands beside data.prompt={data.prompt} and data.template={data.template}, and is the whole "
                "prompt. Set data.prompt=null data.template=plain"
            )
