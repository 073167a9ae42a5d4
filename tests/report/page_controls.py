"""What a user of the page does with it and reads off it."""

from __future__ import annotations

import json

from page_browser import Browser


def canvas(tab: Browser) -> dict[str, float]:
    """What the loss curves' drawing says of itself."""
    tab.settle()
    found = json.loads(tab.evaluate("JSON.stringify({...document.querySelector('#c-canvas').dataset})"))
    return {name: float(value) for name, value in found.items()}


def change(tab: Browser, selector: str, value: str | float | bool) -> None:
    """Give a control a value, as its user would."""
    what = f"node.checked = {json.dumps(value)}" if isinstance(value, bool) else f"node.value = {json.dumps(str(value))}"
    tab.evaluate(f"(() => {{ const node = document.querySelector('{selector}'); {what}; node.dispatchEvent(new Event('input')); }})()")
    tab.settle()


def click(tab: Browser, selector: str) -> None:
    """Click an element."""
    tab.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
    tab.settle()


def column(tab: Browser, table: str, heading: str) -> list[str]:
    """The strings of a table's column as they stand."""
    return list(
        tab.evaluate(
            f"""(() => {{ const t = document.querySelector('#table-{table} table');
            const c = [...t.tHead.rows[0].cells].findIndex(h => h.textContent === {json.dumps(heading)});
            return [...t.tBodies[0].rows].map(r => r.cells[c].textContent); }})()"""
        )
    )


def number(text: str) -> float:
    """A number as the page writes it."""
    return float(text.replace("−", "-"))
