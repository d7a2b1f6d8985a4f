"""What a tester is: a model with its weights, a test set, and ``test()``."""

from __future__ import annotations

import os
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from pointcept_bsa.distributed import mesh
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.collate import collate_fn
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.host.embedded.logger import get_root_logger
from pointcept_bsa.host.embedded.registry import build_dataset, build_model
from pointcept_bsa.host.weight import identity, weight_to_test
from pointcept_bsa.training.checkpoints.checkpoint import evaluated_weights, load_checkpoint, load_weights
from pointcept_bsa.training.env import get_device
from pointcept_bsa.training.loader import build_eval_loader
from pointcept_bsa.training.processes.parallel import check_shares_clouds


class TesterBase:
    """Base of all testers, called as Pointcept calls them.

    With a ``model`` (after a training) it is tested as it is; without one it is built from ``cfg.model`` and loads
    ``cfg.weight``, or for None and ``"auto"`` the best, else the last checkpoint under ``cfg.save_path``. The test set
    is ``cfg.data.test``. ``weight_identity`` tells the file that has the tested weights.
    Subclasses write ``test()``; they never touch the training's own files.
    """

    weight_identity: dict[str, str | None] | None = None
    shares_clouds = False  # whether it judges clouds of which each process has a part (``context_parallel``)

    def __init__(
        self,
        cfg: Config,
        model: nn.Module | None = None,
        test_loader: DataLoader | None = None,
        verbose: bool = False,
    ) -> None:
        if mesh.context_size() > 1 and not self.shares_clouds:
            raise InputError(f"context_parallel: {type(self).__name__} takes whole clouds, wanted context_parallel=1")
        self.cfg, self.verbose = cfg, verbose
        self.logger = get_root_logger()
        standalone = model is None
        self.model = self.build_model() if model is None else model
        self.test_loader = self.build_test_loader() if test_loader is None else test_loader
        if standalone and comm.is_main_process():
            os.makedirs(cfg.save_path, exist_ok=True)
            get_root_logger(os.path.join(cfg.save_path, "test.log"), file_mode="w")
        if standalone:
            self.logger.info(f"Testing {self.weight} on {len(self.test_loader)} batches")

    def build_model(self) -> nn.Module:
        """Build the model on the device and load its weights."""
        model = build_model(self.cfg.model, path="model").to(get_device(self.cfg))
        check_shares_clouds(model)
        path = weight_to_test(self.cfg.weight, self.cfg.save_path)
        while True:
            found, checkpoint = identity(path), load_checkpoint(path)
            if found == identity(path):  # a training that goes on has not replaced it meanwhile
                break
        load_weights(model, evaluated_weights(checkpoint), path)
        if checkpoint.get("ema"):
            self.logger.info("Its weights are the moving average (ema)")
        self.weight, self.weight_identity = path, found
        return model

    def build_test_loader(self) -> DataLoader:
        """Build the loader of ``cfg.data.test``; each process gets its share of the samples."""
        return build_eval_loader(
            build_dataset(self.cfg.data.test, path="data.test"),
            "data.test",
            self.cfg.batch_size_test_per_gpu,
            self.cfg.num_worker_per_gpu,
            type(self).collate_fn,
            pin_memory=get_device(self.cfg).type == "cuda",
        )

    def test(self) -> Any:
        """Test and report."""
        raise NotImplementedError

    @staticmethod
    def collate_fn(samples: list[Any]) -> Any:
        """How test samples become a batch."""
        return collate_fn(samples)
