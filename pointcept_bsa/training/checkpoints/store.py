"""The checkpoints of a run in ``{save_path}/model``: the newest, those before it, the best.

``model_last.pth`` is the newest; ``model_last.1.pth``, ``model_last.2.pth``, ... are those before it, newest first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.logger import get_root_logger
from pointcept_bsa.training.checkpoints.checkpoint import load_checkpoint
from pointcept_bsa.training.checkpoints.files import is_intact, link_checked, remove_checked, write_checked


class CheckpointStore:
    """Writes checkpoints; kept are the newest ``keep_last``, the best, and those given a name.

    Args:
        folder: where they are; it exists.
        keep_last: at least 1.
    """

    def __init__(self, folder: str | Path, keep_last: int) -> None:
        self.folder, self.keep_last = Path(folder), keep_last
        self.last, self.best = self.folder / "model_last.pth", self.folder / "model_best.pth"
        self._begun = False

    def save(self, checkpoint: Mapping[str, Any], is_best: bool = False, name: str | None = None) -> None:
        """Write it as the newest; as the best, and under ``name``, too if asked for.

        The newest changes last: a run broken off before that is resumed from the one before and comes here again.
        Raises ``InputError`` if the disk is full or the folder lost; the checkpoints written before stay.
        """
        new = self.folder / "model_new.pth"
        try:
            write_checked(new, lambda file: torch.save(dict(checkpoint), cast(BinaryIO, file)))
            if is_best:
                link_checked(new, self.best)
            if name is not None:
                link_checked(new, self.folder / name)
            self._age()
            link_checked(new, self.last)
            remove_checked(new)
        except (OSError, RuntimeError) as error:  # torch's writer wraps the error of the file it writes to
            raise InputError(self._describe(error, checkpoint.get("iter"))) from error
        self._begun = True

    def _age(self) -> None:
        """Every kept checkpoint but the oldest becomes one older."""
        if not self._begun and not is_intact(self.last):
            return  # damaged: it must not push a good one out
        for number in range(self.keep_last - 1, 0, -1):
            younger = numbered(self.last, number - 1)
            if younger.exists():
                link_checked(younger, numbered(self.last, number))
        for path in versions(self.last):
            if number_of(path) >= self.keep_last:
                remove_checked(path)

    def _describe(self, error: Exception, iteration: Any) -> str:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        reason = cause.strerror or str(cause) if isinstance(cause, OSError) else str(error).split("\n")[0]
        kept = [path.name for path in (*versions(self.last), self.best) if path.is_file()]
        return (
            f"checkpoint of iteration {iteration} could not be written to {self.folder} ({reason}); "
            f"earlier checkpoints there: {', '.join(kept) or 'none'}"
        )


def numbered(last: Path, number: int) -> Path:
    """``model_last.pth`` -> ``model_last.1.pth``; number 0 is itself."""
    return last.with_name(f"{last.stem}.{number}{last.suffix}") if number else last


def number_of(path: Path) -> int:
    """The opposite of ``numbered``."""
    found = re.search(r"\.(\d+)\.[^.]*$", path.name)
    return int(found.group(1)) if found else 0


def versions(last: Path) -> list[Path]:
    """``last``, then those before it that exist, newest first."""
    pattern = re.compile(re.escape(last.stem) + r"\.\d+" + re.escape(last.suffix))
    older = last.parent.iterdir() if last.parent.is_dir() else ()
    return [last, *sorted((path for path in older if pattern.fullmatch(path.name)), key=number_of)]


def load_newest(path: str | Path) -> tuple[dict[str, Any], str]:
    """The checkpoint ``path`` and its path, or, with a warning, the newest good one before it.

    Raises ``InputError`` if none is good.
    """
    found = versions(Path(path))
    failures: list[str] = []
    for candidate in found:
        try:
            checkpoint = load_checkpoint(candidate)
        except InputError as error:
            failures.append(str(error))
            continue
        if failures:
            get_root_logger().warning(f"{'; '.join(failures)}: TAKING THE ONE BEFORE IT, {candidate}")
        return checkpoint, str(candidate)
    raise InputError("; ".join(failures) + ("; no good checkpoint is left" if len(found) > 1 else ""))
