"""The difference in held-out loss, arm against reference: over new examples too where the records keep each example's loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from olora_bench.analysis.choices import Choices
from olora_bench.analysis.comparison import BLOCK, Block
from olora_bench.analysis.crossed import crossed, linearised_ratio, of_items, seed_variance
from olora_bench.analysis.estimate import Estimate, Floats, of_blocks
from olora_bench.analysis.examples import Examples
from olora_bench.analysis.frames import StudyFrames
from olora_bench.analysis.paired import Tested, tested
from olora_bench.analysis.power import found
from olora_bench.analysis.reasons import ExamplesDiffer, ExamplesUnread


@dataclass(frozen=True)
class HeldOut:
    """What the pairs of a comparison say of held-out loss, nats per supervised token, arm minus reference.

    Attributes:
        blocks: by (model, seed), the mean over the block's pairs of the difference of the recorded losses.
        by_example: `(examples, blocks)`, each example's part in that difference (`crossed.linearised_ratio`: a loss is a ratio, nats over
            supervised tokens); or why it is not known.
        choices: what the blocks chose among; None without finalists.
        judged: whether the loss carries the verdict: an arm whose best lies at an edge of its finalists may then have a lower loss beyond,
            and what is said of new seeds is open there.
    """

    blocks: Mapping[Block, float]
    by_example: Floats | ExamplesUnread | ExamplesDiffer
    choices: Choices | None = None
    judged: bool = False

    @property
    def these(self) -> ExamplesUnread | ExamplesDiffer | None:
        """Why nothing can be said of new examples; None where it can."""
        return None if isinstance(self.by_example, np.ndarray) else self.by_example

    def estimate(self) -> Estimate:
        """Over new seeds (over models where there are several) and new examples; over these examples where `these` says why.

        It is `crossed.Crossed` in the first case, Student's t over blocks or model means in the second.
        """
        return self._opened(self._estimate())

    def _opened(self, of: Estimate) -> Estimate:
        if self.choices is None or not self.judged:
            return of
        return replace(of, may_be_lower=self.choices.arm_at_edge, may_be_higher=self.choices.reference_at_edge)

    def _estimate(self) -> Estimate:
        models = [model for model, _ in self.blocks]
        if isinstance(self.by_example, np.ndarray):
            return crossed([self.by_example], models)
        own = [[value for (model, _), value in self.blocks.items() if model == name] for name in dict.fromkeys(models)]
        return of_blocks(np.array(own[0] if len(own) == 1 else [np.mean(values) for values in own]))

    def seed_variance(self) -> Floats:
        """What one seed of every model adds to the variance of `estimate`."""
        models = [model for model, _ in self.blocks]
        each = np.array([*self.blocks.values()])[None, :]
        return seed_variance([self.by_example if isinstance(self.by_example, np.ndarray) else each], models)

    def before(self, seed: int) -> HeldOut:
        """Of the seeds below this one alone."""
        kept = {block: value for block, value in self.blocks.items() if block.seed < seed}
        known, choices = self.by_example, None if self.choices is None else self.choices.before(seed)
        known = known[:, [block in kept for block in self.blocks]] if isinstance(known, np.ndarray) else known
        return HeldOut(kept, known, choices, self.judged)

    def tested(self) -> Tested:
        """`estimate` as numbers, for a table that describes."""
        if len(self.blocks) < 3 or (self.these is not None and len({block.model for block in self.blocks}) == 1):
            return tested(np.array([*self.blocks.values()]))
        estimate = self.estimate()
        low, high = estimate.interval()
        return Tested(float(low), float(high), float(estimate.p()), found(estimate).difference)

    def within_models(self) -> Estimate | None:
        """Over new seeds of just these models and new examples; None without those, or with one seed of a model."""
        models = [model for model, _ in self.blocks]
        if not isinstance(self.by_example, np.ndarray) or min(map(models.count, models)) < 2:
            return None
        return self._opened(crossed([self.by_example], models, fixed_models=True))

    def new_examples(self) -> Estimate | None:
        """Of these trainings on new examples; None where nothing can be said of those."""
        models = [model for model, _ in self.blocks]
        return of_items([self.by_example], models) if isinstance(self.by_example, np.ndarray) else None


def final_losses(frames: StudyFrames) -> dict[str, float]:
    """The recorded held-out loss after training of each run, by train_id; NaN where there is none."""
    return dict(zip(frames.runs["train_id"], frames.runs["metrics.report_loss"].astype(float), strict=True))


def held_out(examples: Examples, losses: Mapping[str, float], pairs: pd.DataFrame) -> HeldOut:
    """The held-out loss of one comparison.

    Args:
        examples: the losses of a run by example.
        losses: as `final_losses` returns them.
        pairs: `model`, `seed`, `arm_id` and `reference_id`, a row a pair; those enter whose runs both have a loss.
    """
    known: dict[Block, list[tuple[str, str]]] = {}
    for model, seed, arm, reference in zip(*(pairs[name].tolist() for name in (*BLOCK, "arm_id", "reference_id")), strict=True):
        if np.isfinite(losses.get(arm, np.nan)) and np.isfinite(losses.get(reference, np.nan)):
            known.setdefault(Block(model, seed), []).append((arm, reference))
    blocks = {block: float(np.mean([losses[arm] - losses[reference] for arm, reference in known[block]])) for block in sorted(known)}
    return HeldOut(blocks, _by_example(examples, [known[block] for block in blocks]))


def _by_example(examples: Examples, blocks: list[list[tuple[str, str]]]) -> Floats | ExamplesUnread | ExamplesDiffer:
    parts = example_parts(examples, [run for pairs in blocks for pair in pairs for run in pair])
    if not isinstance(parts, dict):
        return parts
    return np.stack([np.mean([parts[arm] - parts[reference] for arm, reference in pairs], axis=0) for pairs in blocks], axis=1)


def example_parts(examples: Examples, runs: Sequence[str]) -> dict[str, Floats] | ExamplesUnread | ExamplesDiffer:
    """The part `(examples,)` that each example has in a run's held-out loss (`crossed.linearised_ratio`), the same examples in the same
    order for every run; or why it is not known."""
    runs = list(dict.fromkeys(runs))
    known = {run: kept for run in runs if (kept := examples(run)) is not None}
    if len(known) < len(runs) or not runs:
        return ExamplesUnread(len(runs) - len(known), len(runs))
    ids = known[runs[0]].ids
    aligned = {run: at for run, one in known.items() if (at := one.at(ids)) is not None}
    if len(aligned) < len(runs) or len(ids) < 2:
        return ExamplesDiffer()
    return {run: linearised_ratio(sums[:, None], tokens)[:, 0] for run, (sums, tokens) in aligned.items()}
