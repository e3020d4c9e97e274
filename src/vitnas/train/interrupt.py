"""Ends a run between two steps when the user or the scheduler of a cluster asks for it."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

_log = logging.getLogger(__name__)


class Interrupt:
    """While entered, the first Ctrl-C (or SIGTERM) only sets `requested`; a second one kills.

    In a thread other than the main one signals can't be caught, and nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}
        self._owner = os.getpid()

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *raised: object) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return  # a data worker, which inherits the handler: the owner will end it
        self.requested = True
        self._restore()
        _log.warning("stopping after this step; once more to stop at once, without a checkpoint")

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
