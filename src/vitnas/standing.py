"""Where a run stands: how far it has come and how long it still takes, told without torch."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas import files
from vitnas.commands import RUNNING, Command, State, active_within, commands, state_of
from vitnas.errors import InputError
from vitnas.run import (
    CONFIG,
    LAST_SEARCH,
    METRICS,
    MODELS,
    SEARCHES,
    SUPERNET,
    evaluations,
    last_round,
    round_folders,
    search_folders,
    search_name,
    searches,
)

if TYPE_CHECKING:
    from vitnas.search.ledger import Record, Settings

TAIL = 1 << 20  # bytes of the metrics that are read
ENDS = ("evaluation", "speed")  # lines of metrics at the end of an epoch
RECENT = 50  # trials whose time says how long others will take


@dataclass(frozen=True)
class Training:
    """How far a training is. `epochs` and `seconds_left` are None where nothing tells them."""

    epoch: int  # that have ended
    epochs: int | None
    step: int
    loss: float | None
    metrics: Mapping[str, float]
    finished: bool
    seconds_left: float | None = None


@dataclass(frozen=True)
class Search:
    """A search and how far it is.

    `trials` are those that the command asked for that runs or ran last. If it left their number to
    the strategy, they are `planned`: the most that this takes, None if that depends on the scores.
    """

    name: str
    settings: Settings
    records: Sequence[Record]
    trials: int | None = None
    planned: bool = False
    seconds_left: float | None = None

    @property
    def done(self) -> int:
        """How many trials have a result."""
        return sum(record.done for record in self.records)

    def count(self, state: str) -> int:
        """Return how many trials ended like this."""
        return sum(record.state == state for record in self.records)


@dataclass(frozen=True)
class Standing:
    """Where a run stands. `faults` tells of parts that can't be read."""

    folder: Path
    state: str
    last: Command | None
    training: Training | None
    searches: Sequence[Search]
    models: Mapping[str, Mapping[str, Any]]
    faults: Sequence[str]
    changed: float


def standing(run: Path, *, searches: bool = True, epochs: int | None = None) -> Standing:
    """Return where a run stands; reading the ledgers of `searches` takes the longest by far.

    `epochs` is how many its training is to have, where that is known.
    """
    faults: list[str] = []
    told = commands(run)
    state, meant = _state(run, told)
    since = (told[-1].began, told[-1].step) if told else None
    ends = [(command, state_of(run, command)) for command in told] if searches else []
    return Standing(
        folder=run,
        state=state,
        last=meant,
        training=training_in(run, since, epochs),
        searches=list(searches_in(run, ends, faults)) if searches else (),
        models=dict(_models(run, faults)),
        faults=faults,
        changed=_changed(run),
    )


def last_step(run: Path) -> int:
    """Return the last step of a run's training, 0 if there is none.

    That of a space evolution is the training of its last round.
    """
    steps = [line.get("step") for line in _tail(last_round(run) / METRICS, 1 << 16)]
    return max((step for step in steps if isinstance(step, int)), default=0)


def _state(run: Path, told: Sequence[Command]) -> tuple[str, Command | None]:
    """Return the state of a run, and the last of the commands that make it so."""
    busy = active_within(run)
    if here := [command for command in busy if command.is_here()]:
        return "running", here[-1]
    if busy:
        return "elsewhere", busy[-1]
    return (state_of(run, told[-1]), told[-1]) if told else ("", None)


def training_in(
    run: Path, since: tuple[float, int] | None, epochs: int | None, per_epoch: int | None = None
) -> Training | None:
    """Return how far the training of a run is, None if it has done no step.

    `since` is when it began, or went on, after how many steps; `epochs` are those wanted, and
    `per_epoch` the steps of one, where its metrics don't tell.
    """
    lines = _tail(run / METRICS)
    steps = [line for line in lines if line.get("kind") == "step"]
    if not steps:
        return None
    ended = [line for line in lines if line.get("kind") in ENDS]
    evaluations = [line for line in lines if line.get("kind") == "evaluation"]
    step, epoch = steps[-1].get("step"), steps[-1].get("epoch")
    if not isinstance(step, int) or not isinstance(epoch, int):
        return None
    if ended and ended[-1].get("step") == step:
        epoch += 1
    per_epoch = _steps_per_epoch(lines) or per_epoch
    target = run / SUPERNET if (run / SUPERNET).is_dir() else run
    finished = (target / "config.json").is_file() and (epochs is None or epoch >= epochs)
    left = None
    if since is not None and epochs and per_epoch and step > since[1]:
        rate = (changed_file(run / METRICS) - since[0]) / (step - since[1])
        left = max(rate * (epochs * per_epoch - step), 0.0)
    loss = steps[-1].get("loss")
    return Training(
        epoch=epoch,
        epochs=epochs,
        step=step,
        loss=float(loss) if isinstance(loss, int | float) else None,
        metrics={
            name: float(value)
            for name, value in (evaluations[-1] if evaluations else {}).items()
            if name not in ("kind", "step", "epoch") and isinstance(value, int | float)
        },
        finished=finished,
        seconds_left=None if finished else left,
    )


