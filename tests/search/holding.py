"""Another process that works in a folder, or rather holds the lock file as if it did."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def another(path: Path, held: list[int]) -> Iterator[subprocess.Popen[str]]:
    """Another process that searches, and holds some proposals until it is killed."""
    code = (
        "from pathlib import Path\nfrom vitnas.search.claims import Locks\n"
        f"with Locks(Path({str(path)!r}), join=True) as locks:\n"
        f"    print(locks.take({held}), flush=True)\n"
    )
    with _waiting(code, f"{held}\n") as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def locked(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is the only one with the lock of a file."""
    code = (
        "from vitnas import files\n"
        f"with files.only_one({str(path)!r}, ''):\n"
        "    print(flush=True)\n"
    )
    with _waiting(code, "\n") as process:
        yield process


@contextmanager
def _waiting(code: str, said: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds what it has said it holds until its input ends, or it is killed."""
    code, pipe = f"import sys\n{code}    sys.stdin.read()\n", subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == said
        yield process
