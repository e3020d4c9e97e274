"""One of several workers on a toy search: working.py FOLDER STRATEGY ADDRESS NAME KILLED_AT.

ADDRESS is `-` for the journal. The worker notes what it evaluates in `NAME.txt` beside the folder,
and kills itself in its KILLED_AT-th evaluation, if that is not 0.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from unittest import mock

from vitnas.arch import Arch
from vitnas.search import remote
from vitnas.search.racing import Hopeless, Result

from . import interrupted

SECONDS = 0.02  # of an evaluation
BEAT, GRACE = 0.1, 0.8


def start(folder: Path, strategy: str, address: str, name: str, killed_at: int = 0) -> Process:
    """Start a worker."""
    words = [str(folder), strategy, address, name, str(killed_at)]
    tests = str(Path(__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {tests!r}); from search import working; working.main()"
    return subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True)


Process = subprocess.Popen[str]


def main() -> None:
    """Search until the end, or to the death."""
    folder, strategy, address, name, killed_at = sys.argv[1:]
    notes = Path(folder).parent / f"{name}.txt"
    count = 0

    def evaluate(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        nonlocal count
        for arch in archs:
            count += 1
            with notes.open("a") as file:
                file.write(f"{arch.to_json()}\n")
            if count == int(killed_at):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(SECONDS)
        return interrupted.race(archs, hopeless)

    short = partial(remote.RemoteLedger, beat=BEAT, grace=GRACE)
    ledger = None if address == "-" else address
    with mock.patch.object(remote, "RemoteLedger", short):
        interrupted.run(Path(folder), strategy, evaluate, ledger=ledger, join=True)


def noted(folder: Path) -> list[list[str]]:
    """What each worker has evaluated."""
    return [path.read_text().splitlines() for path in sorted(folder.parent.glob("*.txt"))]
