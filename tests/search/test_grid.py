from __future__ import annotations

import logging

import pytest

import vitnas
from vitnas.errors import InputError
from vitnas.search.grid import Options, make
from vitnas.testing.searchers import SMALL, TINY, cost, score

from .strategies import every, rank_of_best, run


def test_it_lists_the_feasible_in_the_order_of_the_space() -> None:
    searcher = make(TINY, lambda arch: cost(arch) <= 2000, 0)
    assert run(searcher, 1000) == [arch for arch in TINY if cost(arch) <= 2000]
    assert searcher.ask() is None


def test_shuffled_it_lists_the_same_in_an_order_of_the_seed() -> None:
    first, second, again = (run(make(TINY, every, seed, shuffle=True), 168) for seed in (0, 1, 0))
    assert first == again
    assert first != second
    assert set(first) == set(second) == set(TINY)
    assert first != list(TINY)


def test_it_finds_the_best_of_the_space() -> None:
    archs = run(make(SMALL, every, 0), SMALL.size() + 1)
    assert len(archs) == SMALL.size()
    assert rank_of_best(archs) == 0


def test_what_is_skipped_comes_last() -> None:
    searcher = make(TINY, every, 0)
    first = searcher.ask()
    assert first is not None
    searcher.skip(first)
    assert run(searcher, 1000) == [*list(TINY)[1:], first]


def test_the_exact_count_is_said_first(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        make(TINY, lambda arch: cost(arch) <= 2000, 0).ask()
    count = sum(cost(arch) <= 2000 for arch in TINY)
    assert caplog.messages == [f"grid search: {count} of 168 architectures are feasible"]


def test_the_count_can_be_asked_for_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    searcher = make(TINY, lambda arch: cost(arch) <= 2000, 0)
    with caplog.at_level(logging.INFO):
        count = searcher.count()
        assert len(run(searcher, 1000)) == searcher.count() == count
    assert len(caplog.messages) == 1


def test_a_large_space_is_refused() -> None:
    with pytest.raises(InputError) as error:
        make(vitnas.space("autoformer-tiny"), every, 0)
    assert str(error.value) == (
        "grid search refuses a space of 1,056,964,608 architectures, as its limit is 100,000: "
        "narrow the space, raise the limit or take another strategy"
    )
    assert make(TINY, every, 0, limit=168).ask() is not None
    with pytest.raises(InputError, match="a space of 168 architectures, as its limit is 167"):
        make(TINY, every, 0, limit=167)


def test_no_score_matters() -> None:
    searcher = make(TINY, every, 0)
    archs = run(searcher, 5, score)
    assert archs == run(make(TINY, every, 0), 5, lambda arch: -score(arch))
    assert searcher.bar() == float("inf")


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="limit is 0, it must be at least 1"):
        Options(limit=0)
