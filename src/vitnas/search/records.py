"""What a ledger holds: the settings of a search, its trials, and their form as Optuna's trials."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.limits import Limit
from vitnas.search.summary import distributions, summary
from vitnas.space import Space

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

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
    Latency depends on who measured it, and so do proposals that it limits: `measured_on` names the
    hardware and the table.
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
    measured_on: str = ""

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
            "measured_on": self.measured_on,
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
    ended: float = field(default=math.nan, compare=False)  # seconds since 1970

    @property
    def done(self) -> bool:
        """Whether it is the result of its proposal, a score or a bound."""
        return self.state in ("complete", "stopped")


def to_trial(
    space: Space,
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
) -> FrozenTrial:
    """Return an evaluation that has ended as a trial: with `score`, `at_most` or why it failed."""
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
        params=summary(space, arch),
        distributions=distributions(space),
        user_attrs=attributes,
    )
    assert trial.datetime_complete is not None
    trial.datetime_start = trial.datetime_complete - timedelta(seconds=seconds)
    return trial


def refuse_difference(where: object, stored: Settings, given: Settings) -> None:
    """Refuse to put the trials of two searches into one ledger."""
    for name in (one.name for one in dataclasses.fields(Settings)):
        old, new = getattr(stored, name), getattr(given, name)
        if old == new:
            continue
        what = f"{name} {_show(old, new)}, not {_show(new, old)}"
        advice = f"repeat it with the same {name} to resume"
        if name == "measured_on":
            what = f"costs of {old or 'no machine'}, not of {new or 'none'}"
            advice = (
                "all workers need that hardware and one table: copy latency.json from the search's "
                "folder on the machine that began it"
            )
        raise InputError(
            f"{where} holds a search with {what}; {advice}, or use another folder (--name)"
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


def to_settings(where: object, record: Any) -> Settings:
    """Return the settings that a ledger holds.

    Raises:
        InputError: they can't be read.
    """
    try:
        return Settings.from_dict(record)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where} has unreadable settings: {error!r}") from error


def to_record(where: object, trial: FrozenTrial) -> Record:
    """Return a trial of a ledger.

    Raises:
        InputError: vitnas did not write it.
    """
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
            ended=trial.datetime_complete.timestamp() if trial.datetime_complete else math.nan,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"trial {trial.number} in {where} was not written by vitnas: {error!r}"
        ) from error


def once(records: Iterable[Record]) -> list[Record]:
    """Return the records with one result for each proposal, the first; later ones count as failed.

    Workers evaluate a proposal twice only where one of them was taken for dead and was not.
    """
    seen: set[int] = set()
    found = []
    for record in records:
        if record.done:
            if record.index in seen:
                record = dataclasses.replace(record, state="failed", score=math.nan)
            seen.add(record.index)
        found.append(record)
    return found
