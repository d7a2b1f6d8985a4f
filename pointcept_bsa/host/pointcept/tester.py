"""Pointcept's tester base, completed where the embedded host's does more."""

from __future__ import annotations

from typing import Any

from pointcept.datasets.utils import collate_fn
from pointcept.engines.test import TesterBase as HostTesterBase
from torch import nn

from pointcept_bsa.host.weight import weight_to_test


class TesterBase(HostTesterBase):
    """Adds a ``collate_fn``, which Pointcept leaves to its testers, and ``weight``: the file that was loaded.

    As in the embedded host ``weight=None`` in the config means the best, else the last checkpoint of ``save_path``.
    """

    def build_model(self) -> nn.Module:
        """Build the model and load ``weight`` into it."""
        self.weight = self.cfg.weight = weight_to_test(self.cfg.weight, self.cfg.save_path)
        return super().build_model()

    @staticmethod
    def collate_fn(samples: list[Any]) -> Any:
        """How test samples become a batch."""
        return collate_fn(samples)
