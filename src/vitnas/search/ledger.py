"""The record of a search: an Optuna study in the file `study.journal` of its run folder.

One trial is one evaluation, written when it has ended. It carries the whole architecture as the
attribute `arch`, a few summary parameters for Optuna's dashboard, and every cost and metric as an
attribute of its own. Whatever is recorded survives a kill at any moment. An evaluation that was
stopped early is a pruned trial without a value; the score that it could at most have reached is
the attribute `at_most`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.limits import Limit
from vitnas.search.summary import distributions, summary
from vitnas.space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

JOURNAL = "study.journal"
STUDY = "search"
TOP1 = "top-1"
State: TypeAlias = Literal["complete", "stopped", "failed", "running"]
RESERVED = frozenset(
    {"score", "at_most", "predicted", "arch", "index", "origin", "parents", "generation"}
    | {"seconds", "failure"}
)


@dataclass(frozen=True)
class Settings:
    """What makes a search the same search; a folder holds the results of one.

    `scorer` says what the score is: the measured top-1, or a zero-cost proxy, which is none. A
    ledger holds scores of one kind. Where a `predictor` chose, it was among `oversample` proposals.
    """

    space: Space
    limits: tuple[Limit, ...]
    strategy: str
    options: Mapping[str, Any]
    seed: int
    evaluated_on: str = ""
    scorer: str = TOP1
    predictor: str = ""
    oversample: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able record."""
        return {
            "space": self.space.to_dict(),
            "limits": [dataclasses.asdict(limit) for limit in self.limits],
            "strategy": self.strategy,
            "options": dict(self.options),
            "seed": self.seed,
            "evaluated_on": self.evaluated_on,
            "scorer": self.scorer,
            "predictor": self.predictor,
            "oversample": self.oversample,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Settings:
        """Read what `to_dict` wrote, also after a round trip through JSON."""
        limits = tuple(sorted((Limit(**limit) for limit in record["limits"]), key=str))
        return cls(**{**record, "space": Space.from_dict(record["space"]), "limits": limits})


@dataclass(frozen=True)
class Record:
    """One trial. Only a complete one has a score; the others have nan.

    A stopped one has `at_most`, the highest score that it could have reached. A failed or running
    one (only older versions wrote those) repeats its `index` later.
    """

    number: int  # the position in the ledger, which is the order of evaluation
    index: int  # the position among the searcher's proposals
    arch: Arch
    score: float
    metrics: dict[str, float]  # costs, and all that the evaluation returned beside the score
    origin: str
    parents: tuple[int, ...]  # numbers of their trials
    generation: int
    seconds: float  # an equal share of the time that its group took
    state: State
    at_most: float | None = None
    predicted: float | None = None  # what a predictor guessed before the evaluation


def read(folder: str | Path) -> tuple[Settings, list[Record]]:
    """Read a search, also one that is running, without writing to it.

    Raises:
        InputError: the folder holds no search, or a damaged one.
    """
    from vitnas.search.journal import open_journal

    path = Path(folder) / JOURNAL
    storage = open_journal(path, write=False)
    attributes: Mapping[str, Any] = {}
    if STUDY in {study.study_name for study in storage.get_all_studies()}:
        identity = storage.get_study_id_from_name(STUDY)
        attributes = storage.get_study_user_attrs(identity)
    if "settings" not in attributes:
        raise InputError(f"{path} holds no search of vitnas")
    trials = storage.get_all_trials(identity, deepcopy=False)
    return _settings(path, attributes["settings"]), [_record(path, trial) for trial in trials]


class Ledger:
    """The open ledger of the one process that searches into a folder; use it as a context.

    Opening refuses another search's folder.

    Raises:
        InputError: another process searches there, the settings differ, the journal is damaged or
            can't be written.
    """

    def __init__(self, folder: str | Path, settings: Settings) -> None:
        self.folder = Path(folder)
        self._path = self.folder / JOURNAL
        self._settings = Settings.from_dict(json.loads(json.dumps(settings.to_dict())))
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Ledger:
        from vitnas.search.journal import open_journal, open_study

        with contextlib.ExitStack() as stack, self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_only_one(self._path.with_name("study.lock")))
            self._storage = open_journal(self._path, write=True)
            self._study = open_study(self._storage, STUDY)
            self._study_id = self._storage.get_study_id_from_name(STUDY)
            self._check_settings()
            self._fail_running()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def records(self) -> list[Record]:
        """Return all trials in the order in which they were started."""
        trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        return [_record(self._path, trial) for trial in trials]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Sync what is recorded inside once, at the end."""
        with self._writing(), self._storage.together():
            yield

    def record(
        self,
        arch: Arch,
        *,
        index: int,
        origin: str,
        parents: tuple[int, ...],
        generation: int,
        costs: Mapping[str, float],
        result: Mapping[str, float],
        seconds: float,
        failure: str = "",
        predicted: float | None = None,
    ) -> Record:
        """Record an evaluation that has ended: with `score`, `at_most` or, if it failed, why."""
        from optuna.trial import TrialState, create_trial

        attributes = {
            "arch": arch.to_dict(),
            "index": index,
            "origin": origin,
            "parents": list(parents),
            "generation": generation,
            "seconds": seconds,
            **costs,
            **{name: value for name, value in result.items() if name != "score"},
            **({"failure": failure} if failure else {}),
            **({} if predicted is None else {"predicted": predicted}),
        }
        state = TrialState.FAIL if failure else TrialState.PRUNED
        trial = create_trial(
            state=TrialState.COMPLETE if "score" in result else state,
            value=result.get("score"),
            params=summary(self._settings.space, arch),
            distributions=self._distributions,
            user_attrs=attributes,
        )
        assert trial.datetime_complete is not None
        trial.datetime_start = trial.datetime_complete - timedelta(seconds=seconds)
        with self._writing():
            # One line for the whole trial, so that it is there or not
            trial_id = self._storage.create_new_trial(self._study_id, trial)
        trial.number = self._storage.get_trial_number_from_id(trial_id)
        return _record(self._path, trial)

    @cached_property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return distributions(self._settings.space)

    def _fail_running(self) -> None:
        """Fail the trials that a killed process of an older version left running."""
        from optuna.trial import TrialState

        for record in self.records():
            if record.state == "running":
                trial_id = self._trial_id(record.number)
                self._storage.set_trial_user_attr(trial_id, "failure", "interrupted")
                self._study.tell(record.number, state=TrialState.FAIL)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _check_settings(self) -> None:
        """Store the settings in a new study; compare them with those of an old one."""
        attributes = self._study.user_attrs
        if "settings" in attributes:
            stored = _settings(self._path, attributes["settings"])
            _refuse_difference(self.folder, stored, self._settings)
        elif self._study.trials:
            raise InputError(f"{self._path} holds no search of vitnas; use another folder")
        else:
            self._study.set_user_attr("settings", self._settings.to_dict())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"can't write {self._path}: {error.strerror or error}") from error


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold a lock that ends with this process, even if children of it (data loaders) live on."""
    with path.open("ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise InputError(
                f"another process is searching into {path.parent}; stop it or wait for its end"
            ) from error
        yield


