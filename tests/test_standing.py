from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from report import demo
from vitnas import files
from vitnas.commands import FOLDER, commands, recorded
from vitnas.search.ledger import JOURNAL, Ledger, Settings
from vitnas.search.records import to_trial
from vitnas.standing import duration, last_step, standing
from vitnas.testing.searchers import TINY

TRIAL: dict[str, Any] = {
    "origin": "random",
    "parents": (),
    "generation": 0,
    "costs": {},
    "result": {"score": 0.5},
    "seconds": 10.0,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.make_run(tmp_path_factory.mktemp("work") / "runs" / "digits", trials=6)


def test_where_a_run_stands(made: Path) -> None:
    where = standing(made, epochs=12)
    assert where.training is not None
    assert (where.training.epoch, where.training.step, where.training.finished) == (12, 240, True)
    assert set(where.training.metrics) == {"top1_smallest", "top1_largest", "top1_random"}
    assert [(s.name, len(s.records), s.trials) for s in where.searches] == [
        ("evolution", 6, None),
        ("random", 6, None),
    ]
    assert list(where.models)[:2] == ["evolution", "evolution-finetuned"]
    assert (where.state, where.last, where.faults) == ("", None, [])


def test_what_is_left_follows_from_the_steps_since_the_command_began(tmp_path: Path) -> None:
    run = demo.make_small_run(tmp_path / "run")
    with recorded(run, ("train",), {}, last_step(run)):
        lines = [
            {"kind": "step", "step": 8, "epoch": 1, "loss": 0.5},
            {"kind": "speed", "step": 6, "epoch": 0},
        ]
        text = "".join(json.dumps(line) + "\n" for line in (lines[1], lines[0]))
        with (run / "metrics.jsonl").open("a") as file:
            file.write(text)
        where = standing(run)
        assert where.last is not None
        moment = where.last.began + 12
        os.utime(run / "metrics.jsonl", (moment, moment))
        where = standing(run, epochs=5)
    assert where.state == "running"
    assert where.training is not None
    assert where.training.epoch == 1
    # six steps in twelve seconds, and 5 * 6 - 8 to go
    assert where.training.seconds_left == pytest.approx(44)


def test_the_first_step_of_an_epoch_tells_how_many_there_are(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with recorded(run, ("train",), {}):
        (command,) = commands(run)
        first = {"kind": "step", "step": 1, "epoch": 0, "loss": 2.0, "steps_per_epoch": 100}
        lines = [first, {"kind": "step", "step": 2, "epoch": 0, "loss": 1.9}]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        os.utime(run / "metrics.jsonl", (command.began + 6, command.began + 6))
        where = standing(run, epochs=3)
    assert where.training is not None
    assert where.training.seconds_left == pytest.approx(3 * 298)


def test_a_search_says_how_long_it_still_takes(made: Path) -> None:
    try:
        with recorded(made, ("search",), {"name": None, "strategy": "random", "trials": 10}):
            (made / "config.yaml").touch()
            found = {search.name: search for search in standing(made).searches}
        mean = sum(record.seconds for record in found["random"].records) / 6
        assert found["random"].trials == 10
        assert found["random"].seconds_left == pytest.approx(4 * mean)
        assert found["evolution"].seconds_left is None
    finally:
        for path in (made / FOLDER).iterdir():
            path.unlink()


def test_no_more_trials_are_expected_than_there_are_architectures(tmp_path: Path) -> None:
    settings = Settings(TINY, (), "random", {}, 0)
    with recorded(tmp_path, ("search",), {"name": "few", "trials": 10_000}):
        with Ledger(tmp_path / "searches" / "few", settings):
            pass
        (search,) = standing(tmp_path).searches
    assert (search.trials, search.planned) == (TINY.size(), False)


def test_a_command_that_ended_does_not_hide_one_that_runs(tmp_path: Path) -> None:
    run = demo.make_small_run(tmp_path / "run")
    with recorded(run, ("train",), {}):
        with recorded(run, ("search",), {"strategy": "random"}):
            (run / "config.yaml").touch()
        where = standing(run)
    assert where.last is not None
    assert (where.state, where.last.words) == ("running", ("train",))


def test_a_search_under_way_changes_the_run(tmp_path: Path) -> None:
    run = demo.make_small_run(tmp_path / "run")
    with Ledger(run / "searches" / "random", Settings(demo.SPACE, (), "random", {}, 0)):
        pass
    moment = (run / "searches" / "random" / "study.journal").stat().st_mtime + 100
    os.utime(run / "searches" / "random" / "study.journal", (moment, moment))
    assert standing(run, searches=False).changed == pytest.approx(moment, rel=0, abs=1)


def test_both_searches_of_a_quickstart_are_counted(made: Path) -> None:
    try:
        with recorded(made, ("quickstart", str(made)), {"trials": 10}):
            (made / "config.yaml").touch()
            found = standing(made).searches
        assert [search.trials for search in found] == [10, 10]
        assert all(search.seconds_left for search in found)
    finally:
        for path in (made / FOLDER).iterdir():
            path.unlink()


def test_a_search_without_a_number_of_trials_says_how_long_it_takes_at_most(made: Path) -> None:
    """As many as its strategy plans: here eight in the first generation and in each of 20 more."""
    try:
        with recorded(made, ("search",), {"name": None, "strategy": "evolution", "trials": None}):
            (made / "config.yaml").touch()
            found = {search.name: search for search in standing(made).searches}
        mean = sum(record.seconds for record in found["evolution"].records) / 6
        assert (found["evolution"].trials, found["evolution"].planned) == (8 * 21, True)
        assert found["evolution"].seconds_left == pytest.approx(162 * mean)
    finally:
        for path in (made / FOLDER).iterdir():
            path.unlink()


def test_what_is_left_counts_all_workers(tmp_path: Path) -> None:
    """Eight workers that take 10 s a trial are done eight times as early as one."""
    run = tmp_path / "run"
    settings = Settings(demo.SPACE, (), "random", {}, 0)
    with recorded(run, ("search",), {"strategy": "random", "scorer": "dss", "trials": 40}):
        with Ledger(run / "searches" / "random-dss", settings) as ledger:
            for index in range(24):
                trial = to_trial(demo.SPACE, demo.SPACE.sample(index), **TRIAL, index=index)
                assert trial.datetime_complete is not None
                trial.datetime_complete += timedelta(seconds=10 * (index // 8) + index % 8)
                ledger.add(trial)
        (search,) = standing(run).searches
    # from the first to the last 23 trials in 27 seconds
    assert search.seconds_left == pytest.approx(16 * 27 / 23, rel=0.01)


def test_damage_is_told(made: Path, tmp_path: Path) -> None:
    run = demo.make_small_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('[1]\n{"kind": "step", "step": "x"}\n{"ki')
    files.write(run / "searches" / "broken" / JOURNAL, "{")
    files.write(run / "models" / "m" / "config.json", "{")
    where = standing(run)
    assert where.training is None
    assert len(where.faults) == 2
    assert "study.journal" in where.faults[0]
    assert "not valid JSON" in where.faults[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.4, "3s"), (59.4, "59s"), (60, "1m"), (3600 + 300, "1h05m"), (4 * 86400 + 7300, "4d02h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
