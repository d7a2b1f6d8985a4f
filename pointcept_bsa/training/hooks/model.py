"""A model that is itself a hook is called as one."""

from __future__ import annotations

from pointcept_bsa.host.embedded.hook import HookBase
from pointcept_bsa.host.embedded.registry import HOOKS
from pointcept_bsa.training.checkpoints.checkpoint import unwrap


@HOOKS.register_module()
class ModelHook(HookBase):
    """Passes every moment on to the model if it derives from ``HookBase``."""

    only_watches = True  # the model is compared by its own key

    def before_train(self) -> None:
        model = unwrap(self.trainer.model)
        self.model = model if isinstance(model, HookBase) else HookBase()
        self.model.trainer = self.trainer
        self.model.before_train()

    def before_epoch(self) -> None:
        self.model.before_epoch()

    def before_step(self) -> None:
        self.model.before_step()

    def after_step(self) -> None:
        self.model.after_step()

    def after_epoch(self) -> None:
        self.model.after_epoch()

    def after_train(self) -> None:
        self.model.after_train()
