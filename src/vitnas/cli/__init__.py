"""The command line. Every verb is a function of the same name, importable from here."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from typing import Any

from vitnas.errors import InputError, unknown
from vitnas.processes import is_first_process

VERBS = {
    "quickstart": "the whole journey on data that is at hand, in minutes",
    "train": "train a supernet from a recipe and a data set; resumes",
    "search": "search a supernet under limits on parameters and MACs; resumes",
    "evolve-space": "S3: search the search space itself; resumes",
    "extract": "take a subnet out of a supernet, with its weights",
    "finetune": "train an extracted model further, on any data; resumes",
    "retrain": "train an extracted model's architecture from scratch; resumes",
    "evaluate": "top-1, top-5, loss and throughput of a saved model",
    "profile": "parameters and MACs of an architecture or a saved model",
    "convert": "read checkpoints of other systems",
    "export": "ship a saved model: timm, ONNX, torch.export, ExecuTorch, int8",
    "predict": "labels for images, from a saved model or an export",
    "spaces": "list the search spaces, or show one",
    "archs": "list the published architectures, or show one",
    "runs": "list, show, stop, resume, delete or compare runs",
    "view": "searches in Optuna's dashboard, while they run",
    "report": "everything about a run as one HTML page",
}

# verbs whose work is worth continuing, and which of their arguments is the run that they work on
RUN = {
    "quickstart": "run",
    "train": "run",
    "search": "run",
    "evolve-space": "run",
    "finetune": "output",
    "retrain": "output",
}


def __getattr__(name: str) -> Any:
    if name.replace("_", "-") in VERBS:
        return getattr(import_module(f"vitnas.cli.{name}_verb"), name)
    raise AttributeError(f"module 'vitnas.cli' has no attribute {name!r}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for wrong input, 130 when stopped."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    try:
        execute(*args)
        sys.stdout.flush()
    except InputError as error:
        sys.stderr.write(f"vitnas: {' '.join(str(error).splitlines())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("vitnas: stopped; repeat the same command to go on from there\n")
        return 130
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the reader is gone
    return 0


def execute(verb: str = "--help", *args: str) -> None:
    """Run the command line; what goes wrong is raised.

    Raises:
        InputError: the words or what they name are wrong.
        KeyboardInterrupt: it was stopped.
    """
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return
    if verb == "--version":
        from vitnas import __version__

        sys.stdout.write(f"vitnas {__version__}\n")
        return
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    # On a busy machine waiting threads that spin slow small models down many times over.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from vitnas.cli.log import logging_to_terminal
    from vitnas.cli.usage import parse

    name = verb.replace("-", "_")
    function = getattr(import_module(f"vitnas.cli.{name}_verb"), name)
    call = parse(function, f"vitnas {verb}", args)
    if call is not None:
        with logging_to_terminal(), _recorded(verb, function, call, args):
            call()


def _recorded(
    verb: str, function: Callable[..., Any], call: partial[Any], words: Sequence[str]
) -> AbstractContextManager[None]:
    """Keep a record of the command in its run; of processes that work together, in the first."""
    if verb not in RUN or not is_first_process():
        return nullcontext()
    from vitnas.commands import recorded
    from vitnas.standing import last_step

    given = inspect.signature(function).bind(*call.args, **call.keywords)
    given.apply_defaults()
    run = given.arguments[RUN[verb]]
    if verb == "search" and not run.is_dir():  # which the verb refuses
        return nullcontext()
    return recorded(run, (verb, *words), given.arguments, last_step(run))


def _help() -> str:
    lines = [f"  {verb:<14}{summary}" for verb, summary in VERBS.items()]
    return "\n".join(
        [
            "usage: vitnas VERB ...",
            "",
            "Find the best vision transformer for your data and your budget.",
            "",
            *lines,
            "",
            "vitnas VERB --help tells more. Start with: vitnas quickstart",
            "",
        ]
    )
