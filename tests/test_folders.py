"""Folders that are whole or absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitnas.errors import InputError
from vitnas.folders import new_folder


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with new_folder(target) as made:
        (made / "inner").mkdir()
        (made / "inner" / "file").write_text("x")
        assert not target.exists()
        assert made.parent == target.parent
    assert (target / "inner" / "file").read_text() == "x"
    assert list(target.parent.iterdir()) == [target]


def fail(target: Path) -> None:
    with new_folder(target) as made:
        (made / "file").write_text("x")
        raise ValueError("no")


def be_overtaken(target: Path) -> None:
    with new_folder(target) as made:
        (made / "file").write_text("new")
        target.mkdir()
        (target / "file").write_text("old")


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"):
        fail(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    message = r"can't write .*out: No space left on device"
    with pytest.raises(InputError, match=message), new_folder(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as made:
        (made / "file").write_text("x")
    assert (tmp_path / "out" / "file").is_file()


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match="is there already; delete it, or"):
            fail(target)
    assert (tmp_path / "file").read_text() == "mine"


def test_what_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(InputError, match="can't write"):
        be_overtaken(target)
    assert (target / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


KILLED = """
import sys, time
from pathlib import Path
from vitnas.folders import new_folder
with new_folder(Path(sys.argv[1])) as made:
    (made / "half").write_text("x")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_deleted_and_what_a_running_one_has_is_not(
    tmp_path: Path,
) -> None:
    target = tmp_path / "out"
    words = [sys.executable, "-c", KILLED, str(target)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        assert not target.exists()
        with new_folder(tmp_path / "out"):
            assert len(list(tmp_path.iterdir())) == 2  # that of the running process stays
        (left,) = (path for path in tmp_path.iterdir() if path != target)
        os.kill(other.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    target.rmdir()
    while left.exists() and time.monotonic() < deadline:
        with new_folder(target):
            pass
        target.rmdir()
    assert list(tmp_path.iterdir()) == []
