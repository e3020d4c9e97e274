from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search import study
from vitnas.search.evolution import make
from vitnas.search.ledger import JOURNAL, Ledger, Record, Settings, read
from vitnas.search.limits import Limit
from vitnas.search.pareto import front
from vitnas.search.racing import Hopeless, Result, one_by_one
from vitnas.search.searcher import read_options
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL, TINY, cost, score

from . import interrupted
from .interrupted import COSTS, TOGETHER, TRIALS, evaluate, race, run

SCRIPT = interrupted.__file__
RACED = ("random", "evolution", "tpe")  # to the others every score matters


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
            record.at_most,
        )
        for record in records
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Record]]:
    """The records of the uninterrupted searches."""
    found = {
        strategy: run(tmp_path_factory.mktemp("whole") / "run", strategy)
        for strategy in interrupted.OPTIONS
    }
    for strategy, records in found.items():
        states = {record.state for record in records}
        assert states == {"complete"} | ({"stopped"} if strategy in RACED else set())
    return found


def test_records_hold_everything(tmp_path: Path, whole: dict[str, list[Record]]) -> None:
    records = whole["evolution"]
    assert len(records) == TRIALS
    assert [record.index for record in records] == list(range(TRIALS))
    assert {record.origin for record in records} == {"random", "mutation", "crossover"}
    for record in records:
        costs = {"params": cost(record.arch), "macs": 10 * cost(record.arch)}
        if record.state == "complete":
            assert record.score == score(record.arch)
            assert record.metrics == {**costs, "top5": score(record.arch) + 1}
            assert record.at_most is None
        else:
            assert math.isnan(record.score)
            assert record.at_most == score(record.arch) + (10 - record.metrics["images"])
            assert record.metrics == {**costs, "images": record.metrics["images"]}
        assert all(parent < record.number for parent in record.parents)
        assert record.seconds >= 0
        assert 1500 <= cost(record.arch) <= 3000


def test_trials_are_numbered_as_they_were_evaluated(tmp_path: Path) -> None:
    seen: list[Record] = []
    records = run(tmp_path, on_trial=seen.append)
    assert [record.number for record in seen] == list(range(TRIALS))
    assert sorted(seen, key=lambda record: record.index) == records
    assert [record.number for record in records] != list(range(TRIALS))


def test_the_search_is_what_the_searcher_does_alone(whole: dict[str, list[Record]]) -> None:
    searcher = make(SMALL, lambda a: 1500 <= cost(a) <= 3000, 5, **interrupted.OPTIONS["evolution"])
    for record in whole["evolution"]:
        assert searcher.ask() == record.arch
        searcher.tell(record.arch, score(record.arch))
    assert searcher.ask() is not None


