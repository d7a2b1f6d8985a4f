"""SIGTERM and SIGINT: finish the iteration, save, leave."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from pointcept_bsa.host.embedded import comm

SIGNALS = (signal.SIGTERM, signal.SIGINT)
AGREE_EVERY = 10  # iterations: with several processes, how often they ask each other


class Interrupted(Exception):
    """The run was asked to leave, and does; ``code`` is the exit code."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}{message}")
        self.code = 128 + number


class Interruption:
    """A context in which a signal is only noted. A second Ctrl-C (SIGINT) ends the process at once.

    Where signals cannot be caught (another thread than the main one) they do what they did.
    """

    def __init__(self) -> None:
        self.received = 0  # the signal's number
        self._handlers = contextlib.ExitStack()

    def __enter__(self) -> Interruption:
        self._handlers.enter_context(forwarding(self._note))
        return self

    def __exit__(self, *_: object) -> None:
        self._handlers.close()

    def _note(self, number: int) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number
        ignore_ended_children()  # the same signal may end the data workers

    def agreed(self, iteration: int, at_once: bool) -> int:
        """The signal that any process has got, the same answer in all of them, or 0.

        With several processes they ask each other only every ``AGREE_EVERY`` iterations, or ``at_once``.
        """
        if comm.get_world_size() == 1:
            return self.received
        if not at_once and iteration % AGREE_EVERY:
            return 0
        return max(comm.all_gather(self.received))


def ignore_ended_children() -> None:
    """From now on torch finds out that a data worker has ended only when it waits for its data, instead of by an error
    at any place, also while they are cleared away."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, _nothing)


def _nothing(number: int, frame: FrameType | None) -> None:
    """A handler; unlike SIG_IGN it lets the exit codes of children be known."""


@contextlib.contextmanager
def forwarding(send: Callable[[int], None]) -> Iterator[None]:
    """A context in which SIGTERM and SIGINT go to ``send`` (on to the processes of a run) instead of being acted on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, lambda number, _: send(number)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
