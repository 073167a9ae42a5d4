"""What an init's source code does, as a digest: editing an init in place makes another run."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from olora_bench.config.own_inits import file_of, package_files
from olora_bench.errors import BadInput

_ROOM = "olora_bench.inits"

Source = Callable[[str], str]
"""The source text of an init, by the name of its module."""


def init_digest(module: str, source: Source | None = None) -> str:
    """A digest of what an init's module does, and of the inits that it calls.

    Comments, docstrings, annotations, imports that only annotations use, `OPTIONS` and `PROMISES` are left out. So is what all inits share
    (`inits/_*.py`): `RESULTS_VERSION` stands for that. Of an init in an installed package every file of the package counts.

    Args:
        module: the name of an init's module, as `config.own_inits` finds it.
        source: where source texts come from; by default the files of this package.

    Returns:
        The first 16 hex digits of a SHA-256. It is the same on every Python that can read the file.

    Raises:
        BadInput: the file is no Python.
    """
    if source is None:
        files = {module: file_of(module), **package_files(module)}
        return _of_files(module, tuple((name, file, file.stat().st_mtime_ns) for name, file in files.items()))
    trees: dict[str, JsonValue] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in trees:
            tree = _parsed(name, source(name))
            trees[name] = _plain(_Bare().visit(tree))
            waiting += _inits_used(tree)
    text = json.dumps(sorted(trees.items()), ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _of_files(module: str, files: tuple[tuple[str, Path, int], ...]) -> str:
    """Of an init's module, and of the files of its package where it has one; each with the time of its last change."""
    own = init_digest(module, lambda name: file_of(name).read_text(encoding="utf-8"))
    if len(files) == 1:
        return own
    trees = [[name, _plain(_Bare().visit(_parsed(name, file.read_text(encoding="utf-8"))))] for name, file, _ in files]
    return hashlib.sha256(json.dumps([own, trees], ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()[:16]


def _parsed(name: str, text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"init {name} is no Python that can be read: {error}. Correct the file") from error


class _Bare(ast.NodeTransformer):
    """A module without what decides no number: texts that stand alone, annotations, imports that only they use, which options it takes
    (`OPTIONS`), and what it says of itself (`PROMISES`)."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.generic_visit(node)
        used = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
        node.body = [one for one in node.body if not isinstance(one, ast.Import | ast.ImportFrom) or _keep_used(one, used)]
        node.body = [
            one for one in node.body if not (isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) in ("OPTIONS", "PROMISES"))
        ]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        self.generic_visit(node)
        return None if alone else node

    def visit_If(self, node: ast.If) -> ast.If | None:
        self.generic_visit(node)
        return None if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING") else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        return ast.Expr(node.target) if node.value is None else ast.Assign([node.target], node.value)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        self.generic_visit(node)
        return node


def _keep_used(node: ast.Import | ast.ImportFrom, used: set[str]) -> bool:
    """Leave in an import the names that are used; false when none is, as for `from __future__`."""
    node.names = [alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) in used]
    return bool(node.names)


def _inits_used(tree: ast.Module) -> list[str]:
    """The inits that a bare module imports from its own room."""
    whole = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    parts = [f"{node.module}.{alias.name}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    named = [name.removeprefix(f"{_ROOM}.").partition(".")[0] for name in whole + parts if name.startswith(f"{_ROOM}.")]
    return [name for name in named if not name.startswith("_")]


def _plain(node: Any) -> JsonValue:
    """A syntax tree as JSON: kinds and fields. What is empty is left out, for Python's versions differ in the empty fields they have."""
    if isinstance(node, ast.Constant):
        return [type(node.value).__name__, repr(node.value)]
    if isinstance(node, ast.AST):
        fields = {name: _plain(value) for name, value in ast.iter_fields(node) if value is not None and value != []}
        return [type(node).__name__, {name: value for name, value in fields.items() if name not in ("ctx", "kind", "type_comment")}]
    if isinstance(node, list):
        return [_plain(one) for one in node]
    return node  # a name, or a number such as how far an import is relative
