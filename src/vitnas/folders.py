"""New folders, which appear when they are complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitnas.errors import InputError
from vitnas.files import unfinished


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
    with unfinished(target, folder=True) as temporary:
        yield temporary
