from __future__ import annotations

from pathlib import Path

import pytest

from vitnas.search import claims
from vitnas.search.claims import LOCK, Busy, Locks, check_alone

from .holding import another


def test_a_proposal_has_one_holder_until_it_dies(tmp_path: Path) -> None:
    with another(tmp_path / LOCK, [3, 5]) as other, Locks(tmp_path / LOCK, join=True) as locks:
        assert locks.look(range(8)) == (2, [0, 1, 2, 4, 6, 7])
        assert locks.take([2, 3, 4]) == [2, 4]
        assert locks.look([2, 3]) == (2, [2])  # its own are free to it
        locks.release()
        other.kill()
        other.wait()
        assert locks.look(range(8)) == (1, list(range(8)))
        assert locks.take([3]) == [3]
        assert not locks.lost()


def test_who_does_not_join_wants_to_be_alone(tmp_path: Path) -> None:
    check_alone(tmp_path / "missing")
    with another(tmp_path / LOCK, []):
        for refused in (lambda: check_alone(tmp_path), Locks(tmp_path / LOCK, False).__enter__):
            with pytest.raises(Busy, match=r"another process is searching into .*--join on$"):
                refused()
    check_alone(tmp_path)


def test_a_full_lock_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with another(tmp_path / LOCK, []):
        monkeypatch.setattr(claims, "_PROPOSALS", 2)  # room for one worker, which is there
        with pytest.raises(Busy, match=r"processes search into .*, more than its lock file has"):
            Locks(tmp_path / LOCK, join=True).__enter__()
