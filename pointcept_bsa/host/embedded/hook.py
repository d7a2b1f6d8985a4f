"""What a hook is: moments of a training run in which it may act on the trainer, and what it has to remember."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class HookBase:
    """Base of all hooks. The trainer sets ``self.trainer`` (a weak proxy) before ``before_train``."""

    trainer: Any
    only_watches = False
    """Whether training and choice of the best weights are the same without it: a resumed run may do so (embedded host
    only)."""

    def before_train(self) -> None:
        """Once, when everything is built."""

    def before_epoch(self) -> None:
        """Before the first step of an epoch."""

    def before_step(self) -> None:
        """After the batch has come, before the model sees it."""

    def after_step(self) -> None:
        """After the step; ``trainer.comm_info["model_output_dict"]`` holds the model's scalars."""

    def after_epoch(self) -> None:
        """After the last step of an epoch: evaluation, then saving."""

    def after_train(self) -> None:
        """Once, at the end."""

    def at_save_point(self) -> None:
        """When a checkpoint may be written (embedded host only): every hook has done its part of an iteration (its
        ``after_step``) or of an epoch (its ``after_epoch``). With ``ema`` the model has the trained weights then."""

    def state_dict(self) -> dict[str, Any]:
        """What the hook needs to go on in a resumed run (embedded host only): tensors and plain containers."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo ``state_dict``, before ``before_train`` of the hooks that follow ``CheckpointLoader``; ``{}``: nothing
        was saved. Raises ``ValueError``, ``TypeError`` or ``KeyError`` for a state that is none of its own."""

    def on_exit(self) -> None:
        """However the training ended, also by an error (embedded host only): let go of what the hook holds."""
