"""Starts victims in no time, and kills them: a process that has loaded all they need and forks.

As a module: reads lines of JSON (victim, folder, seconds or null) and answers each with the exit
status, negative for a signal, and the seconds that it took.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from train.runs import environment


class Outcome(NamedTuple):
    """How a victim ended: 0, 1 (an exception, on standard error) or -9."""

    status: int
    seconds: float


class Server:
    """Runs victims one at a time; use it as a context."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.server"],
            env=environment(OPENBLAS_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.communicate()

    def run(self, victim: str, folder: Path, kill_after: float | None = None) -> Outcome:
        """Run a victim to its end, or kill it (kill -9) after some seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([victim, str(folder), kill_after]) + "\n")
        self._process.stdin.flush()
        return Outcome(*json.loads(self._process.stdout.readline()))


def serve() -> None:
    """Answer requests until there are no more."""
    import lightning_fabric  # noqa: F401
    import torch
    import torch.utils.tensorboard

    import vitnas.search.journal  # noqa: F401
    from faults.victims import VICTIMS, warm_up

    torch.set_num_threads(1)
    warm_up()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for line in sys.stdin:
        name, folder, kill_after = json.loads(line)
        began = time.perf_counter()
        child = os.fork()
        if not child:
            _be_victim(VICTIMS[name], Path(folder))
        if signal.sigtimedwait({signal.SIGCHLD}, kill_after or 60) is None:
            os.kill(child, signal.SIGKILL)
            signal.sigwait({signal.SIGCHLD})
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(json.dumps([status, time.perf_counter() - began]) + "\n")
        sys.stdout.flush()


def _be_victim(victim: object, folder: Path) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    os.dup2(2, 1)  # standard output is for answers
    status = 1
    try:
        assert callable(victim)
        victim(folder)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve()
