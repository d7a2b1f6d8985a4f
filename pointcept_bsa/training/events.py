"""Numbers of a run: the trainer's running store, and the files they are written to."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import json_text
from pointcept_bsa.host.embedded.logger import get_root_logger


class History:
    """Last value and mean of one number."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.val, self.total, self.count = 0.0, 0.0, 0

    def put(self, value: float) -> None:
        self.val = value
        self.total += value
        self.count += 1

    @property
    def avg(self) -> float:
        return self.total / self.count if self.count else 0.0


class EventStorage:
    """Histories by name; as in Pointcept ``trainer.storage.put_scalar`` and ``.history(name).avg``."""

    def __init__(self) -> None:
        self._histories: defaultdict[str, History] = defaultdict(History)

    def put_scalar(self, name: str, value: float) -> None:
        self._histories[name].put(value)

    def history(self, name: str) -> History:
        return self._histories[name]

    def histories(self) -> dict[str, History]:
        return dict(self._histories)

    def reset_histories(self) -> None:
        self._histories.clear()

    def state_dict(self) -> dict[str, list[float]]:
        """The histories as numbers."""
        return {name: [h.val, h.total, h.count] for name, h in self._histories.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Undo ``state_dict``."""
        self.reset_histories()
        for name, (val, total, count) in state.items():
            history = self._histories[name]
            history.val, history.total, history.count = val, total, int(count)


class MetricsWriter:
    """Writes to ``{save_path}/metrics.jsonl`` and, where tensorboard is installed, to event files.

    TensorBoard's axis is the iteration of everything, as ``iteration()`` says it; without, the step that is given.
    Files are opened at the first write. A full disk or a lost folder is an ``InputError``.
    """

    def __init__(self, save_path: str, append: bool = False, iteration: Callable[[], int] | None = None) -> None:
        self.save_path, self.append, self.iteration = save_path, append, iteration
        self.path = os.path.join(save_path, "metrics.jsonl")
        self._file: BinaryIO | None = None
        self._board: Any = None
        self._purge_step: int | None = None

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = open(self.path, "ab" if self.append else "wb", buffering=0)
            self._board = _summary_writer(self.save_path, self._purge_step)
        return self._file

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """One number, as in TensorBoard's own writer; evaluators use it."""
        self.write({"step": step, tag: value}, {tag: value}, step)

    def write(self, record: dict[str, Any], board: dict[str, float], step: int) -> None:
        """``record`` as one JSON line (a number that is not finite becomes null), ``board`` to TensorBoard."""
        line = json_text(record, indent=None)
        try:
            self._open().write(line.encode())
            if self._board is not None:
                for tag, value in board.items():
                    self._board.add_scalar(tag, value, self._place(step))
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written ({error.strerror or error}); earlier checkpoints are intact"
            ) from error

    def add_image(self, tag: str, image: Any, step: int, dataformats: str = "CHW") -> None:
        """A picture, for TensorBoard alone."""
        self._show(lambda board: board.add_image(tag, image, self._place(step), dataformats=dataformats))

    def _place(self, step: int) -> int:
        return step if self.iteration is None else self.iteration()

    def add_hparams(self, hparams: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Hyper-parameters (numbers, texts, truth values) and what they led to, for TensorBoard alone."""
        shown = {name: _hyper_parameter(value) for name, value in hparams.items()}
        self._show(lambda board: board.add_hparams(shown, dict(metrics), run_name="hparams"))

    def _show(self, act: Callable[[Any], object]) -> None:
        try:
            self._open()
            if self._board is not None:
                act(self._board)
        except OSError as error:
            raise InputError(f"{self.save_path}: cannot be written ({error.strerror or error})") from error

    def position(self) -> int:
        """Length in bytes of what is written; it is on the disk then."""
        try:
            file = self._open()
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror or error})") from error

    def trim(self, length: int, iteration: int) -> None:
        """Forget what was written after ``length`` bytes; the run goes on from ``iteration``."""
        self._purge_step = iteration + 1
        if os.path.isfile(self.path) and os.path.getsize(self.path) > length:
            os.truncate(self.path, length)

    def close(self) -> None:
        """Close the files; a later write opens them again and appends."""
        if self._board is not None:
            self._board.close()
            self._board = None
        if self._file is not None:
            self._file.close()
            self._file, self.append = None, True


def _hyper_parameter(value: Any) -> Any:
    """As TensorBoard's table of hyper-parameters takes it: that is JSON, where a number is finite."""
    finite = isinstance(value, float) and math.isfinite(value)
    return value if finite or isinstance(value, bool | int | str) else str(value)


def _summary_writer(save_path: str, purge_step: int | None) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        get_root_logger().warning(
            "tensorboard is not installed: metrics.jsonl has the numbers, nothing has the pictures"
        )
        return None
    return SummaryWriter(save_path, purge_step=purge_step)
