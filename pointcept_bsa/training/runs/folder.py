"""The folder of a run: whose it is, and the files in it that describe the run.

A folder has one run. A training that does not go on with the one it finds (``resume=True``) is refused; what a start
left that came to no checkpoint is put aside in ``broken_off_1``, ``broken_off_2``, ...
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from pointcept_bsa.arguments.given import is_given
from pointcept_bsa.errors import InputError, place_error
from pointcept_bsa.files.atomic import write_text
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.host.embedded.logger import get_root_logger
from pointcept_bsa.host.weight import refuse_no_file
from pointcept_bsa.training.checkpoints.files import link_checked
from pointcept_bsa.training.checkpoints.store import load_newest, versions
from pointcept_bsa.training.env import describe

if TYPE_CHECKING:
    from pointcept_bsa.training.trainer import DefaultTrainer


import contextlib
import fcntl
import socket
from typing import IO

# One training at a time in a folder: a lock that the operating system takes back however the training ends.

NAME = ".lock"
_held: dict[Path, IO[str]] = {}


def lock_folder(folder: str | Path) -> None:
    """Take the lock of a folder that exists, until ``unlock_folders`` or the end of this process; twice is once.

    A file system without locks is said in a warning. Raises ``InputError`` if another process has the lock, or if
    nothing can be written there.
    """
    key = Path(folder).resolve()
    if key in _held:
        return
    try:
        file = open(key / NAME, "a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"save_path={str(folder)!r}: cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read(200).strip() or "another process"
        file.close()
        raise InputError(
            f"save_path={str(folder)!r}: {owner} is training into this folder; wait for its end or name another "
            f"save_path"
        ) from error
    except OSError as error:
        file.close()
        get_root_logger().warning(
            f"{folder} cannot be locked ({error.strerror}): a second training into it would NOT be noticed"
        )
        return
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a name in it
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
    _held[key] = file


def unlock_folders() -> None:
    """Let go of every lock of this process."""
    for file in _held.values():
        with contextlib.suppress(OSError):
            file.close()
    _held.clear()


os.register_at_fork(after_in_child=unlock_folders)  # closes the child's copy; the lock stays the parent's


T = TypeVar("T")
# What a training writes into its folder; the rest of it is not touched.
WRITTEN: tuple[str, ...] = ("config.py", "env.json", "train.log", "metrics.jsonl", "events.out.tfevents.*", "hparams")
WRITTEN += ("model", "training_range.json", "data.json")


def checkpoint_to_resume(cfg: Config) -> str:
    """The checkpoint that ``resume`` asks for: ``weight``, or the newest of ``save_path``."""
    return cfg.weight if cfg.weight is not None else os.path.join(cfg.save_path, "model", "model_last.pth")


def is_own(path: str | Path, cfg: Config) -> bool:
    """Whether a checkpoint lies in the folder of this very run."""
    return os.path.realpath(os.path.dirname(path)) == os.path.realpath(os.path.join(cfg.save_path, "model"))


def what_it_holds(folder: str | Path) -> str | None:
    """Names of the checkpoints of a folder, or of its test; None: it holds no run (or one broken off before its first
    checkpoint was finished)."""
    names = sorted(path.name for path in Path(folder, "model").glob("*.pth"))
    unfinished = "model_new.pth" in names and not any(name.startswith("model_last") for name in names)
    names.remove("model_new.pth") if "model_new.pth" in names else None
    if names and not unfinished:
        return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return "test/metrics.json" if Path(folder, "test", "metrics.json").is_file() else None


def version_folders(folder: str | Path) -> Iterator[Path]:
    """``version_1``, ``version_2``, ... of a folder, without end."""
    return (Path(folder, f"version_{number}") for number in count(1))


def begin_from_weights(cfg: Config) -> None:
    """Settle ``resume="weights"`` in ``cfg``: the checkpoint becomes ``weight``, the folder one that holds no run.

    The checkpoint is ``weight``, or the newest of ``save_path``. The folder is ``save_path``, or, where that holds a
    run, the first free ``version_<n>`` in it. Called in every process.
    """

    def settle() -> tuple[str, str]:
        source = cfg.weight if cfg.weight is not None else load_newest(checkpoint_to_resume(cfg))[1]
        if what_it_holds(cfg.save_path) is None:
            return source, cfg.save_path
        return source, next(str(folder) for folder in version_folders(cfg.save_path) if _is_free(folder))

    cfg.weight, cfg.save_path = _by_main(settle)
    cfg.resume = False
    get_root_logger().info(
        f"resume='weights': the weights of {cfg.weight} alone are taken; optimizer, schedule and iterations begin anew"
    )


def _is_free(folder: Path) -> bool:
    """Whether a run may begin there; if so and it exists, it is locked for this process."""
    if what_it_holds(folder) is not None:
        return False
    try:
        if folder.is_dir():
            lock_folder(folder)
    except InputError:
        return False
    return True


def claim(cfg: Config) -> None:
    """Lock ``save_path``, if it is there, and refuse it if it holds a run that this training would not go on with.

    So is one that cannot be written, and weights to begin with that are not there: nothing long has run yet. Called in
    every process. Raises ``InputError``.
    """
    _by_main(lambda: _claim(cfg))


def _claim(cfg: Config) -> None:
    folder = cfg.save_path
    if os.path.isdir(folder):
        lock_folder(folder)
    held = what_it_holds(folder)
    if held is None or (cfg.resume and is_own(checkpoint_to_resume(cfg), cfg)):
        _refuse_in_vain(cfg)
        return
    if cfg.resume:
        raise InputError(
            f"save_path={folder!r}: holds another run ({held}) than weight={cfg.weight!r}, with which resume=True goes "
            f"on; name a new save_path"
        )
    free = next(path for path in version_folders(folder) if what_it_holds(path) is None)
    choices = [f"save_path={free} begins another"]
    if "model" in held:
        choices = ["resume=True goes on with it", *choices, "resume=weights begins another from its weights"]
    raise InputError(f"save_path={folder!r}: holds a run ({held}), which is not overwritten; {', '.join(choices)}")


def _refuse_in_vain(cfg: Config) -> None:
    """Raise ``InputError`` where the weights to begin with are not there, or ``save_path`` cannot be made."""
    weight = checkpoint_to_resume(cfg) if cfg.resume else cfg.weight
    if weight is not None and not os.path.isfile(weight) and not (cfg.resume and len(versions(Path(weight))) > 1):
        refuse_no_file(weight)
    folder = Path(cfg.save_path).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with TemporaryDirectory(prefix=".pcbsa", dir=there):  # what may be written is told by writing alone
            pass
    except OSError as error:
        raise InputError(f"save_path={cfg.save_path!r}: cannot be written in {there} ({error.strerror})") from error


def _by_main(work: Callable[[], T]) -> T:
    """``work()`` of the main process, in every process; so is its ``InputError``."""
    result: T | InputError | None = None
    if comm.is_main_process():
        try:
            result = work()
        except InputError as error:
            result = error
        except OSError as error:
            result = place_error(error, is_given) or InputError(str(error))
    result = comm.broadcast(result)
    if isinstance(result, InputError):
        raise result
    return result


def open_save_path(trainer: DefaultTrainer) -> None:
    """Create ``save_path`` with ``config.py``, ``env.json`` and the log; only now, when the input has been found good.

    Raises ``InputError`` if the folder cannot be written, or is another run's.
    """
    if not comm.is_main_process():
        return
    cfg = trainer.cfg
    folder, moved_to = cfg.save_path, None
    goes_on = cfg.resume and is_own(checkpoint_to_resume(cfg), cfg)
    try:
        os.makedirs(os.path.join(folder, "model"), exist_ok=True)
        _claim(cfg)
        if not goes_on:
            moved_to = _move_broken_off(Path(folder))
        if trainer.best_file is not None and comm.is_main_process():
            link_checked(Path(trainer.best_file), Path(folder, "model", "model_best.pth"))
        get_root_logger(os.path.join(folder, "train.log"), file_mode="a" if goes_on else "w")
        write_text(os.path.join(folder, "config.py"), trainer.config_text())
        write_json(os.path.join(folder, "env.json"), describe(cfg, trainer.device))
    except OSError as error:
        raise InputError(f"save_path={folder!r}: cannot be written ({error.strerror})") from error
    length = f"{trainer.max_iter} iterations in {trainer.max_epoch} epochs"
    trainer.logger.info(f"Saving to {folder}; {length}, seed {cfg.seed}")
    if moved_to is not None:
        trainer.logger.info(f"An earlier start came to no checkpoint here; what it wrote is in {moved_to}")
    if trainer.ema is not None:
        trainer.logger.info("ema: the moving average of the weights is evaluated and tested, and saved beside them")


def _move_broken_off(folder: Path) -> Path | None:
    """Move what an earlier start wrote into a folder of its own; None if it came to no iteration."""
    written = folder / "metrics.jsonl"
    if not written.is_file() or not written.stat().st_size:
        return None
    moved_to = next(path for path in (folder / f"broken_off_{n}" for n in count(1)) if not path.exists())
    moved_to.mkdir()
    for pattern in WRITTEN:
        for path in folder.glob(pattern):
            path.rename(moved_to / path.name)
    (folder / "model").mkdir()
    return moved_to
