"""What a hook is: six moments of a training run, in which it may act on the trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointcept_bsa.host.embedded.trainer import DefaultTrainer


class HookBase:
    """Base of all hooks. The trainer sets ``self.trainer`` (a weak proxy) before ``before_train``."""

    trainer: DefaultTrainer

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

    def on_exit(self) -> None:
        """However the training ended, also by an error (embedded host only): let go of what the hook holds."""
