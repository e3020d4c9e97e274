"""The folder of a run, and what its parts say about each other.

config.yaml      the recipe: everything needed to repeat the training
checkpoints/     training state; `metrics.jsonl` beside it
supernet/        the trained supernet as a model folder
searches/NAME/   one search each, with its ledger `study.journal`
models/NAME/     extracted, fine-tuned and retrained models
report.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.errors import InputError

if TYPE_CHECKING:
    from vitnas.data.sources import Data
    from vitnas.data.transforms import Input

SUPERNET, SEARCHES, MODELS, CONFIG = "supernet", "searches", "models", "config.yaml"


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


def model_info(data: Data, input: Input, root: str | None) -> dict[str, Any]:
    """Return what a model folder keeps about its data, so that later commands need not be told."""
    return {
        "data": {**data.describe(), "root": root},
        "classes": list(data.classes),
        "input": asdict(input),
    }


def open_model_data(record: Mapping[str, Any], name: str | None, root: str | None) -> Data:
    """Open the data that a model folder names, with the same splits, or other data by name.

    Raises:
        InputError: the folder names none and none is given, or the data can't be opened.
    """
    from vitnas.data.sources import open_data

    known = record.get("data") or {}
    if name is None and "name" not in known:
        raise InputError("the model does not say what data it is for; give --data")
    if name is None or name == known.get("name"):
        return open_data(
            known["name"],
            search_fraction=known["search_fraction"],
            seed=known["seed"],
            root=root or known.get("root"),
        )
    return open_data(name, root=root)


def model_input(record: Mapping[str, Any], data: Data) -> Input:
    """Return how images are prepared for a saved model: as it says, else as usual for the data."""
    from vitnas.data.transforms import Input, default_input

    options = record["options"]
    size, channels = tuple(options["img_size"]), options["in_chans"]
    if "input" not in record:
        return default_input(data, size, channels)
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
    """Return a short hash of a model folder's weights."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes())
    return digest.hexdigest()[:16]
