"""S3's loop: train a supernet of the space, evaluate subnets, move the space, and again.

How a round decides is told in `vitnas.search.space_evolution_decision`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitnas import files
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.ledger import Record
from vitnas.search.limits import Costs, Limit, check_possible
from vitnas.search.racing import Evaluate
from vitnas.search.space_evolution_decision import Check, check_options, decide
from vitnas.search.space_evolution_dimensions import tied
from vitnas.search.space_evolution_round import Options, Round
from vitnas.search.study import search
from vitnas.space import Space

logger = logging.getLogger(__name__)

SETTINGS, LOCK = "settings.json", "lock"


@dataclass(frozen=True)
class Trained:
    """A trained supernet as the loop sees it: what evaluates its subnets, and on what.

    `evaluate` gives top-1 in percent as the score; `evaluated_on` names weights and images.
    """

    evaluate: Evaluate
    evaluated_on: str


def evolve_space(
    space: Space,
    train: Callable[[Space, int], Trained],
    *,
    costs: Costs,
    limits: Iterable[Limit],
    folder: str | Path,
    rounds: int = 3,
    subnets: int = 1000,
    options: Options | None = None,
    seed: int = 0,
    recipe: Mapping[str, Any] | None = None,
    check: Check | None = None,
    together: int = 16,
    on_trial: Callable[[Record], None] | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> list[Round]:
    """Move a space up to `rounds` times and return the rounds; the last one's space is the result.

    Round k trains a supernet of the k-th space, `train(space, k)`, and evaluates subnets, drawn
    without repetition under the limits, each with one value in every dimension. The last round
    measures the final space: what it decides is recorded, not applied. The loop ends early when
    nothing moves, or where the moves lead to a space that `check` refuses or that has no subnet
    under the limits.

    `folder` gets `settings.json`, `round-K.json` and, in `round-K`, the ledger of the evaluations.
    The same call resumes: recorded rounds are read, recorded evaluations are not repeated, and
    `train` is called again for the round that is not finished. More `rounds` continue. `recipe`,
    JSON-able, is how `train` trains: with another one a folder is refused.

    Raises:
        InputError: no maximum among the limits, limits that the space can't meet, options that
            don't fit it, a folder of another evolution, or another process in it.
    """
    window, chosen = tuple(sorted(limits, key=str)), options or Options()
    check_settings(space, window, rounds, subnets, chosen)
    check_subnets(space, window, costs, check)
    folder = Path(folder)
    settings = {
        "space": space.to_dict(),
        "limits": [dataclasses.asdict(limit) for limit in window],
        "subnets": subnets,
        "options": dataclasses.asdict(chosen),
        "seed": seed,
        "recipe": dict(recipe or {}),
    }

    def make_round(space: Space, number: int) -> Round:
        results = _evaluate(
            space,
            train(space, number),
            folder=folder / f"round-{number}",
            costs=costs,
            limits=window,
            trials=subnets,
            seed=seed,
            together=together,
            on_trial=on_trial,
        )
        found = decide(space, results, options=chosen, number=number, seed=seed, check=check)
        found = _settle(found, window, costs, check)
        files.write_json(_path(folder, number), found.to_dict())
        return found

    with files.only_one(folder / LOCK, f"evolving the space in {folder}"):
        _keep_settings(folder, settings)
        done: list[Round] = []
        while len(done) <= rounds:
            number = len(done)
            found = _read(folder, number, space) or make_round(space, number)
            done.append(found)
            if on_round:
                on_round(found)
            if found.next == space:
                break
            space = found.next
        return done


def read_rounds(folder: str | Path) -> list[Round]:
    """Read the finished rounds of a space evolution, also of one that is running.

    Raises:
        InputError: a record is damaged.
    """
    found: list[Round] = []
    while _path(Path(folder), len(found)).is_file():
        found.append(_read_round(_path(Path(folder), len(found))))
    return found


def check_settings(
    space: Space, limits: Iterable[Limit], rounds: int, subnets: int, options: Options
) -> None:
    """Check what can be checked before anything is loaded or trained.

    Raises:
        InputError: too few rounds or subnets, no maximum among the limits, or options that don't
            fit the space.
    """
    if rounds < 1:
        raise InputError(f"rounds is {rounds}; it must be at least 1")
    if subnets < 2 * options.fewest:
        raise InputError(
            f"subnets is {subnets}; it must be at least {2 * options.fewest}, as a value is judged "
            f"by {options.fewest} or more"
        )
    if not any(limit.maximum is not None for limit in limits):
        raise InputError(
            "space evolution needs a budget, such as at most so many MACs: without one larger is "
            "better and a space only grows"
        )
    check_options(space, options)


def check_subnets(
    space: Space, limits: Iterable[Limit], costs: Costs, check: Check | None = None
) -> None:
    """Check that a space has subnets to evaluate.

    Raises:
        InputError: `check` refuses it, or no subnet with equal blocks meets the limits.
    """
    if check is not None:
        check(space)
    check_possible(tied(space), limits, costs)


def _evaluate(
    space: Space,
    trained: Trained,
    *,
    folder: Path,
    costs: Costs,
    limits: Iterable[Limit],
    trials: int,
    seed: int,
    together: int,
    on_trial: Callable[[Record], None] | None,
) -> list[tuple[Arch, float]]:
    """Return subnets and their errors in percent; those that the ledger has are not repeated."""
    records = search(
        tied(space),
        trained.evaluate,
        strategy="random",
        limits=limits,
        costs=costs,
        trials=trials,
        seed=seed,
        folder=folder,
        together=together,
        racing=False,
        evaluated_on=trained.evaluated_on,
        on_trial=on_trial,
    )
    return [(record.arch, 100 - record.score) for record in records]


def _settle(found: Round, limits: Sequence[Limit], costs: Costs, check: Check | None) -> Round:
    """Return the round with the space as it was, where the next one has no subnet to offer."""
    if found.next == found.space:
        return found
    try:
        check_subnets(found.next, limits, costs, check)
    except InputError as error:
        logger.warning("round %d: the space stays as it is: %s", found.number, error)
        return dataclasses.replace(found, next=found.space, refused=str(error))
    return found


def _keep_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a new evolution; compare them with those of an old one."""
    path, plain = folder / SETTINGS, json.loads(json.dumps(settings))
    if not path.is_file():
        files.write_json(path, plain)
        return
    stored = files.read_json(path)
    stored = stored if isinstance(stored, dict) else {}
    for name, value in plain.items():
        old = stored.get(name)
        if old != value:
            raise InputError(
                f"{folder} holds a space evolution with another {name}{_where(old, value)}: repeat "
                f"it with the same {name} to resume, or use another folder"
            )


def _where(old: Any, new: Any) -> str:
    """Name the fields in which two records differ, if they are of options."""
    if not isinstance(old, dict) or not isinstance(new, dict) or "choices" in new:
        return ""
    return f" ({', '.join(name for name in new if old.get(name) != new[name])})"


def _read(folder: Path, number: int, space: Space) -> Round | None:
    path = _path(folder, number)
    if not path.is_file():
        return None
    found = _read_round(path)
    if found.space != space:
        raise InputError(f"{path} is not about the space that the round before led to")
    return found


def _read_round(path: Path) -> Round:
    try:
        return Round.from_dict(files.read_json(path))
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from error


def _path(folder: Path, number: int) -> Path:
    return folder / f"round-{number}.json"
