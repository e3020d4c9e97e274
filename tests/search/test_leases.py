from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection

from vitnas.search.leases import Leases
from vitnas.search.patience import Patience

GRACE = 0.2


@pytest.fixture
def lease() -> Callable[..., Leases]:
    """Makes workers at one storage."""
    storage = InMemoryStorage()
    study = storage.create_new_study([StudyDirection.MAXIMIZE], "workers")

    def make(beat: float = 0.02) -> Leases:
        return Leases(storage, study, Patience("here"), beat=beat, grace=GRACE)

    return make


def _wait_until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_proposal_has_one_holder(lease: Callable[..., Leases]) -> None:
    with lease() as first, lease() as second:
        assert first.take([1, 2, 3]) == [1, 2, 3]
        assert second.look(range(5)) == (2, [0, 4])
        assert second.take([3, 4]) == [4]
        assert first.take([4, 5]) == [5]  # which gives back those before
        assert second.look([1, 5]) == (2, [1])


def test_of_two_at_once_the_first_stored_holds(
    lease: Callable[..., Leases], monkeypatch: pytest.MonkeyPatch
) -> None:
    with lease() as first, lease() as second:
        renew = first._renew

        def late(indices: list[int]) -> None:  # the other claims after first has looked
            assert second.take([1, 2]) == [1, 2]
            renew(indices)

        monkeypatch.setattr(first, "_renew", late)
        assert first.take([2, 3]) == [3]
        assert not second.lost()


def test_workers_that_got_nothing_do_not_wait_for_each_other(
    lease: Callable[..., Leases],
) -> None:
    with lease() as first, lease() as second:
        with lease() as holder:
            assert holder.take([1]) == [1]
            assert first.take([1]) == []
            assert second.take([1, 2]) == [2]
        assert first.look([1, 2]) == (2, [1])
        assert second.look([1]) == (2, [1])


def test_who_beats_keeps_its_claims(lease: Callable[..., Leases]) -> None:
    with lease() as first, lease() as second:
        first.take([1])
        end = time.monotonic() + 3 * GRACE
        while time.monotonic() < end:
            assert second.look([1]) == (2, [])
            time.sleep(0.02)


def test_who_is_silent_loses_them_and_knows_it(
    lease: Callable[..., Leases], caplog: pytest.LogCaptureFixture
) -> None:
    with lease(beat=1000) as silent, lease() as other:
        silent.take([1])
        _wait_until(lambda: other.take([1]) == [1])
        assert "is gone; others go on" in caplog.text
        assert silent.lost()
        assert not other.lost()
        silent._lost = True  # as the next beat finds out
        assert silent.look([1]) == (2, [])
        assert not silent.lost()


def test_who_looks_after_a_long_sleep_does_not_think_that_others_slept(
    lease: Callable[..., Leases], monkeypatch: pytest.MonkeyPatch
) -> None:
    with lease(beat=1000) as silent, lease() as sleeper:
        silent.take([1])
        sleeper.look([])
        sleeper._looked -= 1000
        assert sleeper.look([1]) == (2, [])


def test_who_leaves_gives_all_back_at_once(lease: Callable[..., Leases]) -> None:
    with lease() as first:
        with lease() as second:
            second.take([1])
        assert first.look([1]) == (1, [1])
