"""Folders that are either whole or absent: filled beside their place, then renamed.

A process that is killed leaves what it had written beside the target. It held a lock on that
folder, which the system lets go of, so the next one to the same place can tell and deletes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitnas.errors import InputError
from vitnas.files import delete_abandoned, locked, sync


def check_free(target: Path) -> None:
    """Check that a folder can be made.

    Raises:
        InputError: there is something already.
    """
    try:
        taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
    except OSError as error:
        raise InputError(f"can't read {target}: {error.strerror or error}") from error
    if taken:
        raise InputError(f"{target} is there already; delete it, or name another folder")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a folder to fill that becomes `target` when the block ends, and nothing if it fails.

    Raises:
        InputError: `target` is there already, or it can't be written.
    """
    check_free(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        delete_abandoned(target.parent, target.name)
        temporary.mkdir()
        with locked(temporary):
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                sync(path)
            temporary.rename(target)
        sync(target.parent)
    except OSError as error:
        raise InputError(f"can't write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
