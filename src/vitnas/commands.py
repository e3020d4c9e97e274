"""The commands that work on a run: what runs now, and what ran last.

Each has a file in `RUN/commands/`: its words, process and machine, and how it ended. While it runs
it holds a lock on the file beside, which ends with the process however that ends. So a command that
was killed is told from one that is running, even if another process has its number by now: the
first one in a container always has the same. Of the addresses among its words, passwords are not
kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from vitnas import files
from vitnas.errors import InputError
from vitnas.processes import launcher, process_grid

FOLDER = "commands"
KEPT = 50
State: TypeAlias = Literal["running", "elsewhere", "finished", "stopped", "failed", "killed"]
RUNNING: tuple[State, ...] = ("running", "elsewhere")  # as far as is known
CODES: dict[int | None, State] = {0: "finished", 130: "stopped"}
KILLED = 128 + signal.SIGKILL  # exit code
HIDDEN = "***"
_PASSWORD = re.compile(r"(?<=://)([^/?#:@]*:).+(?=@)|(?<=[?&])(\w*password=)[^&#]+", re.I)


@dataclass(frozen=True)
class Command:
    """A command: its words after `vitnas`, where it was given, and how far it has come.

    `run` is the folder of the run as it was then; `arguments` are those of the verb as JSON has
    them. Times are seconds since 1970. `code` is the exit code, None if it has not ended, or was
    killed. `step` is the last training step that had been recorded when it began. `processes` are
    those that torchrun or SLURM started together; torchrun's own process is `launcher`.
    """

    number: int
    words: tuple[str, ...]
    arguments: Mapping[str, Any]
    cwd: str
    run: str
    pid: int
    host: str
    began: float
    ended: float | None = None
    code: int | None = None
    step: int = 0
    processes: int = 1
    launcher: int | None = None

    def is_here(self) -> bool:
        """Return whether it was given on this machine."""
        return self.host == socket.gethostname()

    def place(self) -> str:
        """Return its process, and the machine if that is another."""
        return f"process {self.pid}" + ("" if self.is_here() else f" on {self.host}")


@contextmanager
def recorded(
    run: Path, words: Sequence[str], arguments: Mapping[str, Any], step: int = 0
) -> Iterator[None]:
    """Keep a record of a command for as long as it runs, and afterwards if it changed the run.

    Of one that is refused while another works on the run no record is kept: what has changed may be
    the other's doing, whose command is the one to resume.

    SIGTERM, by which `stop` and schedulers ask a process to end, does what Ctrl-C does.

    Raises:
        InputError: the record can't be written.
    """
    folder = run / FOLDER
    new = [path for path in (folder, run, *run.parents) if not path.exists()]
    command = Command(
        number=max([command.number for command in commands(run)], default=0) + 1,
        words=tuple(map(hide_password, words)),
        arguments=_hidden(json.loads(json.dumps(dict(arguments), default=str))),
        cwd=str(Path.cwd()),
        run=str(run.resolve()),
        pid=os.getpid(),
        host=socket.gethostname(),
        began=time.time(),
        step=step,
        processes=math.prod(process_grid()),
        launcher=launcher(),
    )
    path = _file(run, command, "json")
    files.write_json(path, asdict(command))
    began = path.stat().st_mtime_ns
    code = 1
    try:
        with _locked(path), _terminated_as_interrupted():
            try:
                yield
                code = 0
            except KeyboardInterrupt:
                code = 130
                raise
            except InputError:
                code = 2
                raise
    finally:
        refused = code == 2 and any(path != _file(run, one, "json") for one in active(run))
        if _changed_since(run, began) and not refused:
            with contextlib.suppress(InputError):  # as on a full disk, which the command has told
                files.write_json(path, asdict(replace(command, ended=time.time(), code=code)))
            _delete_old(folder)
        else:
            path.unlink(missing_ok=True)
            for empty in new:
                with contextlib.suppress(OSError):
                    empty.rmdir()


def hide_password(word: str) -> str:
    """Return a word of a command with `***` for the password of an address in it."""
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}", word)


def show_password(word: str, ask: Callable[[str], str]) -> str:
    """Undo `hide_password`; `ask` is given the word and returns the password."""
    if _PASSWORD.search(word) is None:
        return word
    password = quote(ask(word), safe="")
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}{password}", word)


def _hidden(value: Any) -> Any:
    """Return a value of JSON without the passwords in its strings."""
    if isinstance(value, str):
        return hide_password(value)
    if isinstance(value, list):
        return list(map(_hidden, value))
    if isinstance(value, dict):
        return {name: _hidden(inner) for name, inner in value.items()}
    return value


def commands(run: Path) -> list[Command]:
    """Return the commands of a run, oldest first. Records that can't be read are left out."""
    found = []
    for path in (run / FOLDER).glob("*.json"):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            found.append(_read(path))
    return sorted(found, key=lambda command: (command.number, command.began))


