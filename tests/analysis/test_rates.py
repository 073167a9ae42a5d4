"""How flat losses lie around the best learning rate, of losses made up here."""

from __future__ import annotations

import numpy as np
import pytest

from olora_bench.analysis.rates import _flatness

RATES = np.array([1e-4, 1e-3, 1e-2])


@pytest.mark.parametrize("losses", [[3.0, 2.0, 3.0], [3.0, 2.0, 2.0], [3.0, 1.0, 3.0]])
def test_where_nothing_was_learned_no_rate_is_good(losses: list[float]) -> None:
    """The best loss is no better than the untouched model's, which is 1."""
    found = _flatness(RATES, np.array(losses), base=1.0)
    assert found["best_lr"] == 1e-3 and np.isnan([found["good_low"], found["good_high"], found["good_width"]]).all()
    assert found["good_open"] is False


def test_a_good_region_lies_around_the_best_rate() -> None:
    found = _flatness(RATES, np.array([3.0, 2.0, 3.0]), base=4.0)
    assert 1e-4 < found["good_low"] < 1e-3 < found["good_high"] < 1e-2
