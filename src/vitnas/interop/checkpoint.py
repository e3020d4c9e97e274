"""Reading other people's checkpoints without running the code that a pickle can hold."""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vitnas.errors import InputError

_WRAPPERS = ("model", "state_dict", "module")


def read(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict in a .safetensors file or a torch checkpoint.

    Wrappers such as {"model": ...} are opened, a `module.` prefix of every name is taken off. The
    argparse.Namespace that official AutoFormer training checkpoints carry is read as plain data;
    any other Python object is refused.

    Raises:
        InputError: the file is missing, damaged, holds Python objects, or no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what can't be read is refused
            found = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # damaged or hostile files raise almost anything
        pickled = isinstance(error, pickle.UnpicklingError)
        raise InputError(_refusal(path) if pickled else _damaged(path)) from error
    return _state(found, path)


def misfits(
    given: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[list[str], list[str], list[str]]:
    """Return which names are missing, which are unexpected, and what has a wrong shape."""
    missing = [name for name in expected if name not in given]
    extra = [name for name in given if name not in expected]
    wrong = [
        f"{name} is {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
        for name, tensor in given.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    return missing, extra, wrong


def refuse(original: str, faults: Mapping[str, list[str]]) -> None:
    """Refuse weights that don't fit a config of the original.

    Raises:
        InputError: there is a fault.
    """
    said = [f"{what}: {', '.join(sorted(names))}" for what, names in faults.items() if names]
    if said:
        raise InputError(f"not the official {original} of this config; {'; '.join(said)}")


def _damaged(path: Path) -> str:
    return f"{path} is damaged, or no checkpoint of torch or safetensors"


def _refusal(path: Path) -> str:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # the file's content is hostile or broken; which of the two is all the same
        names = []
    if not names:
        return _damaged(path)
    return (
        f"{path} holds Python objects that could run code ({', '.join(sorted(names))}); vitnas "
        "loads tensors only: save the state dict alone"
    )


def _state(found: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(len(_WRAPPERS)):
        if isinstance(found, Mapping):
            inner = (found[name] for name in _WRAPPERS if isinstance(found.get(name), Mapping))
            found = next(inner, found)
    if not isinstance(found, Mapping) or not found:
        raise InputError(f"{path} holds no state dict, but a {type(found).__name__}")
    wrong = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if wrong:
        raise InputError(f"{path} holds no state dict: {', '.join(wrong[:3])} are no tensors")
    state = {str(name): tensor for name, tensor in found.items()}
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state
