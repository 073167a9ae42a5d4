"""Where the code of an init lies: in this package, in a folder that the user named with `--config-dir`, or in a package that the user
installed. Found by names and metadata alone: nothing is run here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from olora_bench.errors import BadInput

SHIPPED = Path(__file__).parent.parent / "inits"
GROUP = "olora_bench.inits"
"""The group of entry points by which a package offers inits: `my_init = "my_package.my_init"`."""

_FOLDERS: list[Path] = []


def use_folder(folder: Path) -> None:
    """Trust a folder of configs: the user at this machine named it on a command line. Its `init/*.py` are inits.

    Raises:
        BadInput: it is no folder.
    """
    if not folder.is_dir():
        raise BadInput(f"--config-dir {folder} is no folder: name one with config groups of your own, e.g. with init/my_init.py")
    if (whole := folder.absolute()) not in _FOLDERS:
        _FOLDERS.append(whole)


def own_folders() -> tuple[Path, ...]:
    """The folders of `use_folder`."""
    return tuple(_FOLDERS)


def modules() -> list[str]:
    """Every init's module that can be named, sorted."""
    return sorted({*_shipped(), *own_modules()})


def own_modules() -> list[str]:
    """Those that did not come with this package."""
    return sorted({path.stem for folder in _FOLDERS for path in (folder / "init").glob("*.py")} | set(_offered()))


def _shipped() -> set[str]:
    return {path.stem for path in SHIPPED.glob("*.py") if not path.stem.startswith("_")}


@cache
def _offered() -> dict[str, EntryPoint]:
    return {one.name: one for one in entry_points(group=GROUP)}


def file_of(module: str) -> Path:
    """The file of an init's module.

    Raises:
        ValueError: there is none, or two have the name.
    """
    found = dict.fromkeys(_files(module))
    if not found:
        raise ValueError(
            f"init.module={module} is no init. Allowed: {', '.join(modules())}. One of your own is init/{module}.py in a folder that you "
            f"give with --config-dir, or an entry point of the group {GROUP}"
        )
    if len(found) > 1:
        raise ValueError(f"init.module={module} is there twice: {', '.join(map(str, found))}. Give yours another name")
    return next(iter(found))


def _files(module: str) -> Iterator[Path]:
    places = [SHIPPED, *(folder / "init" for folder in _FOLDERS)]
    yield from (path for place in places if (path := place / f"{module}.py").is_file())
    if (offered := _offered().get(module)) is not None and (installed := _located(offered.module)) is not None:
        yield installed


def _located(dotted: str) -> Path | None:
    """The file of an installed module. The whole name is not asked of Python, which would run the packages above it."""
    top, *parts = dotted.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not parts:
        return None if spec.origin is None else Path(spec.origin)
    bases = [Path(place).joinpath(*parts) for place in spec.submodule_search_locations or ()]
    tries = [path for base in bases for path in (base.with_suffix(".py"), base / "__init__.py")]
    return next((path for path in tries if path.is_file()), None)


def package_files(module: str) -> dict[str, Path]:
    """Of an init in an installed package, all Python files of that package by name: any of them may decide what the init does."""
    offered = _offered().get(module)
    if offered is None or (own := _located(offered.module)) is None:
        return {}
    top = offered.module.partition(".")[0]
    home = next((folder for folder in own.parents if folder.name == top), None)
    files = [own] if home is None else sorted(home.rglob("*.py"))
    return {str(file.relative_to(home or own.parent)): file for file in files}


def offered_module(module: str) -> str | None:
    """The dotted name of an init's module in an installed package."""
    offered = _offered().get(module)
    return None if offered is None else offered.module
