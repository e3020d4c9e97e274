from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search import study
from vitnas.search.evolution import make
from vitnas.search.ledger import JOURNAL, Ledger, Record, Settings, read
from vitnas.search.limits import Limit
from vitnas.search.searcher import read_options
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL, TINY, cost, score

from . import interrupted
from .interrupted import COSTS, TRIALS, evaluate, run

SCRIPT = interrupted.__file__


def _story(records: list[Record]) -> list[tuple[object, ...]]:
    """Return all but what depends on the clock and on how often a search was interrupted."""
    index = {record.number: record.index for record in records}
    return [
        (
            record.index,
            record.arch,
            record.score,
            record.metrics,
            record.origin,
            tuple(index[number] for number in record.parents),
            record.generation,
            record.state,
        )
        for record in records
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Record]]:
    """The records of the uninterrupted searches."""
    return {
        strategy: run(tmp_path_factory.mktemp("whole") / "run", strategy)
        for strategy in interrupted.OPTIONS
    }


def test_records_hold_everything(tmp_path: Path, whole: dict[str, list[Record]]) -> None:
    records = whole["evolution"]
    assert len(records) == TRIALS
    assert [record.number for record in records] == list(range(TRIALS))
    assert {record.origin for record in records} == {"random", "mutation", "crossover"}
    for record in records:
        assert record.score == score(record.arch)
        assert record.metrics == {
            "params": cost(record.arch),
            "macs": 10 * cost(record.arch),
            "top5": score(record.arch) + 1,
        }
        assert all(parent < record.number for parent in record.parents)
        assert record.seconds >= 0
        assert 1500 <= cost(record.arch) <= 3000


def test_the_search_is_what_the_searcher_does_alone(whole: dict[str, list[Record]]) -> None:
    searcher = make(SMALL, lambda a: 1500 <= cost(a) <= 3000, 5, **interrupted.OPTIONS["evolution"])
    for record in whole["evolution"]:
        assert searcher.ask() == record.arch
        searcher.tell(record.arch, score(record.arch))
    assert searcher.ask() is not None


@pytest.mark.parametrize(
    ("strategy", "fault", "count"),
    [
        ("evolution", "evaluation", 1),
        ("evolution", "evaluation", 9),  # the first of a bred generation
        ("evolution", "evaluation", TRIALS),
        ("evolution", "sync", 61),
        ("evolution", "torn", 2),
        ("evolution", "torn", 63),
        ("random", "torn", 60),
    ],
)
def test_a_killed_search_resumes_exactly(
    tmp_path: Path, whole: dict[str, list[Record]], strategy: str, fault: str, count: int
) -> None:
    command = [sys.executable, SCRIPT, str(tmp_path / "run"), strategy, fault, str(count)]
    assert subprocess.run(command).returncode == -9
    _resumes_exactly(tmp_path / "run", strategy, whole[strategy])


