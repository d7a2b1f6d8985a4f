"""Numbers of a run: the trainer's running store, and the files they are written to."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from typing import IO, Any


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


class MetricsWriter:
    """Writes to ``{save_path}/metrics.jsonl`` and, where tensorboard is installed, to event files.

    Files are opened at the first write.
    """

    def __init__(self, save_path: str, append: bool = False) -> None:
        self.save_path, self.append = save_path, append
        self._file: IO[str] | None = None
        self._board: Any = None

    def _open(self) -> IO[str]:
        if self._file is None:
            path = os.path.join(self.save_path, "metrics.jsonl")
            self._file = open(path, "a" if self.append else "w", encoding="utf-8", buffering=1)
            self._board = _summary_writer(self.save_path)
        return self._file

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """One number, as in TensorBoard's own writer; evaluators use it."""
        self.write({"step": step, tag: value}, {tag: value}, step)

    def write(self, record: dict[str, Any], board: dict[str, float], step: int) -> None:
        """``record`` as one JSON line (a number that is not finite becomes null), ``board`` to TensorBoard."""
        file = self._open()
        file.write(json.dumps({key: _jsonable(value) for key, value in record.items()}) + "\n")
        if self._board is not None:
            for tag, value in board.items():
                self._board.add_scalar(tag, value, step)

    def close(self) -> None:
        """Close the files; a later write opens them again and appends."""
        if self._board is not None:
            self._board.close()
            self._board = None
        if self._file is not None:
            self._file.close()
            self._file, self.append = None, True


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    value = float(value)
    return value if math.isfinite(value) else None


def _summary_writer(save_path: str) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # tensorboard is optional: metrics.jsonl has the same numbers
        return None
    return SummaryWriter(save_path)
