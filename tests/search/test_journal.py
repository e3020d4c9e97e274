from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from vitnas.errors import InputError
from vitnas.search.journal import JournalLock, open_journal, open_study


def _filled(path: Path, attributes: int = 3) -> optuna.Study:
    study = open_study(open_journal(path, write=True), "search")
    for index in range(attributes):
        study.set_user_attr(f"a{index}", index)
    return study


@pytest.mark.parametrize("torn", [b'{"op_co', b"\0" * 5000, b"x" * 200_000], ids=len)
def test_a_torn_last_line_is_dropped_and_the_next_append_is_sound(
    tmp_path: Path, torn: bytes
) -> None:
    path = tmp_path / "study.journal"
    _filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    study = open_study(open_journal(path, write=True), "search")
    assert path.read_bytes() == whole
    study.set_user_attr("after", 1)
    again = open_study(open_journal(path, write=False), "search")
    assert again.user_attrs == {"a0": 0, "a1": 1, "a2": 2, "after": 1}


def test_a_line_torn_by_another_writer_meanwhile_is_dropped_too(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    study = _filled(path)
    with path.open("ab") as file:
        file.write(b'{"op_code":2,"half')
    study.set_user_attr("after", 1)
    assert study.user_attrs["after"] == 1
    assert open_study(open_journal(path, write=False), "search").user_attrs["after"] == 1


def test_optuna_alone_would_lose_the_journal(tmp_path: Path) -> None:
    """The reason for the repair; when this fails, Optuna has learnt it."""
    path = tmp_path / "study.journal"
    _filled(path)
    with path.open("ab") as file:
        file.write(b'{"op_co')
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    study = optuna.load_study(
        study_name="search",
        storage=optuna.storages.JournalStorage(backend),
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    study.set_user_attr("after", 1)  # glued to the torn line
    with pytest.raises(ValueError):
        study.set_user_attr("later", 2)


def test_a_file_without_any_whole_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(b"{" * 100_000)
    open_journal(path, write=True)
    assert path.read_bytes() == b""


def test_reading_leaves_a_torn_line_alone_and_needs_no_write_permission(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    _filled(path)
    path.write_bytes(path.read_bytes() + b"{torn")
    before = path.read_bytes()
    path.chmod(0o444)
    assert len(open_journal(path, write=False).get_all_studies()) == 1
    assert path.read_bytes() == before


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    _filled(path)
    code = f"""
import os, signal
from pathlib import Path
from vitnas.search.journal import JournalLock
JournalLock(Path({str(path)!r})).acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    lock = JournalLock(path)
    lock.acquire()  # would hang until the test's time-out
    lock.release()


@pytest.mark.parametrize(
    "content", [b"not json\n{}\n", b"[]\n[]\n", b'{"op_code": 99}\n', b"{}\n", b"\xff\xfe\n\n"]
)
def test_damage_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        open_journal(path, write=True)
    assert f"{path} is damaged or no Optuna journal" in str(error.value)
    assert path.read_bytes() == content


def test_a_missing_journal_is_not_created_by_reading(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no search in .*: study\.journal is missing"):
        open_journal(tmp_path / "study.journal", write=False)
    assert not os.listdir(tmp_path)  # noqa: PTH208


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match=r"can't open .*study\.journal: "):
        open_journal(tmp_path / "run" / "study.journal", write=True)


def test_opening_says_nothing_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    level = optuna.logging.get_verbosity()
    _filled(tmp_path / "study.journal")
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == level
