"""Going on by itself after torchrun has started the processes of a run again.

``torchrun --max-restarts=N`` ends all processes when one is lost and starts them anew, with the command they had.
Checkpoints carry the name of the launch that wrote them; processes that find one of their own launch go on from it.
"""

from __future__ import annotations

import itertools
import os
import socket
from typing import Any

from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.host.embedded.logger import get_root_logger
from pointcept_bsa.training.checkpoints.store import load_newest
from pointcept_bsa.training.runs.folder import version_folders


def launch_name() -> str | None:
    """Name of the torchrun launch of this process, the same after a restart; None without torchrun.

    It is ``--rdzv-id`` where one is given (or ``--standalone`` draws one), else the host and number of its agent.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{socket.gethostname()} {os.getppid()}" if name == "none" else name


def go_on_after_restart(cfg: Config) -> None:
    """Set ``resume`` in ``cfg`` (and drop ``weight``) if this launch has written a checkpoint into ``save_path``."""
    launch = launch_name()
    found = None
    if comm.is_main_process() and launch is not None:
        folders = [cfg.save_path]
        if cfg.resume == "weights":  # which trains in a folder within where save_path holds a run
            folders += map(str, itertools.takewhile(os.path.isdir, version_folders(cfg.save_path)))
        found = next(filter(None, (_written_by(launch, folder) for folder in folders)), None)
    found = comm.broadcast(found)
    if found is not None:
        cfg.resume, cfg.weight, cfg.save_path = True, None, found[2]
        get_root_logger().warning(
            f"RESTARTED by torchrun (launch {launch}): going on from {found[0]}, iteration {found[1]}"
        )


def _written_by(launch: str, folder: str) -> tuple[str, Any, str] | None:
    """(checkpoint, its iteration, folder) if the newest checkpoint of a folder is of that launch."""
    path = os.path.join(folder, "model", "model_last.pth")
    if not os.path.isfile(path):
        return None
    checkpoint, source = load_newest(path)
    return (source, checkpoint.get("iter"), folder) if checkpoint.get("launch") == launch else None
