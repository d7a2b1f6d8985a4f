"""Every part of a training that a config names, imported so that it registers.

Both hosts take the evaluators, testers, and what Pointcept lacks of optimizers and schedules. The trainer and the hooks
of the run-time register where Pointcept has none of its own: in the embedded host.
"""

from pointcept_bsa.host import HOST
from pointcept_bsa.training import muon, warmup_cosine  # noqa: F401
from pointcept_bsa.training.evaluation import board, evaluator, molecular_dynamics_tester, tester, training_range  # noqa: F401

if HOST == "embedded":
    from pointcept_bsa.training import optimizer, scheduler, semantic_segmentation, trainer  # noqa: F401
    from pointcept_bsa.training.hooks import checkpoint, information  # noqa: F401
