"""Files read as what their names say: each format at one place, which catches whatever a foreign or damaged file can make it throw.

Only regular files are opened, so that no pipe, device or folder in a file's place is waited for. A file that is not there is None.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olora_bench.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MOST_YAML_BYTES = 128 * 1024
MOST_YAML_NODES = 20_000
MOST_JSON_BYTES = 256 * 1024**2
MOST_TABLE_BYTES, MOST_TABLE_ROWS = 4 * 1024**3, 20_000_000
MOST_DEPTH = 100
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class Unreadable(BadInput):
    """A file is not what its name says. The message is `path: what is wrong`, and `reason` is its second half."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class Overgrown(Unreadable):
    """A file that would take more time and memory to read than anything it may hold is worth."""


def is_file(path: Path) -> bool:
    """Whether a regular file lies there, links followed; false also for a name that no file system takes."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file; anything else (a pipe, a device) would hang or never end.

    Raises:
        OSError: there is no such file, or it is no regular one.
    """
    _only_regular(path.stat().st_mode)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _only_regular(os.fstat(file.fileno()).st_mode)
        return file.read()


def _only_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(f"it is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}, where a file belongs. Move it away")


def read_bytes(path: Path) -> bytes | None:
    """A regular file's content, or None where there is nothing.

    Raises:
        Unreadable: something else lies there, or the system refuses; names path and reason.
    """
    try:
        return read_regular(path)
    except (FileNotFoundError, NotADirectoryError):  # below a regular file there is nothing; writing there is refused in its own words
        return None
    except OSError as error:
        name = path if error.errno != errno.ENAMETOOLONG else f"{str(path)[:60]}..."
        raise Unreadable(name, f"cannot be read: {error.strerror or error}") from error
    except (ValueError, MemoryError) as error:
        raise Unreadable(repr(str(path)), f"cannot be read: {str(error) or 'too large for the memory'}") from error


