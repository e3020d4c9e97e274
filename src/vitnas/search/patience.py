"""Calling a storage that may be gone for a while: a database that restarts, a broken network."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from vitnas.errors import InputError

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 600.0  # seconds
FIRST, LONGEST = 0.5, 10.0  # seconds between two attempts


class Patience:
    """Repeats a call until the storage at `place` answers, for at most so many seconds.

    A write may have arrived although its answer was lost; it is then done twice, which
    `records.once` and claims, of which the first counts, allow.
    """

    def __init__(self, place: str, seconds: float = PATIENCE) -> None:
        self._place, self._seconds = place, seconds

    def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the call returns.

        Raises:
            InputError: the storage has been gone for too long.
        """
        began, pause = time.monotonic(), FIRST
        while True:
            try:
                found = call(*args, **kwargs)
            except Exception as error:
                if not is_gone(error):
                    raise
                if time.monotonic() - began > self._seconds:
                    raise InputError(f"{self._place} is gone: {reason(error)}") from error
                if pause == FIRST:
                    logger.warning("%s does not answer (%s); waiting", self._place, reason(error))
            else:
                if pause > FIRST:
                    logger.warning("%s answers again", self._place)
                return found
            time.sleep(pause)
            pause = min(2 * pause, LONGEST)


def is_gone(error: BaseException) -> bool:
    """Tell whether an error says that a storage could not be reached."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import InterfaceError, OperationalError

    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OperationalError | InterfaceError | ConnectionError):
        return True
    code = getattr(error, "code", None)  # of gRPC, which may not be installed
    return callable(code) and getattr(code(), "name", "") in ("UNAVAILABLE", "UNKNOWN")


def reason(error: BaseException) -> str:
    """Return the first line of what a database or gRPC says, without SQLAlchemy's additions."""
    if error.__cause__ is not None and type(error).__name__ == "StorageInternalError":
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    details = getattr(original, "details", None)  # of gRPC
    text = str(details() if callable(details) else original)
    return next(iter(text.strip().splitlines()), type(original).__name__)
