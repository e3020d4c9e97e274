"""Files and folders that are whole or absent: written beside the target, flushed, then renamed.

A process that is killed leaves what it had written beside the target. It held a lock on that, which
the system lets go of, so the next writer of the same target can tell and deletes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vitnas.errors import InputError

LARGEST_JSON, LARGEST_TEXT = 1 << 24, 1 << 20  # bytes
DIGITS = 30  # of a whole number


def write(path: str | Path, content: bytes | str | Callable[[Path], object]) -> Path:
    """Write `content` to `path` atomically and return the path.

    `content` is the bytes, the text, or a function that writes the file it is given.

    Raises:
        InputError: the folder can't be written or the disk is full; the target is left as it was.
    """
    path = Path(path)
    with unfinished(path) as temporary:
        if callable(content):
            usual = temporary.stat().st_mode
            content(temporary)
            temporary.chmod(usual)  # safetensors lets nobody else read
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@contextlib.contextmanager
def unfinished(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """Give an empty file, or folder, to fill, which takes the target's place when the block ends.

    Raises:
        InputError: it can't be written; the target is left as it was.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        delete_abandoned(target.parent, target.name)
        if folder:
            temporary.mkdir()
        with _locked(temporary):
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                sync(path)
            temporary.replace(target)
        sync(target.parent)
    except OSError as error:
        raise InputError(f"can't write {target}: {error.strerror or error}") from error
    finally:
        _delete(temporary)


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as readable JSON, atomically."""
    return write(path, json.dumps(value, indent=2) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, unreadable, not JSON, or larger than 16 MiB.
    """
    content = _content(Path(path), str(path), LARGEST_JSON)
    try:
        return parse_json(content)
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error


def parse_json(text: str | bytes) -> Any:
    """Read JSON whose whole numbers have at most 30 digits: no float holds one of 310.

    Raises:
        ValueError: it is none, or nests too deep.
    """
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError as error:
        raise ValueError(f"{error}") from error


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a whole number has more than {DIGITS} digits")
    return int(digits)


def fingerprint(path: str | Path) -> str:
    """Return a short hash of a file.

    Raises:
        InputError: the file is missing or unreadable.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}") from error


def read_text(path: str | Path, what: str = "") -> str:
    """Read a text that people write; messages say `what` it is, such as a recipe.

    Raises:
        InputError: the file is missing, unreadable, no UTF-8, or larger than 1 MiB.
    """
    return _text(Path(path), f"{what} {path}".lstrip())


def read_lines(path: str | Path) -> Iterator[bytes]:
    """Yield the lines of a file of JSON lines, which may be long as a whole.

    Raises:
        InputError: the file is missing or unreadable, or a line is larger than 16 MiB.
    """
    number = 0
    try:
        with Path(path).open("rb") as file:
            while line := file.readline(LARGEST_JSON + 1):
                number += 1
                if len(line) > LARGEST_JSON:
                    raise InputError(f"can't read {path}: line {number} has more than 16 MiB")
                yield line
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}") from error


def read_yaml(path: str | Path, what: str = "") -> Any:
    """Read a YAML file of plain values; messages say `what` it is, such as a recipe.

    Raises:
        InputError: the file is missing, unreadable, not YAML, or larger than 1 MiB.
    """
    from vitnas import yaml_text

    source = f"{what} {path}".lstrip()
    return yaml_text.parse(_text(Path(path), source), source)


def _text(path: Path, source: str) -> str:
    try:
        return _content(path, source, LARGEST_TEXT).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"can't read {source}: {error}") from error


def _content(path: Path, source: str, largest: int) -> bytes:
    """Read a file, unless it is larger than any of its kind and could fill the memory."""
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise InputError(f"can't read {source}: {error.strerror or error}") from error
    if len(content) > largest:
        raise InputError(f"can't read {source}: it has more than {largest >> 20} MiB")
    return content


@contextlib.contextmanager
def only_one(path: str | Path, doing: str) -> Iterator[None]:
    """Hold the lock of a file as the only process; the file is there while it is held.

    The lock ends with this process, even if children of it (data loaders) live on.

    Raises:
        InputError: another process holds it and is `doing` that, or the file can't be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                raise FileNotFoundError  # its last holder has just deleted it
        except (BlockingIOError, PermissionError, FileNotFoundError) as error:
            refusal = f"another process is {doing}; stop it or wait for its end"
            raise InputError(refusal) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def delete_abandoned(folder: Path, name: str | None = None) -> None:
    """Delete what killed writers left of all in a folder, or of the file or folder of one name.

    Those are unfinished files and folders that nobody holds a lock on.
    """
    target = "*" if name is None else glob.escape(name)
    for temporary in folder.glob(f".{target}.*.tmp"):
        with contextlib.suppress(OSError), _opened(temporary) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _delete(temporary)


def _delete(path: Path) -> None:
    """Delete a file or folder as far as that can be done."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def _locked(temporary: Path) -> Iterator[None]:
    """Lock a file, which is made, or a folder while it is written, where the system has locks."""
    with _opened(temporary, os.O_CREAT) as descriptor:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextlib.contextmanager
def _opened(path: Path, make: int = 0) -> Iterator[int]:
    # some network file systems lock only what is open for writing, as a folder never is
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | make, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Wait until the system has written a file, or what a folder lists, to the disk.

    Raises:
        OSError: it can't.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
