"""A disk that is really full, or really read-only: one line, nothing spoilt, and it goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

import vitnas
from faults.disks import small_disk
from faults.victims import RECIPE, SEARCH, evaluate
from train.runs import before, small_net, small_run
from vitnas.errors import InputError
from vitnas.search.ledger import read
from vitnas.search.racing import one_by_one
from vitnas.search.study import search
from vitnas.testing.searchers import SMALL
from vitnas.train import checkpoint
from vitnas.train.metrics import read_metrics


def fill(folder: Path, leave: int) -> Path:
    """Fill a disk up to some bytes."""
    ballast = folder / "ballast"
    room = os.statvfs(folder)
    ballast.write_bytes(b"\0" * (room.f_bavail * room.f_frsize - leave))
    return ballast


def test_training_on_a_full_disk(tmp_path: Path) -> None:
    small_run(tmp_path / "whole", RECIPE)
    with small_disk(tmp_path / "disk", "8m") as disk:
        run = disk.folder / "run"
        full = before(5, lambda: fill(disk.folder, 100_000))
        with pytest.raises(InputError, match=r"^can't write .*: No space left on device\Z"):
            small_run(run, RECIPE, sampler=full)
        state = checkpoint.load(run / "checkpoints")
        assert state is not None
        assert state["step"] == 5
        assert not list((run / "checkpoints").glob(".*.tmp"))
        with pytest.raises(InputError, match="No space left on device"):
            small_run(run, RECIPE, sampler=before(99, lambda: None))
        disk.remount("size=32m")
        _, result = small_run(run, RECIPE, sampler=before(99, lambda: None))
        assert result.finished
        steps = [line["step"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line]
        assert steps == list(range(1, 9))


def test_saving_and_searching_on_a_full_disk(tmp_path: Path) -> None:
    net = small_net()
    with small_disk(tmp_path / "disk", "2m") as disk:
        folder = vitnas.save(net, disk.folder / "net")
        config = (folder / "config.json").read_bytes()
        ballast = fill(disk.folder, 20_000)
        with pytest.raises(InputError, match=r"^can't write .*model.safetensors: .*o space left"):
            vitnas.save(net, folder)
        assert (folder / "config.json").read_bytes() == config
        assert isinstance(vitnas.load(folder), vitnas.Supernet)
        assert not list(folder.glob(".*.tmp"))

        with pytest.raises(InputError, match=r"^can't write .*: No space left on device\Z"):
            search(SMALL, one_by_one(evaluate), folder=disk.folder / "search", **SEARCH)
        ballast.unlink()
        records = search(SMALL, one_by_one(evaluate), folder=disk.folder / "search", **SEARCH)
    expected = search(SMALL, one_by_one(evaluate), folder=tmp_path / "search", **SEARCH)
    assert _story(records) == _story(expected)


def _story(records: Any) -> list[Any]:
    return [(record.index, record.arch, record.score) for record in records]


def test_a_read_only_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        run, net, found = (disk.folder / name for name in ("run", "net", "search"))
        small_run(run, RECIPE, sampler=before(99, lambda: None))
        vitnas.save(small_net(), net)
        search(SMALL, one_by_one(evaluate), folder=found, **SEARCH)
        disk.remount("ro")
        for action in (
            lambda: small_run(run, RECIPE),
            lambda: small_run(disk.folder / "new", RECIPE),
            lambda: vitnas.save(small_net(), net),
            lambda: vitnas.save(small_net(), disk.folder / "other"),
            lambda: search(SMALL, one_by_one(evaluate), folder=found, **SEARCH),
        ):
            with pytest.raises(InputError, match=r"^can't (write|open) .*: Read-only file system"):
                action()
        assert isinstance(vitnas.load(net), vitnas.Supernet)
        assert len(read(found)[1]) == SEARCH["trials"]
        disk.remount("rw")
        assert small_run(run, RECIPE, sampler=before(99, lambda: None))[1].finished


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_what_the_system_says_is_passed_on(
    tmp_path: Path, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everywhere, also where nothing may be mounted."""

    def refuse(*args: Any) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(InputError, match=rf"^can't write .*: {os.strerror(error)}\Z"):
        vitnas.save(small_net(), tmp_path)
    assert not list(tmp_path.iterdir())
