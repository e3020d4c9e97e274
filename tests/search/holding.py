"""Another process that searches into a folder, or rather holds the lock file as if it did."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def another(path: Path, held: list[int]) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds some proposals until it is killed."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom vitnas.search.claims import Locks\n"
        f"with Locks(Path({str(path)!r}), join=True) as locks:\n"
        f"    print(locks.take({held}), flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{held}\n"
            yield process
        finally:
            process.kill()