@pytest.mark.parametrize("together", [1, 3, 16])
def test_groups_are_bounded_and_never_mix_what_waits(tmp_path: Path, together: int) -> None:
    sizes: list[int] = []

    def counted(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        sizes.append(len(archs))
        return race(archs, hopeless)

    run(tmp_path, evaluate=counted, together=together)
    # generations of 8, 8, 8 and 6
    expected = {1: [1] * 30, 3: [3, 3, 2, 3, 3, 2, 3, 3, 2, 3, 3], 16: [8, 8, 8, 6]}
    assert sizes == expected[together]


@pytest.mark.parametrize("strategy", interrupted.OPTIONS)
@pytest.mark.parametrize("changes", [{"racing": False}, {"together": 1}, {"together": 16}])
def test_neither_racing_nor_groups_change_what_is_found(
    tmp_path: Path, whole: dict[str, list[Record]], strategy: str, changes: dict[str, Any]
) -> None:
    other = run(tmp_path, strategy, **changes)
    assert [(r.index, r.arch) for r in other] == [(r.index, r.arch) for r in whole[strategy]]
    assert _outcome(other) == _outcome(whole[strategy])
    if "racing" in changes:
        assert {record.state for record in other} == {"complete"}


def _outcome(records: list[Record]) -> tuple[object, ...]:
    """Return the best five, both Pareto fronts, and the parents of all."""
    complete = [record for record in records if record.state == "complete"]
    best = sorted(complete, key=lambda record: -record.score)[:5]
    index = {record.number: record.index for record in records}
    return (
        [record.arch for record in best],
        [_front(complete, [name]) for name in COSTS],
        _front(complete, list(COSTS)),
        [tuple(index[number] for number in record.parents) for record in records],
    )


def _front(records: list[Record], names: list[str]) -> set[Arch]:
    points = [(r.score, *(r.metrics[name] for name in names)) for r in records]
    return {records[i].arch for i in front(points, (True, *(False for _ in names)))}


def test_a_search_may_go_on_without_racing(tmp_path: Path, whole: dict[str, list[Record]]) -> None:
    first = run(tmp_path, trials=16)
    records = run(tmp_path, racing=False)
    assert records[:16] == first
    assert "stopped" in {record.state for record in first}
    assert {record.state for record in records[16:]} == {"complete"}
    assert _outcome(records) == _outcome(whole["evolution"])


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
        finished = len(read(folder)[1])
    except InputError:  # interrupted before the settings were written
        finished = 0
    evaluated: list[Arch] = []

    def counted(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        evaluated.extend(archs)
        return race(archs, hopeless)

    records = run(folder, strategy, counted)
    assert _story(records) == _story(whole)
    assert len(evaluated) == TRIALS - finished
    kept = read(folder)[1]
    assert sorted(kept, key=lambda record: record.index) == records
    assert [record.number for record in kept] == list(range(TRIALS))


def test_a_kill_loses_a_group_at_most(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, str(tmp_path / "run"), "evolution", "evaluation", "12"]
    assert subprocess.run(command).returncode == -9
    assert len(read(tmp_path / "run")[1]) == 11 - 11 % 8 + 3 * (11 % 8 // TOGETHER)


def test_ctrl_c_leaves_whole_groups_and_resumes(
    tmp_path: Path, whole: dict[str, list[Record]]
) -> None:
    def interrupt(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        if whole["evolution"][12].arch in archs:
            raise KeyboardInterrupt
        return race(archs, hopeless)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, evaluate=interrupt)
    assert 8 <= len(read(tmp_path)[1]) < 16
    _resumes_exactly(tmp_path, "evolution", whole["evolution"])


def test_an_error_of_the_evaluation_comes_through_and_is_kept(
    tmp_path: Path, whole: dict[str, list[Record]]
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
    assert _story(again) == _story(whole["evolution"])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"score": math.nan}, "evaluate returned score nan, no finite number, for Arch('toy', "),
        ({"score": math.inf}, "evaluate returned score inf, no finite number, for Arch('toy', "),
        ({"score": "good"}, "evaluate returned score 'good', no finite number, for Arch("),
        ({"score": 1, "top5": math.nan}, "evaluate returned top5 nan, no finite number, for Arch("),
        ({"top1": 1.0}, "evaluate returned {'top1': 1.0}, without a score, for Arch('toy', "),
        (0.5, "evaluate returned 0.5, without a score, for Arch('toy', "),
        ({"score": 1, "at_most": 2}, "evaluate returned {'score': 1, 'at_most': 2}, without a sco"),
        ({"at_most": -99}, "evaluate stopped Arch('toy', "),
        ({"score": 1, "params": 2}, "evaluate returned params: the ledger uses these names"),
        ({"score": 1, "arch": 2}, "evaluate returned arch: the ledger uses these names"),
    ],
)
def test_a_result_without_a_proper_score_is_told_in_one_line(
    tmp_path: Path, result: Any, message: str
) -> None:
    with pytest.raises(InputError) as error:
        run(tmp_path, evaluate=one_by_one(lambda arch: result), together=1)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert [record.state for record in read(tmp_path)[1]] == ["failed"]


