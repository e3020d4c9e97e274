from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest

from vitnas.errors import InputError
from vitnas.search.journal import open_journal, open_study
from vitnas.search.ledger import Follower, Ledger, Record, Settings, read
from vitnas.search.limits import Limit
from vitnas.testing.searchers import SMALL, TINY

SETTINGS = Settings(
    space=TINY,
    limits=(Limit("params", 1e3, 2e3), Limit("macs", maximum=1e6)),
    strategy="evolution",
    options={"population": 50, "reading": "code"},
    seed=3,
    evaluated_on="digits/search 1a2b",
)
ARCH = TINY.sample(0)


def _record(ledger: Ledger, index: int = 0, **changes: Any) -> Record:
    facts: dict[str, Any] = {
        "costs": {"params": 1234.0, "macs": 5678.0},
        "origin": "crossover",
        "parents": (3, 1),
        "generation": 2,
        "result": {"score": 0.5},
        "seconds": 1.5,
        **changes,
    }
    return ledger.record(TINY.sample(index), index=index, **facts)


EXPECTED = Record(
    number=0,
    index=0,
    arch=ARCH,
    score=0.1 + 0.2,
    metrics={"params": 1234.0, "macs": 5678.0, "top5": 0.9},
    origin="crossover",
    parents=(3, 1),
    generation=2,
    seconds=1.5,
    state="complete",
)


def test_a_trial_comes_back_as_it_was_written(tmp_path: Path) -> None:
    with Ledger(tmp_path / "run", SETTINGS) as ledger:
        record = _record(ledger, result={"score": 0.1 + 0.2, "top5": 0.9})
    assert record == EXPECTED
    assert read(tmp_path / "run") == (Settings.from_dict(SETTINGS.to_dict()), [EXPECTED])


def test_a_stopped_trial_has_a_bound_and_no_score(tmp_path: Path) -> None:
    with Ledger(tmp_path, SETTINGS) as ledger:
        record = _record(ledger, result={"at_most": 0.25, "images": 512.0})
    (again,) = read(tmp_path)[1]
    assert again == record
    assert (again.state, again.at_most) == ("stopped", 0.25)
    assert math.isnan(again.score)
    assert again.metrics == {"params": 1234.0, "macs": 5678.0, "images": 512.0}
    (trial,) = _foreign(tmp_path).trials
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert trial.values is None
    assert trial.user_attrs["at_most"] == 0.25


def _foreign(folder: Path) -> optuna.Study:
    """The study as a program that knows only Optuna opens it."""
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name=None, storage=storage)


def test_any_optuna_program_can_read_it(tmp_path: Path) -> None:
    with Ledger(tmp_path, SETTINGS) as ledger:
        _record(ledger)
        _record(ledger, 1, result={"at_most": 0.6})
    study = _foreign(tmp_path)
    trial, stopped = study.trials
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.best_value == 0.5, "a bound counted as a score"
    assert trial.params["depth"] == ARCH.depth
    assert trial.params["total_num_heads"] == sum(ARCH.num_heads)
    assert trial.user_attrs["params"] == 1234.0
    assert trial.duration == timedelta(seconds=1.5)
    assert stopped.number == 1


