from __future__ import annotations

import os
import signal
import threading

import pytest

from vitnas.train.interrupt import Interrupt


def test_the_first_asks_the_second_kills() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        asked = [interrupt.requested]
        os.kill(os.getpid(), signal.SIGINT)
        asked.append(interrupt.requested)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert asked == [False, True]
    assert signal.getsignal(signal.SIGINT) is before


def test_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupt.requested
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_data_worker_ignores_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with Interrupt() as interrupt:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        signal.raise_signal(signal.SIGINT)
    assert not interrupt.requested


def test_in_another_thread_it_changes_nothing() -> None:
    found = []

    def work() -> None:
        with Interrupt() as interrupt:
            found.append(interrupt.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