def read_text(path: Path) -> str | None:
    """A UTF-8 file's text with its line ends as they are, or None where there is nothing.

    Raises:
        Unreadable: no UTF-8, or as for `read_bytes`.
    """
    content = read_bytes(path)
    if content is None:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(path, f"no UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file, or None where there is nothing.

    Raises:
        Unreadable: as for `parse_json` and `read_bytes`.
    """
    content = read_bytes(path)
    return None if content is None else parse_json(content, path)


def parse_json(content: bytes, path: Path | str) -> Any:
    """A value from JSON: finite numbers, text that can be written again, at most `MOST_DEPTH` levels.

    Raises:
        Unreadable: it is none; `path` says whose content it is.
    """
    if len(content) > MOST_JSON_BYTES:
        raise Unreadable(path, f"no valid JSON: {len(content)} bytes; at most {MOST_JSON_BYTES} are read")
    try:
        text = content.decode("utf-8")
        _check_depth(text)
        value = json.loads(text, parse_constant=_no_constant)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair: text that nothing can print
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(path, f"no valid JSON: {_first_line(error)}") from error
    return value


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number a record may hold")


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MOST_DEPTH:
        return
    depth = 0
    for mark in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text, re.DOTALL):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark[0], 0)
        if depth > MOST_DEPTH:
            raise ValueError(f"nested more than {MOST_DEPTH} levels deep")


def read_yaml(path: Path) -> Any:
    """The value in a YAML file, or None where there is nothing.

    Raises:
        Unreadable: as for `parse_yaml` and `read_text`.
    """
    text = read_text(path)
    return None if text is None else parse_yaml(text, path)


def parse_yaml(text: str, path: Path | str) -> Any:
    """A plain value from YAML: no tags that name code, no anchors that grow to more than `MOST_YAML_NODES` values.

    Raises:
        Unreadable: it is none; `path` says whose text it is.
    """
    import yaml

    if len(text) > MOST_YAML_BYTES:
        raise Overgrown(path, f"no valid YAML: {len(text)} characters; at most {MOST_YAML_BYTES} are read")
    loader: Any = None
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _grown(node, {}, 0) > MOST_YAML_NODES:
            raise Overgrown(
                path, f"no valid YAML: it grows to more than {MOST_YAML_NODES} values. Write out what is needed, without anchors"
            )
        return loader.construct_document(node)
    except Unreadable:
        raise
    # A date such as 2026-99-99, a number such as 0x_ or a key that is a list come as Python's own errors.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError, MemoryError) as error:
        raise Unreadable(path, f"no valid YAML: {_yaml_reason(error)}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _grown(node: Any, known: dict[int, int], depth: int) -> int:
    """How many values a node comes to once its aliases are written out."""
    if depth > MOST_DEPTH:
        raise ValueError(f"nested more than {MOST_DEPTH} levels deep")
    if id(node) not in known:
        known[id(node)] = MOST_YAML_NODES + 1  # should it hold itself
        inner = node.value if isinstance(node.value, list) else []
        parts = [part for one in inner for part in (one if isinstance(one, tuple) else (one,))]
        known[id(node)] = 1 + sum(_grown(part, known, depth + 1) for part in parts)
    return known[id(node)]


def _yaml_reason(error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    place = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
    return f"{getattr(error, 'problem', None) or _first_line(error)}{place}"


def _first_line(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def read_parquet(path: Path) -> pa.Table | None:
    """The table in a Parquet file, or None where there is nothing.

    Raises:
        Unreadable: truncated, damaged or no Parquet file.
    """
    content = read_bytes(path)
    return None if content is None else parse_parquet(content, path)[1]


class SharedColumns:
    """Columns that many Parquet files hold alike (ids of items, gold answers): told by their packed bytes, and decoded once.

    Args:
        names: of the columns. Of each the last few that differed are kept.
    """

    _KEPT = 8

    def __init__(self, names: Sequence[str]) -> None:
        self._known: dict[str, list[tuple[object, bytes, pa.ChunkedArray[Any]]]] = {name: [] for name in names}

    def read(self, file: pq.ParquetFile, content: bytes, names: Sequence[str]) -> pa.Table:
        """Those columns of a file with this content."""
        import pyarrow as pa

        schema = file.schema_arrow
        places = {name: place for name in names if name in self._known and (place := _packed(file.metadata, schema, name)) is not None}
        found = {name: column for name, place in places.items() if (column := self._same(name, place, content)) is not None}
        rest = file.read(columns=[name for name in names if name not in found], use_threads=False)
        for name, (what, start, end) in places.items():
            if name not in found:
                self._known[name] = [(what, content[start:end], rest[name]), *self._known[name][: self._KEPT - 1]]
        columns = [found[name] if name in found else rest[name] for name in names]
        return pa.Table.from_arrays(columns, schema=pa.schema([schema.field(name) for name in names]))

    def _same(self, name: str, place: tuple[object, int, int], content: bytes) -> pa.ChunkedArray[Any] | None:
        what, start, end = place
        alike = (one for one in self._known[name] if len(one[1]) == end - start and content.startswith(one[1], start))
        return next((array for known, _, array in alike if known == what), None)


def _packed(metadata: pq.FileMetaData, schema: pa.Schema, name: str) -> tuple[object, int, int] | None:
    """What decides, beside a column's packed bytes, what they say; and where these begin and end. None where they lie in parts."""
    at = schema.get_field_index(name)
    chunk = metadata.row_group(0).column(at) if metadata.num_row_groups == 1 and at >= 0 else None
    if chunk is None or chunk.path_in_schema != name:  # behind a nested column places are counted otherwise
        return None
    start = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
    what = schema.field(at), chunk.physical_type, chunk.compression, chunk.num_values
    return what, start, start + chunk.total_compressed_size


def parse_parquet(
    content: bytes, path: Path | str, columns: Sequence[str] | None = None, shared: SharedColumns | None = None
) -> tuple[pa.Schema, pa.Table]:
    """The whole schema of a Parquet file's content, and its table, with `columns` only those.

    Args:
        shared: columns decoded before, from other files, which this one may share.

    Raises:
        Unreadable: as for `read_parquet`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with contextlib.closing(pq.ParquetFile(pa.BufferReader(content))) as file:
            whole = sum(file.metadata.row_group(number).total_byte_size for number in range(file.metadata.num_row_groups))
            if whole > MOST_TABLE_BYTES or file.metadata.num_rows > MOST_TABLE_ROWS:
                most = f"at most {MOST_TABLE_ROWS} and {MOST_TABLE_BYTES} are read"
                raise Unreadable(path, f"a table of {file.metadata.num_rows} rows and {whole} bytes once unpacked; {most}")
            schema = file.schema_arrow
            if absent := [name for name in columns or () if name not in schema.names]:
                raise Unreadable(path, f"missing column {', '.join(absent)}")
            names = None if columns is None else list(columns)
            if shared is not None:
                return schema, shared.read(file, content, schema.names if names is None else names)
            return schema, file.read(columns=names, use_threads=False)
    except Unreadable:
        raise
    # Arrow's errors are several of Python's own: ValueError, KeyError, TypeError, NotImplementedError, OSError, MemoryError.
    except (pa.ArrowException, ValueError, LookupError, TypeError, OSError, MemoryError, ArithmeticError) as error:
        raise Unreadable(path, "truncated or no Parquet file") from error
