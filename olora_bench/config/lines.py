"""Override lines in Hydra's grammar that mean one value, whatever characters it has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from olora_bench.config.own_inits import own_folders
from olora_bench.errors import BadInput

_FOLDER = re.compile(r"(\+{0,2}(?:machine\.\w+_dir|data\.(?:tune_|report_)?path))=(.*)", re.DOTALL)
_MODEL = re.compile(r"(model)=(local:.*)", re.DOTALL)
_OPTION = re.compile(r"(\+?(?:model|init|data|recipe|suite|tracker)(?:@[\w.]*)?)=([^,{\[(]+)")


def line(key: str, value: str | int | float | bool | None) -> str:
    """The line that sets `key` to exactly `value`: a string stays one, and nothing in it is read.

    >>> print(line("data.local", "2024, [v2]"), line("rank", 4), line("suite.limit", None))
    data.local='2024, [v2]' rank=4 suite.limit=null
    """
    if isinstance(value, str):
        from hydra.core.override_parser.types import Quote, QuotedString

        # OmegaConf takes a backslash as one, but for those before `${`.
        literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
        return f"{key}={QuotedString(literal, Quote.single).with_quotes()}"
    return f"{key}={'null' if value is None else str(value).lower() if isinstance(value, bool) else value}"


def with_folders_as_written(overrides: Iterable[str]) -> list[str]:
    """Override lines in which the folders of `machine` need no quotes: what Hydra does not read as one string is the path itself.

    So is the folder of a model, unless Hydra can read a list of options to sweep over; and an option of a group is a name, also a number.

    >>> with_folders_as_written(["machine.results_dir=/data/lr=1, (copy)", "rank=4", "model=local:/data/my model"])
    ["machine.results_dir='/data/lr=1, (copy)'", 'rank=4', "model='local:/data/my model'"]

    Raises:
        BadInput: Hydra cannot read a line; says how to type it.
    """
    return [_readable(_as_written(one)) for one in overrides]


@cache
def _readable(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals and not key.startswith("~"):
        raise BadInput(f"{override} is no KEY=VALUE: no space around =, and a value of several words in quotes, 'KEY=TWO WORDS'")
    if not key.strip("+~ "):
        raise BadInput(f"{override} names no key. Give KEY=VALUE, without a space around =")
    if key != key.rstrip():
        raise BadInput(f"{override}: no space before =. Type {key.strip()}={value.strip()}")
    if (why := _unreadable(override)) is not None:
        closed = "Close its brackets and quotes; where the value is text as it stands"
        raise BadInput(f"{_short(override)} cannot be read: {why}. {closed}, type {_short(in_shell(line(key, value)))}")
    return override


def _short(text: str) -> str:
    return text if len(text) < 300 else f"{text[:300]}..."


def in_shell(word: str) -> str:
    """A word as it is typed in a shell, in double quotes where they are enough.

    >>> print(in_shell("data.prompt='Q: {question}'"), in_shell("rank=4"))
    "data.prompt='Q: {question}'" rank=4
    """
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def _unreadable(override: str) -> str | None:
    """What Hydra's grammar has against a line; None where it reads it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        OverridesParser.create().parse_override(override)
    except RecursionError:
        return "nested too deeply"
    except Exception as error:  # what a library's grammar makes of a user's text is no list of errors that it keeps to
        return str(error).partition("\n")[0].partition(" expecting ")[0]
    return None


def _as_written(one: str) -> str:
    found = _FOLDER.fullmatch(one) or (None if re.search(r",\s*(local|hub):", one) else _MODEL.fullmatch(one)) or _OPTION.fullmatch(one)
    return one if found is None else plain_line(*found.groups())


def plain_line(key: str, text: str) -> str:
    """As `line`, without quotes where Hydra reads the same text without them."""
    plain = f"{key}={text}"
    return plain if _is_string(plain, text) else line(key, text)


def _is_string(override: str, text: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        value = OverridesParser.create().parse_override(override).value()
    except Exception:  # as in `_unreadable`: a whole number of 5,000 digits is a ValueError of Python's
        return False
    # Hydra drops spaces at the ends of what is not quoted.
    return value is None or (isinstance(value, str) and text == text.strip())


def value_line(key: str, value: Any) -> str:
    """As `plain_line`, of any value that a config holds.

    >>> value_line("suite.benchmarks", ["sciq", "a b"]), value_line("data.hub", {"id": "org/name", "revision": None})
    ("suite.benchmarks=[sciq,'a b']", 'data.hub={id:org/name,revision:null}')
    """
    return f"{key}={_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_text(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    text = plain_line("_", str(value)) if isinstance(value, str | Path) else line("_", value)
    return text.removeprefix("_=")


def typed(module: str, *words: str) -> str:
    """A command to type in a shell, with the folder of configs that this one was given."""
    named = [word for folder in own_folders() for word in ("--config-dir", str(folder))]
    return shlex.join(["python", "-m", module, *words, *named])
