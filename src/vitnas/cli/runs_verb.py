"""`vitnas runs`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Literal

from vitnas.cli.log import say, table
from vitnas.cli.standings import bytes_of, compare, epochs_of, show, words_of
from vitnas.cli.usage import Action, MaybeFolder, PositionalNames
from vitnas.commands import ask_to_stop, bury, show_password
from vitnas.errors import InputError
from vitnas.report.figures.style import plain
from vitnas.run import round_folders, searches
from vitnas.runs import check_deletable, delete, find_run, find_runs, resumable, size, working_in
from vitnas.standing import ago, standing


def runs(
    action: Action = "list",
    names: PositionalNames = (),
    *,
    under: MaybeFolder = None,
    yes: Literal["yes", "no"] = "no",
    dead: Literal["yes", "no"] = "no",
) -> None:
    """List, show, stop, resume, delete or compare runs.

    A run is named by its folder, or by its name in the present folder or in `runs` below it.

    Args:
        action: list all; show where one stands; stop what runs in it, as Ctrl-C does; resume its
            last command; delete it; or compare several side by side.
        names: folders or names of runs; list takes folders to look into instead.
        under: look for names here instead of in the present folder.
        yes: with delete, yes does not ask first.
        dead: with yes, what was begun on other machines and never told its end was killed there.
    """
    place = under or Path()
    if action == "list":
        _list([Path(name) for name in names] or [place])
        return
    counted = (2, 99) if action == "compare" else (1, 1)
    if not counted[0] <= len(names) <= counted[1]:
        wanted = "two or more runs" if action == "compare" else "one run"
        raise InputError(f"`vitnas runs {action}` takes {wanted}, not {len(names)}")
    found = [find_run(name, place) for name in names]
    if dead == "yes":
        for run in found:
            bury(run)
    if action == "compare":
        compare(found)
    elif action == "delete":
        _delete(found[0], asked=yes == "no")
    else:
        _ACTIONS[action](found[0])


def _list(places: Sequence[Path]) -> None:
    found = [run for place in places for run in find_runs(place)]
    if not found:
        say(f"no runs in {', '.join(map(str, places))}")
        return
    rows = []
    for run in found:
        where = standing(run, searches=False)
        rows.append(
            [
                plain(run if run.name else run.resolve().name),
                where.state or "–",
                epochs_of(where.training) if where.training else _round(run),
                plain(", ".join(place.name for place in searches(run))) or "–",
                str(len(where.models)),
                ago(where.changed),
            ]
        )
    table("", ["run", "last command", "training", "searches", "models", "changed"], rows, left=4)


def _round(run: Path) -> str:
    rounds = round_folders(run)
    return f"round {rounds[-1].name}" if rounds else "–"


def _stop(run: Path) -> None:
    for command in ask_to_stop(run):
        say(f"asked process {command.pid} to stop: {words_of(command)}")
    say(f"training ends after the step under way; `vitnas runs show {run}` tells when it has")


def _resume(run: Path) -> None:
    from vitnas.cli import execute

    command = resumable(run)
    words = [show_password(word, _password) for word in command.words]
    if command.processes > 1:
        began = "srun" if command.launcher is None else "torchrun"
        raise InputError(
            f"{began} began {words_of(command)} with {command.processes} processes in "
            f"{command.cwd}; repeat it so"
        )
    say(f"in {command.cwd}: {words_of(command)}")
    with working_in(command.cwd):
        execute(*words)


def _password(address: str) -> str:
    """Return the password that the record of a command left out of an address.

    Raises:
        InputError: it is not in the environment, and nobody can be asked.
    """
    from getpass import getpass

    if given := os.environ.get("PGPASSWORD"):
        return given
    if not sys.stdin.isatty():
        raise InputError(
            f"the password in {address} is not kept, and nobody can be asked for it here; "
            "give it by PGPASSWORD"
        )
    return getpass(f"password for {address}: ")


def _delete(run: Path, *, asked: bool) -> None:
    check_deletable(run)  # before anybody is asked
    where = standing(run, searches=False)
    parts = [_counted(searches(run), "search", "es"), _counted(where.models, "model", "s")]
    what = f"{run.resolve()} ({', '.join([bytes_of(size(run)), *parts])})"
    if asked:
        if not sys.stdin.isatty():
            raise InputError(f"nobody can be asked here; --yes yes deletes {what}")
        sys.stdout.write(f"delete {what}? Type yes: ")
        sys.stdout.flush()
        if sys.stdin.readline().strip() != "yes":
            say("nothing was deleted")
            return
    delete(run)
    say(f"deleted {what}")


def _counted(found: Sized, what: str, plural: str) -> str:
    return f"{len(found)} {what}{'' if len(found) == 1 else plural}"


_ACTIONS: Mapping[str, Callable[[Path], None]] = {
    "show": show,
    "stop": _stop,
    "resume": _resume,
}
