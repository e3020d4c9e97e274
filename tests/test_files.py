"""Files are whole or absent, and every failure is one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vitnas import files
from vitnas.errors import InputError


def test_text_bytes_and_functions_are_written(tmp_path: Path) -> None:
    assert files.write(tmp_path / "new" / "a.txt", "é").read_bytes() == "é".encode()
    assert files.write(tmp_path / "b", b"\0").read_bytes() == b"\0"
    files.write(tmp_path / "c", lambda path: path.write_text("made"))
    assert (tmp_path / "c").read_text() == "made"
    assert files.read_json(files.write_json(tmp_path / "d.json", {"a": [1]})) == {"a": [1]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c", "d.json", "new"]


def test_lines_are_read_up_to_one_that_could_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"a\n" + b"b" * files.LARGEST_JSON)
    assert [len(line) for line in files.read_lines(path)] == [2, files.LARGEST_JSON]
    with path.open("ab") as file:
        file.write(b"b\n")
    with pytest.raises(InputError, match=r"can't read .*lines: line 2 has more than 16 MiB"):
        list(files.read_lines(path))
    with pytest.raises(InputError, match=r"can't read .*: Is a directory"):
        list(files.read_lines(tmp_path))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write(path, "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"can't write .*a\.txt: No space left on device"):
        files.write(path, half)

    def broken(temporary: Path) -> None:
        temporary.write_text("ne")
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        files.write(path, broken)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"can't write .*file/a\.json"):
        files.write_json(tmp_path / "file" / "a.json", 1)
    with pytest.raises(InputError, match=r"can't write .*: Is a directory"):
        files.write(tmp_path, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = files.write(tmp_path / "a.txt", "old")
    with _half(path, "os.kill(os.getpid(), signal.SIGKILL)") as killed:
        assert killed.wait() == -9
    assert path.read_text() == "old"
    assert [other.suffix for other in tmp_path.iterdir() if other != path] == [".tmp"]
    files.write(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    path = files.write(tmp_path / "[a].txt", "old")
    other = tmp_path / "[a]"  # of which ".[a].*.tmp" would be an unfinished file
    with _half(path, "print(flush=True); sys.stdin.read()") as writing:
        assert writing.stdout is not None
        writing.stdout.readline()
        for target in (path, other):
            files.write(target, "mine")
        assert [file.suffix for file in sorted(tmp_path.iterdir())] == [".tmp", "", ".txt"]
        writing.communicate("")
    assert writing.returncode == 0
    assert path.read_text() == "ne"
    assert sorted(tmp_path.iterdir()) == [other, path]


def _half(path: Path, then: str) -> subprocess.Popen[str]:
    """Start a process that has written half a file."""
    code = (
        "import os, signal, sys\n"
        "from vitnas import files\n"
        "def half(path):\n"
        "    path.write_text('ne')\n"
        f"    {then}\n"
        "files.write(sys.argv[1], half)"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json is not valid JSON: "):
        files.read_json(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't read .*a\.json: No such file or directory"):
        files.read_json(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def test_a_function_that_writes_can_not_change_who_may_read(tmp_path: Path) -> None:
    def private(path: Path) -> None:
        path.touch(0o600)
        path.chmod(0o600)

    usual = files.write(tmp_path / "a", b"").stat().st_mode
    assert files.write(tmp_path / "b", private).stat().st_mode == usual


def test_only_one_holds_a_lock_and_leaves_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    held = "from vitnas import files; files.only_one('lock', 'here').__enter__()"
    with files.only_one(lock, "here"):
        done = subprocess.run([sys.executable, "-c", held], cwd=tmp_path, capture_output=True)
        assert b"InputError: another process is here; stop it or wait for its end" in done.stderr
    assert not lock.exists()
    with files.only_one(lock, "here"):
        assert lock.exists()
