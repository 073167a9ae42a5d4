"""What the page of a running study says where no loss can be drawn."""

from __future__ import annotations

import pytest

from olora_bench.report.watch_page import Watched, WatchedRun, watch_page


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("interrupted", "The losses of a run that was interrupted are shown again as soon as the study goes on with it."),
        ("running", "No loss has been read yet. A run shows its first ones some seconds after it begins to train."),
    ],
)
def test_why_no_loss_is_drawn(state: str, said: str) -> None:
    run = WatchedRun("a" * 16, "tiny lora", "lora", state)
    page = watch_page(Watched(study="little", title="t", protocol="shared_lr", arms=("lora",), runs=[run]))
    assert page.decode().count(f'<p class="lead">{said}</p>') == 1
