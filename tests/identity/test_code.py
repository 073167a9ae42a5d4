"""The digest of an init's code: what it does is in it, how it is written is not."""

from __future__ import annotations

import pytest

from olora_bench.errors import BadInput
from olora_bench.identity.code import init_digest

BEFORE = '''"""An init."""
from __future__ import annotations
from torch import Tensor
from olora_bench.config import Experiment
from olora_bench.inits import twin
from olora_bench.inits._layers import fill

def adapt(base, experiment: Experiment, seed: int):
    """Stretched."""
    scale: float = 0.5
    return fill(base, experiment, lambda name, w, r: twin.factors(name, w * scale, r), subtract=True)
'''
TWIN = "def factors(name, weight, rank):\n    return weight[:, :rank], weight[:rank]\n"


def found(text: str, twin: str = TWIN) -> str:
    return init_digest("mine", lambda name: {"mine": text, "twin": twin}[name])


SAME = [
    ("    scale: float = 0.5\n", "    # why a half\n    scale = (0.5)\n\n"),
    ('    """Stretched."""\n', ""),
    ("experiment: Experiment", "experiment"),
    ("from olora_bench.config import Experiment", "from olora_bench.config.schema import Experiment"),
    ('"""An init."""', '"""Another word for it."""'),
    ("from torch import Tensor\n", ""),
    ("\ndef adapt", "OPTIONS = ('x',)\n\ndef adapt"),
]
OTHER = [
    ("0.5", "0.25"),
    ("subtract=True", "subtract=False"),
    ("w * scale", "w / scale"),
    ("inits._layers import fill", "inits._other import fill"),
    ("twin.factors(", "twin.others("),
    ("0.5", "'0.5'"),
    ("True", "1"),
]


@pytest.mark.parametrize("old, new", SAME)
def test_comments_texts_annotations_and_their_imports_are_not_in_it(old: str, new: str) -> None:
    assert found(BEFORE.replace(old, new)) == found(BEFORE)


@pytest.mark.parametrize("old, new", OTHER)
def test_what_the_interpreter_does_is_in_it(old: str, new: str) -> None:
    assert found(BEFORE.replace(old, new)) != found(BEFORE)


def test_an_init_that_it_calls_is_in_it() -> None:
    assert found(BEFORE, TWIN.replace("weight[:rank]", "weight[rank:]")) != found(BEFORE)
    assert found(BEFORE, "# the same\n" + TWIN) == found(BEFORE)


def test_an_edit_of_the_file_is_seen_at_once() -> None:
    """The shipped inits have digests of their own, all different."""
    digests = [init_digest(name) for name in ("olora", "olora_random", "olora_pivoted", "lora_matched", "peft", "nora", "eva")]
    assert len(set(digests)) == 7


def test_a_file_that_is_no_python_is_refused() -> None:
    with pytest.raises(BadInput, match=r"^init mine is no Python that can be read: .*Correct the file"):
        found("def adapt(:\n")
