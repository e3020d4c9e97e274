from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from vitnas.arch import Arch
from vitnas.search import study
from vitnas.search.evolution import make
from vitnas.search.ledger import Record
from vitnas.search.racing import one_by_one
from vitnas.space import Choice, Space
from vitnas.testing.searchers import SMALL, TINY, cost, score

from . import interrupted
from .interrupted import TRIALS, costs, evaluate, noting, run
from .outcomes import outcome


def test_records_hold_everything(tmp_path: Path, whole_searches: dict[str, list[Record]]) -> None:
    records = whole_searches["evolution"]
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


def test_the_search_is_what_the_searcher_does_alone(
    whole_searches: dict[str, list[Record]],
) -> None:
    searcher = make(SMALL, lambda a: 1500 <= cost(a) <= 3000, 5, **interrupted.OPTIONS["evolution"])
    for record in whole_searches["evolution"]:
        assert searcher.ask() == record.arch
        searcher.tell(record.arch, score(record.arch))
    assert searcher.ask() is not None


@pytest.mark.parametrize("together", [1, 3, 16])
def test_groups_are_bounded_and_never_mix_what_waits(tmp_path: Path, together: int) -> None:
    groups: list[Sequence[Arch]] = []
    run(tmp_path, evaluate=noting(groups), together=together)
    # generations of 8, 8, 8 and 6
    expected = {1: [1] * 30, 3: [3, 3, 2, 3, 3, 2, 3, 3, 2, 3, 3], 16: [8, 8, 8, 6]}
    assert list(map(len, groups)) == expected[together]


@pytest.mark.parametrize("strategy", interrupted.OPTIONS)
@pytest.mark.parametrize("changes", [{"racing": False}, {"together": 1}, {"together": 16}])
def test_neither_racing_nor_groups_change_what_is_found(
    tmp_path: Path, whole_searches: dict[str, list[Record]], strategy: str, changes: dict[str, Any]
) -> None:
    other = run(tmp_path, strategy, **changes)
    assert [(r.index, r.arch) for r in other] == [
        (r.index, r.arch) for r in whole_searches[strategy]
    ]
    assert outcome(other) == outcome(whole_searches[strategy])
    if "racing" in changes:
        assert {record.state for record in other} == {"complete"}


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
    assert told == [record.metrics] == [{"top5": record.score + 1, **costs(record.arch)}]


def test_a_space_of_one_architecture(tmp_path: Path) -> None:
    space = Space("toy", (Choice("depth", (2,)), Choice("embed_dim", (8,))))
    one = one_by_one(lambda arch: {"score": 1})
    records = study.search(space, one, costs={}, folder=tmp_path, limits=())
    assert [record.arch for record in records] == [space.smallest]
