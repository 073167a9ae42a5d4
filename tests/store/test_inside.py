"""A results folder may be somebody else's: its links are followed where they stay in it, and refused where they lead out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from olora_bench.errors import RecordError
from olora_bench.store import Store

RUN, EVAL = "0123456789abcdef", "fedcba9876543210"


@pytest.mark.parametrize("place", ["runs", f"runs/{RUN}", f"runs/{RUN}/record.json", f"runs/{RUN}/evals", f"runs/{RUN}/evals/{EVAL}"])
@pytest.mark.parametrize("use", [Store.read_run, Store.adapter_path, Store.checkpoint_path, Store.read_curve, Store.state])
def test_a_link_that_leads_out_is_refused_by_name(tmp_path: Path, place: str, use: Callable[[Store, str], object]) -> None:
    outside, link = tmp_path / "outside", tmp_path / "results" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    store = Store(tmp_path / "results")
    if place.count("/") > 2:
        use = lambda store, run: store.read_eval(run, None, EVAL)  # noqa: E731
    whole = f"{link}: a link that leads out of {store.root}, to {outside}: nothing is read or written there. Put the files in its place"
    with pytest.raises(RecordError, match=f"^{re.escape(whole)}$"):
        use(store, RUN)


def test_links_that_stay_inside_and_a_linked_results_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "disk" / "more" / RUN).mkdir(parents=True)
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "runs").symlink_to(tmp_path / "disk" / "more")
    assert Store(tmp_path / "results").run_dir(RUN).is_dir()


def test_links_that_go_round_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "runs")
    with pytest.raises(RecordError, match="cannot be read: Too many levels of symbolic links"):
        Store(tmp_path).read_run(RUN)