@pytest.mark.parametrize("results", [[], [{"score": 1.0}], None, 5])
def test_a_result_for_each_architecture_is_needed(tmp_path: Path, results: Any) -> None:
    with pytest.raises(InputError, match=r"evaluate returned .*, no list of 3 results"):
        run(tmp_path, evaluate=lambda archs, hopeless: results)


def test_what_could_matter_may_not_be_stopped(tmp_path: Path) -> None:
    def hasty(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        assert hopeless is not None
        return [
            evaluate(arch) if hopeless(arch, score(arch)) else {"at_most": score(arch)}
            for arch in archs
        ]

    with pytest.raises(InputError, match=r"evaluate stopped Arch.* at .*, which was not hopeless"):
        run(tmp_path, evaluate=hasty)
    with pytest.raises(InputError, match="which was not hopeless"):
        run(tmp_path / "off", evaluate=lambda a, h: [{"at_most": -99.0}] * len(a), racing=False)


def test_more_trials_continue_and_fewer_repeat(
    tmp_path: Path, whole: dict[str, list[Record]]
) -> None:
    first = run(tmp_path, trials=10)
    assert len(first) == 10
    seen: list[Record] = []
    records = run(tmp_path, on_trial=seen.append)
    assert records[:10] == first
    assert len(seen) == TRIALS
    assert [record.arch for record in records] == [r.arch for r in whole["evolution"]]
    assert _outcome(records) == _outcome(whole["evolution"])
    assert run(tmp_path, evaluate=_untouched, trials=10) == first


def test_evolution_ends_by_its_own_schedule(tmp_path: Path) -> None:
    assert len(run(tmp_path, trials=None)) == 32
    assert len(run(tmp_path, trials=500)) == 32


def test_random_search_ends_with_the_space(tmp_path: Path) -> None:
    space = TINY.with_values(depth=(1, 2), embed_dim=(8,))
    records = study.search(
        space, one_by_one(evaluate), strategy="random", costs={}, trials=50, folder=tmp_path
    )
    assert {record.arch for record in records} == set(space)
    assert len(records) == space.size() == 20


def _untouched(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
    raise AssertionError("evaluated")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limits": [Limit("params", maximum=10)]}, "no architecture satisfies params <= 10: the"),
        ({"limits": [Limit("flops", maximum=10)]}, "unknown metric to limit 'flops'"),
        ({"strategy": "annealing", "options": {}}, "unknown search strategy 'annealing'"),
        ({"options": {"popsize": 3}}, "unknown option of strategy evolution 'popsize'"),
        ({"trials": 0}, "trials is 0; it must be at least 1"),
        ({"together": 0}, "together is 0; it must be at least 1"),
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
    with pytest.raises(InputError, match=r"trial 1 in .* is not what the search proposes there: "):
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
    """Two workers shared a generation; one recorded its trials, the other was killed."""
    settings = Settings(
        SMALL,
        (Limit("params", 1500, 3000),),
        "evolution",
        read_options("evolution", interrupted.OPTIONS["evolution"]),
        5,
    )
    records = whole["evolution"][:8]
    with Ledger(tmp_path, settings) as ledger:
        for record in records[1::2]:
            ledger.record(
                record.arch,
                index=record.index,
                costs=_costs(record.arch),
                origin=record.origin,
                parents=(),
                generation=0,
                result={"score": record.score, "top5": record.score + 1},
                seconds=0.1,
            )
    evaluated: list[Arch] = []

    def counted(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        evaluated.extend(archs)
        return race(archs, hopeless)

    assert _story(run(tmp_path, evaluate=counted)) == _story(whole["evolution"])
    assert len(evaluated) == TRIALS - 4


def test_a_space_of_one_architecture(tmp_path: Path) -> None:
    space = Space("toy", (Choice("depth", (2,)), Choice("embed_dim", (8,))))
    one = one_by_one(lambda arch: {"score": 1})
    records = study.search(space, one, costs={}, folder=tmp_path, limits=())
    assert [record.arch for record in records] == [space.smallest]
