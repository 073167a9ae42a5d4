"""Run commands of the package in one process, under a hook that notes and refuses whatever executes, connects, or writes elsewhere.

    python attack_guard.py '{"commands": [["olora_bench.study", "report", "x"], ...], "writable": [DIR, ...], "foreign": [DIR, ...]}'

Prints as JSON, for each command: its exit code (null: an exception came through), what it said, and what the hook refused.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

EXECUTES = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn", "ctypes.dlopen"}
CONNECTS = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request", "http.client.connect"}
CHANGES = {
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
    "os.utime",
    "shutil.rmtree",
}
RUNS = {"exec", "compile", "marshal.loads"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


Arguments = Sequence[object]
"""Of an audit event, as Python gives them."""


class Answer(TypedDict):
    """What a command came to."""

    command: list[str]
    code: int | str | None
    said: str
    refused: list[str]


class Guard:
    """The hook. `refused` is what it met since it was last emptied; it is deaf while `on` is false."""

    def __init__(self, writable: list[str], foreign: list[str]) -> None:
        self.writable, self.foreign = [os.path.realpath(one) for one in writable], [os.path.realpath(one) for one in foreign]
        self.checkout = str(Path(importlib.import_module("olora_bench").__file__ or "").resolve().parent.parent)
        self.refused: list[str] = []
        self.on = False

    def __call__(self, event: str, args: Arguments) -> None:
        if not self.on or (why := self.wrong(event, args)) is None:
            return
        self.refused.append(why)
        raise PermissionError(f"guard: {why}")

    def wrong(self, event: str, args: Arguments) -> str | None:
        if event in EXECUTES and not self.own(event, args):
            return f"{event} {args[:2]!r}"
        if event in CONNECTS:
            return f"{event} {args!r}"
        if event == "open" and self.writes(args) and self.outside(args[0]):
            return f"write {args[0]!r}"
        if event in CHANGES and self.outside(self.placed(args)):
            return f"{event} {args!r}"
        if event in RUNS and self.is_foreign(event, args):
            return f"{event} of a foreign file"
        return None

    @staticmethod
    def writes(args: Arguments) -> bool:
        path, _, flags = args
        return isinstance(path, str | bytes) and isinstance(flags, int) and bool(flags & WRITES)

    @staticmethod
    def placed(args: Arguments) -> object:
        """The path of an event's arguments; `shutil.rmtree` gives names beside the handle of their folder."""
        handle = next((one for one in args[1:] if isinstance(one, int) and one > 2), None)
        if handle is None or not isinstance(args[0], str | bytes) or os.path.isabs(args[0]):  # noqa: PTH117
            return args[0]
        return f"{os.readlink(f'/proc/self/fd/{handle}')}/{os.fsdecode(args[0])}"  # noqa: PTH115

    def own(self, event: str, args: Arguments) -> bool:
        """Asking git about this very checkout, and loading a library of an installed package, execute nothing foreign."""
        if event == "subprocess.Popen":
            return isinstance(args[1], list | tuple) and list(args[1][:3]) == ["git", "-C", self.checkout]
        return event == "ctypes.dlopen" and not self.below(str(args[0]), self.foreign)

    def is_foreign(self, event: str, args: Arguments) -> bool:
        name = getattr(args[0], "co_filename", None) if event == "exec" else args[1] if event == "compile" else None
        return isinstance(name, str) and self.below(name, self.foreign)

    def outside(self, path: object) -> bool:
        if isinstance(path, int):
            return False
        assert isinstance(path, str | bytes | os.PathLike), path
        text = os.fsdecode(path)
        # The place of a link that is removed or replaced is its folder, and not where it leads.
        real = os.path.join(os.path.realpath(os.path.dirname(text) or "."), os.path.basename(text))  # noqa: PTH118, PTH120, PTH119
        return text != os.devnull and not (self.below(real, self.writable) and self.below(os.path.realpath(text), self.writable))

    @staticmethod
    def below(path: str, folders: list[str]) -> bool:
        return any(path == one or path.startswith(one + os.sep) for one in folders)


def call(guard: Guard, module: str, arguments: list[str]) -> Answer:
    main = importlib.import_module(f"{module}.__main__" if module == "olora_bench.study" else module).main
    said, code = io.StringIO(), None
    guard.refused.clear()
    guard.on = True
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(arguments)
    except SystemExit as left:
        code = left.code
    except BaseException:
        said.write(traceback.format_exc())
    finally:
        guard.on = False
    return {"command": [module, *arguments], "code": code, "said": said.getvalue(), "refused": list(guard.refused)}


def main() -> None:
    """One process for all commands: most of the time is imports."""
    asked = json.loads(sys.argv[1])
    guard = Guard(asked["writable"], asked["foreign"])
    importlib.import_module("matplotlib.font_manager")  # the first time it asks the system for its fonts
    sys.addaudithook(guard)
    print(json.dumps([call(guard, module, arguments) for module, *arguments in asked["commands"]]))


if __name__ == "__main__":
    main()
