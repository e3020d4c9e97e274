from __future__ import annotations

import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from vitnas.errors import InputError
from vitnas.search.workers import DEATHS, run_workers


def note(place: int, folder: Path) -> None:
    """Leave a file."""
    (folder / f"{place} {os.getpid()}").touch()


def die_once(place: int, folder: Path) -> None:
    """Die by a signal, unless an earlier worker of the place did."""
    note(place, folder)
    if len(list(folder.glob(f"{place} *"))) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def die(place: int) -> None:
    """Die by a signal."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(place: int) -> None:
    """Let one refuse; the others wait."""
    if place == 1:
        raise InputError("no such thing")
    time.sleep(600)


def fail(place: int) -> None:
    """Fail."""
    raise ValueError("a fault")


def test_all_work_and_a_killed_one_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_workers(partial(die_once, folder=tmp_path), 1, lambda: False)
    assert len(list(tmp_path.iterdir())) == 2
    assert caplog.messages == ["worker 0 was killed by SIGKILL; another one takes its place"]


def test_a_refusal_of_one_ends_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no such thing$"):
        run_workers(refuse, 2, lambda: False)
    assert not multiprocessing.active_children()


def test_another_error_of_a_worker_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"^worker 0: ValueError\('a fault'\)$"):
        run_workers(fail, 1, lambda: False)


def test_those_who_die_without_progress_are_not_replaced_for_ever() -> None:
    said = rf"^{DEATHS + 1} workers were killed one after another, the last by SIGKILL, without"
    with pytest.raises(InputError, match=said):
        run_workers(die, 1, lambda: False)


def test_an_interruption_ends_all() -> None:
    def watch() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_workers(refuse, 1, watch)
    assert not multiprocessing.active_children()
