"""A search that ended too early, by whatever, goes on as if nothing had been."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.ledger import JOURNAL, Ledger, Record, Settings, read
from vitnas.search.limits import Limit
from vitnas.search.racing import Hopeless, Result
from vitnas.search.searcher import read_options
from vitnas.testing.searchers import SMALL

from . import interrupted
from .interrupted import TOGETHER, TRIALS, costs, evaluate, noting, race, run, untouched
from .outcomes import outcome, story


def ended_by(
    fault: str, count: int, folder: Path, strategy: str = "evolution"
) -> subprocess.CompletedProcess[str]:
    """Run the toy search in a process of its own until the fault ends it."""
    words = [sys.executable, interrupted.__file__, str(folder), strategy, fault, str(count)]
    return subprocess.run(words, capture_output=True, text=True)


def test_a_search_may_go_on_without_racing(
    tmp_path: Path, whole_searches: dict[str, list[Record]]
) -> None:
    first = run(tmp_path, trials=16)
    records = run(tmp_path, racing=False)
    assert records[:16] == first
    assert "stopped" in {record.state for record in first}
    assert {record.state for record in records[16:]} == {"complete"}
    assert outcome(records) == outcome(whole_searches["evolution"])


@pytest.mark.parametrize(
    ("strategy", "fault", "count"),
    [
        ("evolution", "evaluation", 1),
        ("evolution", "evaluation", 9),  # the first of a bred generation
        ("evolution", "evaluation", TRIALS),
        ("evolution", "sync", 1),
        ("evolution", "sync", 7),
        ("evolution", "torn", 2),
        ("evolution", "torn", 3),  # the first group, with its last trial half written
        ("evolution", "torn", 9),
        ("random", "torn", 8),
        ("regularized", "evaluation", 20),
        ("local", "sync", 7),
        ("nsga2", "evaluation", 12),
        ("nsga2", "torn", 9),
        ("tpe", "torn", 9),
    ],
)
def test_a_killed_search_resumes_exactly(
    tmp_path: Path, whole_searches: dict[str, list[Record]], strategy: str, fault: str, count: int
) -> None:
    assert ended_by(fault, count, tmp_path / "run", strategy).returncode == -9
    _resumes_exactly(tmp_path / "run", strategy, whole_searches[strategy])


@pytest.mark.parametrize("size", [300, 5000, 9990])
def test_a_full_disk_ends_in_one_line_and_the_search_resumes(
    tmp_path: Path, whole_searches: dict[str, list[Record]], size: int
) -> None:
    done = ended_by("full", size, tmp_path / "run")
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"vitnas.errors.InputError: can't write {tmp_path}/run/{JOURNAL}: File too large"
    _resumes_exactly(tmp_path / "run", "evolution", whole_searches["evolution"])


def test_a_journal_cut_anywhere_resumes_exactly(
    tmp_path: Path, whole_searches: dict[str, list[Record]]
) -> None:
    run(tmp_path / "run")
    journal = (tmp_path / "run" / JOURNAL).read_bytes()
    for part in range(7):
        folder = tmp_path / str(part)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(journal[: len(journal) * part // 7 + part])
        _resumes_exactly(folder, "evolution", whole_searches["evolution"])


def _resumes_exactly(folder: Path, strategy: str, whole: list[Record]) -> None:
    try:
        finished = len(read(folder)[1])
    except InputError:  # interrupted before the settings were written
        finished = 0
    groups: list[Sequence[Arch]] = []
    records = run(folder, strategy, noting(groups))
    assert story(records) == story(whole)
    assert sum(map(len, groups)) == TRIALS - finished
    kept = read(folder)[1]
    assert sorted(kept, key=lambda record: record.index) == records
    assert [record.number for record in kept] == list(range(TRIALS))


def test_a_kill_loses_a_group_at_most(tmp_path: Path) -> None:
    assert ended_by("evaluation", 12, tmp_path / "run").returncode == -9
    assert len(read(tmp_path / "run")[1]) == 11 - 11 % 8 + 3 * (11 % 8 // TOGETHER)


def test_ctrl_c_leaves_whole_groups_and_resumes(
    tmp_path: Path, whole_searches: dict[str, list[Record]]
) -> None:
    def interrupt(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        if whole_searches["evolution"][12].arch in archs:
            raise KeyboardInterrupt
        return race(archs, hopeless)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, evaluate=interrupt)
    assert 8 <= len(read(tmp_path)[1]) < 16
    _resumes_exactly(tmp_path, "evolution", whole_searches["evolution"])


def test_an_error_of_the_evaluation_comes_through_and_is_kept(
    tmp_path: Path, whole_searches: dict[str, list[Record]]
) -> None:
    def broken(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(tmp_path, evaluate=broken)
    failed = read(tmp_path)[1]
    assert [record.state for record in failed] == ["failed"] * TOGETHER
    assert all(math.isnan(record.score) for record in failed)
    again = run(tmp_path)
    assert [r.number for r in read(tmp_path)[1]] == list(range(TRIALS + TOGETHER))
    assert story(again) == story(whole_searches["evolution"])


def test_more_trials_continue_and_fewer_repeat(
    tmp_path: Path, whole_searches: dict[str, list[Record]]
) -> None:
    first = run(tmp_path, trials=10)
    assert len(first) == 10
    seen: list[Record] = []
    records = run(tmp_path, on_trial=seen.append)
    assert records[:10] == first
    assert len(seen) == TRIALS
    assert [record.arch for record in records] == [r.arch for r in whole_searches["evolution"]]
    assert outcome(records) == outcome(whole_searches["evolution"])
    assert run(tmp_path, evaluate=untouched, trials=10) == first


def test_holes_that_parallel_workers_leave_are_filled(
    tmp_path: Path, whole_searches: dict[str, list[Record]]
) -> None:
    """Two workers shared a generation; one recorded its trials, the other was killed."""
    settings = Settings(
        SMALL,
        (Limit("params", 1500, 3000),),
        "evolution",
        read_options("evolution", interrupted.OPTIONS["evolution"]),
        5,
    )
    records = whole_searches["evolution"][:8]
    with Ledger(tmp_path, settings) as ledger:
        for record in records[1::2]:
            ledger.record(
                record.arch,
                index=record.index,
                costs=costs(record.arch),
                origin=record.origin,
                parents=(),
                generation=0,
                result=evaluate(record.arch),
                seconds=0.1,
            )
    groups: list[Sequence[Arch]] = []
    assert story(run(tmp_path, evaluate=noting(groups))) == story(whole_searches["evolution"])
    assert sum(map(len, groups)) == TRIALS - 4
