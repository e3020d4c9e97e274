"""Model folders: `config.json` and `model.safetensors`, written atomically, read without pickle.

A static model's folder also holds `modeling.py`, a copy of its family's module in `vitnas.nn` with
what that imports from there. The `load(folder)` in it builds the model on torch and timm alone, and
knows the fingerprint too.

A model saved over another replaces one file after the other. So the config carries a fingerprint of
the weights: where it is another, the second save did not come to its end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vitnas import files
from vitnas.arch import Arch
from vitnas.errors import InputError, unknown
from vitnas.models import family, family_of, make_config
from vitnas.space import Space
from vitnas.supernet import Supernet, build_static

FORMAT = 1
CONFIG, WEIGHTS, MODELING = "config.json", "model.safetensors", "modeling.py"
FINGERPRINT = "weights"  # in the config
_OWN = re.compile(r"^from (vitnas\.nn\.\w+) import .+\n", re.M)


def save(model: nn.Module, folder: str | Path, **info: Any) -> Path:
    """Write a supernet or a static model made by vitnas as a folder and return its path.

    `info` is kept in `config.json` beside what rebuilds the model: classes, input, provenance,
    metrics. All of it must be JSON-able. The config comes last, so that a folder without one was
    not finished.

    Raises:
        InputError: the model was not made by vitnas, or the folder can't be written.
    """
    folder = Path(folder)
    record: dict[str, Any] = {"vitnas": FORMAT, **_describe(model), **info}
    json.dumps(record)  # before anything is written
    state = {
        name: tensor.detach().contiguous().cpu() for name, tensor in model.state_dict().items()
    }
    files.write(folder / WEIGHTS, partial(_write_weights, state))
    if record["kind"] == "model":
        files.write(folder / MODELING, modeling(record["family"]))
    files.write_json(folder / CONFIG, {**record, FINGERPRINT: files.fingerprint(folder / WEIGHTS)})
    return folder


def load(folder: str | Path) -> nn.Module:
    """Return the supernet or static model that a folder holds, in evaluation mode.

    Raises:
        InputError: there is no model, it can't be read, or config and weights don't fit together,
            as when saving over another model was interrupted.
    """
    folder = Path(folder)
    record = _read_record(folder)
    with torch.device("meta"):  # a config can ask for more memory than there is
        expected = _rebuild(record, folder).state_dict()
    state = read_weights(folder / WEIGHTS)
    faults = list(_misfits(state, expected))
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise InputError(f"{folder}: weights don't fit the config: {'; '.join(faults[:5])}{more}")
    known = record.get(FINGERPRINT)
    if known is not None and known != files.fingerprint(folder / WEIGHTS):
        raise InputError(
            f"{folder}: {WEIGHTS} is not what was saved with {CONFIG}, as when saving over another "
            f"model was interrupted; save it again, or drop {FINGERPRINT!r} from {CONFIG} if the "
            "weights were replaced on purpose"
        )
    with torch.random.fork_rng(devices=[]):
        model = _rebuild(record, folder)
    if isinstance(model, Supernet):
        model.input = record.get("input")
    elif "input" in record:
        config: Any = model.vitnas_config
        config["input"] = record["input"]
    model.to(next(iter(state.values())).dtype)
    model.load_state_dict(state)
    return model.eval()


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the record of a model folder.

    Raises:
        InputError: there is none, or it is of a format that this version can't read.
    """
    record = _read_record(Path(folder))
    record.pop(FINGERPRINT, None)
    return record


def update_config(folder: str | Path, **info: Any) -> dict[str, Any]:
    """Add to the record of a model folder; mappings are merged, one level deep. Return it."""
    record = _read_record(Path(folder))
    for name, value in info.items():
        old = record.get(name)
        if isinstance(old, dict) and isinstance(value, Mapping):
            value = {**old, **value}
        record[name] = value
    files.write_json(Path(folder) / CONFIG, record)
    record.pop(FINGERPRINT, None)
    return record


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        InputError: the file is missing, truncated or of another format.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"can't read weights {path}: {error}") from error