def _read(path: Path) -> Command:
    record = dict(files.read_json(path))
    command = Command(**{**record, "words": tuple(map(str, record["words"]))})
    numbers: list[object] = [command.number, command.pid, command.step, command.processes]
    numbers += [value for value in (command.code, command.launcher) if value is not None]
    times = [command.began, *([] if command.ended is None else [command.ended])]
    if not (
        isinstance(command.arguments, dict)
        and all(type(value) is int for value in numbers)
        and all(type(value) in (int, float) and math.isfinite(value) for value in times)
    ):
        raise ValueError(f"{path} is no record of a command")
    return replace(command, host=str(command.host), cwd=str(command.cwd), run=str(command.run))


def state_of(run: Path, command: Command) -> State:
    """Return how a command ended, or that it runs, here or, as far as is known, elsewhere."""
    if command.ended is not None:
        return CODES.get(command.code, "failed")
    if not command.is_here():
        return "elsewhere"
    return "running" if _is_locked(_file(run, command, "lock")) else "killed"


def active(run: Path) -> list[Command]:
    """Return the commands that run now, on this machine or, as far as is known, on another."""
    return [command for command in commands(run) if state_of(run, command) in RUNNING]


def active_within(run: Path) -> list[Command]:
    """Return what runs in a run now, as `active`, and in its models and rounds."""
    return [command for folder in _folders(run) for command in active(folder)]


def _folders(run: Path) -> Iterator[Path]:
    """Yield those of a run, the run's own too, that have records of commands."""
    return (Path(folder) for folder, inner, _ in os.walk(run) if FOLDER in inner)


def bury(run: Path) -> None:
    """Take what runs in a run on other machines, as far as is known, for killed."""
    for folder in _folders(run):
        for command in active(folder):
            if not command.is_here():
                ended = replace(command, ended=time.time(), code=KILLED)
                files.write_json(_file(folder, command, "json"), asdict(ended))


def ask_to_stop(run: Path) -> list[Command]:
    """Ask what runs in a run, its models and rounds to stop, as Ctrl-C does, and return that.

    Of processes that torchrun started it is asked, which would only start them anew.

    Raises:
        InputError: none runs, or one that does is on another machine.
    """
    found = active_within(run)
    if not found:
        raise InputError(f"nothing runs in {run}")
    if others := [command for command in found if not command.is_here()]:
        where = ", ".join(command.place() for command in others)
        raise InputError(
            f"{run} is worked on by {where}; stop it there (kill -TERM), or, if that machine is "
            "gone, --dead yes"
        )
    for command in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(command.launcher or command.pid, signal.SIGTERM)
    return found


def _file(run: Path, command: Command, kind: str) -> Path:
    return run / FOLDER / f"{command.number:06d}-{command.pid}.{kind}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_suffix(".lock")
    with lock.open("ab") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)  # who asks whether it is held has it for a moment
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _is_locked(lock: Path) -> bool:
    """Tell whether a process holds the lock."""
    if _is_open_here(lock):  # asking for its own lock a process would let go of it
        return True
    try:
        with lock.open("rb") as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _is_open_here(path: Path) -> bool:
    """Tell whether this process has a file open. Its number is no help: a later one may have it."""
    with contextlib.suppress(OSError):  # there is no such file, or no list of what is open
        wanted = path.stat()
        for descriptor in Path("/dev/fd").iterdir():
            with contextlib.suppress(OSError):  # what was open for the listing itself
                if os.path.samestat(os.fstat(int(descriptor.name)), wanted):
                    return True
    return False


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker, which inherits the handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _changed_since(run: Path, moment: int) -> bool:
    """Tell whether a file of a run was written since, those about commands aside."""
    for folder, inner, names in os.walk(run):
        if Path(folder) == run and FOLDER in inner:
            inner.remove(FOLDER)
        for name in names:
            with contextlib.suppress(OSError):
                if (Path(folder) / name).stat().st_mtime_ns >= moment:
                    return True
    return False


def _delete_old(folder: Path) -> None:
    for path in sorted(folder.glob("*.json"))[:-KEPT]:
        path.unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)  # of a command that was killed
