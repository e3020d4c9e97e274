"""The folder of a run, and what its parts say about each other.

config.yaml      the recipe: everything needed to repeat the training
checkpoints/     training state; `metrics.jsonl` beside it
supernet/        the trained supernet as a model folder
searches/NAME/   one search each, with its ledger `study.journal`, maybe with `latency.json`
models/NAME/     extracted, fine-tuned and retrained models
rounds/K/        of a space evolution: the run of each round
space-evolution/ what each round found out, with its ledger; `space.yaml` is the last space
report.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas import files
from vitnas.errors import InputError

if TYPE_CHECKING:
    from vitnas.data.sources import Data
    from vitnas.data.transforms import Input

SUPERNET, SEARCHES, MODELS, CONFIG = "supernet", "searches", "models", "config.yaml"
ROUNDS, EVOLUTION, SPACE = "rounds", "space-evolution", "space.yaml"
ROUND = "round-"  # of what a space evolution keeps about each
LAST_SEARCH = "evolution"  # in the last round of a space evolution, if asked for
METRICS, LATENCY = "metrics.jsonl", "latency.json"


def supernet_folder(run: Path) -> Path:
    """Return the supernet's model folder: `run/supernet`, or `run` itself if it is one.

    Raises:
        InputError: there is no trained supernet.
    """
    for folder in (run / SUPERNET, run):
        if (folder / "config.json").is_file():
            return folder
    if (run / "checkpoints").is_dir():
        raise InputError(f"the supernet in {run} is not trained to the end; repeat `vitnas train`")
    raise InputError(f"{run} holds no supernet; make one with `vitnas train` or `vitnas convert`")


def search_name(given: Mapping[str, Any]) -> str:
    """Return the name of a search by the arguments of its command."""
    from vitnas.search.ledger import TOP1

    scorer, predictor = given.get("scorer", TOP1), given.get("predictor")
    parts = [
        given.get("strategy"),
        *(["tied"] if given.get("tied") == "on" else []),
        *([scorer] if scorer != TOP1 else []),
        *(["with", predictor] if predictor else []),
    ]
    return str(given.get("name") or "-".join(map(str, parts)))


@dataclass(frozen=True)
class Place:
    """Where a search lies: its name inside of a run, the run of its supernet, and its folder."""

    name: str
    run: Path
    folder: Path


def round_folders(run: Path) -> list[Path]:
    """Return the rounds of a space evolution, in order; each is a run."""
    return _numbered((run / ROUNDS).glob("*"))


def last_round(run: Path) -> Path:
    """Return the run that was trained last: the last round of a space evolution, else itself."""
    return [run, *round_folders(run)][-1]


def search_folders(run: Path) -> list[Path]:
    """Return the folders of a run's own searches."""
    return sorted(_with_ledger(run / SEARCHES))


def searches(run: Path) -> list[Place]:
    """Return the searches of a run, and of the rounds of a space evolution as `round-K/NAME`."""
    runs = [("", run), *((f"{ROUND}{path.name}/", path) for path in round_folders(run))]
    return [
        Place(f"{prefix}{folder.name}", owner, folder)
        for prefix, owner in runs
        for folder in search_folders(owner)
    ]


def evaluations(run: Path) -> list[Place]:
    """Return what a space evolution evaluated in each round, as searches `round-K`."""
    return [
        Place(folder.name, run / ROUNDS / folder.name.removeprefix(ROUND), folder)
        for folder in _numbered(_with_ledger(run / EVOLUTION))
    ]


def _with_ledger(folder: Path) -> Iterator[Path]:
    from vitnas.search.ledger import JOURNAL

    return (path.parent for path in folder.glob(f"*/{JOURNAL}"))


def _numbered(paths: Iterable[Path]) -> list[Path]:
    found = [(path.name.removeprefix(ROUND), path) for path in paths]
    return [path for _, path in sorted((int(n), path) for n, path in found if n.isdecimal())]


def model_record(folder: Path) -> dict[str, Any]:
    """Return the record of a model folder.

    Raises:
        InputError: it is none, which may be because it is the run that the models lie in.
    """
    from vitnas.folder import read_config

    if (folder / SUPERNET).is_dir() and not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} is a run, not a model; give one of {folder / MODELS}, which "
            f"`vitnas extract {folder}` makes, or {folder / SUPERNET}"
        )
    return read_config(folder)


def check_output(folder: Path, model: Path) -> None:
    """Check that training in `folder` won't replace a model that came from elsewhere.

    Raises:
        InputError: `model` exists, but not the training state that it came from.
    """
    if (model / "config.json").is_file() and not any((folder / "checkpoints").glob("step-*.pt")):
        raise InputError(
            f"{model} is a model already, and {folder} has no training state to continue; "
            "name another folder"
        )


def model_info(data: Data, input: Input, root: str | None) -> dict[str, Any]:
    """Return what a model folder keeps about its data, so that later commands need not be told."""
    return {
        "data": {**data.describe(), "root": root},
        "classes": list(data.classes),
        "input": asdict(input),
    }


def open_model_data(
    record: Mapping[str, Any],
    name: str | None,
    root: str | None,
    *,
    test_alone: bool = False,
    **options: Any,
) -> Data:
    """Open the data that a model folder names, with the same splits, or other data by name.

    `options` say how other data is split; see `open_data`. With `test_alone` only the test split is
    asked for.

    Raises:
        InputError: the folder names none and none is given, or the data can't be opened.
    """
    from vitnas.data.sources import open_data

    with _readable("data"):
        known = dict(record.get("data") or {})
        own = known.get("name")
        if own is not None and name in (None, own):
            name, root = own, root or known.get("root")
            skip = options.get("skip_broken", False) or bool(known.get("skipped"))
            options = {key: known[key] for key in ("search_fraction", "seed")}
            options["skip_broken"] = skip
    if name is None:
        raise InputError("the model does not say what data it is for; give --data")
    return open_data(name, root=root, test_alone=test_alone, **options)


def model_input(record: Mapping[str, Any], data: Data | None = None) -> Input:
    """Return how images are prepared for a saved model: as it says, else as usual for the data.

    Without data it is as usual for images of the model's size.

    Raises:
        InputError: what it says is damaged.
    """
    from vitnas.data.transforms import SMALL, Input, default_input, usual_input

    options = record["options"]
    size, channels = tuple(options["img_size"]), options["in_chans"]
    if "input" not in record:
        if data is None:
            return usual_input(size, channels, max(size) <= SMALL)
        return default_input(data, size, channels)
    with _readable("input"):
        fields: dict[str, Any] = dict(record["input"])
        for name in ("img_size", "mean", "std"):
            fields[name] = tuple(fields[name])
        return Input(**fields)


def check_classes(record: Mapping[str, Any], data: Data) -> None:
    """Check that a saved model and a data set have equally many classes.

    Raises:
        InputError: they don't.
    """
    have, need = record["options"]["num_classes"], len(data.classes)
    if have != need:
        raise InputError(
            f"the model has {have} classes, {data.name} has {need}; fine-tune it on this data first"
        )


def fingerprint(folder: Path) -> str:
    """Return a short hash of a model folder's weights.

    Raises:
        InputError: they are missing or unreadable.
    """
    return files.fingerprint(folder / "model.safetensors")


@contextmanager
def _readable(field: str) -> Iterator[None]:
    """Turn the errors of reading a damaged field of a model's record into one that names it."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        message = f"the field {field} of the model's config.json is damaged: {error!r}"
        raise InputError(message) from error
