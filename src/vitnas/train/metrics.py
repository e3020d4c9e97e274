"""The history of a run: `metrics.jsonl`, lines of steps, evaluations and the speed of epochs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vitnas import files
from vitnas.errors import InputError


class MetricsLog:
    """Appends to `metrics.jsonl`, after dropping what lies beyond the point of resumption.

    Lines have `kind`: `step` (with `step`, the steps done, from 1; `epoch`; `loss`; `lr`; and where
    a step trains several architectures `losses`, one of each, in the order of the sampler),
    `evaluation` (with `step`, `epoch` and one value for each metric) or `speed` (with `step`,
    `epoch` and what `vitnas.data.stages.Stages.record` gives).

    Raises:
        InputError: the file can't be written.
    """

    def __init__(self, path: Path, *, step: int, evaluated: int) -> None:
        self._path = path
        kept = [
            json.dumps(line) + "\n"
            for line in read_metrics(path)
            if line["step"] <= step and (line["kind"] == "step" or line["epoch"] < evaluated)
        ]
        files.write(path, "".join(kept))

    def append(self, kind: str, **values: Any) -> None:
        """Add a line.

        Raises:
            InputError: it can't be written, for example because the disk is full.
        """
        try:
            with self._path.open("a") as file:
                file.write(json.dumps({"kind": kind, **values}) + "\n")
        except OSError as error:
            raise InputError(f"can't write {self._path}: {error.strerror or error}") from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file, without a torn last one; none if there is no file."""
    lines: list[dict[str, Any]] = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines
