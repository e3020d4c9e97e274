"""Optuna's journal file, opened so that a killed process can't spoil it.

Imports Optuna: import this module inside functions.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from vitnas import files
from vitnas.errors import InputError

# what Optuna's reader raises on lines that are not its own
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError)


class JournalLock(JournalFileOpenLock):
    """The kernel's lock on the journal itself, which ends with the process that holds it.

    Optuna's own lock files outlive a killed process and stall the next writer for 30 seconds.
    A process killed while it wrote leaves half a line, and the next record would be glued to it
    and make the whole journal unreadable. So whoever takes the lock first removes such a line.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for the lock, then repair the journal."""
        file = self._path.open("r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            _drop_torn_line(file)
        except BaseException:
            file.close()
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Free the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None


class JournalFile(JournalFileBackend):
    """Optuna's journal file, of which several records can be synced at once.

    Optuna syncs after each record, which takes longer than a small network's evaluation.
    """

    def __init__(self, path: Path) -> None:
        self._lock_object = JournalLock(path)
        super().__init__(str(path), lock_obj=self._lock_object)
        self._path = path
        self._open: IO[bytes] | None = None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write records as they come, and sync them at the end."""
        with contextlib.ExitStack() as stack:
            self._lock_object.acquire()
            stack.callback(self._lock_object.release)
            file = stack.enter_context(self._path.open("ab"))
            try:
                self._open = file
                yield
            finally:
                self._open = None
            os.fsync(file.fileno())

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records; they are synced at once, or at the end of `together`."""
        if self._open is None:
            super().append_logs(logs)
            return
        lines = (json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._open.write("".join(lines).encode())
        self._open.flush()  # the storage reads its own records back


class Journal(JournalStorage):
    """Optuna's storage on such a file."""

    def __init__(self, path: Path) -> None:
        self._file = JournalFile(path)
        super().__init__(self._file)

    def together(self) -> contextlib.AbstractContextManager[None]:
        """Sync what is recorded inside once, at the end; nobody else can write meanwhile."""
        return self._file.together()


def open_journal(path: Path, *, write: bool) -> Journal:
    """Open a journal; to write, create it if it is missing and repair a torn last line.

    Reading needs no permission to write and tolerates the torn line of a dead or living writer.

    Raises:
        InputError: the file is missing (to read), not accessible, or not an intact journal.
    """
    try:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            lock = JournalLock(path)
            lock.acquire()
            lock.release()
        elif not path.is_file():
            raise InputError(f"there is no search in {path.parent}: {path.name} is missing")
        for _ in files.read_lines(path):
            pass  # Optuna would read a line of any size
        return Journal(path)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"can't open {path}: {error.strerror or error}") from error
    except DAMAGE as error:
        raise InputError(
            f"{path} is damaged or no Optuna journal ({error!r}); move it away to start anew"
        ) from error


def open_study(storage: BaseStorage, name: str) -> optuna.Study:
    """Load the study of this name, or create it to maximise one score."""
    # Never sampled from; without it Optuna builds its slow default, TPE.
    sampler = optuna.samplers.RandomSampler(seed=0)
    with quiet():
        # Optuna's own load_if_exists would write a second creation into the journal
        if name in {study.study_name for study in storage.get_all_studies()}:
            return optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        with contextlib.suppress(optuna.exceptions.DuplicatedStudyError):
            return optuna.create_study(
                study_name=name, storage=storage, sampler=sampler, direction="maximize"
            )
        return optuna.load_study(study_name=name, storage=storage, sampler=sampler)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from telling the terminal about every new study."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def _drop_torn_line(file: IO[bytes]) -> None:
    size = file.seek(0, os.SEEK_END)
    end = size
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        file.truncate(end)
        file.flush()
        os.fsync(file.fileno())
