"""Which options an init has and which names it may carry, told from its files: nothing is imported, so no torch."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from olora_bench.config.init_rules import Promise, peft_name
from olora_bench.config.own_inits import file_of
from olora_bench.errors import BadInput

if TYPE_CHECKING:
    from olora_bench.config.schema import Init


_PROMISES_ALLOWED = f"Allowed: a tuple of {', '.join(get_args(Promise))}, e.g. PROMISES = ('starts_as_base',), or none"


def check_options(init: Init) -> None:
    """Refuse an option that the init's module does not have.

    The module says so itself: `OPTIONS = ("omega_scale",)` names them, `OPTIONS = "peft.tuners.lora.config:EvaConfig"` means the fields
    of that class. A module without it has none, unless it reads `options`: then it has to refuse unknown ones itself.

    Raises:
        ValueError: names the options that are unknown, and those there are.
    """
    path = file_of(init.module)
    allowed = _options(path, path.stat().st_mtime_ns)
    unknown = [name for name in init.options if allowed is not None and name not in allowed]
    if unknown:
        have = ", ".join(sorted(allowed or ())) or "none"
        raise ValueError(f"init.options names {', '.join(unknown)}, which init.module={init.module} does not have. Allowed: {have}")


def check_name(init: Init, shipped: Mapping[str, Init]) -> None:
    """Refuse a name that makes an arm out of nothing, or that hides one behind another's name.

    A module with its options may bear only names of YAML files that have them; other options may have a name of their own. A YAML's name
    belongs to its module. (`init.lr_ratio`, `init.rslora` and `init.dora` are in an arm's name anyway.)

    Args:
        shipped: every init of `conf/init/` and of the user's folders, by name.

    Raises:
        ValueError: says what the name belongs to, and what is allowed.
    """
    same = sorted(name for name, other in shipped.items() if _method(other) == _method(init))
    if same and init.name not in same:
        those = " or ".join(f"init={name}" for name in same)
        raise ValueError(f"init.name={init.name}: its module and options are those of {those}. Use that name, or other options")
    owner = shipped.get(init.name)
    if owner is not None and owner.module != init.module:
        raise ValueError(
            f"init.name={init.name} is the init of module {owner.module}, and init.module={init.module}. Give init.name a name of its own"
        )


def _method(init: Init) -> tuple[str, dict[str, object]]:
    return init.module, init.options | ({"init_lora_weights": peft_name(init)} if init.module == "peft" else {})


def promises(init: Init) -> tuple[Promise, ...]:
    """What an init promises, as its YAML says, or else its module: `PROMISES = ("starts_as_base", "keeps_base")`. None is the first.

    Raises:
        BadInput: the module is no Python, or its `PROMISES` is anything else than a tuple of these names.
    """
    if init.promises is not None:
        return init.promises
    file = file_of(init.module)
    try:
        said = _constant(ast.parse(file.read_bytes()), "PROMISES")
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"{file} cannot be read for its PROMISES without running it: {error}. {_PROMISES_ALLOWED}") from error
    if said is None:
        return ("starts_as_base",)
    if not isinstance(said, tuple | list) or any(one not in get_args(Promise) for one in said):
        raise BadInput(f"{file}: PROMISES = {said!r} is not allowed. {_PROMISES_ALLOWED}")
    return tuple(said)


def _constant(tree: ast.Module, name: str) -> Any:
    """What a module assigns to a name at its top, a literal; null where it does not."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return ast.literal_eval(node.value)
    return None


@cache
def _options(module: Path, changed_ns: int) -> frozenset[str] | None:
    """None where they cannot be told without running it."""
    try:
        tree = ast.parse(module.read_bytes())
        if (said := _constant(tree, "OPTIONS")) is not None:
            return _fields(*said.split(":")) if isinstance(said, str) else frozenset(said)
    except (SyntaxError, ValueError):
        return None
    reads = any(isinstance(node, ast.Attribute) and node.attr == "options" for node in ast.walk(tree))
    return None if reads else frozenset()


def _fields(module: str, name: str) -> frozenset[str] | None:
    package, *parts = module.split(".")
    spec = find_spec(package)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent.joinpath(*parts).with_suffix(".py")
    if path is None or not path.is_file():
        return None
    classes = [node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ClassDef) and node.name == name]
    return frozenset(ast.unparse(node.target) for found in classes for node in found.body if isinstance(node, ast.AnnAssign)) or None
