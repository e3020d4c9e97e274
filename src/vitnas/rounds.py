"""How far a space evolution is, and how long it still takes at most, told without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vitnas import files
from vitnas.commands import RUNNING, Command, commands, state_of
from vitnas.errors import InputError
from vitnas.run import EVOLUTION, LAST_SEARCH, METRICS, ROUND, ROUNDS, round_folders
from vitnas.standing import (
    Search,
    Training,
    changed_file,
    last_step,
    search_in,
    searches_in,
    steps_per_epoch,
    training_in,
    whole_number,
)


@dataclass(frozen=True)
class Rounds:
    """The last round of a space evolution, and the searches in the supernets of all rounds.

    `most` is the number of the last round that there can be; it ends before where nothing moves.
    `evaluation` are the subnets of the round, or, as long as none of them was evaluated, of the one
    before. `seconds_left` is the longest that all takes; as long as no subnet was evaluated it is
    that of the trainings alone, and `evaluated` is false.
    """

    number: int
    most: int | None
    training: Training | None
    evaluation: Search | None
    searches: Sequence[Search]
    seconds_left: float | None
    evaluated: bool
    faults: Sequence[str]


def rounds_of(run: Path, epochs: Callable[[Path, Command | None], int | None]) -> Rounds | None:
    """Return how far a space evolution is, None if there is none.

    `epochs` returns how many the training of a round is to have, where that is known; it is given
    the folder of the round, which may not be there yet, and the command that trains.
    """
    folders = round_folders(run)
    if not folders:
        return None
    faults: list[str] = []
    told = [one for one in commands(run) if one.words[:1] == ("evolve-space",)]
    last = told[-1] if told else None

    def planned(number: int) -> int | None:
        return epochs(run / ROUNDS / str(number), last)

    return _Course(run, folders, last, planned, faults).stand()


@dataclass
class _Course:
    """What is known of a space evolution; `last` is the command that goes on with it, or did."""

    run: Path
    folders: Sequence[Path]
    last: Command | None
    epochs: Callable[[int], int | None]
    faults: list[str]

    def stand(self) -> Rounds:
        number = int(self.folders[-1].name)
        known = map(steps_per_epoch, reversed(self.folders))
        per_epoch = next((steps for steps in known if steps), None)
        evaluation = self._evaluation(number) or self._evaluation(number - 1)
        searches = [search for folder in self.folders for search in self._searches(folder)]
        seconds = evaluation and _seconds_each(evaluation)
        left = None
        if self._running() and per_epoch:
            left = self._left(number, per_epoch, evaluation, searches, seconds or 0.0)
        return Rounds(
            number=number,
            most=self._asked("rounds"),
            training=training_in(
                self.folders[-1], self._since(number), self.epochs(number), per_epoch
            ),
            evaluation=evaluation,
            searches=searches,
            seconds_left=left,
            evaluated=seconds is not None,
            faults=self.faults,
        )

    def _running(self) -> bool:
        return self.last is not None and state_of(self.run, self.last) in RUNNING

    def _asked(self, argument: str) -> int | None:
        return None if self.last is None else whole_number(self.last, argument)

    def _record(self, number: int) -> Path:
        return self.run / EVOLUTION / f"{ROUND}{number}.json"

    def _since(self, number: int) -> tuple[float, int] | None:
        """Return since when a round is worked on by the last command, and after which step."""
        if self.last is None:
            return None
        before, began = changed_file(self._record(number - 1)), self.last.began
        return (before, 0) if before > began else (began, self.last.step)

    def _evaluation(self, number: int) -> Search | None:
        name = f"{ROUND}{number}"
        folder = self.run / EVOLUTION / name
        if not folder.is_dir():
            return None
        began = self.last.began if self.last and self._running() else math.inf
        found = search_in(folder, name, self._asked("subnets"), began, self.faults)
        if found is None or not found.records:
            return None
        # a space may have fewer subnets than were asked for
        return replace(found, seconds_left=None) if self._ended(number) else found

    def _searches(self, folder: Path) -> list[Search]:
        told = [(one, state_of(folder, one)) for one in commands(folder)]
        if self.last is not None and folder == self.folders[-1]:
            told.append((self.last, state_of(self.run, self.last)))
        told.sort(key=lambda one: one[0].began)
        found = searches_in(folder, told, self.faults)
        return [replace(one, name=f"{ROUND}{folder.name}/{one.name}") for one in found]

    def _left(
        self,
        number: int,
        per_epoch: int,
        evaluation: Search | None,
        searches: Sequence[Search],
        seconds: float,
    ) -> float | None:
        """Return how long all takes at most, if a subnet takes `seconds` to evaluate."""
        own, later = self.epochs(number), self.epochs(number + 1)
        most, subnets, trials = map(self._asked, ("rounds", "subnets", "trials"))
        if own is None or later is None or most is None or subnets is None:
            return None
        to_come = 0 if self._settled(number) else max(most - number, 0)
        steps = max(own * per_epoch - last_step(self.folders[-1]), 0) + to_come * later * per_epoch
        a_step = self._seconds_a_step()
        if steps and a_step is None:
            return None
        begun = evaluation is not None and evaluation.name == f"{ROUND}{number}"
        done = evaluation.done if evaluation and begun else 0
        rest = 0 if self._ended(number) else max(subnets - done, 0)
        left = steps * (a_step or 0.0) + seconds * (rest + to_come * subnets)
        if trials is None:
            return left
        name = f"{ROUND}{number}/{LAST_SEARCH}"
        under_way = next((one for one in searches if one.name == name and not to_come), None)
        if under_way is None or under_way.seconds_left is None:
            return left + seconds * max(trials - (under_way.done if under_way else 0), 0)
        return left + under_way.seconds_left

    def _seconds_a_step(self) -> float | None:
        """Return how long a training step of the last command takes, evaluations included."""
        for folder in reversed(self.folders):
            since = self._since(int(folder.name))
            step, end = last_step(folder), changed_file(folder / METRICS)
            if since is not None and end > since[0] and step > since[1]:
                return (end - since[0]) / (step - since[1])
        return None

    def _ended(self, number: int) -> bool:
        return self._record(number).is_file()

    def _settled(self, number: int) -> bool:
        """Tell whether a round has ended and nothing moved in it."""
        if not self._ended(number):
            return False
        try:
            record = files.read_json(self._record(number))
        except InputError as error:
            self.faults.append(str(error))
            return False
        return isinstance(record, dict) and record.get("next") == record.get("space")


def _seconds_each(search: Search) -> float | None:
    """Return how long an evaluation takes, None if nothing tells."""
    took = [record.seconds for record in search.records if record.seconds >= 0]
    return sum(took) / len(took) if took else None
