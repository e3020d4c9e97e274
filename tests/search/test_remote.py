from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import OperationalError

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search import patience, remote
from vitnas.search.claims import Busy
from vitnas.search.ledger import Ledger, read
from vitnas.search.patience import Patience
from vitnas.search.remote import RemoteLedger, check_address, study_name, without_password
from vitnas.testing.servers import postgres

from .interrupted import evaluate, run
from .test_ledger import SETTINGS, _record


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> BaseStorage:
    """Stands for the storage at every address."""
    storage = InMemoryStorage()
    monkeypatch.setattr(remote, "open_storage", lambda address: storage)
    return storage


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:se:cr@t@host:5432/db?password=x", "postgresql://me@host:5432/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("grpc://host:13000", "grpc://host:13000"),
    ],
)
def test_passwords_are_not_shown(address: str, shown: str) -> None:
    check_address(address)
    assert without_password(address) == shown


@pytest.mark.parametrize("address", ["host", "grpc://host", "grpc://host:x", "postgresql://host"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"must look like postgresql://USER@HOST/DATABASE or grpc"):
        check_address(address)


def test_the_name_of_a_study_follows_from_what_is_scored() -> None:
    names = [
        study_name("evolution", settings)
        for settings in (SETTINGS, replace(SETTINGS, seed=9), replace(SETTINGS, evaluated_on="x"))
    ]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("evolution ")


def test_the_journal_of_the_run_follows(tmp_path: Path, storage: BaseStorage) -> None:
    with RemoteLedger(tmp_path, SETTINGS, "grpc://host:1") as ledger:
        for index in range(3):
            _record(ledger, index)
        assert len(ledger.news()) == 3
        settings, records = read(tmp_path)
        assert (settings.seed, [record.number for record in records]) == (3, [0, 1, 2])
        _record(ledger, 3)
    assert len(read(tmp_path)[1]) == 4, "the last is there when the ledger is closed"
    with RemoteLedger(tmp_path, SETTINGS, "grpc://host:1") as ledger:
        assert ledger.news() == read(tmp_path)[1]


def test_a_journal_with_other_trials_is_refused(tmp_path: Path, storage: BaseStorage) -> None:
    with Ledger(tmp_path, SETTINGS) as ledger:
        _record(ledger)
    with (
        pytest.raises(InputError, match=r"study\.journal has trials that grpc://host:1, study .*"),
        RemoteLedger(tmp_path, SETTINGS, "grpc://host:1"),
    ):
        pass


def test_who_takes_the_journal_over_reads_again(
    tmp_path: Path, storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kept(Ledger):
        def __enter__(self) -> Ledger:
            raise Busy("by another worker")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(remote, "Ledger", Kept)
        late = RemoteLedger(tmp_path, SETTINGS, "grpc://host:1")
        late.__enter__()
    look, others = late._trials, iter([RemoteLedger(tmp_path, SETTINGS, "grpc://host:1")])

    def slow() -> list[FrozenTrial]:  # who keeps the journal records, copies and ends meanwhile
        found = list(look())
        for other in others:
            with other:
                _record(other)
        return found

    monkeypatch.setattr(late, "_trials", slow)
    assert late.news() == []
    assert late.news() == read(tmp_path)[1] != []
    late.__exit__(None, None, None)


def test_another_search_of_the_name_is_refused(tmp_path: Path, storage: BaseStorage) -> None:
    with RemoteLedger(tmp_path / "a" / "x", SETTINGS, "grpc://me:secret@host:1"):
        pass
    with (
        pytest.raises(InputError, match=r"^grpc://me@host:1, study 'x \w+' holds a search with s"),
        RemoteLedger(tmp_path / "b" / "x", replace(SETTINGS, seed=4), "grpc://me:secret@host:1"),
    ):
        pass


def test_a_result_that_was_recorded_twice_counts_once(tmp_path: Path, storage: BaseStorage) -> None:
    with RemoteLedger(tmp_path, SETTINGS, "grpc://host:1") as ledger:
        for score in (0.5, 0.75):
            _record(ledger, result={"score": score})
    records = read(tmp_path)[1]
    assert [(record.state, record.index) for record in records] == [("complete", 0), ("failed", 0)]
    assert records[0].score == 0.5


def test_patience(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(patience, "FIRST", 0.01)
    calls = 0

    def flaky(wanted: int) -> int:
        nonlocal calls
        calls += 1
        if calls < wanted:
            cause = OperationalError("SELECT", {}, Exception("server closed\nthe connection"))
            raise StorageInternalError("x") from cause
        return calls

    with caplog.at_level(logging.WARNING):
        assert Patience("the place")(flaky, 3) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "the place does not answer (server closed); waiting",
        "the place answers again",
    ]
    with pytest.raises(InputError, match=r"the place is gone: server closed$"):
        Patience("the place", seconds=0)(flaky, 1000)
    with pytest.raises(ZeroDivisionError):
        Patience("the place")(lambda: 1 // 0)


def test_a_database_that_is_gone_for_a_while(tmp_path: Path) -> None:
    alone = run(tmp_path / "alone")
    back: list[threading.Timer] = []
    with postgres() as server:

        def interrupted(archs: Sequence[Arch], hopeless: object) -> list[dict[str, float]]:
            if not back:
                server.stop()
                back.append(threading.Timer(0.7, server.start))
                back[0].start()
            return [evaluate(arch) for arch in archs]

        records = run(
            tmp_path / "run", "evolution", interrupted, ledger=server.address, racing=False
        )
        back[0].join()
    assert [(r.index, r.arch) for r in records] == [(r.index, r.arch) for r in alone]
    assert len(read(tmp_path / "run")[1]) == len(alone)
