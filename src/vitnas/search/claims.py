"""Which worker evaluates which proposal: claims that end with the worker, however that ends.

A searcher is deterministic, so every worker knows by itself what the proposals are, and a claim is
of a proposal's position. Whoever gets one looks into the ledger once more before it evaluates: the
worker that held it before may have recorded the result in between.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Protocol

from vitnas.errors import InputError

LOCK = "study.lock"
WORKERS = 128
_GATE, _SLOTS, _PROPOSALS = 0, 1, 1 + WORKERS  # bytes of the lock file


class Busy(InputError):  # noqa: N818  (a state, not a mistake)
    """Others search into the folder."""


class Claims(Protocol):
    """What a worker holds."""

    def look(self, indices: Iterable[int]) -> tuple[int, list[int]]:
        """Return how many workers there are, and which of these proposals nobody else holds."""

    def take(self, indices: Iterable[int]) -> list[int]:
        """Claim these proposals; return those that nobody else holds."""

    def release(self) -> None:
        """Give all back, recorded or not."""

    def lost(self) -> bool:
        """Tell whether others took this worker for dead, and evaluate what it holds."""


class Locks:
    """Claims as locks of the kernel on bytes of a file, for the workers of one machine.

    They end with the process that holds them, at once, and need neither a clock nor a heartbeat.
    Use it as a context. POSIX drops them when the process closes the file anywhere, so a process
    opens it once.

    Raises:
        Busy: other workers are there already and this one is not to `join` them.
    """

    def __init__(self, path: Path, join: bool) -> None:
        self._path, self._join = path, join
        self._slot, self._held = -1, set[int]()

    def __enter__(self) -> Locks:
        self._file: IO[bytes] = self._path.open("ab")
        try:
            with self.gate():
                free = [byte for byte in range(_SLOTS, _PROPOSALS) if self._lock(byte)]
                if not free or (len(free) < WORKERS and not self._join):
                    raise Busy(self._refusal(bool(free)))
                for byte in free[1:]:
                    self._unlock(byte)
                self._slot = free[0]
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    @contextlib.contextmanager
    def gate(self) -> Iterator[None]:
        """Let one worker in at a time."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _GATE)
        try:
            yield
        finally:
            self._unlock(_GATE)

    def look(self, indices: Iterable[int]) -> tuple[int, list[int]]:
        """See `Claims`."""
        others = (byte for byte in range(_SLOTS, _PROPOSALS) if byte != self._slot)
        workers = 1 + sum(map(self._is_locked, others))
        free = [i for i in indices if i in self._held or not self._is_locked(_PROPOSALS + i)]
        return workers, free

    def take(self, indices: Iterable[int]) -> list[int]:
        """See `Claims`."""
        taken = [index for index in indices if self._lock(_PROPOSALS + index)]
        self._held.update(taken)
        return taken

    def release(self) -> None:
        """See `Claims`."""
        for index in self._held:
            self._unlock(_PROPOSALS + index)
        self._held.clear()

    def lost(self) -> bool:
        """See `Claims`; the kernel knows who lives."""
        return False

    def _lock(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(self, byte: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def _is_locked(self, byte: int) -> bool:
        """Tell whether another process holds a byte that this one doesn't."""
        if not self._lock(byte):
            return True
        self._unlock(byte)
        return False

    def _refusal(self, room: bool) -> str:
        folder = self._path.parent
        if not room:
            return f"{WORKERS} processes search into {folder}, more than its lock file has room for"
        return (
            f"another process is searching into {folder}; stop it, wait for its end, "
            "or help it with --join on"
        )


def check_alone(folder: Path) -> None:
    """Check that nobody searches into a folder.

    Raises:
        Busy: somebody does.
    """
    if (folder / LOCK).exists():
        with Locks(folder / LOCK, join=False):
            pass
