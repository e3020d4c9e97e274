from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vitnas import commands, files
from vitnas.commands import (
    FOLDER,
    KEPT,
    active,
    ask_to_stop,
    recorded,
    show_password,
    state_of,
)
from vitnas.errors import InputError

WORDS = ("search", "run", "--trials", "5")


def run_once(run: Path, error: BaseException | None = None, *, changed: bool = True) -> None:
    """Record a command that ends by itself or by an error."""
    expected = contextlib.nullcontext() if error is None else pytest.raises(type(error))
    with expected, recorded(run, WORDS, {"run": run, "trials": 5}, 7):
        if changed:
            (run / "metrics.jsonl").write_text("")
        if error is not None:
            raise error


def test_a_record_says_what_when_where_and_how_it_ended(tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = time.time()
    with recorded(run, WORDS, {"run": run, "trials": 5}, 7):
        (command,) = commands.commands(run)
        assert state_of(run, command) == "running"
        assert active(run) == [command]
        (run / "metrics.jsonl").write_text("")
    (command,) = commands.commands(run)
    assert (command.words, command.arguments) == (WORDS, {"run": str(run), "trials": 5})
    assert (command.pid, command.step, command.code) == (os.getpid(), 7, 0)
    assert command.run == str(run.resolve())
    assert command.cwd == str(Path.cwd())
    assert command.ended is not None
    assert before <= command.began <= command.ended <= time.time()
    assert state_of(run, command) == "finished"
    assert active(run) == []
    assert [path.suffix for path in (run / FOLDER).iterdir()] == [".json"]


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("postgresql://me:s3:c/r@t@db:5432/nas", "postgresql://me:***@db:5432/nas"),
        ("postgresql://:s3cr@t@db/nas", "postgresql://:***@db/nas"),
        (
            "--ledger=postgresql://db/nas?user=me&password=s3cr@t&sslmode=require",
            "--ledger=postgresql://db/nas?user=me&password=***&sslmode=require",
        ),
        ("postgresql://me@db/nas", "postgresql://me@db/nas"),
        ("grpc://10.0.0.1:13000", "grpc://10.0.0.1:13000"),
    ],
)
def test_passwords_are_not_kept(address: str, kept: str, tmp_path: Path) -> None:
    arguments = {"ledger": address, "options": [address], "trials": 5}
    with recorded(tmp_path, ("search", "run", address), arguments):
        (tmp_path / "metrics.jsonl").touch()
        (record,) = (tmp_path / FOLDER).glob("*.json")
        assert "@t" not in record.read_text()
    assert "@t" not in record.read_text()
    (command,) = commands.commands(tmp_path)
    assert command.words == ("search", "run", kept)
    assert command.arguments == {"ledger": kept, "options": [kept], "trials": 5}
    again = show_password(kept, lambda word: f"p@/{word == kept}")
    assert again == kept.replace("***", "p%40%2FTrue")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (KeyboardInterrupt(), "stopped"),
        (InputError("the disk is full"), "failed"),
        (OSError("surprise"), "failed"),
    ],
)
def test_how_a_command_ended(error: BaseException, state: str, tmp_path: Path) -> None:
    run_once(tmp_path, error)
    (command,) = commands.commands(tmp_path)
    assert state_of(tmp_path, command) == state


def test_a_command_that_changed_nothing_leaves_nothing(tmp_path: Path) -> None:
    run_once(tmp_path / "runs" / "new", InputError("refused"), changed=False)
    assert not (tmp_path / "runs").exists()
    run_once(tmp_path / "old")
    run_once(tmp_path / "old", changed=False)
    assert [command.number for command in commands.commands(tmp_path / "old")] == [1]


def test_the_last_commands_are_kept_in_order(tmp_path: Path) -> None:
    run_once(tmp_path)
    killed = next((tmp_path / FOLDER).glob("*.json")).with_suffix(".lock")
    killed.touch()
    for _ in range(KEPT + 1):
        run_once(tmp_path)
    assert not killed.exists()
    found = [command.number for command in commands.commands(tmp_path)]
    assert found == list(range(3, KEPT + 3))


def test_records_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    run_once(tmp_path)
    for number, text in enumerate(("", "[]", "{}", '{"words": 3}', '"x"', "[" * 9999)):
        (tmp_path / FOLDER / f"9{number}.json").write_text(text)
    assert len(commands.commands(tmp_path)) == 1


