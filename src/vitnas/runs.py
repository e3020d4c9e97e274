"""Where runs lie: to find, repeat and delete them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vitnas.commands import FOLDER, Command, active, active_within, commands
from vitnas.errors import InputError, unknown
from vitnas.run import EVOLUTION, METRICS, SEARCHES, SUPERNET

PARTS = (METRICS, SEARCHES, EVOLUTION, FOLDER, f"{SUPERNET}/config.json")
RUNS = "runs"


def is_run(folder: Path) -> bool:
    """Tell whether a folder is that of a run."""
    return any((folder / part).exists() for part in PARTS)


def find_runs(under: Path) -> list[Path]:
    """Return the runs in a folder and in its folder `runs`, and the folder itself if it is one.

    Raises:
        InputError: there is no such folder.
    """
    if not under.is_dir():
        raise InputError(f"there is no folder {under}")
    if is_run(under):
        return [under]
    return [path for parent in (under, under / RUNS) for path in sorted(_runs_in(parent))]


def _runs_in(parent: Path) -> Iterator[Path]:
    with suppress(OSError):
        for path in parent.iterdir():
            with suppress(OSError):  # of one that nobody may look into the others are told
                if path.is_dir() and is_run(path):
                    yield path


def find_run(name: str, under: Path) -> Path:
    """Return the run with this name, or path, in `under` or its folder `runs`.

    Raises:
        InputError: there is none.
    """
    places = [under / name, under / RUNS / name]
    for folder in places:
        if is_run(folder):
            return folder
    if there := next((folder for folder in places if folder.exists()), None):
        raise InputError(f"{there} is no run: it has none of {', '.join(PARTS)}")
    known = [] if is_run(under) else [folder.name for folder in find_runs(under)]
    if not known:
        raise InputError(f"there is no run {name} in {under.resolve()}; name a folder, or --under")
    raise unknown("run", name, known)


def folder_of(run: Path) -> Path:
    """Return a folder as it is, else the run with this name here.

    Raises:
        InputError: there is neither.
    """
    return run if run.is_dir() else find_run(str(run), Path())


def size(run: Path) -> int:
    """Return how many bytes the files of a run have."""
    total = 0
    for folder, _, names in os.walk(run):
        for name in names:
            with suppress(OSError):
                total += (Path(folder) / name).lstat().st_size
    return total


def check_deletable(run: Path) -> None:
    """Check that nobody needs a run.

    Raises:
        InputError: something works on it, or it is only a link.
    """
    if run.is_symlink():
        raise InputError(f"{run} is a link to {run.resolve()}; name that folder to delete it")
    above = (command for parent in run.resolve().parents for command in active(parent))
    if running := [*above, *active_within(run)]:
        raise InputError(f"{run} is worked on by {_process(running[-1])}; stop it first")


def delete(run: Path) -> None:
    """Delete a run. It has its name no more before the first file goes.

    Raises:
        InputError: something works on it, it is only a link, or it can't be deleted.
    """
    check_deletable(run)
    folder = run.resolve()
    aside = folder.with_name(f".{folder.name}.deleted-{os.getpid()}")
    try:
        folder.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise InputError(f"can't delete {run}: {error.strerror or error}") from error


def resumable(run: Path) -> Command:
    """Return the last command of a run, to be repeated.

    Raises:
        InputError: none is known, one is running, or the run or its surroundings were moved.
    """
    told = commands(run)
    if not told:
        raise InputError(f"{run} has no record of a command; repeat the one that made it")
    if running := active(run):
        raise InputError(f"{run} is worked on by {_process(running[-1])}")
    last = told[-1]
    if last.run != str(run.resolve()) or not _is_folder(last.cwd):
        raise InputError(
            f"{run} was moved, so its last command is not repeated: in {last.cwd}, "
            f"`vitnas {' '.join(last.words)}`"
        )
    return last


def _process(command: Command) -> str:
    return command.place() + ("" if command.is_here() else " (if that machine is gone: --dead yes)")


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except OSError:  # as of a name that is too long
        return False


@contextmanager
def working_in(folder: str) -> Iterator[None]:
    """Work in another folder for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
