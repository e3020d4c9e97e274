"""The history of a run: `metrics.jsonl`, lines of steps, evaluations and the speed of epochs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas import files
from vitnas.errors import InputError
from vitnas.train.loggers import open_logger, tell

if TYPE_CHECKING:
    from vitnas.train.recipe import Loggers


class MetricsLog:
    """Appends to `metrics.jsonl`, after dropping what lies beyond the point of resumption.

    Lines have `kind`: `step` (with `step`, the steps done, from 1; `epoch`; `loss`; `lr`; and where
    a step trains several architectures `losses`, one of each, in the order of the sampler; the
    first of an epoch has `steps_per_epoch`, too),
    `evaluation` (with `step`, `epoch` and one value for each metric) or `speed` (with `step`,
    `epoch` and what `vitnas.data.stages.Stages.record` gives).

    A `logger` is told each line as well; see `vitnas.train.loggers`.

    Raises:
        InputError: the file can't be written, or the logger can't be had.
    """

    def __init__(
        self, path: Path, *, step: int, evaluated: int, logger: Loggers | None = None
    ) -> None:
        self._path = path
        kept: list[dict[str, Any]] = []
        dropped: list[dict[str, Any]] = []
        for line in read_metrics(path):
            before = line["step"] <= step and (line["kind"] == "step" or line["epoch"] < evaluated)
            (kept if before else dropped).append(line)
        self._logger = None if logger is None else open_logger(logger, path.parent, kept, dropped)
        self.save()  # once the lines are gone nobody would know that the logger has them, too
        files.write(path, "".join(json.dumps(line) + "\n" for line in kept))

    def append(self, kind: str, **values: Any) -> None:
        """Add a line.

        Raises:
            InputError: it can't be written, for example because the disk is full.
        """
        line = {"kind": kind, **values}
        with self._writing():
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
            if self._logger is not None:
                tell(self._logger, line)

    def save(self) -> None:
        """Let the logger write what it was told; a checkpoint must not be ahead of it."""
        if self._logger is not None:
            with self._writing():
                self._logger.save()

    def close(self) -> None:
        """Let the logger end."""
        if self._logger is not None:
            with self._writing():
                self._logger.finalize("success")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"can't write {self._path}: {error.strerror or error}") from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file up to a torn or damaged one; none if there is no file.

    Raises:
        InputError: the file can't be read, or has a line of more than 16 MiB.
    """
    lines: list[dict[str, Any]] = []
    for text in files.read_lines(path) if path.exists() else ():
        try:
            line = files.parse_json(text)
        except ValueError:
            break
        if not _is_sound(line):
            break
        lines.append(line)
    return lines


def _is_sound(line: Any) -> bool:
    return (
        isinstance(line, dict)
        and isinstance(line.get("kind"), str)
        and all(type(line.get(name)) is int for name in ("step", "epoch"))
    )
