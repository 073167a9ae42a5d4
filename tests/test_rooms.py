"""The package's rooms, read from its imports: they run one way, and nothing but entry points stands at the root."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "olora_bench"
ROOMS = (
    "errors", "formats", "seeds", "config", "process", "store", "foreign", "tracking", "assets", "identity", "models", "data", "inits",
    "training", "evaluation", "run", "analysis", "words", "report", "figures", "study",
)  # fmt: skip
"""Each room imports from those before it alone. The first three are single files, under everything."""
ENTRIES = {"__main__", "export", "judge", "lm_eval"}
"""Commands: any `__main__`, `python -m olora_bench.{export,judge,lm_eval}`. They may import anything; only commands import them."""


@cache
def modules() -> dict[str, Path]:
    """Every module by its name without `olora_bench.`; a room's `__init__` by the room's."""
    names = {path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path for path in sorted(PACKAGE.rglob("*.py"))}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def room(module: str) -> str:
    return module.partition(".")[0]


def is_entry(module: str) -> bool:
    return module in ENTRIES or module.endswith(".__main__")


def imported(path: Path, *, at_once: bool = False) -> Iterator[str]:
    """The modules of this package that a file imports, wherever in it and for types alone too; `at_once`: those it needs to be loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if at_once else ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written whole"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")[1:] if name.startswith("olora_bench.") else []
            if parts and parts[0] != "__version__":
                yield next(".".join(parts[:length]) for length in (3, 2, 1) if ".".join(parts[:length]) in modules())


def arrows() -> set[tuple[str, str]]:
    """(importing module, imported module), between different rooms."""
    found = {(name, other) for name, path in modules().items() if name != "__init__" for other in imported(path)}
    return {(name, other) for name, other in found if room(name) != room(other)}


def test_every_module_is_in_a_room_of_the_list() -> None:
    found = {room(name) for name in modules()} - ENTRIES - {"__init__"}
    assert found == set(ROOMS)


def test_imports_run_from_later_rooms_to_earlier_ones() -> None:
    upwards = [
        f"{name} imports {other}"
        for name, other in sorted(arrows())
        if not is_entry(name) and (is_entry(other) or ROOMS.index(room(other)) > ROOMS.index(room(name)))
    ]
    assert upwards == []


def test_analysis_knows_records_and_not_how_they_are_made() -> None:
    made_by = ("tracking", "assets", "models", "data", "inits", "training", "evaluation", "run")
    assert [f"{name} imports {other}" for name, other in sorted(arrows()) if room(name) == "analysis" and room(other) in made_by] == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """What is imported inside a function, or for types alone, closes no circle: the module is loaded without it."""
    over: set[str] = set()

    def look(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in over:
            for other in imported(modules()[name], at_once=True):
                look(other, (*way, name))
            over.add(name)

    for name in modules():
        look(name, ())
