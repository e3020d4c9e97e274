"""What lies in the folder of a run, read as far as it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vitnas import files
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.report.figures.style import finite, plain
from vitnas.run import (
    CONFIG,
    EVOLUTION,
    LATENCY,
    METRICS,
    MODELS,
    SUPERNET,
    Place,
    last_round,
    searches,
)
from vitnas.space import Space

if TYPE_CHECKING:
    from vitnas.cost import LatencyTable
    from vitnas.search.ledger import Record, Settings
    from vitnas.search.space_evolution_round import Round

T = TypeVar("T")

# what reading a record of wrong types or sizes raises
DAMAGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Study:
    """A search: its name in the run, its settings, its trials, and where its latencies are from."""

    name: str
    settings: Settings
    records: Sequence[Record]
    latency: LatencyTable | None = None


@dataclass(frozen=True)
class Model:
    """A saved static model, or a subnet that its supernet's training measured.

    `config` is the content of its `config.json`; nobody has checked it.
    """

    name: str
    folder: Path
    arch: Arch
    params: int
    macs: int
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Contents:
    """All that a report shows.

    `trained` names the last round of a space evolution, whose supernet and models these are.
    `extremes` are the smallest and the largest subnet; `missing` has one short text for each part
    that is not there.
    """

    trained: str
    config: str
    recipe: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    supernet: Mapping[str, Any]
    studies: Sequence[Study]
    evolution: Sequence[Round]
    models: Sequence[Model]
    extremes: Sequence[Model]
    missing: Sequence[str]


def read_contents(run: Path) -> Contents:
    """Read a run. Parts that are absent or damaged are named in `missing`.

    Raises:
        InputError: the folder holds no part of a run at all.
    """
    missing: list[str] = []
    trained = last_round(run)
    config = _read(files.read_text, trained / CONFIG, CONFIG, missing) or ""
    supernet, extremes = _supernet(trained / SUPERNET, missing)
    contents = Contents(
        trained="" if trained == run else f"round {trained.name}",
        config=config,
        recipe=_recipe(config, missing),
        metrics=_metrics(trained / METRICS, missing),
        supernet=supernet,
        studies=list(_studies(run, missing)),
        evolution=_evolution(run / EVOLUTION, missing),
        models=list(_models(trained / MODELS, missing)),
        extremes=extremes,
        missing=missing,
    )
    found = (config, contents.metrics, contents.supernet, contents.studies, contents.models)
    if not any((*found, contents.evolution)):
        raise InputError(f"{run} holds nothing to report: {'; '.join(missing)}")
    return contents


def number(record: Any, *path: str) -> float | None:
    """Return the number at a path inside an unchecked record, None if there is none."""
    found = entry(record, *path)
    return found if finite(found) and not isinstance(found, bool) else None


def entry(record: Any, *path: str) -> Any:
    """Return what lies at a path inside an unchecked record, None if nothing does."""
    for name in path:
        record = record.get(name) if isinstance(record, Mapping) else None
    return record


def objectives(settings: Settings) -> tuple[str, ...]:
    """Return the costs that a search minimizes beside its score."""
    return tuple(settings.options.get("minimize", ()))


def _read(read: Callable[[Path], T], path: Path, name: str, missing: list[str]) -> T | None:
    """Return what a file of the run has, None if it can't be had."""
    if not path.exists():
        missing.append(f"no {name}")
        return None
    try:
        return read(path)
    except InputError as error:
        missing.append(f"{name} is left out ({error})")
        return None


def _recipe(text: str, missing: list[str]) -> Mapping[str, Any]:
    from vitnas import yaml_text

    try:
        record = yaml_text.parse(text, CONFIG)
    except (InputError, RecursionError) as error:
        missing.append(str(error))
        return {}
    return record if isinstance(record, dict) else {}


def _metrics(path: Path, missing: list[str]) -> Sequence[Mapping[str, Any]]:
    from vitnas.train.metrics import read_metrics

    lines = _read(read_metrics, path, path.name, missing)
    if lines == []:
        missing.append(f"{path.name} holds no metrics")
    return lines or []


def _record(folder: Path, missing: list[str]) -> Mapping[str, Any] | None:
    """Return the `config.json` of a model folder, None if it can't be had."""
    name = plain(f"{MODELS}/{folder.name}" if folder.parent.name == MODELS else folder.name)
    record = _read(files.read_json, folder / "config.json", name, missing)
    if record is None:
        return None
    if not isinstance(entry(record, "options"), dict):
        missing.append(f"{name} is left out (its config.json is not that of a model)")
        return None
    return dict(record)


def _supernet(folder: Path, missing: list[str]) -> tuple[Mapping[str, Any], list[Model]]:
    """Return the supernet's record, and smallest and largest subnet if it has a space."""
    record = _record(folder, missing)
    if record is None or record.get("space") is None:
        return record or {}, []
    try:
        space = Space.from_dict(record["space"])
        extremes = []
        for name, arch in (("smallest", space.smallest), ("largest", space.largest)):
            measured = {"top1": number(record, "metrics", "search", f"top1_{name}")}
            subnet = {"arch": arch.to_dict(), "metrics": {"search": measured}}
            extremes.append(_model(name, folder, {**record, **subnet}))
    except DAMAGE as error:
        missing.append(f"{folder.name} is left out ({plain(error)})")
        return {}, []
    return record, extremes


def _studies(run: Path, missing: list[str]) -> Iterator[Study]:
    from vitnas.search.ledger import read

    found = searches(run)
    if not found:
        missing.append("no search")
    for place in found:
        try:
            settings, records = read(place.folder)
        except InputError as error:
            missing.append(f"search {plain(place.name)} is left out ({error})")
            continue
        yield Study(place.name, settings, records, _latency(place, missing))


def _latency(place: Place, missing: list[str]) -> LatencyTable | None:
    """Return the latency table of a search, None if it has none."""
    from vitnas.cost.table import LatencyTable

    path = place.folder / LATENCY
    if not path.exists():
        return None
    try:
        return LatencyTable.load(path)
    except (InputError, *DAMAGE) as error:
        missing.append(f"the latency table of search {plain(place.name)} is left out ({error})")
        return None


def _evolution(folder: Path, missing: list[str]) -> list[Round]:
    """Return the rounds of a space evolution, none if there was none."""
    from vitnas.search.space_evolution import read_rounds

    try:
        return read_rounds(folder)
    except (InputError, *DAMAGE) as error:
        missing.append(f"the space evolution is left out ({plain(error)})")
        return []


def _models(folder: Path, missing: list[str]) -> Iterator[Model]:
    found = sorted(path.parent for path in folder.glob("*/config.json"))
    if not found:
        missing.append("no extracted model")
    for path in found:
        record = _record(path, missing)
        if record is None:
            continue
        try:
            yield _model(path.name, path, record)
        except DAMAGE as error:
            missing.append(f"{MODELS}/{plain(path.name)} is left out ({plain(error)})")


def _model(name: str, folder: Path, record: Mapping[str, Any]) -> Model:
    from vitnas.cost import macs, params

    arch, options = Arch.from_dict(record.get("arch")), dict(record["options"])
    costs = params(arch, **options), macs(arch, **options)
    if not all(map(finite, costs)):
        raise InputError("its architecture is too large to be one")
    return Model(name, folder, arch, *costs, record)
