"""The folder of a run and the files in it that describe the run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import json_text
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.env import describe
from pointcept_bsa.host.embedded.files import write_text_atomic
from pointcept_bsa.host.embedded.logger import get_root_logger

if TYPE_CHECKING:
    from pointcept_bsa.host.embedded.trainer import DefaultTrainer


def open_save_path(trainer: DefaultTrainer) -> None:
    """Create ``save_path`` with ``config.py``, ``env.json`` and the log; only now, when the input has been found good.

    Raises ``InputError`` if the folder cannot be written.
    """
    if not comm.is_main_process():
        return
    cfg = trainer.cfg
    folder, resume = cfg.save_path, cfg.resume
    config = os.path.join(folder, "config.py")
    try:
        os.makedirs(os.path.join(folder, "model"), exist_ok=True)
        get_root_logger(os.path.join(folder, "train.log"), file_mode="a" if resume else "w")
        if not (resume and os.path.exists(config)):
            write_text_atomic(config, trainer.config_text)
        record = json_text(describe(cfg, trainer.device))
        write_text_atomic(os.path.join(folder, "env.json"), record)
    except OSError as error:
        raise InputError(f"save_path={folder!r}: cannot be written ({error.strerror})") from error
    length = f"{trainer.max_iter} iterations in {trainer.max_epoch} epochs"
    trainer.logger.info(f"Saving to {folder}; {length}, seed {cfg.seed}")
    if trainer.ema is not None:
        trainer.logger.info("ema: the moving average of the weights is evaluated and tested, and saved beside them")