def steps_per_epoch(run: Path) -> int | None:
    """Return how many steps an epoch of a run's training has, None where nothing tells."""
    return _steps_per_epoch(_tail(run / METRICS))


def _steps_per_epoch(lines: Sequence[Mapping[str, Any]]) -> int | None:
    """Return what the first step of an epoch says, or follows from the last."""
    for line in reversed(lines):
        step, epoch, told = (line.get(name) for name in ("step", "epoch", "steps_per_epoch"))
        if isinstance(told, int) and told > 0:
            return told
        if line.get("kind") not in ENDS:
            continue
        if isinstance(step, int) and isinstance(epoch, int) and epoch >= 0:
            return step // (epoch + 1)
    return None


def _tail(path: Path, size: int = TAIL) -> list[dict[str, Any]]:
    """Return the last whole lines of a file of JSON lines."""
    try:
        with path.open("rb") as file:
            start = max(file.seek(0, os.SEEK_END) - size, 0)
            file.seek(start)
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    found = []
    for line in text.split("\n")[1 if start else 0 :]:
        with suppress(ValueError):
            record = files.parse_json(line)
            if isinstance(record, dict):
                found.append(record)
    return found


def searches_in(
    run: Path, told: Sequence[tuple[Command, State]], faults: list[str]
) -> Iterator[Search]:
    """Yield a run's own searches; `told` are commands and how they ended."""
    for folder in search_folders(run):
        mine = [(one, state) for one, state in told if _searches_there(one, folder.name)]
        wanted = whole_number(mine[-1][0], "trials") if mine else None
        running = [one.began for one, state in mine if state in RUNNING]
        began = min(running, default=math.inf)
        planned = bool(mine) and wanted is None
        found = search_in(folder, folder.name, wanted, began, faults, planned=planned)
        if found is not None:
            yield found


def search_in(
    folder: Path,
    name: str,
    wanted: int | None,
    began: float,
    faults: list[str],
    *,
    planned: bool = False,
) -> Search | None:
    """Return the search in a folder, None if it can't be read."""
    from vitnas.search.ledger import read
    from vitnas.search.searcher import most_trials

    try:
        settings, records = read(folder)
        most = most_trials(settings.strategy, settings.options, settings.space)
        if planned:
            wanted = most
        elif wanted is not None:
            wanted = min(wanted, settings.space.size() if most is None else most)
    except InputError as error:
        faults.append(str(error))
        return None
    left = None if wanted is None else _seconds_left(wanted, records, began)
    return Search(name, settings, records, wanted, planned, left)


def whole_number(command: Command, argument: str) -> int | None:
    """Return an argument of a command, None if it is no whole number."""
    value = command.arguments.get(argument)
    return value if type(value) is int else None


def _searches_there(command: Command, name: str) -> bool:
    if command.words[:1] == ("search",):
        return search_name(command.arguments) == name
    if command.words[:1] == ("evolve-space",):
        return name == LAST_SEARCH and whole_number(command, "trials") is not None
    return command.words[:1] == ("quickstart",)


def _seconds_left(wanted: int, records: Sequence[Record], began: float) -> float | None:
    """Return how long all workers together need for the rest, None if nothing tells.

    That follows from when recent trials ended, or, before two groups have, from how long they took.
    Failed evaluations are repeated, so they are none of those that are wanted.
    """
    done = [record for record in records if record.done]
    recent = done[-RECENT:]
    ends = sorted(record.ended for record in recent if record.ended > began)
    if later := sum(end > ends[0] for end in ends):
        pace = (ends[-1] - ends[0]) / later
    elif took := [record.seconds for record in recent if record.seconds >= 0]:
        pace = sum(took) / len(took)
    else:
        return None
    return (wanted - len(done)) * pace if len(done) < wanted else None


def _models(run: Path, faults: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in sorted((run / MODELS).glob("*/config.json")):
        try:
            record = files.read_json(path)
        except InputError as error:
            faults.append(str(error))
            continue
        if isinstance(record, dict):
            yield path.parent.name, record


def _changed(run: Path) -> float:
    from vitnas.search.ledger import JOURNAL

    names = ("", METRICS, CONFIG, SUPERNET, SEARCHES, MODELS, "checkpoints")
    paths = [folder / name for folder in (run, *round_folders(run)) for name in names]
    paths += [place.folder / JOURNAL for place in (*searches(run), *evaluations(run))]
    return max(map(changed_file, paths))


def changed_file(path: Path) -> float:
    """Return when a file was written, 0 if there is none."""
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def ago(moment: float) -> str:
    """Return how long ago something was, in words."""
    return f"{duration(max(time.time() - moment, 0))} ago"


def duration(seconds: float) -> str:
    """Return a time like 45s, 12m, 3h05m or 4d07h."""
    minutes = int(seconds) // 60
    if seconds < 60:
        return f"{seconds:.0f}s"
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 24 else f"{hours // 24}d{hours % 24:02}h"