def modeling(name: str) -> str:
    """Return the text of `modeling.py` for a family: its static module, and what loads a folder."""
    static = Path(str(import_module(family(name).modeling).__file__)).read_text()
    text = (
        f"{static}\n\n# What follows loads the model of a folder.\n"
        "from vitnas.nn.saved import load_folder\n\n\n"
        "def load(folder: str) -> nn.Module:\n"
        '    """Return the model of a folder that vitnas saved, on torch and timm alone."""\n'
        "    return load_folder(folder, build)\n"
    )
    return _OWN.sub(lambda line: code_of(import_module(line[1])), text)


def code_of(module: ModuleType) -> str:
    """Return the text of a module without its beginning, to follow another's in one file."""
    return Path(str(module.__file__)).read_text().partition("import annotations\n")[2]


def _read_record(folder: Path) -> dict[str, Any]:
    if folder.is_file():
        raise InputError(
            f"{folder} is a file, not a model folder; vitnas.convert (vitnas convert) makes one of "
            "another system's checkpoint"
        )
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} is no model folder: it has no {CONFIG}")
    record = files.read_json(folder / CONFIG)
    if not isinstance(record, dict) or record.get("vitnas") != FORMAT:
        raise InputError(f"{folder / CONFIG} is no vitnas model of format {FORMAT}")
    return record


def _write_weights(state: dict[str, torch.Tensor], path: Path) -> None:
    try:
        save_file(state, path, {"format": "pt"})
    except SafetensorError as error:  # its only error here is the disk's, such as no space left
        raise OSError(str(error)) from error


def _misfits(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> Iterator[str]:
    yield from (f"{name} missing" for name in expected if name not in state)
    yield from (f"{name} unexpected" for name in state if name not in expected)
    for name in expected.keys() & state.keys():
        given, wanted = state[name], expected[name]
        if given.shape != wanted.shape:
            yield f"{name} is {tuple(given.shape)}, expected {tuple(wanted.shape)}"
        elif given.is_floating_point() != wanted.is_floating_point():
            yield f"{name} is {given.dtype}, expected {wanted.dtype}"


def _describe(model: nn.Module) -> dict[str, Any]:
    if isinstance(model, Supernet):
        return {
            "kind": "supernet",
            "family": model.largest.family,
            "largest": model.largest.to_dict(),
            "options": model.config.to_dict(),
            "space": model.space.to_dict() if model.space else None,
            **({"stored_space": model.stored_space.to_dict()} if model.stored_space else {}),
            "sharing": model.sharing.to_json(),
            **({"input": model.input} if model.input else {}),
        }
    record = getattr(model, "vitnas_config", None)
    if not isinstance(record, dict):
        raise InputError(
            f"can't save a {type(model).__name__}: only models of vitnas.build, extract or load"
        )
    arch = Arch.from_dict(record["arch"])
    made = family_of(arch)
    config = make_config(made, arch, record["options"])
    build = made.build_args(config, arch)
    return {"kind": "model", "family": arch.family, **record, "build": build}


def _rebuild(record: Mapping[str, Any], folder: Path) -> nn.Module:
    try:
        if record["kind"] not in ("supernet", "model"):
            raise unknown("kind of model", record["kind"], ("supernet", "model"))
        if record["kind"] == "supernet":
            space, stored = (
                Space.from_dict(given) if given else None
                for given in (record["space"], record.get("stored_space"))
            )
            return Supernet(
                space,
                sharing=record["sharing"],
                largest=Arch.from_dict(record["largest"]),
                stored_space=stored,
                **dict(record["options"]),
            )
        arch = Arch.from_dict(record["arch"])
        made = family_of(arch)
        return build_static(made, make_config(made, arch, record["options"]), arch)
    except InputError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{folder / CONFIG} is damaged: {error!r}") from error
