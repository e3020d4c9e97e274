"""Other people's checkpoints: read without running the code that a pickle can hold, and written."""

from __future__ import annotations

import argparse
import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from vitnas import files
from vitnas.errors import InputError

_LISTED = 20
SUFFIXES = (".pth", ".pt", ".safetensors")
_WRAPPERS = ("model", "state_dict", "module")
_PREFIXES = ("module.", "model.", "_orig_mod.")
"""What distributed training, Lightning and compilation put before every name."""

_IGNORED = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",  # by which a pickle names the methods that a HistoryBuffer keeps
    *(f"numpy.{name}" for name in ("dtype", "ndarray")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core")
      for name in ("_reconstruct", "scalar")),
)  # fmt: skip
"""Objects beside the weights in training checkpoints of mmengine: its logs."""


class _Ignored:
    """Stands for an object of another package: takes what a pickle gives it and does nothing."""

    def __new__(cls, *args: object) -> _Ignored:
        return super().__new__(cls)

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict in a .safetensors file or a torch checkpoint.

    Wrappers such as {"model": ...} are opened, a prefix such as `module.` of every name is taken
    off. The argparse.Namespace that official AutoFormer training checkpoints carry is read as plain
    data, the logs in those of mmengine are passed over; any other Python object is refused.

    Raises:
        InputError: the file is missing, damaged, holds Python objects, or no state dict.
    """
    return read_training(path)[0]


def read_training(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state dict as `read`, and the arguments of the training, where the file has them.

    Raises:
        InputError: the file is missing, damaged, holds Python objects, or no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}")
    known: list[Any] = [argparse.Namespace, *((_Ignored, name) for name in _IGNORED)]
    try:
        if path.suffix == ".safetensors":
            return _state(safetensors.torch.load_file(path), path), {}
        _check_size(path)
        with torch.serialization.safe_globals(known), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what can't be read is refused
            found = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except InputError:
        raise
    except Exception as error:  # damaged or hostile files raise almost anything
        pickled = isinstance(error, pickle.UnpicklingError)
        raise InputError(_refusal(path) if pickled else _damaged(path)) from error
    args = found.get("args") if isinstance(found, Mapping) else None
    return _state(found, path), vars(args) if isinstance(args, argparse.Namespace) else {}


def write(state: Mapping[str, Tensor], path: str | Path, wrapper: str | None = None) -> Path:
    """Write a state dict, atomically: torch's format in {wrapper: state}, or safetensors.

    Raises:
        InputError: the suffix is none of these formats', or the file can't be written.
    """
    path = check_suffix(path)
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in state.items()}
    if path.suffix == ".safetensors":
        return files.write(path, safetensors.torch.save(plain, {"format": "pt"}))
    buffer = io.BytesIO()
    torch.save({wrapper: plain} if wrapper else plain, buffer)
    return files.write(path, buffer.getvalue())


def check_suffix(path: str | Path) -> Path:
    """Return the path of a checkpoint to write.

    Raises:
        InputError: its suffix says no format.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"can't write {path}: a checkpoint's name ends in {', '.join(SUFFIXES)}")
    return path


def misfits(
    given: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[list[str], list[str], list[str]]:
    """Return which names are missing, which are unexpected, and what is wrong in the others.

    That is a wrong shape, numbers that are no floats, or some that are not finite.
    """
    missing = [name for name in expected if name not in given]
    extra = [name for name in given if name not in expected]
    both = ((name, tensor, expected[name]) for name, tensor in given.items() if name in expected)
    wrong = [f"{name} {fault}" for name, *pair in both if (fault := _misfit(*pair))]
    return missing, extra, wrong


def _misfit(given: Tensor, expected: Tensor) -> str:
    if given.shape != expected.shape:
        return f"is {tuple(given.shape)}, expected {tuple(expected.shape)}"
    if expected.is_floating_point() and not given.is_floating_point():
        return f"is of {given.dtype}, expected floats"
    if expected.is_floating_point() and not given.isfinite().all():
        return "has values that are not finite"
    return ""


def refuse(original: str, faults: Mapping[str, list[str]], advice: str = "") -> None:
    """Refuse weights that don't fit a config of the original; the message ends with the advice.

    Raises:
        InputError: there is a fault; of each kind the first 20 are listed.
    """
    said = []
    for what, names in faults.items():
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            said.append(f"{what}: {', '.join(sorted(names)[:_LISTED])}{more}")
    if said:
        raise InputError(f"not the official {original} of this config; {'; '.join(said)}{advice}")


def _check_size(path: Path) -> None:
    """Refuse an archive whose parts are more than the file: torch packs, but never compresses."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
        if unpacked > path.stat().st_size:
            raise InputError(
                f"{path} is compressed, as torch's own files never are, and would fill "
                f"{unpacked / (1 << 20):,.0f} MiB; save the state dict with torch.save"
            )


def _has_numbers(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta and tensor.numel() > 0


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
    bare = [name for name, tensor in state.items() if not _has_numbers(tensor)]
    if bare:
        raise InputError(
            f"{path} holds tensors that are empty, sparse or without data: "
            f"{', '.join(bare[:3])}; save the whole state dict, of plain tensors"
        )
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state