@pytest.mark.parametrize("size", [300, 5000, 9990])
def test_a_full_disk_ends_in_one_line_and_the_search_resumes(
    tmp_path: Path, whole: dict[str, list[Record]], size: int
) -> None:
    command = [sys.executable, SCRIPT, str(tmp_path / "run"), "evolution", "full", str(size)]
    done = subprocess.run(command, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"vitnas.errors.InputError: can't write {tmp_path}/run/{JOURNAL}: File too large"
    _resumes_exactly(tmp_path / "run", "evolution", whole["evolution"])


def test_a_journal_cut_anywhere_resumes_exactly(
    tmp_path: Path, whole: dict[str, list[Record]]
) -> None:
    run(tmp_path / "run")
    journal = (tmp_path / "run" / JOURNAL).read_bytes()
    for part in range(7):
        folder = tmp_path / str(part)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(journal[: len(journal) * part // 7 + part])
        _resumes_exactly(folder, "evolution", whole["evolution"])


def _resumes_exactly(folder: Path, strategy: str, whole: list[Record]) -> None:
    try:
        finished = sum(record.state == "complete" for record in read(folder)[1])
    except InputError:  # interrupted before the settings were written
        finished = 0
    evaluated = []

    def counted(arch: Arch) -> Mapping[str, float]:
        evaluated.append(arch)
        return evaluate(arch)

    records = run(folder, strategy, counted)
    assert _story(records) == _story(whole)
    assert len(evaluated) == TRIALS - finished
    kept = read(folder)[1]
    assert [record for record in kept if record.state == "complete"] == records
    assert sum(record.state != "complete" for record in kept) <= 1
    assert all(record.state != "running" for record in kept)


def test_ctrl_c_fails_the_trial_at_once_and_resumes(
    tmp_path: Path, whole: dict[str, list[Record]]
) -> None:
    def interrupt(arch: Arch) -> dict[str, float]:
        if arch == whole["evolution"][12].arch:
            raise KeyboardInterrupt
        return evaluate(arch)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, evaluate=interrupt)
    assert [record.state for record in read(tmp_path)[1]] == 12 * ["complete"] + ["failed"]
    _resumes_exactly(tmp_path, "evolution", whole["evolution"])


def test_an_error_of_the_evaluation_comes_through(tmp_path: Path) -> None:
    def broken(arch: Arch) -> dict[str, float]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run(tmp_path, evaluate=broken)
    assert [record.state for record in read(tmp_path)[1]] == ["failed"]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"score": math.nan}, "evaluate returned score nan, no finite number, for Arch('toy', "),
        ({"score": math.inf}, "evaluate returned score inf, no finite number, for Arch('toy', "),
        ({"score": "good"}, "evaluate returned score 'good', no finite number, for Arch("),
        ({"score": 1, "top5": math.nan}, "evaluate returned top5 nan, no finite number, for Arch("),
        ({"top1": 1.0}, "evaluate returned {'top1': 1.0}, without a score, for Arch('toy', "),
        (0.5, "evaluate returned 0.5, without a score, for Arch('toy', "),
        ({"score": 1, "params": 2}, "evaluate returned params: the ledger uses these names"),
        ({"score": 1, "arch": 2}, "evaluate returned arch: the ledger uses these names"),
    ],
)
def test_a_result_without_a_proper_score_is_told_in_one_line(
    tmp_path: Path, result: Any, message: str
) -> None:
    with pytest.raises(InputError) as error:
        run(tmp_path, evaluate=lambda arch: result)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert [record.state for record in read(tmp_path)[1]] == ["failed"]


def test_more_trials_continue_and_fewer_repeat(
    tmp_path: Path, whole: dict[str, list[Record]]
) -> None:
    first = run(tmp_path, trials=10)
    assert _story(first) == _story(whole["evolution"][:10])
    seen: list[Record] = []
    assert _story(run(tmp_path, on_trial=seen.append)) == _story(whole["evolution"])
    assert seen[:10] == first
    assert len(seen) == TRIALS
    assert run(tmp_path, evaluate=lambda arch: {}, trials=10) == first


def test_evolution_ends_by_its_own_schedule(tmp_path: Path) -> None:
    assert len(run(tmp_path, trials=None)) == 32
    assert len(run(tmp_path, trials=500)) == 32


def test_random_search_ends_with_the_space(tmp_path: Path) -> None:
    space = TINY.with_values(depth=(1, 2), embed_dim=(8,))
    records = study.search(space, evaluate, strategy="random", costs={}, trials=50, folder=tmp_path)
    assert {record.arch for record in records} == set(space)
    assert len(records) == space.size() == 20