def test_what_is_recorded_together_is_synced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def counting(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        real(fd)

    with Ledger(tmp_path, SETTINGS) as ledger:
        monkeypatch.setattr(os, "fsync", counting)
        with ledger.together():
            records = [_record(ledger, index) for index in range(5)]
            assert synced == []
            assert ledger.records() == records, "not readable before the sync"
        assert synced == [(tmp_path / "study.journal").stat().st_size]
        records.append(_record(ledger, 5))
        assert len(synced) == 2
    assert read(tmp_path)[1] == records


def test_an_interrupted_group_keeps_what_it_wrote(tmp_path: Path) -> None:
    with Ledger(tmp_path, SETTINGS) as ledger:
        with contextlib.suppress(KeyboardInterrupt), ledger.together():
            first = _record(ledger)
            raise KeyboardInterrupt
        second = _record(ledger, 1)
    assert read(tmp_path)[1] == [first, second]


def test_a_failed_trial_says_why(tmp_path: Path) -> None:
    with Ledger(tmp_path, SETTINGS) as ledger:
        record = _record(ledger, result={}, failure="ValueError('x')")
    assert (record.state, record.at_most) == ("failed", None)
    assert math.isnan(record.score)
    assert read(tmp_path)[1] == [record]
    assert _foreign(tmp_path).trials[0].user_attrs["failure"] == "ValueError('x')"


def test_opening_fails_what_an_older_version_left_running(tmp_path: Path) -> None:
    """It wrote a trial when it began, its metrics one by one and its score in the end."""
    with Ledger(tmp_path, SETTINGS):
        pass
    study = _foreign(tmp_path)
    for _ in range(2):
        trial = study.ask()
        facts = {"index": 0, "origin": "crossover", "parents": [3, 1], "generation": 2}
        for name, value in {**facts, "arch": ARCH.to_dict(), "params": 1234, "macs": 5678}.items():
            trial.set_user_attr(name, value)
        if trial.number == 0:
            for name, value in {"top5": 0.9, "seconds": 1.5}.items():
                trial.set_user_attr(name, value)
            study.tell(trial, 0.1 + 0.2)
    assert [record.state for record in read(tmp_path)[1]] == ["complete", "running"]
    with Ledger(tmp_path, SETTINGS) as ledger:
        _record(ledger, 1)
    records = read(tmp_path)[1]
    assert [record.state for record in records] == ["complete", "failed", "complete"]
    assert records[0] == EXPECTED
    assert _foreign(tmp_path).trials[1].user_attrs["failure"] == "interrupted"


def test_a_follower_sees_what_is_new_once_it_has_ended(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    assert (follower.settings(), follower.news()) == (None, [])
    with Ledger(tmp_path, SETTINGS) as ledger:
        assert follower.settings() == Settings.from_dict(SETTINGS.to_dict())
        first = _record(ledger)
        assert follower.news() == [first]
        assert follower.news() == []
        second, third = _record(ledger, 1), _record(ledger, 2)
        assert follower.news() == [second, third]
    study = _foreign(tmp_path)
    trial = study.ask()  # as an older version began one
    for name, value in {"index": 3, "origin": "x", "parents": [], "generation": 0}.items():
        trial.set_user_attr(name, value)
    trial.set_user_attr("arch", ARCH.to_dict())
    assert follower.news() == []
    study.tell(trial, 0.5)
    assert [record.number for record in follower.news()] == [3]
    with (tmp_path / "study.journal").open("a") as file:
        file.write('{"op_code": 99}\n')
    with pytest.raises(InputError, match=r"study\.journal is damaged"):
        follower.news()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": "random"}, "strategy 'evolution', not 'random'; repeat it with the same str"),
        ({"seed": 4}, "seed 3, not 4; repeat"),
        ({"evaluated_on": "cifar"}, "evaluated_on 'digits/search 1a2b', not 'cifar'; repeat"),
        ({"options": {"population": 9, "reading": "code"}}, "options {'population': 50}, not {'po"),
        ({"limits": ()}, "limits macs <= 1M and params >= 1k and params <= 2k, not none; repeat"),
        ({"space": SMALL}, "space toy (depth (1, 2, 3)), not toy (depth (3, 4, 5, 6)); repeat"),
    ],
)
def test_another_search_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with Ledger(tmp_path, SETTINGS):
        pass
    before = (tmp_path / "study.journal").read_bytes()
    with pytest.raises(InputError) as error, Ledger(tmp_path, replace(SETTINGS, **change)):
        pass
    assert str(error.value).startswith(f"{tmp_path} holds a search with {message}")
    assert str(error.value).endswith("or use another folder (--name)")
    assert (tmp_path / "study.journal").read_bytes() == before


def test_the_order_of_limits_and_the_name_of_the_space_do_not_matter(tmp_path: Path) -> None:
    with Ledger(tmp_path, SETTINGS):
        pass
    same = replace(SETTINGS, limits=SETTINGS.limits[::-1], space=replace(TINY, name="tiny"))
    with Ledger(tmp_path, same):
        pass


def test_a_kill_between_creating_the_study_and_its_settings_is_survived(tmp_path: Path) -> None:
    open_study(open_journal(tmp_path / "study.journal", write=True), "search")
    with pytest.raises(InputError, match="holds no search of vitnas"):
        read(tmp_path)
    with Ledger(tmp_path, SETTINGS):
        pass
    assert read(tmp_path)[0].seed == 3


def test_a_foreign_study_is_refused(tmp_path: Path) -> None:
    study = open_study(open_journal(tmp_path / "study.journal", write=True), "search")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with (
        pytest.raises(InputError, match="holds no search of vitnas; use another folder"),
        Ledger(tmp_path, SETTINGS),
    ):
        pass


@pytest.mark.parametrize("settings", [5, {}, {**SETTINGS.to_dict(), "space": {"family": "x"}}])
def test_unreadable_settings_are_told(tmp_path: Path, settings: object) -> None:
    study = open_study(open_journal(tmp_path / "study.journal", write=True), "search")
    study.set_user_attr("settings", settings)
    with pytest.raises(InputError, match="has unreadable settings"):
        read(tmp_path)


def test_a_trial_of_somebody_else_is_told(tmp_path: Path) -> None:
    with Ledger(tmp_path, SETTINGS) as ledger:
        _record(ledger)
    study = open_study(open_journal(tmp_path / "study.journal", write=True), "search")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(InputError, match=r"trial 1 in .* was not written by vitnas"):
        read(tmp_path)


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from vitnas.errors import InputError
from vitnas.search.ledger import Ledger
from search.test_ledger import SETTINGS
try:
    with Ledger(Path({str(tmp_path)!r}), SETTINGS):
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
except InputError as error:
    print(error)
"""
    with Ledger(tmp_path, SETTINGS):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == (
        f"another process is searching into {tmp_path}; stop it, wait for its end, or help it with "
        "--join on\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -9
    with Ledger(tmp_path, SETTINGS):
        pass
