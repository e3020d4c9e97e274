from __future__ import annotations

import re

import pytest

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.answer import answers, best, chosen, ranked
from vitnas.search.ledger import Record, Settings
from vitnas.search.limits import Costs
from vitnas.search.searcher import read_options
from vitnas.testing.searchers import TINY, cost

COSTS: Costs = {"cost": cost}


def _settings(strategy: str, **options: object) -> Settings:
    return Settings(TINY, (), strategy, read_options(strategy, options), 0)


def _record(number: int, score: float, loss: float = 0.1, cost: float = 1.0) -> Record:
    metrics = {"loss": loss, "cost": cost}
    arch = TINY.sample(number)
    return Record(number, number, arch, score, metrics, "random", (), 0, 0.1, "complete")


def _stopped(number: int) -> Record:
    arch = TINY.sample(number)
    metrics = {"cost": 1.0}
    return Record(
        number, number, arch, float("nan"), metrics, "random", (), 0, 0.1, "stopped", 99.0
    )


def test_equal_scores_are_told_apart_by_loss_then_age() -> None:
    records = [_record(0, 90), _record(1, 91, 0.4), _record(2, 91, 0.3), _record(3, 91, 0.3)]
    assert best(records).number == 2
    assert [record.number for record in ranked([*records, _stopped(4)])] == [2, 3, 1, 0]


def test_the_answer_is_the_best_five() -> None:
    records = [_record(number, 90 + number) for number in range(8)]
    settings = _settings("evolution")
    assert [r.number for r in answers(settings, records, COSTS)] == [7, 6, 5, 4, 3]
    assert chosen(settings, records, COSTS).number == 7
    assert chosen(settings, records, COSTS, trial=2).number == 2


def test_the_answer_of_a_search_for_a_front_is_the_front() -> None:
    scores = [(90, 1), (91, 2), (91, 2), (90, 2), (94, 5), (93, 6)]
    records = [
        _record(number, score, 1 / (number + 1), float(cost))
        for number, (score, cost) in enumerate(scores)
    ]
    settings = _settings("nsga2", minimize=["cost"])
    # of equal points the one with the lower loss
    assert [r.number for r in answers(settings, records, COSTS)] == [4, 2, 0]
    assert chosen(settings, records, COSTS).number == 4
    alone = _settings("nsga2", minimize=[])
    assert [r.number for r in answers(alone, records, COSTS)] == [4, 5, 2, 1, 3]


def _slimmed(archs: list[Arch]) -> list[Record]:
    return [
        Record(n, n, arch, 50.0 - n, {"cost": cost(arch)}, "slimming", (), n, 0.1, "complete")
        for n, arch in enumerate(archs)
    ]


def test_the_answer_of_slimming_is_the_net_of_each_target() -> None:
    records = _slimmed([TINY.largest])
    settings = _settings("slimming", cost="cost", targets=[cost(TINY.largest), 1000])
    assert [r.arch for r in answers(settings, records, COSTS)] == [TINY.largest]
    assert chosen(settings, records, COSTS).arch == TINY.largest
    both = _settings("slimming", cost="cost", targets=[9e9, cost(TINY.largest)])
    assert answers(both, records, COSTS) == records  # one network meets both
    unmet = _settings("slimming", cost="cost", targets=[1000])
    assert answers(unmet, records, COSTS) == []
    message = "slimming has not met cost <= 1k yet; repeat it, or name a --trial"
    with pytest.raises(InputError, match=re.escape(message)):
        chosen(unmet, records, COSTS)


def test_slimming_without_targets_has_no_best() -> None:
    records = _slimmed([TINY.largest])
    settings = _settings("slimming", cost="cost")
    assert answers(settings, records, COSTS) == records
    with pytest.raises(InputError, match="slimming without targets has no best network"):
        chosen(settings, records, COSTS)


def test_a_trial_without_a_score_is_refused() -> None:
    records = [_record(0, 90), _stopped(1)]
    for trial in (1, 2):
        with pytest.raises(InputError, match=f"the search has no trial {trial} with a score"):
            chosen(_settings("random"), records, COSTS, trial)
