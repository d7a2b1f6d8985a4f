"""The test after the training."""

from __future__ import annotations

import math
import os

from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.checkpoint import load_checkpoint, load_weights
from pointcept_bsa.host.embedded.hooks.base import HookBase
from pointcept_bsa.host.embedded.registry import HOOKS, TESTERS


@HOOKS.register_module()
class PreciseEvaluator(HookBase):
    """Runs ``cfg.test`` on the best weights of this run; on the last ones if ``test_last`` or if none was best.

    The tester and its data are made before the training, so that a mistake in them does not come out after it.
    """

    def __init__(self, test_last: bool = False) -> None:
        self.test_last = test_last

    def before_train(self) -> None:
        trainer = self.trainer
        self.tester = TESTERS.build(dict(cfg=trainer.cfg, model=trainer.model, **trainer.cfg.test), path="test")

    def after_train(self) -> None:
        trainer = self.trainer
        comm.synchronize()  # the main process may still be writing
        if self.test_last or trainer.best_metric_value == -math.inf:
            trainer.logger.info("Testing the last weights")
        else:
            path = os.path.join(trainer.cfg.save_path, "model", "model_best.pth")
            load_weights(trainer.model, load_checkpoint(path)["state_dict"], path)
            trainer.logger.info(f"Testing {path}")
        self.tester.test()
