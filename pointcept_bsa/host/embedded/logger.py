"""The run's logger: standard output and a file, in the main process only."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import sys
from typing import TextIO

from pointcept_bsa.host.embedded import comm

NAME = "pointcept_bsa"


class _StdoutHandler(logging.StreamHandler):
    """Writes to whatever ``sys.stdout`` is at that moment, so that a progress display can slip in."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    def handleError(self, record: logging.LogRecord) -> None:
        """A disk that is full ends the tool in one line, where logging would print a stack trace for every line."""
        if isinstance(sys.exc_info()[1], OSError) and not isinstance(sys.exc_info()[1], BrokenPipeError):
            raise
        super().handleError(record)


class _LogFile(logging.FileHandler):
    """Says once, in one line, that it cannot be written, where logging would print a stack trace for every line."""

    _failed = False

    def close(self) -> None:
        """What cannot be written any more is lost, which was said."""
        with contextlib.suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:
        if not self._failed:
            self._failed = True
            print(f"warning: {self.baseFilename}: cannot be written ({sys.exc_info()[1]})", file=sys.stderr, flush=True)


def get_root_logger(log_file: str | None = None, log_level: int = logging.INFO, file_mode: str = "a") -> logging.Logger:
    """Return the run's logger; ``log_file`` (re)directs its file to that path. Other ranks show errors only."""
    logger = logging.getLogger(NAME)
    main = comm.is_main_process()
    logger.setLevel(log_level if main else logging.ERROR)
    if not any(isinstance(handler, _StdoutHandler) for handler in logger.handlers):
        logger.propagate = False
        handler = _StdoutHandler()
        handler.setFormatter(logging.Formatter("[%(asctime)s] %(levelname).1s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
    if log_file is not None and main:
        file_handler = _LogFile(log_file, mode=file_mode, encoding="utf-8")
        file_handler.setFormatter(logging.Formatter("[%(asctime)s] %(levelname)s %(message)s"))
        for held in _take_file_handlers():
            if isinstance(held, logging.handlers.MemoryHandler):
                held.setTarget(file_handler)
            held.close()
        logger.addHandler(file_handler)
    return logger


def hold_for_file() -> None:
    """Keep what is logged from now on for the log file that ``get_root_logger(log_file)`` will name later."""
    close_log_file()
    never = logging.CRITICAL + 1
    logging.getLogger(NAME).addHandler(logging.handlers.MemoryHandler(capacity=10_000, flushLevel=never))


def close_log_file() -> None:
    """Close the logger's file, if it has one."""
    for handler in _take_file_handlers():
        handler.close()


def _take_file_handlers() -> list[logging.Handler]:
    logger = logging.getLogger(NAME)
    kinds = (logging.FileHandler, logging.handlers.MemoryHandler)
    taken: list[logging.Handler] = [handler for handler in logger.handlers if isinstance(handler, kinds)]
    for handler in taken:
        logger.removeHandler(handler)
    return taken
