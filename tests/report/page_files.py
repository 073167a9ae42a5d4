"""The planted studies' pages as files: written, parsed, and planted studies with something amiss."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from olora_bench.store import sealed
from olora_bench.study.names import Home
from olora_bench.study.report import Analysed, analysed, write_page
from tests.fixture_types import Json

SYNTHETIC = Path(__file__).resolve().parents[1] / "synthetic" / "results"
STUDIES = ("planted", "searched", "broken", "whole")


class Page(HTMLParser):
    """A page's elements, their text, and the data it carries."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.text = content.decode()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.feed(self.text)
        self.data: Json = next((json.loads(t) for a, t in self.scripts if a.get("id") == "study-data"), {})
        self.curves: Json = next((json.loads(t) for a, t in self.scripts if a.get("id") == "curve-data"), {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if tag in ("script", "style"):
            self.scripts.append((attributes | {"tag": tag}, data))
        else:
            self.words.append(data)


def page_of(found: Analysed, *, run_pages: bool = False) -> Page:
    write_page(found, None, run_pages=run_pages)
    return Page((found.folder / "index.html").read_bytes())


def page_file(found: Analysed, *, run_pages: bool = False) -> Path:
    write_page(found, None, run_pages=run_pages)
    return found.folder / "index.html"


def written(name: str, to: Path, root: Path = SYNTHETIC, *, run_pages: bool = False) -> tuple[Analysed, Page]:
    """A study's page, written and parsed."""
    found = dataclasses.replace(analysed(Home(root, name)), folder=to)
    return found, page_of(found, run_pages=run_pages)


def change(root: Path, act: Callable[[Json], None], name: str = "broken") -> None:
    path = root / name / "manifest.json"
    manifest = json.loads(path.read_text())
    act(manifest)
    path.write_bytes(sealed(manifest))


def rename(manifest: Json) -> None:
    for run in manifest["runs"]:
        run["train_id"] = run["train_id"][::-1]


def keep(**wanted: list[str] | list[int]) -> Callable[[Json], None]:
    def act(manifest: Json) -> None:
        manifest["runs"] = [r for r in manifest["runs"] if all(r[key] in values for key, values in wanted.items())]

    return act


def unscored(manifest: Json) -> None:
    for run in manifest["runs"]:
        run["eval_id"] = run["base_eval_id"] = None


BAD = {
    "no record": (rename, "No verdict yet on olora against lora"),
    "one arm": (keep(arm=["lora"]), "No verdict yet on olora against lora"),
    "one seed": (keep(seed=[0], arm=["lora", "olora"]), "Not enough runs for a verdict"),
    "unscored": (unscored, "olora is at −0.317 nats of held-out loss against lora (95% interval"),
    "one run": (keep(seed=[0], arm=["lora"], model=["syn_a"]), "No verdict yet on olora against lora"),
}
