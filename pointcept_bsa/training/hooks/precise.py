"""The test after the training."""

from __future__ import annotations

import math
import os

from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.hook import HookBase
from pointcept_bsa.host.embedded.registry import HOOKS, TESTERS
from pointcept_bsa.host.weight import identity
from pointcept_bsa.training.checkpoints.checkpoint import evaluated_weights, load_checkpoint, load_weights, unwrap
from pointcept_bsa.training.processes.sharding import gathered


@HOOKS.register_module()
class PreciseEvaluator(HookBase):
    """Runs ``cfg.test`` on the best weights of this run; on the last ones if ``test_last`` or if none was best.

    What the test returns is in ``trainer.comm_info["test_report"]`` for the hooks that follow.

    The tester and its data are made before the training, so that a mistake in them does not come out after it.
    """

    only_watches = True

    def __init__(self, test_last: bool = False) -> None:
        self.test_last = test_last

    def before_train(self) -> None:
        trainer = self.trainer
        self.tester = TESTERS.build(dict(cfg=trainer.cfg, model=trainer.model, **trainer.cfg.test), path="test")

    def after_train(self) -> None:
        trainer = self.trainer
        comm.synchronize()  # the main process may still be writing
        if self.test_last or trainer.best_metric_value == -math.inf:
            average = trainer.ema.state_dict() if trainer.ema is not None else {}
            unwrap(trainer.model).load_state_dict(average, strict=False)
            self.tester.weight_identity = identity(self._last())
            trainer.logger.info(f"Testing the last weights{', their moving average' if average else ''}")
        else:
            path = os.path.join(trainer.cfg.save_path, "model", "model_best.pth")
            checkpoint = load_checkpoint(path)
            load_weights(trainer.model, evaluated_weights(checkpoint), path)
            self.tester.weight_identity = identity(path)
            trainer.logger.info(f"Testing {path}{', its moving average' if checkpoint.get('ema') else ''}")
        with gathered(unwrap(trainer.model)):
            trainer.comm_info["test_report"] = self.tester.test()

    def _last(self) -> str | None:
        """The file that has the weights in memory; None: they are not saved."""
        trainer = self.trainer
        path = os.path.join(trainer.cfg.save_path, "model", "model_last.pth")
        is_saved = trainer.last_saved == trainer.global_iter or trainer.start_epoch == trainer.max_epoch
        return path if is_saved and os.path.isfile(path) else None