def _untouched(arch: Arch) -> dict[str, float]:
    raise AssertionError("evaluated")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limits": [Limit("params", maximum=10)]}, "no architecture satisfies params <= 10: the"),
        ({"limits": [Limit("flops", maximum=10)]}, "unknown metric to limit 'flops'"),
        ({"strategy": "annealing", "options": {}}, "unknown search strategy 'annealing'"),
        ({"options": {"popsize": 3}}, "unknown option of strategy evolution 'popsize'"),
        ({"trials": 0}, "trials is 0; it must be at least 1"),
        (
            {"strategy": "random", "options": {}, "trials": None},
            "random search ends only with the space of 10,880 architectures: give a number of tri",
        ),
        ({"costs": {**COSTS, "seconds": cost}}, "a cost can't be named seconds: the ledger uses"),
    ],
)
def test_bad_input_is_refused_before_anything_is_evaluated_or_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        run(tmp_path / "run", **{"evaluate": _untouched, **changes})
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_another_search_in_the_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path, trials=2)
    with pytest.raises(InputError, match="holds a search with seed 5, not 6"):
        run(tmp_path, evaluate=_untouched, seed=6)
    with pytest.raises(InputError, match="holds a search with evaluated_on '', not 'other split'"):
        run(tmp_path, evaluate=_untouched, evaluated_on="other split")


def test_a_ledger_that_the_searcher_would_not_write_is_refused(tmp_path: Path) -> None:
    run(tmp_path, trials=3)
    journal = tmp_path / JOURNAL
    text = journal.read_text()
    genes = json.dumps(read(tmp_path)[1][1].arch.to_dict()["genes"], separators=(",", ":"))
    other = json.dumps(SMALL.smallest.to_dict()["genes"], separators=(",", ":"))
    assert genes in text
    journal.write_text(text.replace(genes, other))
    with pytest.raises(InputError, match=r"trial 1 in .* is not what evolution search proposes"):
        run(tmp_path, evaluate=_untouched, trials=3)


def test_searchers_are_told_costs_and_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Mapping[str, float] | None] = []

    def spying(*arguments: Any) -> Any:
        searcher = make(SMALL, lambda arch: True, 0)
        tell = searcher.tell

        def spy(arch: Arch, score: float, metrics: Mapping[str, float] | None = None) -> None:
            told.append(metrics)
            tell(arch, score, metrics)

        monkeypatch.setattr(searcher, "tell", spy)
        return searcher

    monkeypatch.setattr(study, "make_searcher", spying)
    (record,) = run(tmp_path, trials=1)
    assert told == [record.metrics] == [{"top5": record.score + 1, **_costs(record.arch)}]


def _costs(arch: Arch) -> dict[str, float]:
    return {name: cost(arch) for name, cost in COSTS.items()}


def test_holes_that_parallel_workers_leave_are_filled(
    tmp_path: Path, whole: dict[str, list[Record]]
) -> None:
    """Two workers asked a generation; one finished its trials, the other was killed."""
    settings = Settings(
        SMALL,
        (Limit("params", 1500, 3000),),
        "evolution",
        read_options("evolution", interrupted.OPTIONS["evolution"]),
        5,
    )
    records = whole["evolution"][:8]
    with Ledger(tmp_path, settings) as ledger:
        for record in records:
            number = ledger.start(
                record.arch,
                index=record.index,
                costs=_costs(record.arch),
                origin=record.origin,
                parents=(),
                generation=0,
            )
            if record.index % 2:
                ledger.finish(number, record.score, {"top5": record.score + 1}, 0.1)
    evaluated = []

    def counted(arch: Arch) -> dict[str, float]:
        evaluated.append(arch)
        return evaluate(arch)

    assert _story(run(tmp_path, evaluate=counted)) == _story(whole["evolution"])
    assert len(evaluated) == TRIALS - 4


def test_a_space_of_one_architecture(tmp_path: Path) -> None:
    space = Space("toy", (Choice("depth", (2,)), Choice("embed_dim", (8,))))
    records = study.search(space, lambda arch: {"score": 1}, costs={}, folder=tmp_path, limits=())
    assert [record.arch for record in records] == [space.smallest]
