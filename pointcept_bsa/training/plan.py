"""How long to train and when to evaluate, in one place.

An *iteration* is one step of the optimizer; it takes ``gradient_accumulation_steps`` batches. An *epoch*, as in
Pointcept's trainer, is the stretch between two evaluations, of which there are ``max_epoch``.
"""

from __future__ import annotations

from dataclasses import dataclass

from pointcept_bsa.errors import InputError


@dataclass(frozen=True)
class TrainingPlan:
    """``ends[e]`` is the number of iterations done when ``e`` epochs are over; ``ends[0] = 0``."""

    ends: tuple[int, ...]
    accumulate: int = 1

    @property
    def max_epoch(self) -> int:
        return len(self.ends) - 1

    @property
    def total_iters(self) -> int:
        return self.ends[-1]

    def batches(self, epoch: int) -> range:
        """The batches of an epoch, as positions in the endless stream of batches."""
        return range(self.ends[epoch] * self.accumulate, self.ends[epoch + 1] * self.accumulate)


def make_plan(
    batches_per_pass: int,
    eval_epoch: int,
    accumulate: int = 1,
    max_iters: int | None = None,
    eval_every: int | None = None,
) -> TrainingPlan:
    """Plan a run over data that make ``batches_per_pass`` batches.

    Without ``max_iters``: ``eval_epoch`` epochs of one pass each (the data set repeats itself ``epoch // eval_epoch``
    times in a pass). With it: exactly ``max_iters`` iterations however many passes that takes, with an epoch every
    ``eval_every`` iterations, or else ``eval_epoch`` epochs of equal length.
    """
    if max_iters is None:
        ends = [epoch * batches_per_pass // accumulate for epoch in range(eval_epoch + 1)]
        if ends[-1] == 0:
            batches = batches_per_pass * eval_epoch
            raise InputError(f"gradient_accumulation_steps={accumulate}: more than the {batches} batches of the run")
    elif eval_every is not None:
        ends = [*range(0, max_iters, eval_every), max_iters]
    else:
        ends = sorted({epoch * max_iters // eval_epoch for epoch in range(eval_epoch + 1)})
    return TrainingPlan(tuple(ends), accumulate)