@pytest.fixture
def sleeping(tmp_path: Path) -> subprocess.Popen[str]:
    """A process that works on the run `tmp_path` until it is stopped."""
    code = (
        "import sys, time, pathlib\n"
        "from vitnas.commands import recorded\n"
        "run = pathlib.Path(sys.argv[1])\n"
        "with recorded(run, ['train'], {}):\n"
        "    (run / 'metrics.jsonl').write_text('')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=-1, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_command_is_asked_to_stop(sleeping: subprocess.Popen[str], tmp_path: Path) -> None:
    assert [command.pid for command in ask_to_stop(tmp_path)] == [sleeping.pid]
    _, error = sleeping.communicate(timeout=30)
    assert error.endswith("KeyboardInterrupt\n")
    (command,) = commands.commands(tmp_path)
    assert state_of(tmp_path, command) == "stopped"
    with pytest.raises(InputError, match="nothing runs in"):
        ask_to_stop(tmp_path)


def test_torchrun_is_asked_to_stop_what_it_would_start_anew(
    sleeping: subprocess.Popen[str], tmp_path: Path
) -> None:
    path = next((tmp_path / FOLDER).glob("*.json"))
    with subprocess.Popen(["sleep", "60"]) as launcher:
        files.write_json(path, {**json.loads(path.read_text()), "launcher": launcher.pid})
        ask_to_stop(tmp_path)
        assert launcher.wait(30) == -signal.SIGTERM
    assert sleeping.poll() is None
    sleeping.kill()
    sleeping.communicate(timeout=30)


def test_a_command_refused_beside_another_leaves_the_other_the_last(
    sleeping: subprocess.Popen[str], tmp_path: Path
) -> None:
    run_once(tmp_path, InputError("another process is training"))
    assert [command.pid for command in commands.commands(tmp_path)] == [sleeping.pid]
    sleeping.kill()
    sleeping.communicate(timeout=30)
    (command,) = commands.commands(tmp_path)
    assert state_of(tmp_path, command) == "killed"
    run_once(tmp_path, InputError("the disk is full"))
    assert [state_of(tmp_path, one) for one in commands.commands(tmp_path)] == ["killed", "failed"]


def test_a_killed_command_is_told_from_a_running_one(
    sleeping: subprocess.Popen[str], tmp_path: Path
) -> None:
    (command,) = commands.commands(tmp_path)
    assert state_of(tmp_path, command) == "running"
    sleeping.send_signal(signal.SIGKILL)
    sleeping.communicate(timeout=30)
    assert state_of(tmp_path, command) == "killed"
    path = next((tmp_path / FOLDER).glob("*.json"))
    # another process has its number now: this one, which does not hold the lock
    files.write_json(path, {**json.loads(path.read_text()), "pid": os.getppid()})
    assert active(tmp_path) == []


def test_a_killed_command_is_no_running_one_of_the_same_number(tmp_path: Path) -> None:
    """The first process of a container has number 1, of the next container as well."""
    with recorded(tmp_path, WORDS, {}):
        (tmp_path / "metrics.jsonl").touch()
        mine = next((tmp_path / FOLDER).glob("*.json"))
        record = json.loads(mine.read_text())
        killed = tmp_path / FOLDER / f"000009-{os.getpid()}.json"
        files.write_json(killed, {**record, "number": 9})
        killed.with_suffix(".lock").touch()
        told = commands.commands(tmp_path)
        assert [state_of(tmp_path, command) for command in told] == ["running", "killed"]
        assert _others_see_locked(mine.with_suffix(".lock")), "asking has let go of the lock"


def _others_see_locked(lock: Path) -> bool:
    code = "import fcntl, sys\nfcntl.lockf(open(sys.argv[1], 'ab'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    done = subprocess.run([sys.executable, "-S", "-c", code, lock], capture_output=True, text=True)
    return "BlockingIOError" in done.stderr


def test_what_runs_on_another_machine_is_not_signalled(tmp_path: Path) -> None:
    run_once(tmp_path)
    path = next((tmp_path / FOLDER).glob("*.json"))
    away = {**json.loads(path.read_text()), "host": "node7", "ended": None, "pid": os.getpid()}
    files.write_json(path, away)
    (command,) = commands.commands(tmp_path)
    assert state_of(tmp_path, command) == "elsewhere"
    assert state_of(tmp_path, replace(command, ended=1.0, code=0)) == "finished"
    with pytest.raises(InputError, match=f"process {os.getpid()} on node7; stop it there"):
        ask_to_stop(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        {"ended": []},
        {"ended": "now"},
        {"began": None},
        {"began": float("inf")},
        {"pid": 1.5},
        {"code": "0"},
        {"launcher": []},
        {"arguments": []},
        {"more": 1},
    ],
)
def test_a_record_with_impossible_values_is_left_out(
    damage: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_once(run)
    (path,) = (run / "commands").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    assert commands.commands(run) == []
