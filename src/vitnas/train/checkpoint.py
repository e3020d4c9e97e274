"""Training checkpoints: whole or absent, checked when read, the last few and the best are kept.

A checkpoint is one file, `step-<n>.pt`, a zip archive with a checksum of each part that
`torch.load(weights_only=True)` reads: a mapping with the steps done, the state of model, optimiser
and moving average, and the identity of the run.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from vitnas import files
from vitnas.errors import InputError

_log = logging.getLogger(__name__)
_FORMAT = "vitnas training checkpoint 1"
FREE = {  # settings that a resumed run may change
    *("root", "workers", "cache_gb", "parallel", "logger"),
    *("checkpoint_minutes", "keep", "restore_best"),
}


def save(
    folder: Path, step: int, state: Mapping[str, Any], *, keep: int = 2, best: int | None = None
) -> Path:
    """Write the checkpoint of a step atomically, then delete all but the last `keep` and the best.

    `best` is the step of the best one, if one is known. What a killed process left unfinished is
    deleted before, so that the disk doesn't fill up with it.

    Raises:
        InputError: the folder can't be written or the disk is full; earlier checkpoints stay.
    """
    content = {"format": _FORMAT, "step": step, **state}

    def dump(path: Path) -> None:
        try:
            with path.open("wb") as file:
                torch.save(content, file)
        except RuntimeError as error:  # torch reports a full disk as its own failure
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    files.delete_abandoned(folder)
    written = files.write(_path(folder, step), dump)
    for old in _paths(folder)[keep:]:
        if best is None or old != _path(folder, best):
            old.unlink(missing_ok=True)
    return written


def load(folder: Path) -> dict[str, Any] | None:
    """Read the newest checkpoint that is whole; None where there is none at all.

    A damaged one is passed over with a warning.

    Raises:
        InputError: there are checkpoints, but none can be read.
    """
    faults = []
    for path in _paths(folder):
        try:
            state = _read(path)
        except Exception as error:  # a damaged file can raise anything
            faults.append(f"{path.name}: {_first_line(error)}")
            _log.warning("checkpoint %s is damaged, using the one before it", path)
        else:
            return state
    if faults:
        raise InputError(
            f"no checkpoint in {folder} can be read ({'; '.join(faults)}); "
            "delete the folder to start anew"
        )
    return None


def load_step(folder: Path, step: int) -> dict[str, Any]:
    """Read the checkpoint of one step.

    Raises:
        InputError: it is missing or damaged.
    """
    path = _path(folder, step)
    try:
        return _read(path)
    except Exception as error:  # a damaged file can raise anything
        raise InputError(f"checkpoint {path} can't be read: {_first_line(error)}") from error


def check_identity(folder: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that a checkpoint belongs to the run that wants to continue from it.

    Raises:
        InputError: it doesn't; the message names every setting that differs.
    """
    before, now = (dict(_flat(identity)) for identity in (found, expected))
    names = [n for n in {**before, **now} if before.get(n) != now.get(n) and n not in FREE]
    settings = [n for n in names if not n.startswith("parameters")]
    names = settings or names  # the sizes of parameters only repeat what the settings say
    if not names:
        return
    shown = [f"{n} was {before.get(n)!r}, is {now.get(n)!r}" for n in names[:3]]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    raise InputError(
        f"{folder} holds another run ({'; '.join(shown)}{more}); "
        "restore these settings or choose another folder"
    )


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # torch.load itself ignores the checksums
    if damaged:
        raise ValueError(f"checksum of {damaged} is wrong")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError("not a training checkpoint of this version")
    return state


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:09d}.pt"


def _paths(folder: Path) -> list[Path]:
    """Return the checkpoints, newest first."""
    return sorted(folder.glob("step-*.pt"), reverse=True)


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(item, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, list(value) if isinstance(value, tuple) else value


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
