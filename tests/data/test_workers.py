"""Who ends the workers of a loader, and what is said of one that was killed."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitnas.data.workers import Loader, dead_workers_told, leave_stopping_to_main, tell_of_workers
from vitnas.errors import InputError


class Hanging(Dataset[int]):
    """Says that it is asked, then hangs, as a disk that is gone."""

    def __init__(self, asked: Path) -> None:
        self.asked = asked

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        self.asked.touch()
        time.sleep(600)
        return 0


# Python 3.12 warns of fork while torch's threads live, which is how its loader works on Linux.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_worker_ends_for_its_main_process_alone(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    loader = DataLoader(Hanging(asked), num_workers=1, worker_init_fn=leave_stopping_to_main)
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    (worker,) = set(multiprocessing.active_children()) - before
    while not asked.exists():
        time.sleep(0.01)
    for name in ("INT", "TERM"):
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    worker.join(0.5)
    assert worker.is_alive()
    os.kill(worker.pid or 0, signal.SIGTERM)
    worker.join(30)
    assert worker.exitcode == 0
    del batches


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_worker_is_silent_when_its_main_process_stops_halfway_through_a_batch(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stopped(connection: object, key: bytes) -> None:
        raise KeyboardInterrupt

    before = set(multiprocessing.active_children())
    batches = iter(DataLoader(Images(), num_workers=1, worker_init_fn=leave_stopping_to_main))
    (worker,) = set(multiprocessing.active_children()) - before
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr("multiprocessing.connection.answer_challenge", stopped)
        next(batches)
        raise AssertionError("the batch came without a handshake")
    gc.collect()
    time.sleep(0.2)
    os.kill(worker.pid or 0, signal.SIGTERM)
    worker.join(30)
    del batches
    assert capfd.readouterr().err == ""


class Images(Dataset[Tensor]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return torch.zeros(3)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_too_many_workers_are_told_once(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    tell_of_workers(1)
    assert not caplog.records
    with caplog.at_level("INFO"):
        tell_of_workers(2)
    assert caplog.messages == [
        "2 processes load images on 1 cores; fewer may be faster (--set workers=1)"
    ]
    assert len(list(Loader(Images(), num_workers=2))) == 4
    assert not [warning for warning in recwarn if "DataLoader" in str(warning.message)]


def test_a_connection_breaks_before_torch_tells_of_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    def told_meanwhile(seconds: float) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(time, "sleep", told_meanwhile)
    killed = r"^a process that loads images was killed, often for"
    with pytest.raises(InputError, match=killed), dead_workers_told():
        raise ConnectionResetError


def test_other_broken_connections_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(ConnectionResetError), dead_workers_told():
        raise ConnectionResetError