def _refuse_difference(folder: Path, stored: Settings, given: Settings) -> None:
    for field in dataclasses.fields(Settings):
        old, new = getattr(stored, field.name), getattr(given, field.name)
        if old != new:
            raise InputError(
                f"{folder} holds a search with {field.name} {_show(old, new)}, "
                f"not {_show(new, old)}; repeat it with the same {field.name} to resume, "
                "or use another folder"
            )


def _show(value: Any, other: Any) -> str:
    """Describe a setting, as far as it differs from the other one."""
    if isinstance(value, Space):
        differing = [choice for choice in value.choices if choice not in other.choices]
        genes = ", ".join(
            f"{choice.name} {choice.values}{' tied' if choice.tied else ''}" for choice in differing
        )
        return f"{value.name or value.family} ({genes or 'fewer choices'})"
    if isinstance(value, Mapping):
        return str({name: item for name, item in value.items() if other.get(name) != item})
    if isinstance(value, tuple):
        return " and ".join(map(str, value)) or "none"
    return repr(value)


def _settings(path: Path, record: Any) -> Settings:
    try:
        return Settings.from_dict(record)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} has unreadable settings: {error!r}") from error


def _record(path: Path, trial: FrozenTrial) -> Record:
    attributes = trial.user_attrs
    states: dict[str, State]
    states = {"COMPLETE": "complete", "PRUNED": "stopped", "RUNNING": "running"}
    try:
        return Record(
            number=trial.number,
            index=attributes["index"],
            arch=Arch.from_dict(attributes["arch"]),
            score=math.nan if trial.value is None else trial.value,
            metrics={k: float(v) for k, v in attributes.items() if k not in RESERVED},
            origin=attributes["origin"],
            parents=tuple(attributes["parents"]),
            generation=attributes["generation"],
            seconds=attributes.get("seconds", math.nan),
            state=states.get(trial.state.name, "failed"),
            at_most=float(attributes["at_most"]) if trial.state.name == "PRUNED" else None,
            predicted=attributes.get("predicted"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"trial {trial.number} in {path} was not written by vitnas: {error!r}"
        ) from error
