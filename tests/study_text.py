"""The text of throw-away study files, for tests and for perf/. Imports nothing, so that a process that only writes one stays small."""

from __future__ import annotations

import textwrap

HEAD = """
defaults:
  - config
  - override model: tiny_tinyllama
  - override data: made_up
  - override suite: none
  - override tracker: none
  - override hydra/sweeper: study
  - _self_
hydra: {mode: MULTIRUN}
precision: fp32
rank: 4
"""
"""Tiny models on made-up data, without benchmarks or a tracker."""

PACKAGED_HEAD = "defaults: [config, override hydra/sweeper: study, _self_]\n"
"""The packaged model and its data."""

TWO_ARMS = """
protocol: shared_lr
contrasts: [{arm: olora, reference: lora, kind: primary}]
grids: [{init: [lora, olora], seed: 0}]
"""
"""A `study` node: OLoRA against LoRA at one learning rate, one seed each."""


def study_text(node: str, *, name: str, head: str = HEAD, title: str = "a study") -> str:
    """A study file: its head, then the lines of its `study` node (at any indent) below a name and a title."""
    return f"{head}\nstudy:\n  name: {name}\n  title: {title}\n{textwrap.indent(textwrap.dedent(node), '  ')}"
