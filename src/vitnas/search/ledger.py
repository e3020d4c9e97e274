"""The record of a search: an Optuna study in the file `study.journal` of its run folder.

One trial is one evaluation, written when it has ended. It carries the whole architecture as the
attribute `arch`, a few summary parameters for Optuna's dashboard, and every cost and metric as an
attribute of its own. Whatever is recorded survives a kill at any moment. An evaluation that was
stopped early is a pruned trial without a value; the score that it could at most have reached is
the attribute `at_most`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.claims import LOCK, Claims, Locks
from vitnas.search.records import (
    RESERVED,
    TOP1,
    Record,
    Settings,
    State,
    once,
    refuse_difference,
    to_record,
    to_settings,
    to_trial,
)

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

JOURNAL = "study.journal"
STUDY = "search"

__all__ = [
    "JOURNAL",
    "RESERVED",
    "STUDY",
    "TOP1",
    "Follower",
    "Ledger",
    "Record",
    "Settings",
    "State",
    "check_same",
    "read",
]


def read(folder: str | Path) -> tuple[Settings, list[Record]]:
    """Read a search, also one that is running, without writing to it.

    Raises:
        InputError: the folder holds no search, or a damaged one.
    """
    from vitnas.search.journal import open_journal

    path = Path(folder) / JOURNAL
    attributes, trials = _content(open_journal(path, write=False))
    if "settings" not in attributes:
        raise InputError(f"{path} holds no search of vitnas")
    records = once(to_record(path, trial) for trial in trials)
    return to_settings(path, attributes["settings"]), records


def check_same(folder: str | Path, settings: Settings) -> None:
    """Check that a folder holds the search of these settings, or none.

    Raises:
        InputError: it holds another search.
    """
    stored = Follower(folder).settings()
    if stored is not None:
        refuse_difference(folder, stored, _as_stored(settings))


def _as_stored(settings: Settings) -> Settings:
    return Settings.from_dict(json.loads(json.dumps(settings.to_dict())))


def _content(storage: BaseStorage) -> tuple[Mapping[str, Any], list[FrozenTrial]]:
    """Return the attributes and the trials of the search, nothing as long as there is none."""
    if STUDY not in {study.study_name for study in storage.get_all_studies()}:
        return {}, []
    identity = storage.get_study_id_from_name(STUDY)
    trials = storage.get_all_trials(identity, deepcopy=False)
    return storage.get_study_user_attrs(identity), trials


class Follower:
    """Reads a search while others write it, without a lock; the folder may be empty as yet."""

    def __init__(self, folder: str | Path) -> None:
        self._path = Path(folder) / JOURNAL
        self._storage: BaseStorage | None = None
        self._seen = 0

    def settings(self) -> Settings | None:
        """Return what is searched, None as long as that is not written.

        Raises:
            InputError: the journal is damaged or can't be read.
        """
        stored = self._look()[0].get("settings")
        return None if stored is None else to_settings(self._path, stored)

    def news(self) -> list[Record]:
        """Return the trials that were not returned before, up to one that has not ended.

        Raises:
            InputError: the journal is damaged or can't be read.
        """
        trials = self._look()[1][self._seen :]
        fresh = list(itertools.takewhile(lambda trial: trial.state.is_finished(), trials))
        self._seen += len(fresh)
        return [to_record(self._path, trial) for trial in fresh]

    def _look(self) -> tuple[Mapping[str, Any], list[FrozenTrial]]:
        from vitnas.search.journal import DAMAGE, open_journal

        if self._storage is None:
            if not self._path.exists():
                return {}, []
            self._storage = open_journal(self._path, write=False)
        try:
            return _content(self._storage)
        except (OSError, *DAMAGE) as error:
            raise InputError(f"{self._path} is damaged: {error!r}") from error


class Ledger:
    """The open ledger of a process that searches into a folder; use it as a context.

    Opening refuses another search's folder, and one that others search into unless it is to `join`
    them. `claims` are what this process evaluates.

    Raises:
        InputError: other processes search there, the settings differ, the journal is damaged or
            can't be written.
    """

    claims: Claims
    _storage: BaseStorage
    _study_id: int

    def __init__(self, folder: str | Path, settings: Settings, *, join: bool = False) -> None:
        self.folder, self._join = Path(folder), join
        self.place = str(self.folder / JOURNAL)
        self._settings = _as_stored(settings)
        self._stack = contextlib.ExitStack()
        self._seen = 0

    def __enter__(self) -> Ledger:
        with contextlib.ExitStack() as stack, self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def records(self) -> list[Record]:
        """Return all trials in the order of evaluation."""
        return [to_record(self.place, trial) for trial in self._trials()]

    def news(self) -> list[Record]:
        """Return the trials that were not returned before, those of other workers too."""
        return [to_record(self.place, trial) for trial in self._fresh(self._trials())]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Sync what is recorded inside once, at the end."""
        with self._writing(), self._journal.together():
            yield

    def record(self, arch: Arch, **facts: Any) -> Record:
        """Record an evaluation that has ended; `records.to_trial` says with which facts."""
        trial = to_trial(self._settings.space, arch, **facts)
        trial.number = self.add(trial)
        return to_record(self.place, trial)

    def add(self, trial: FrozenTrial) -> int:
        """Add a finished trial, whole or not at all, and return its number."""
        with self._writing():
            identity = self._storage.create_new_trial(self._study_id, trial)
        return self._storage.get_trial_number_from_id(identity)

    def _open(self, stack: contextlib.ExitStack) -> None:
        from vitnas.search.journal import open_journal

        path = self.folder / JOURNAL
        claims = stack.enter_context(Locks(self.folder / LOCK, self._join))
        with claims.gate():
            self.claims, self._journal = claims, open_journal(path, write=True)
            self._open_study(self._journal, STUDY)
            if claims.look(())[0] == 1:
                self._fail_running()

    def _open_study(self, storage: BaseStorage, name: str) -> None:
        """Open a study; store the settings in a new one, compare them with those of an old one."""
        from vitnas.search.journal import open_study

        study = open_study(storage, name)
        self._storage, self._study_id = storage, storage.get_study_id_from_name(name)
        attributes = study.user_attrs
        if "settings" in attributes:
            stored = to_settings(self.place, attributes["settings"])
            refuse_difference(self._told, stored, self._settings)
        elif self._trials():
            raise InputError(f"{self.place} holds no search of vitnas; use another folder")
        else:
            study.set_user_attr("settings", self._settings.to_dict())

    @property
    def _told(self) -> str:
        """What holds the search, in a refusal."""
        return str(self.folder)

    def _trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def _fresh(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        fresh, self._seen = trials[self._seen :], len(trials)
        return fresh

    def _fail_running(self) -> None:
        """Fail the trials that a killed process of an older version left running."""
        from optuna.trial import TrialState

        for trial in self._trials():
            if trial.state == TrialState.RUNNING:
                identity = trial._trial_id
                self._storage.set_trial_user_attr(identity, "failure", "interrupted")
                self._storage.set_trial_state_values(identity, TrialState.FAIL)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"can't write {self.place}: {error.strerror or error}") from error
