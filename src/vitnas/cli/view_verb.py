"""`vitnas view`."""

from __future__ import annotations

import threading
from pathlib import Path

from vitnas.cli.log import say
from vitnas.cli.usage import Name, Number, PositionalFolder
from vitnas.errors import InputError


def view(
    run: PositionalFolder = Path(),
    *,
    host: Name = "127.0.0.1",
    port: Number = 8080,
) -> None:
    """Look at searches in Optuna's dashboard while they run, until Ctrl-C.

    The figures of `vitnas report` are on the page of each search; it follows within seconds. The
    dashboard shows a copy, so nothing in it touches the search. It is an extra: vitnas[view].

    Args:
        run: the folder or name of a run, or a folder with runs in it.
        host: the address to serve at. There is no password: any other address than the default,
            which only this machine reaches, shows the searches to all who reach that address.
        port: the port to serve at; 0 takes any free one.
    """
    from vitnas.report.serve import dashboard
    from vitnas.runs import find_runs, folder_of

    if not 0 <= port <= 65535:
        raise InputError(f"port is {port}; it must be 0 to 65535")
    found = find_runs(folder_of(run))
    if not found:
        raise InputError(f"there is no run in {run}")
    with dashboard(found, host, port) as address:
        say(f"{address} shows the searches of {', '.join(map(str, found))}; Ctrl-C ends it")
        threading.Event().wait()
